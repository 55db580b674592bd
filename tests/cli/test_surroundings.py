"""Locales, closed streams, missing homes, warnings, clocks: a command still ends as it should."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from reslab.cli.output import echo, print_json
from reslab.cli.tables import make_table, print_table
from reslab.core import environment
from reslab.core.errors import UserError
from reslab.data.sources.download import cache_dir
from tests.helpers import tiny
from tests.helpers.cli import error_of
from tests.helpers.training import RECIPE

HOMES = "HOME", "USERPROFILE", "XDG_CACHE_HOME", "RESLAB_CACHE", "KERAS_HOME"
POSIX = pytest.mark.skipif(os.name == "nt", reason="a shell redirects the streams")


def run(
    *words: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "reslab", *words],
        capture_output=True,
        env={**os.environ, **environment},
        cwd=cwd,
        check=False,
    )


RECIPES = {"é": "promise = 'caf\u00e9 \u8702 \u0416'\nbase = 'quick'\n"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251", "utf-8"])
def test_letters_that_the_locale_lacks_are_escaped(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "r.toml").write_text(RECIPES["é"], encoding="utf-8")
    done = run("recipes", "r.toml", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("utf-8" if encoding == "ascii" else encoding)  # click's choice
    assert "promise: caf" in text
    for letter in "é蜂Ж":
        assert letter in text or f"\\{letter!a}"[2:-1] in text
    missing = run("recipes", "蜂", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


@POSIX
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "> /dev/full"])
def test_closed_and_full_streams_give_no_traceback(closed: str) -> None:
    command = f"{sys.executable} -m reslab list {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert done.returncode == (2 if "full" in closed else 0)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@POSIX
def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m reslab list --json | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "cat\x1b]0;owned\x07\x9b2J\u202e"
    echo(bad)
    echo(bad, err=True)
    print_json({bad: [bad]})
    table = make_table("name", "value")
    table.add_row(bad, "1")
    print_table(table)
    printed = "".join(capsys.readouterr())
    assert printed.count("owned") == 5
    assert not set("\x1b\x07\x9b\u202e") & set(printed)


@pytest.mark.usefixtures("apart")
def test_names_with_escapes_are_refused_in_one_visible_line() -> None:
    line = error_of("show", "resnet\x1b[31m20")
    assert "\x1b" not in line
    assert "\\x1b" in line or "\\u001b" in line


@POSIX
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root changes its user")
@pytest.mark.parametrize("backend", [None, "torch"])
def test_a_user_without_home_and_name(tmp_path: Path, backend: str | None) -> None:
    use = "reslab._choose_backend(); print(cache_dir()); main(['show', 'resnet20'])\n"
    script = (
        "import os, reslab\nfrom reslab.data.sources.download import cache_dir\n"
        f"from reslab.cli.main import main\n{use}"  # loads modules that the other user cannot
        f"for name in {HOMES}: os.environ.pop(name, None)\nos.setuid(54321)\n{use}"
    )
    clean = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    clean |= {"KERAS_BACKEND": backend} if backend else {}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=clean,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ResNet-20 for CIFAR") == 2


def test_the_cache_of_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    def homeless(name: str) -> str:
        raise RuntimeError("no home")

    monkeypatch.delenv("RESLAB_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
    assert cache_dir().is_absolute()
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert cache_dir("~/x").name == "x"


def test_warnings_do_not_stand_beside_the_one_line(trained: object, tmp_path: Path) -> None:
    """Pillow warns about a TIFF whose end is missing; a library may warn about anything."""
    file = tmp_path / "a.tif"
    Image.new("RGB", (16, 16)).save(file)
    file.write_bytes(file.read_bytes()[:60])
    run_path = str(trained.path)  # type: ignore[attr-defined]
    done = run("predict", run_path, str(file))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_clock_before_1980_is_refused_at_the_start(
    tmp_path: Path, thirds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reslab

    real = time.localtime
    monkeypatch.setattr(time, "localtime", lambda seconds=None: real(86400.0))
    with pytest.raises(UserError, match=r"the clock of this machine is in 19(69|70): set it"):
        reslab.train(tiny.NETWORK, thirds, RECIPE, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    environment.check_clock()
