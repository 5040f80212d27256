# SPDX-License-Identifier: PostgreSQL
"""The manual pages and docs/cli.md know every command and option that the programs have."""

import os
import re
import shutil
import subprocess

import pytest

from lib.node import ROOT, agent_binary, ctl_binary

TOOL = ctl_binary("pgvigil")
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}


def said(*words):
    return subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=30, check=True).stdout


def options_in(page):
    """Each option as the list of its names."""
    lines = re.findall(r"^  (-\S.*)", page.split("\nOptions:\n", 1)[1], re.M)
    return [re.findall(r"(?:^|, )(-[A-Za-z]|--[a-z-]+)", re.split(r"  | [A-Z\[(]", line)[0]) for line in lines]


def commands():
    page = said(TOOL, "--help")
    found = re.findall(r"^  ([a-z-]+) ", page.split("Commands:")[1], re.M)
    assert len(found) > 15
    return {None: options_in(page.split("Commands:")[0]),
            **{name: options_in(said(TOOL, name, "--help")) for name in found}}


def rendered(page):
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=200n",
                           os.path.join(ROOT, "docs", "man", page)], capture_output=True, text=True, timeout=30, check=True,
                          env={**ENV, "GROFF_NO_SGR": "1"})
    assert done.stderr == ""
    return done.stdout.replace("‐", "-").replace("−", "-")


def test_pgvigilctl_1():
    text = rendered("pgvigilctl.1")
    assert re.search(r"^EXAMPLES\n(.+\n|\n)+^SEE ALSO", text, re.M)
    indent = re.search(r"^NAME\n( +)", text, re.M).group(1)  # 5 of groff 1.22, 7 since 1.23
    for command, options in commands().items():
        # What is said of a command stands under its line, further in.
        own = text if command is None else re.search(
            rf"^{indent}{command}( .*|)\n(({indent} +.*|)\n|{indent}resume.*\n)*", text, re.M)
        assert own, command
        own = own if command is None else own.group(0)
        assert command is None or options[-1] == ["--help"]
        for names in options:
            assert all(re.search(rf"{name}\b", text) for name in names), (command, names)
            assert names == ["--help"] or any(re.search(rf"(?<![-\w]){name}(?![-\w])", own) for name in names), (command, names)


def test_cli_md():
    with open(os.path.join(ROOT, "docs", "cli.md"), encoding="utf-8") as file:
        text = file.read()
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if re.match(r"\| `[a-z-]+` \|", line)}
    for command, options in commands().items():
        for names in options:
            for name in names:
                assert name == "--help" or f"`{name}`" in (text if command is None else rows[command]), (command, name)


def test_pgvigil_1():
    text = rendered("pgvigil.1")
    assert re.search(r"^EXAMPLES\n(.+\n|\n)+^SEE ALSO", text, re.M)
    page = said(agent_binary("pgvigil"), "--help")
    names = re.findall(r"(?:^  |, )(-[a-z]|--[a-z-]+)", page.split("options:")[1], re.M)
    assert "--replay" in names and "-i" in names
    for name in names:
        assert re.search(rf"(?<![-\w]){name}(?![-\w])", text), name
