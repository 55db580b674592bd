"""Bad input: one line that says what to do, exit code 2, and no file lost or half-written."""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.runs.run import Run
from reslab.spec import Conv, Dense, GlobalAvgPool, Network
from tests.helpers import tiny
from tests.helpers.cli import error_of, invoke, output_of, pictures, snapshot

pytestmark = [
    pytest.mark.usefixtures("apart"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the messages do not depend on the backend"
    ),
]


TRAIN = "train", "resnet20", "--out", "run", "--epochs", 0.1, "--batch", 16


# Names and values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("lsit", "no command 'lsit'; did you mean 'list'?"),
        ("show resnet51", "no network 'resnet51'; did you mean 'resnet50'?"),
        ("show", "reslab show --help"),
        ("show resnet50 --jsn", "'--json'"),
        ("show resnet50 --size 0", "--size"),
        ("show resnet50 --classes none", "--classes"),
        ("train", "reslab train NAME --data SOURCE"),
        ("train resnet20", "reslab train NAME --data SOURCE"),
        ("train resnet21 --data DATA", "no network 'resnet21'; did you mean 'resnet20'?"),
        ("train resnet20 --data fashon-mnist", "did you mean 'fashion-mnist'?"),
        ("train resnet20 --data ./nowhere", "there is no folder"),
        ("train resnet20 --data DATA/train-images-idx3-ubyte", "is a file; give the folder"),
        ("train resnet20 --data DATA --recipe quik", "no recipe 'quik'; did you mean 'quick'?"),
        ("train resnet20 --data DATA --recipe mine.toml", "cannot read recipe mine.toml"),
        ("train resnet20 --data DATA --set raet=1", "did you mean 'rate'?"),
        ("train resnet20 --data DATA --set rate", "--set field=value"),
        ("train resnet20 --data DATA --set rate=fast", "rate='fast': the recipe wants float here"),
        ("train resnet20 --data DATA --set rate=nan", "rate is nan"),
        ("train resnet20 --data DATA --set schedule=stpes", "did you mean 'steps'?"),
        ("train resnet20 --data DATA --set augment=flipp", "did you mean 'flip'?"),
        ("train resnet20 --data DATA --set augment=pad-crop(-1)", "write it as pad-crop(4)"),
        (
            "train resnet20 --data DATA --set drops=32000",
            "drops are fractions of the training, 0 to 1",
        ),
        ("train resnet20 --data DATA --set validation=1000", "there are only 192"),
        ("train resnet20 --data DATA --epochs 0", "epochs or steps, above 0"),
        ("train resnet20 --data DATA --epochs nan", "epochs is nan"),
        ("train resnet20 --data DATA --epochs inf", "epochs is inf"),
        ("train resnet20 --data DATA --epochs -1", "epochs is -1"),
        ("train resnet20 --data DATA --batch 0", "batch is 0, must be 1 or more"),
        ("train resnet20 --data DATA --size 0", "side of the images in pixels, 1 to 4096"),
        ("train resnet20 --data DATA --seed -1", "a number from 0 to 4294967295"),
        ("train resnet20 --data DATA --seed 4294967296", "a number from 0 to 4294967295"),
        ("train resnet20 --data DATA --workers 0", "--workers"),
        ("train resnet20 --data DATA --precision float16", "did you mean 'float32'?"),
        ("train resnet20 --data DATA --backend troch", "did you mean 'torch'?"),
        ("train resnet20 --data DATA --out DATA", "exists already: choose another --out"),
        ("train resnet20 --data DATA --out DATA/t10k-labels-idx1-ubyte/x", "choose another --out"),
        ("train resnet20 --data DATA --out /proc/nowhere", "choose another --out"),
        ("train resnet20 --resume RUN", "--resume DIR takes no other options"),
        ("train --resume RUN --batch 9 --set rate=1", "the run has its recipe"),
        ("train --resume nowhere", "nowhere is not a run: there is no nowhere/run.json"),
        ("train --resume DATA", "is not a run"),
        ("train --resume DATA/t10k-labels-idx1-ubyte", "Not a directory"),
        ("evaluate nowhere", "nowhere is not a run"),
        ("evaluate RUN --data nowhere", "no data source 'nowhere'"),
        ("report nowhere", "nowhere is not a run"),
        ("report RUN --out DATA", "is a folder; name a file"),
        ("predict nowhere a.png", "there is no run and no model file at nowhere"),
        ("predict DATA a.png", "is not a run"),
        ("predict RUN a.png", "there is no image a.png"),
        ("predict RUN DATA", "there are no images in"),
        ("predict RUN -", "no images were given"),
        ("predict RUN RUN/run.json", "run.json cannot be read"),
        ("predict RUN", "IMAGES"),
        ("predict RUN a.png --top 0", "--top"),
    ],
)
def test_names_and_values(command: str, expected: str, thirds: Path, trained: Run) -> None:
    paths = {"DATA": str(thirds), "RUN": str(trained.path)}
    message = error_of(
        *(re.sub("DATA|RUN", lambda m: paths[m[0]], word) for word in command.split())
    )
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate = ", "is not TOML"),
        ("raet = 0.1", "did you mean 'rate'?"),
        ('base = "quik"', "did you mean 'quick'?"),
        ('base = "mine.toml"', "mine.toml has itself as its base"),
        ('base = "./mine.toml"', "mine.toml has itself as its base"),
        ("base = 3", "base is 3; it is the name of a recipe"),
        ("rate = [1]", "the recipe wants float here"),
        ("epochs = 3\nsteps = 3", "give either epochs or steps"),
    ],
)
def test_recipe_files(text: str, expected: str, thirds: Path) -> None:
    Path("mine.toml").write_text(text)
    assert expected in error_of("train", "resnet20", "--data", thirds, "--recipe", "mine.toml")


def test_a_network_too_deep_for_the_images(thirds: Path) -> None:
    rows = {"conv1": Conv(4, 5, pad=0), "conv2_x": (Conv(4, 5, pad=0),) * 2}
    net = Network("deep", {**rows, "head": (GlobalAvgPool, Dense(3))}, (32, 32, 3))
    with pytest.raises(UserError, match=r"conv2_x_conv1: a window of 5x5 does not fit maps of 4x4"):
        reslab.train(net, thirds, out="run")
    assert snapshot() == {}


# Folders of pictures ---------------------------------------------------------------------------


def test_a_folder_without_images() -> None:
    Path("pets/cat").mkdir(parents=True)
    Path("pets/dog").mkdir()
    assert "there are no images in" in error_of(*TRAIN, "--data", "pets")
    Path("bare").mkdir()
    assert "class folders" in error_of(*TRAIN, "--data", "bare")


def test_a_folder_of_one_class() -> None:
    pictures(Path("pets"), classes=["cat"])
    assert "one class, 'cat'; at least two are needed" in error_of(*TRAIN, "--data", "pets")


def test_a_class_with_too_few_images() -> None:
    at = pictures(Path("pets"))
    for file in sorted((at / "left").iterdir())[2:]:
        file.unlink()
    message = error_of(*TRAIN, "--data", "pets")
    assert "class 'left'" in message
    assert "2 images" in message
    assert "add images, remove the class" in message


def decompression_bomb() -> bytes:
    """Return a PNG of 60,000 x 60,000 pixels in about a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


class Evil:
    """An object whose pickle creates the file `executed` when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


BAD = {
    "truncated": lambda good: good[: len(good) // 2],
    "mislabelled": lambda good: b"this is no picture, whatever it is called",
    "empty": lambda good: b"",
    "bomb": lambda good: decompression_bomb(),
    "pickle": lambda good: pickle.dumps(Evil()),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named_and_can_be_skipped(kind: str) -> None:
    at = pictures(Path("pets"))
    bad = at / "right" / "023.png"
    bad.write_bytes(BAD[kind](bad.read_bytes()))
    message = error_of(*TRAIN, "--data", "pets")
    assert "right/023.png (" in message
    assert "--skip-bad" in message
    if kind == "bomb":
        assert "decompression bomb" in message
    assert not Path("executed").exists()
    if kind in ("bomb", "truncated"):  # the other kinds run the same code
        output_of(*TRAIN, "--data", "pets", "--skip-bad", "--size", 8)
        facts = Run.open("run").info["data"]["facts"]
        assert [skipped["file"] for skipped in facts["skipped"]] == ["right/023.png"]
        assert facts["skipped"][0]["why"] in message


# IDX and CIFAR ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda body: body[:-1], "should have 12,288 bytes of data, but has only 12,287"),
        (lambda body: body + b"?", "but has more"),
        (lambda body: b"PK" + body, "is not an IDX file"),
        (lambda body: gzip.compress(body)[:-9], "truncated or damaged"),
        (lambda body: pickle.dumps(Evil()), "is not an IDX file"),
    ],
)
def test_idx_files_of_the_wrong_size(damage: Any, expected: str) -> None:
    file = tiny.folder(Path("set")) / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    message = error_of(*TRAIN, "--data", "set")
    assert expected in message
    assert "train-images-idx3-ubyte" in message


@pytest.mark.parametrize(
    ("source", "file", "expected"),
    [
        ("mnist", "train-images-idx3-ubyte.gz", "not 440fcabf73cc546fa21475e81ea37026"),
        ("emnist-byclass", "gzip.zip", "not fb9bb67e33772a9cc0b895e4ecf36d2c"),
        ("cifar10", "cifar-10-binary.tar.gz", "not c4a38c50a1bc5f3a1c5537f2155ab9d6"),
        ("cifar100", "cifar-100-binary/test.bin", "should be"),
        ("cifar10", "cifar-10-batches-bin/test_batch.bin", "data_batch_1.bin"),
    ],
)
def test_files_of_known_data_sets_with_a_wrong_checksum_or_layout(
    source: str, file: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = {"emnist-byclass": "emnist"}.get(source, source)
    path = Path("sets", folder, file)
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Evil()))
    if source == "cifar100":
        shutil.copy(path, path.with_name("train.bin"))
    monkeypatch.setenv("RESLAB_DATA", "sets")
    assert expected in error_of(*TRAIN, "--data", source)
    assert not Path("executed").exists()


def test_a_missing_data_set_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of(*TRAIN, "--data", "cifar10")
    for part in ("cifar-10-binary.tar.gz", "https://", "sha256 c4a38c50a1bc", "cache/cifar10"):
        assert part in message


# Model files -----------------------------------------------------------------------------------


def keras_file(path: Path, members: dict[str, bytes | None], source: Path) -> Path:
    """Copy a model file with some members replaced, or removed (None)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            body = members.get(name, old.read(name))
            if body is not None:
                new.writestr(name, body)
    return path


@pytest.mark.parametrize("kind", ["noise", "empty", "pickle", "zip", "truncated", "no config"])
def test_files_that_are_not_model_files(kind: str, thirds: Path, trained: Run) -> None:
    path, good = Path("a.keras"), trained.model_path.read_bytes()
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("letter.txt", "dear reader")
    elif kind == "no config":
        keras_file(path, {"config.json": None}, trained.model_path)
    else:
        noise = np.random.default_rng(0).bytes(1000)
        contents = {"noise": noise, "empty": b"", "pickle": pickle.dumps(Evil())}
        path.write_bytes(contents.get(kind, good[: len(good) // 2]))
    pictures(Path("pets"))
    message = error_of("predict", path, "pets")
    assert "a.keras" in message
    assert not Path("executed").exists()


def test_a_model_that_reslab_did_not_train(trained: Run) -> None:
    pictures(Path("pets"))
    keras_file(Path("a.keras"), {"reslab.json": None}, trained.model_path)
    assert "reslab did not train" in error_of("predict", "a.keras", "pets")


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["cat", "dog"]},
        {"classes": None},
        {"classes": [1, 2, 3]},
        {"image_shape": [9, 9, 1]},
        {"image_shape": "8x8"},
        {"network": {"rows": 3}},
    ],
    ids=str,
)
def test_model_metadata_that_disagrees_with_the_model(
    changes: dict[str, Any], trained: Run
) -> None:
    pictures(Path("pets"))
    with zipfile.ZipFile(trained.model_path) as file:
        metadata = {**json.loads(file.read("reslab.json")), **changes}
    keras_file(Path("a.keras"), {"reslab.json": json.dumps(metadata).encode()}, trained.model_path)
    message = error_of("predict", "a.keras", "pets")
    assert "a.keras is damaged" in message or "a.keras cannot be loaded" in message


def test_evaluation_on_data_with_other_classes(trained: Run) -> None:
    pictures(Path("pets"))
    before = snapshot(trained.path)
    message = error_of("evaluate", trained.path, "--data", "pets")
    assert "other classes" in message
    assert "'left' is new" in message
    assert snapshot(trained.path) == before


# No file is ever unpickled ---------------------------------------------------------------------


def test_nothing_in_the_package_unpickles_or_evaluates() -> None:
    modules = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal"}
    for path in Path(reslab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not modules & {name.name.split(".")[0] for name in node.names}, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in modules, where
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", where
            elif isinstance(node, ast.keyword) and node.arg == "safe_mode":
                assert ast.unparse(node.value) == "True", where
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = [ast.unparse(k) for k in node.keywords if k.arg == "weights_only"]
                assert safe == ["weights_only=True"], where
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("eval", "exec"), where


def test_pickles_in_a_folder_are_not_loaded() -> None:
    """CIFAR's Python version, NumPy's object arrays and PyTorch files are all pickles."""
    for name in ("data_batch_1", "images.npy", "weights.pth", "cat/0.npy", "dog/0.pkl"):
        path = Path("set", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Evil()))
    assert "there are no images" in error_of(*TRAIN, "--data", "set")
    for words in (("predict", "set/weights.pth", "set"), ("evaluate", "set"), ("report", "set")):
        assert invoke(*words).code == 2
    assert not Path("executed").exists()
