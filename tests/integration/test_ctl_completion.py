# SPDX-License-Identifier: PostgreSQL
"""What shells offer behind pgvigilctl. bash is asked itself; the other two at least parse, where they are."""

import os
import re
import shutil
import subprocess

import pytest

from lib.node import ROOT, ctl_binary

TOOL = ctl_binary("pgvigil")
SCRIPTS = os.path.join(ROOT, "ctl", "completions")


def offered(*words):
    """The last word is the one under the cursor."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgvigilctl; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SCRIPTS, "pgvigilctl.bash"), TOOL, *words],
                          capture_output=True, text=True, timeout=30, check=True, cwd=ROOT,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PATRONICTL_CONFIG_FILE": "/nonexistent"})
    assert done.stderr == ""
    return done.stdout.split()


def test_every_command_and_option_is_offered():
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200"}
    page = subprocess.run([TOOL, "--help"], env=env, capture_output=True, text=True, timeout=30, check=True).stdout
    commands = re.findall(r"^  ([a-z-]+) ", page.split("Commands:")[1], re.M)
    assert len(commands) > 15 and "query" in commands
    assert offered("") == commands == offered("-k", "-c", "x", "")
    for command in commands:
        page = subprocess.run([TOOL, command, "--help"], env=env, capture_output=True, text=True, timeout=30, check=True).stdout
        options = set(re.findall(r"(?:^  |, )(-[A-Za-z]|--[a-z-]+)(?=[, \n])", page.split("Options:")[1], re.M))
        assert "--help" in options and options <= set(offered(command, "-")), command


@pytest.mark.parametrize("words,expected", [
    (["sw"], ["switchover"]), (["re"], ["reinit", "reload", "remove", "restart", "resume"]), (["list", "-f", ""],
     ["pretty", "tsv", "json", "yaml", "yml"]), (["list", "--format", "y"], ["yaml", "yml"]),
    (["restart", "x", "--role", "st"], ["standby-leader", "standby"]), (["switchover", "--cand"], ["--candidate"]),
    (["switchover", "--candidate", ""], []), (["flush", "x", ""], ["restart", "switchover"]), (["list", ""], []),
    (["edit-config", "--apply", "READ"], ["README.md"]), (["query", "-f", "READ"], ["README.md"]),
    (["-c", "READ"], ["README.md"]), (["--conf"], ["--config-file"]), (["-d", ""], []), (["nosuch", "-"], [])])
def test_words(words, expected):
    assert offered(*words) == expected


@pytest.mark.parametrize("shell,script", [("zsh", "_pgvigilctl"), ("fish", "pgvigilctl.fish"), ("bash", "pgvigilctl.bash")])
def test_scripts_parse(shell, script):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", os.path.join(SCRIPTS, script)], timeout=30, check=True)
