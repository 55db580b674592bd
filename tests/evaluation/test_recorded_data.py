"""Runs of earlier versions, whose folders have files that only newer versions read."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.core.errors import UserError
from reslab.core.files import write_json
from reslab.evaluation import recorded_data
from reslab.runs.run import Run
from tests.helpers import tiny

pytestmark = pytest.mark.usefixtures("apart")


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for label in range(3):
        for i in range(16):
            picture(root / f"class{label}" / f"{i}.png", 100 * label + i)
    return root


@pytest.fixture
def old_run(photos: Path) -> Run:
    """A run as an earlier version recorded it."""
    run = reslab.train(tiny.NETWORK, photos, epochs=1, batch=8, size=8, channels=1, out="run")
    for fact in ("layout", "passed_over"):
        del run.info["data"]["facts"][fact]
    write_json(run.path / "run.json", run.info)
    return Run.open(run.path)


def later_found(photos: Path, tmp_path: Path) -> None:
    """Add what earlier versions passed over: AVIF, no suffix, an odd suffix, a linked folder."""
    picture(photos / "class0" / "new.avif", 1000)
    picture(tmp_path / "a.png", 1001).rename(photos / "class1" / "without-suffix")
    picture(tmp_path / "b.png", 1002).rename(photos / "class2" / "photo.jpg_large")
    picture(tmp_path / "elsewhere" / "c.png", 1003)
    (photos / "class2" / "linked").symlink_to(tmp_path / "elsewhere")


def test_files_that_are_read_only_now_are_left_out(
    old_run: Run, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = reslab.evaluate(old_run)
    later_found(photos, tmp_path)
    with caplog.at_level(logging.WARNING):
        after = reslab.evaluate(old_run)
    assert "pictures that earlier versions of reslab did not find" in caplog.text
    assert after["n"] == before["n"]
    assert after["confusion"] == before["confusion"]
    old_run.save(status="running")
    (old_run.path / "report.html").unlink()
    assert reslab.resume(old_run.path).info["status"] == "done"
    further = reslab.resume(old_run.path, epochs=0.5, out="further")
    assert further.info["data"]["checksum"] == old_run.info["data"]["checksum"]
    assert recorded_data.reload(further).checksum == old_run.info["data"]["checksum"]


def test_moved_data_of_an_earlier_version(old_run: Run, photos: Path, tmp_path: Path) -> None:
    later_found(photos, tmp_path)
    new = tmp_path / "new"
    shutil.move(photos, new)
    assert reslab.evaluate(old_run, new)["split"] == "test"
    assert Run.open(old_run.path).info["data"]["provenance"]["source"] == str(new)


@pytest.mark.parametrize("change", ["another", "fewer"])
def test_data_that_have_changed_are_still_refused(
    old_run: Run, photos: Path, tmp_path: Path, change: str
) -> None:
    later_found(photos, tmp_path)
    if change == "another":
        picture(photos / "class0" / "another.png", 2000)
    else:
        (photos / "class0" / "0.png").unlink()
    with pytest.raises(UserError, match="have changed since it was started"):
        recorded_data.reload(old_run)


def test_a_run_of_this_version_sees_the_change(photos: Path, tmp_path: Path) -> None:
    run = reslab.train(tiny.NETWORK, photos, epochs=0.1, batch=8, size=8, channels=1, out="run")
    later_found(photos, tmp_path)
    with pytest.raises(UserError, match="have changed since it was started"):
        recorded_data.reload(run)


def test_a_damaged_file_that_was_not_read_then(old_run: Run, photos: Path) -> None:
    (photos / "class0" / "damaged").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    assert recorded_data.reload(old_run).checksum == old_run.info["data"]["checksum"]
