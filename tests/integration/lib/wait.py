# SPDX-License-Identifier: PostgreSQL
"""Waiting for a condition, with a deadline."""

import http.client
import os
import time

import psycopg2

# What a server that is just going up or down answers with: not yet, rather than a failure.
NOT_YET = (OSError, psycopg2.Error, http.client.HTTPException)


class Timeout(AssertionError):
    """The condition did not come true in time."""


def patience():
    """How many times longer things may take than on a machine that keeps up. Only for limits on
    speed: what safety demands, such as stepping back before the lease ends, is never stretched."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


def wait_for(condition, timeout, what=None, interval=0.03):
    """Calls condition() until its value is true, and returns that value."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except NOT_YET as error:
            last = error
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "condition")
            raise Timeout(f"{name}: not within {timeout} s; last seen: {last!r}")
        time.sleep(interval)


def holds_for(condition, seconds, what=None, interval=0.05):
    """Fails as soon as condition() is false within the next seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"{what or 'condition'}: no longer true"
        time.sleep(interval)
