"""Unusual but valid input: other shapes, other data, pipes, strange names, very large values."""

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
from tests.helpers.cli import error_of, invoke, output_of, pictures

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the messages do not depend on the backend"
    ),
]

DIGITS = "0", "1", "2"  # the classes of `trained`
LONG = "a" * 250


TRAIN = "train", "tiny", "--epochs", 0.1, "--out", "run", "--data"


def copy_of(trained: Run) -> Path:
    """Copy a run to the folder `run`, so that a test can change it."""
    shutil.copytree(trained.path, "run")
    return Path("run")


def metrics_of(*words: object) -> dict[str, Any]:
    """Return the metrics that `reslab evaluate` prints."""
    return json.loads(output_of("evaluate", *words, "--json"))


# Evaluation on other data ----------------------------------------------------------------------


@pytest.mark.parametrize("each", [1, 8])
def test_all_images_of_a_folder_are_evaluated(each: int, trained: Run) -> None:
    pictures(Path("more"), DIGITS, each)
    run = copy_of(trained)
    metrics = metrics_of(run, "--data", "more")
    assert (metrics["split"], metrics["n"]) == ("all", 3 * each)
    predictions = reslab.predict(run, "more", top=1)
    wrong = sum(
        image["predictions"][0]["class"] != Path(image["file"]).parent.name for image in predictions
    )
    assert metrics["top1_error"]["value"] == pytest.approx(wrong / (3 * each))


def test_all_images_of_a_data_set_without_a_test_part_are_evaluated(trained: Run) -> None:
    for part in tiny.folder(Path("more"), train=24).glob("t10k-*"):
        part.unlink()
    metrics = metrics_of(copy_of(trained), "--data", "more", "--keep-seen")
    assert (metrics["split"], metrics["n"]) == ("all", 24)
    assert metrics["seen"]["count"] > 0  # they are among the training images of the run


def test_only_the_test_part_of_a_folder_is_evaluated(trained: Run) -> None:
    pictures(Path("more/train"), DIGITS, 4)
    pictures(Path("more/test"), DIGITS, 2)
    metrics = metrics_of(copy_of(trained), "--data", "more")
    assert (metrics["split"], metrics["n"]) == ("test", 6)


def test_images_that_are_not_square() -> None:
    at = tiny.folder(Path("wide"))
    for part, n, seed in (("train", 192, 0), ("t10k", 48, 1)):
        images = np.pad(tiny.images(n, seed)[0], ((0, 0), (0, 0), (1, 3)))  # 8x12
        tiny.write_idx(at / f"{part}-images-idx3-ubyte", images)
    output_of(*TRAIN, at)
    assert Run.open("run").info["data"]["image_shape"] == [8, 12, 1]
    assert metrics_of("run", "--data", at)["n"] == 48
    Path("shown").mkdir()
    Image.fromarray(images[0]).save("shown/a-original.png")
    Image.fromarray(images[0]).resize((24, 16), Image.Resampling.NEAREST).save(
        "shown/c-doubled.png"
    )
    Image.fromarray(np.zeros((40, 10), np.uint8)).save("shown/b-tall.png")
    original, tall, doubled = json.loads(output_of("predict", "run", "shown", "--json"))
    assert original["predictions"][0]["class"] == doubled["predictions"][0]["class"]
    assert len(tall["predictions"]) == 3
    pictures(Path("more"), DIGITS, 2)
    assert metrics_of("run", "--data", "more")["n"] == 6


def test_evaluating_a_read_only_run_prints_the_result(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(trained)

    def replace(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", replace)
    answer = invoke("evaluate", run)
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
        pytest.skip("this file system accepts only UTF-8 names")
    assert "'caf\\udce9' is not UTF-8: rename it" in error_of(*TRAIN, "pets")
    assert "not UTF-8" in error_of("predict", trained.path, "pets")
    shutil.rmtree(Path("pets", strange))
    Path("pets/left/000.png").rename(Path("pets/left", f"{strange}.png"))
    assert "not UTF-8" in error_of(*TRAIN, "pets")
    assert "not UTF-8" in error_of(*TRAIN, strange)
    assert "not UTF-8" in error_of(*TRAIN[:-2], strange, "--data", "pets")
    with pytest.raises(UserError, match="not UTF-8"):
        reslab.predict(trained, strange)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipes_are_refused_without_waiting(trained: Run, thirds: Path) -> None:
    pictures(Path("pets"))
    os.mkfifo("pets/left/x.png")
    pipe = Path("pets/left/x.png")
    assert f"left/{pipe.name} (it is a pipe or a device)" in invoke(*TRAIN, "pets").err
    assert (
        "x.png cannot be read: it is a pipe or a device"
        in invoke("predict", trained.path, pipe).err
    )
    output_of(*TRAIN, "pets", "--skip-bad", "--size", 8)
    shutil.copytree(thirds, "set")
    Path("set/train-images-idx3-ubyte").unlink()
    os.mkfifo("set/train-images-idx3-ubyte")
    assert "has no training part" in invoke("train", "tiny", "--data", "set").err


def test_image_formats_that_are_not_supported(trained: Run) -> None:
    pictures(Path("pets"))
    for file in Path("pets/left").iterdir():
        file.rename(file.with_suffix(".PSD"))
    expected = "there are no images in"
    for message in (error_of(*TRAIN, "pets"), error_of("predict", trained.path, "pets/left")):
        assert expected in message
        assert "left (passed over: 8 .psd pictures in a format that is not read)" in message


def test_files_are_judged_by_their_content(trained: Run) -> None:
    """A picture with another suffix or without one is read; the rest is counted."""
    pictures(Path("pets"), ["left"], 4)
    first, second, *_ = sorted(Path("pets/left").iterdir())
    first.rename("pets/left/photo")
    second.rename("pets/left/photo.download")
    Path("pets/left/notes.txt").write_text("no picture")
    answer = invoke("predict", trained.path, "pets", "--json")
    assert len(json.loads(answer.out)) == 4
    assert "passed over: 1 .txt file" in answer.err
    assert "predicted 4 of 5 files" in answer.err
    assert "3 class folders" not in answer.err


def test_files_that_cannot_be_read_can_be_skipped_in_all_commands(trained: Run) -> None:
    pictures(Path("more"), DIGITS, 4)
    (bad := Path("more/1/bad.png")).write_bytes(b"")
    for words in (("predict", trained.path, "more"), ("evaluate", trained.path, "--data", "more")):
        assert "--skip-bad" in error_of(*words)
        answer = invoke(*words, "--skip-bad")
        assert answer.code == 0, answer.err
        assert "bad.png" in answer.out + answer.err
    assert "predicted 12 of 13 files" in invoke("predict", trained.path, "more", "--skip-bad").err
    result = reslab.evaluate(trained, "more", skip_bad=True)
    assert [each["file"] for each in result["skipped"]] == ["1/bad.png"]
    answer = invoke("predict", trained.path, bad, "--skip-bad")
    assert answer.code == 2
    assert "none of the 1 images can be read" in answer.err


@pytest.mark.parametrize("classes", [("0", "2"), ("1",)])
def test_evaluation_on_some_of_the_classes(trained: Run, classes: tuple[str, ...]) -> None:
    for name in classes:
        pictures(Path("source"), DIGITS, 4)
        shutil.copytree(Path("source", name), Path("some", name))
    result = reslab.evaluate(trained, "some")
    assert [row["n"] for row in result["per_class"]] == [4 * (d in classes) for d in DIGITS]
    (note,) = [text for text in result["notes"] if "has no image of" in text]
    missing = [digit for digit in DIGITS if digit not in classes]
    assert note.endswith(", ".join(missing))
    assert note in output_of("evaluate", trained.path, "--data", "some")


def test_the_data_were_moved() -> None:
    pictures(Path("pets"), each=12)
    output_of(*TRAIN, "pets", "--size", 8)
    first = Run.open("run").evaluation
    assert first is not None
    shutil.move("pets", "elsewhere")
    assert "--data NEW" in error_of("evaluate", "run")
    pictures(Path("others"), each=3)
    assert "is not the data of run" in error_of("train", "--resume", "run", "--data", "others")
    copied = shutil.copytree("run", "copied")
    output_of("evaluate", "run", "--data", "elsewhere")  # and the run remembers the place
    for path, words in (("run", ()), (copied, ("train", "--resume", "copied", "--data"))):
        if words:
            output_of(*words, "elsewhere")
        output_of("evaluate", path)
        evaluation = Run.open(path).evaluation
        assert evaluation is not None
        assert (evaluation["split"], evaluation["n"]) == ("test", first["n"])
        assert evaluation["readings"] == (3 if path == "run" else 2)
        assert evaluation["confusion"] == first["confusion"]


def test_an_evaluation_is_stored_before_it_is_printed(trained: Run, monkeypatch: Any) -> None:
    before = Run.open(trained.path).evaluation

    def closed(*args: object, **options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("reslab.cli.evaluate.echo", closed)
    monkeypatch.setattr("reslab.cli.main._discard_output", lambda: None)
    assert invoke("evaluate", trained.path).code == 0
    after = Run.open(trained.path).evaluation
    assert before is not None
    assert after is not None
    assert after["readings"] == before["readings"] + 1


def test_runs_are_not_written_into_the_data_unasked() -> None:
    pictures(Path("pets"))
    os.chdir("pets")
    assert "runs/ is inside the data folder" in error_of("train", "tiny", "--data", ".")


def test_the_options_of_the_parts_and_of_the_images() -> None:
    pictures(Path("pets"), each=12)
    pictures(Path("tests"), ("left", "right"), 3)
    words = ["--size", "8x12", "--channels", 1, "--validation", 0, "--test", "tests"]
    answer = invoke(*TRAIN, "pets", *words)
    assert answer.code == 0, answer.err
    info = Run.open("run").info["data"]
    assert info["image_shape"] == [8, 12, 1]
    assert info["counts"] == {"train": 36, "test": 6}
    assert "the test part has no image of 1 class: middle" in answer.err
    output_of("evaluate", "run")
    assert "HEIGHTxWIDTH" in error_of(*TRAIN, "pets", "--size", "8x9x3")
    assert "validation is set twice" in error_of(
        *TRAIN, "pets", "--validation", 0, "--set", "validation=0"
    )


def test_hidden_files_of_other_systems_are_not_predicted(trained: Run) -> None:
    pictures(Path("pets"), ["left"], 1)
    for name in ("pets/left/._000.png", "pets/__MACOSX/000.png", "pets/.thumbs/000.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"no picture")
    assert [image["file"] for image in reslab.predict(trained, "pets")] == ["pets/left/000.png"]


def test_predict_takes_one_path_or_a_list(trained: Run) -> None:
    at = pictures(Path("pets"), ["left"], 1) / "left" / "000.png"
    assert reslab.predict(trained, str(at)) == reslab.predict(trained, at)
    assert reslab.predict(trained, at) == reslab.predict(trained, [at])


def test_skipped_images_are_reported() -> None:
    at = pictures(Path("pets"))
    for name in ("001.png", "004.png"):
        (at / "middle" / name).write_bytes(b"no picture")
    answer = invoke(*TRAIN, "pets", "--skip-bad", "--size", 8)
    text = "skipped 2 images that cannot be read, the first is middle/001.png (not an image"
    assert text in answer.err
    assert any(text in line["text"] for line in Run.open("run").log("note"))


def test_empty_arguments(thirds: Path, trained: Run) -> None:
    pictures(Path("pets"))  # an empty path would mean the current folder
    assert "--data is empty" in error_of(*TRAIN, "")
    assert "--data is empty" in error_of("evaluate", trained.path, "--data", "")
    assert "is empty" in error_of("predict", trained.path, "")


def test_names_with_markup_are_printed_unchanged(thirds: Path) -> None:
    out = Path("x[", "red]") if os.sep == "\\" else Path("x[/red]:car:")
    answer = invoke("train", "tiny", "--epochs", 0.1, "--out", out, "--data", thirds)
    assert answer.code == 0, answer.err
    assert answer.err.startswith(f"{out}: ")


def test_long_names(thirds: Path, trained: Run) -> None:
    shutil.copytree(thirds, LONG)
    message = error_of("train", "tiny", "--epochs", 0.1, "--data", LONG)
    assert "File name too long; choose another --out" in message
    assert "choose another --out" in error_of(*TRAIN[:-2], 2 * LONG, "--data", thirds)
    for words in (("report", trained.path, "--out"), ("predict", trained.path), ("evaluate",)):
        assert "File name too long" in error_of(*words, 2 * LONG)


# Values that are too large ---------------------------------------------------------------------


def test_a_batch_larger_than_the_training_set(thirds: Path) -> None:
    answer = invoke(
        "train", "tiny", "--epochs", 1, "--batch", 10**9, "--out", "run", "--data", thirds
    )
    assert answer.code == 0, answer.err
    run = Run.open("run")
    assert run.info["recipe"]["batch"] == run.info["data"]["counts"]["train"] == 173
    (note,) = [line for line in run.log("note") if line["text"].startswith("the batch")]
    assert note["text"] == "the batch is all 173 training images: there are no 1,000,000,000"
    assert note["text"] in answer.err


def test_a_batch_that_does_not_fit_into_memory(
    thirds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 0.01 GiB of memory: `tiny` needs about 11 kB per image, resnet20 50 times more."""
    small_machine = {**machine.machine("torch"), "memory_gib": 0.01, "gpu": None}
    monkeypatch.setattr(machine, "machine", lambda _: small_machine)
    message = error_of("train", "resnet20", "--out", "run", "--batch", 10**9, "--data", thirds)
    assert "a step of 173 images" in message
    assert "try a smaller --batch or --size" in message
    output_of(*TRAIN, thirds, "--batch", 16)


def test_more_steps_than_allowed(thirds: Path) -> None:
    message = error_of("train", "tiny", "--epochs", 1e15, "--out", "run", "--data", thirds)
    assert "steps, 100,000,000 are the most" in message
    assert "are the most" in error_of(*TRAIN[:2], "--set", "steps=1e9", "--data", thirds)


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
    assert "not enough memory for this: try a smaller --batch or --size" in error_of(*TRAIN, "x")


def test_other_exceptions_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise RuntimeError("an internal error")

    monkeypatch.setattr(training, "train_with", train)
    with pytest.raises(RuntimeError, match="an internal error"):
        main(["train", "tiny", "--data", "x"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["list", "list --json", "show resnet20"])
def test_output_that_cannot_be_written(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "reslab", *arguments.split()]
        environment = {**os.environ, "PYTHONPATH": str(Path(reslab.__file__).parents[1])}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 2
    assert done.stderr == "reslab: No space left on device\n"


# The library -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
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
def test_arguments_that_create_refuses(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        reslab.create(**{"network": "resnet20", **arguments})


def test_arguments_that_create_accepts() -> None:
    model = reslab.create("resnet20", np.int64(7), [np.int32(16), None, 3])  # type: ignore[arg-type]
    assert (model.input_shape, model.output_shape) == ((None, 16, None, 3), (None, 7))
    assert list(reslab.create("resnet20", taps="conv3_x").output) == ["conv3_x"]


@pytest.mark.parametrize("name", ["characters", "characters_printed"])
def test_show_prints_the_input_shape_of_create(name: str) -> None:
    shown = json.loads(output_of("show", name, "--json"))
    assert (None, *shown["input_shape"]) == reslab.create(name).input_shape
    listed = {net["name"]: net for net in json.loads(output_of("list", "--json"))["networks"]}
    assert listed[name]["input_shape"] == shown["input_shape"]
    output = output_of("show", name)
    if name == "characters_printed":
        assert shown["data_format"] == "channels_first"
        assert "images of 1x28x28 (channels_first); " in output
    else:
        assert "images of 28x28x1; " in output
