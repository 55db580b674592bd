"""Input that is odd but can be: other shapes, other data, pipes, strange names, too much of it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.cli.main import main
from reslab.core import environment as machine
from reslab.core.errors import UserError
from reslab.runs.run import Run
from reslab.training import train as training
from tests.helpers import tiny
from tests.helpers.cli import ask, pictures, refused, told

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="what is said does not depend on the backend"
    ),
]

DIGITS = "0", "1", "2"  # the classes of `trained`
LONG = "a" * 250


TRAIN = "train", "tiny", "--epochs", 0.1, "--out", "run", "--data"


def ours(trained: Run) -> Path:
    shutil.copytree(trained.path, "run")
    return Path("run")


def judged(*words: object) -> dict[str, Any]:
    return json.loads(told("evaluate", *words, "--json"))


# Other data to judge on ------------------------------------------------------------------------


@pytest.mark.parametrize("each", [1, 8])
def test_all_of_a_folder_is_judged(each: int, trained: Run) -> None:
    pictures(Path("more"), DIGITS, each)
    run = ours(trained)
    found = judged(run, "--data", "more")
    assert (found["split"], found["n"]) == ("all", 3 * each)
    seen = reslab.predict(run, "more", top=1)
    wrong = sum(one["predictions"][0]["class"] != Path(one["file"]).parent.name for one in seen)
    assert found["top1_error"]["value"] == pytest.approx(wrong / (3 * each))


def test_all_of_a_set_without_test_part_is_judged(trained: Run) -> None:
    for part in tiny.folder(Path("more"), train=24).glob("t10k-*"):
        part.unlink()
    found = judged(ours(trained), "--data", "more")
    assert (found["split"], found["n"]) == ("all", 24)


def test_a_folders_own_test_part_is_judged(trained: Run) -> None:
    pictures(Path("more/train"), DIGITS, 4)
    pictures(Path("more/test"), DIGITS, 2)
    found = judged(ours(trained), "--data", "more")
    assert (found["split"], found["n"]) == ("test", 6)


def test_images_that_are_not_square() -> None:
    at = tiny.folder(Path("wide"))
    for part, n, seed in (("train", 192, 0), ("t10k", 48, 1)):
        images = np.pad(tiny.images(n, seed)[0], ((0, 0), (0, 0), (1, 3)))  # 8x12
        tiny.write_idx(at / f"{part}-images-idx3-ubyte", images)
    told(*TRAIN, at)
    assert Run.open("run").info["data"]["image_shape"] == [8, 12, 1]
    assert judged("run", "--data", at)["n"] == 48
    Path("shown").mkdir()
    Image.fromarray(images[0]).save("shown/as-it-is.png")
    Image.fromarray(images[0]).resize((24, 16), Image.Resampling.NEAREST).save("shown/twice.png")
    Image.fromarray(np.zeros((40, 10), np.uint8)).save("shown/tall.png")
    own, tall, twice = json.loads(told("predict", "run", "shown", "--json"))
    assert own["predictions"][0]["class"] == twice["predictions"][0]["class"]
    assert len(tall["predictions"]) == 3
    pictures(Path("more"), DIGITS, 2)
    assert judged("run", "--data", "more")["n"] == 6


def test_a_run_that_may_only_be_read(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ours(trained)

    def replace(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", replace)
    answer = ask("evaluate", run)
    assert answer.code == 2
    assert "of 48 images" in answer.out
    (line,) = answer.err.splitlines()
    assert line.endswith(
        "the file system is read-only; the result is printed above, but not stored"
    )


# Folders and files -----------------------------------------------------------------------------


def test_names_that_are_not_utf8(trained: Run) -> None:
    pictures(Path("pets"))
    strange = os.fsdecode(b"caf\xe9")
    try:
        shutil.copytree("pets/left", Path("pets", strange))
    except OSError:
        pytest.skip("this file system wants UTF-8")
    assert "'caf\\udce9' is not UTF-8: rename it" in refused(*TRAIN, "pets")
    assert "not UTF-8" in refused("predict", trained.path, "pets")
    shutil.rmtree(Path("pets", strange))
    Path("pets/left/000.png").rename(Path("pets/left", f"{strange}.png"))
    assert "not UTF-8" in refused(*TRAIN, "pets")
    assert "not UTF-8" in refused(*TRAIN, strange)
    assert "not UTF-8" in refused(*TRAIN[:-2], strange, "--data", "pets")
    with pytest.raises(UserError, match="not UTF-8"):
        reslab.predict(trained, strange)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_pipes_are_not_waited_for(trained: Run, thirds: Path) -> None:
    pictures(Path("pets"))
    os.mkfifo("pets/left/x.png")
    pipe = Path("pets/left/x.png")
    assert f"left/{pipe.name} (not a regular file)" in ask(*TRAIN, "pets").err
    assert "x.png cannot be read: not a regular file" in ask("predict", trained.path, pipe).err
    told(*TRAIN, "pets", "--skip-bad", "--size", 8)
    shutil.copytree(thirds, "set")
    Path("set/train-images-idx3-ubyte").unlink()
    os.mkfifo("set/train-images-idx3-ubyte")
    assert "has no training part" in ask("train", "tiny", "--data", "set").err


def test_formats_that_are_not_read(trained: Run) -> None:
    pictures(Path("pets"))
    for file in Path("pets/left").iterdir():
        file.rename(file.with_suffix(".HEIC"))
    says = "left has 8 .heic files, which are not read: convert them to JPEG"
    assert says in refused(*TRAIN, "pets")
    assert says in refused("predict", trained.path, "pets/left")


def test_what_other_systems_leave_in_folders_is_not_predicted(trained: Run) -> None:
    pictures(Path("pets"), ["left"], 1)
    for name in ("pets/left/._000.png", "pets/__MACOSX/000.png", "pets/.thumbs/000.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"no picture")
    assert [one["file"] for one in reslab.predict(trained, "pets")] == ["pets/left/000.png"]


def test_one_path_is_a_picture_too(trained: Run) -> None:
    at = pictures(Path("pets"), ["left"], 1) / "left" / "000.png"
    assert reslab.predict(trained, str(at)) == reslab.predict(trained, at)
    assert reslab.predict(trained, at) == reslab.predict(trained, [at])


def test_what_is_left_out_is_said() -> None:
    at = pictures(Path("pets"))
    for name in ("001.png", "004.png"):
        (at / "middle" / name).write_bytes(b"no picture")
    answer = ask(*TRAIN, "pets", "--skip-bad", "--size", 8)
    said = "skipped 2 images that cannot be read, the first is middle/001.png (not an image"
    assert said in answer.err
    assert said in Run.open("run").log("note")[0]["text"]


def test_empty_words(thirds: Path, trained: Run) -> None:
    pictures(Path("pets"))  # what the empty path would stand for: the folder that we are in
    assert "--data is empty" in refused(*TRAIN, "")
    assert "--data is empty" in refused("evaluate", trained.path, "--data", "")
    assert "is empty" in refused("predict", trained.path, "")


def test_markup_is_a_name_like_another(thirds: Path) -> None:
    out = Path("x[", "red]") if os.sep == "\\" else Path("x[/red]:car:")
    answer = ask("train", "tiny", "--epochs", 0.1, "--out", out, "--data", thirds)
    assert answer.code == 0, answer.err
    assert answer.err.startswith(f"{out}: ")


def test_long_names(thirds: Path, trained: Run) -> None:
    shutil.copytree(thirds, LONG)
    said = refused("train", "tiny", "--epochs", 0.1, "--data", LONG)
    assert "File name too long; choose another --out" in said
    assert "choose another --out" in refused(*TRAIN[:-2], 2 * LONG, "--data", thirds)
    for words in (("report", trained.path, "--out"), ("predict", trained.path), ("evaluate",)):
        assert "File name too long" in refused(*words, 2 * LONG)


# Too much ----------------------------------------------------------------------------------------


def test_a_batch_of_more_than_there_is(thirds: Path) -> None:
    answer = ask("train", "tiny", "--epochs", 1, "--batch", 10**9, "--out", "run", "--data", thirds)
    assert answer.code == 0, answer.err
    run = Run.open("run")
    assert run.info["recipe"]["batch"] == run.info["data"]["counts"]["train"] == 173
    (note,) = run.log("note")
    assert note["text"] == "the batch is all 173 training images: there are no 1,000,000,000"
    assert note["text"] in answer.err


def test_a_batch_that_does_not_fit(thirds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a GiB: `tiny` writes some 11 kB of maps an image, resnet20 50 times that."""
    here = {**machine.machine("torch"), "memory_gib": 0.01, "gpu": None}
    monkeypatch.setattr(machine, "machine", lambda _: here)
    said = refused("train", "resnet20", "--out", "run", "--batch", 10**9, "--data", thirds)
    assert "a step of 173 images" in said
    assert "try a smaller --batch or --size" in said
    told(*TRAIN, thirds, "--batch", 16)


def test_more_steps_than_can_be(thirds: Path) -> None:
    said = refused("train", "tiny", "--epochs", 1e15, "--out", "run", "--data", thirds)
    assert "steps, 100,000,000 are the most" in said
    assert "are the most" in refused(*TRAIN[:2], "--set", "steps=1e9", "--data", thirds)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 288. GiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate request"),
    ],
    ids=str,
)
def test_too_little_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(training, "train_with", train)
    assert "not enough memory for this: try a smaller --batch or --size" in refused(*TRAIN, "x")


def test_other_faults_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(training, "train_with", train)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["train", "tiny", "--data", "x"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", ["list", "list --json", "show resnet20"])
def test_output_that_cannot_be_written(words: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "reslab", *words.split()]
        environment = {**os.environ, "PYTHONPATH": str(Path(reslab.__file__).parents[1])}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 2
    assert done.stderr == "reslab: No space left on device\n"


# The library -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"network": None}, "a network is a name of `reslab list` or a reslab.Network, not None"),
        ({"network": 20}, "not 20"),
        ({"classes": "x"}, "classes is an integer, not 'x'"),
        ({"classes": 2.5}, "classes is an integer, not 2.5"),
        ({"classes": True}, "classes is an integer, not True"),
        ({"input_shape": ("a", 1, 3)}, "('a', 1, 3) has 'a', which is not an integer"),
        ({"input_shape": (32.0, 32, 3)}, "has 32.0, which is not an integer"),
        ({"input_shape": "abc"}, "(height, width, channels) in some order, not 'abc'"),
        ({"input_shape": 32}, "(height, width, channels) in some order, not 32"),
        ({"taps": "conv9_x"}, "no row of resnet20 'conv9_x'"),
    ],
    ids=str,
)
def test_what_create_cannot_use(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        reslab.create(**{"network": "resnet20", **arguments})


def test_what_create_can_use() -> None:
    model = reslab.create("resnet20", np.int64(7), [np.int32(16), None, 3])  # type: ignore[arg-type]
    assert (model.input_shape, model.output_shape) == ((None, 16, None, 3), (None, 7))
    assert list(reslab.create("resnet20", taps="conv3_x").output) == ["conv3_x"]


@pytest.mark.parametrize("name", ["characters", "characters_printed"])
def test_show_says_what_create_takes(name: str) -> None:
    shown = json.loads(told("show", name, "--json"))
    assert (None, *shown["input_shape"]) == reslab.create(name).input_shape
    listed = {net["name"]: net for net in json.loads(told("list", "--json"))["networks"]}
    assert listed[name]["input_shape"] == shown["input_shape"]
    said = told("show", name)
    if name == "characters_printed":
        assert shown["data_format"] == "channels_first"
        assert "images of 1x28x28 (channels_first); " in said
    else:
        assert "images of 28x28x1; " in said
