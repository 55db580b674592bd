"""The default backend of the tests, and fixtures: a small data set, a trained run, a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# A shared machine may be slow at any moment: no example fails for its time.
hypothesis.settings.register_profile("reslab", deadline=None)
hypothesis.settings.load_profile("reslab")

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests check values, not speed. XLA would take minutes to optimise code that runs once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

# A shell makes background jobs ignore SIGINT. Tests of interruptions send it to their own process.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from reslab.runs.run import Run
    from tests.helpers.chromium import Chromium


@pytest.fixture(scope="session")
def thirds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set of `tests.helpers.tiny` as IDX files. Tests only read it."""
    from tests.helpers import tiny

    return tiny.folder(tmp_path_factory.mktemp("data") / "thirds")


@pytest.fixture(scope="session")
def trained(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on `thirds`. Tests only read it."""
    import reslab
    from tests.helpers import tiny

    out = tmp_path_factory.mktemp("runs") / "trained"
    return reslab.train(tiny.NETWORK, thirds, epochs=2, batch=16, out=out)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in its own folder with its own cache, offline. `tiny` is a known network."""
    from reslab import zoo
    from tests.helpers import tiny

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("RESLAB_OFFLINE", "1")
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESLAB_DATA", raising=False)
    monkeypatch.setitem(zoo.NETWORKS, "tiny", tiny.NETWORK)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Chromium with a blank page. Without one the test is skipped, or fails if CI is set."""
    from tests.helpers.chromium import PROGRAM, Chromium

    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI is set and there is no chromium: apt-get install chromium")
        pytest.skip("needs chromium")
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium
