"""`reslab export`: files that answer as Keras does, or no file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights, zoo
from reslab.core.errors import UserError
from reslab.engines import exported, opening
from reslab.engines.graph import Graph
from reslab.evaluation import temperature
from reslab.formats import base, calibrated, int8, tensorflow_files
from reslab.formats.content import Content
from reslab.models import saved
from reslab.runs.run import Run
from reslab.spec import Conv, Dense, Flatten, Network
from tests.helpers.cli import error_of, output_of

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("apart")
FORMATS = ("onnx", "openvino")
OF_TENSORFLOW = ("saved_model", "litert")
SIZES = ((8, 8), (64, 40), (13, 90), (300, 200))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Grey pictures of several sizes."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate(SIZES):
        blocks = rng.integers(0, 256, (4, 4), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def probabilities(model: object, paths: list[Path]) -> np.ndarray:
    results = reslab.predict(model, paths, top=100)
    rows = [sorted((p["class"], p["probability"]) for p in r["predictions"]) for r in results]
    return np.array([[p for _, p in row] for row in rows])


@pytest.mark.parametrize("fixed_size", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_a_run(format, fixed_size, trained: Run, pictures, tmp_path):
    file = tmp_path / f"m{base.FORMATS[format].suffix}"
    record = reslab.export(trained, format, file, fixed_size=fixed_size)
    assert record["difference"]["probabilities"] < 1e-5
    assert record["difference"]["pictures"] == (4 if fixed_size else 16)
    assert record["compared_on"] == "validation images"
    assert json.loads((tmp_path / f"{file.name}.json").read_text()) == record
    assert not list(tmp_path.glob(".*"))  # nothing is left beside it
    opened = opening.open_file(file)
    assert opened.card["classes"] == trained.info["data"]["classes"]
    assert opened.fixed_size == fixed_size
    expected = probabilities(trained, pictures)
    np.testing.assert_allclose(probabilities(file, pictures), expected, atol=5e-3)


@pytest.mark.parametrize(("format", "maps"), [("onnx", True), ("openvino", False)])
def test_the_temperature_inside(format, maps, trained: Run, pictures, tmp_path, monkeypatch):
    stored = {**trained.evaluation, "temperature": {"value": 2.5, "images": 9, "mistakes": 6}}
    monkeypatch.setattr(Run, "evaluation", stored)
    file = tmp_path / f"m{base.FORMATS[format].suffix}"
    record = reslab.export(trained, format, file, temperature=True, maps=maps)
    assert record["temperature"] == opening.open_file(file).card["temperature"] == 2.5
    assert record["difference"]["probabilities"] < 1e-5
    before, after = probabilities(trained, pictures), probabilities(file, pictures)
    np.testing.assert_allclose(after, temperature.scaled(before, 2.5), atol=5e-3)
    np.testing.assert_array_equal(after.argmax(-1), before.argmax(-1))
    plain = reslab.export(trained, format, tmp_path / f"plain{file.suffix}")
    assert plain["temperature"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": None}, "has no temperature: `reslab evaluate"),
        (
            {"temperature": {"value": None, "images": 9, "mistakes": 2}},
            "makes 2 mistakes on 9 validation images, too few",
        ),
    ],
)
def test_without_a_temperature_nothing_is_exported(
    change, message, trained: Run, tmp_path, monkeypatch
):
    monkeypatch.setattr(Run, "evaluation", {**trained.evaluation, **change})
    with pytest.raises(UserError, match=message):
        reslab.export(trained, out=tmp_path / "m.onnx", temperature=True)
    with pytest.raises(UserError, match="give the folder of its run"):
        reslab.export(trained.model_path, out=tmp_path / "m.onnx", temperature=True)
    monkeypatch.setitem(trained.info, "task", "multilabel")
    with pytest.raises(UserError, match="several labels per image"):
        calibrated.temperature_of(trained, trained.path)
    assert not list(tmp_path.glob("*.onnx*"))


def test_the_command_says_which_temperature_is_inside(trained: Run):
    shutil.copytree(trained.path, "copy")
    path = Path("copy/evaluation.json")
    stored = json.loads(path.read_text())
    stored["temperature"] = {"value": 1.25, "images": 9, "mistakes": 6}
    path.write_text(json.dumps(stored))
    out = output_of("export", "copy", "--temperature")
    assert "the softmax has the temperature 1.25 inside" in out
    assert json.loads(Path("copy/model.onnx.json").read_text())["temperature"] == 1.25


@pytest.mark.parametrize("format", FORMATS)
def test_class_activation_maps(format, trained: Run, pictures, tmp_path):
    file = tmp_path / f"m{base.FORMATS[format].suffix}"
    record = reslab.export(trained, format, file, maps=True)
    assert record["maps"]
    assert record["difference"]["maps"] < 1e-4
    opened = opening.open_file(file)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 1), dtype=np.uint8)
    maps = opened.maps(pixels)
    assert maps.shape == (2, 8, 8, 3)
    powers = np.exp(maps.mean((1, 2)))
    np.testing.assert_allclose(
        powers / powers.sum(-1, keepdims=True), opened.probabilities(pixels), atol=1e-5
    )
    assert probabilities(file, pictures).shape == (4, 3)


def test_class_activation_maps_that_are_not_exact(tmp_path, monkeypatch):
    hidden = Network("h", {"c": Conv(2, 7, 8), "head": (Flatten(), Dense(3))}, (224, 224, 3))
    monkeypatch.setitem(zoo.NETWORKS, "hidden", hidden)
    file = tmp_path / "w.safetensors"
    weights.save(reslab.create(hidden), file)
    with pytest.raises(UserError, match="exported without --maps only: its head is not global"):
        reslab.export("hidden", out=tmp_path / "m.onnx", weights=file, maps=True)
    assert not (tmp_path / "m.onnx").exists()


ALONE = """
import json, sys
sys.modules["reslab"] = sys.modules["keras"] = None
import numpy, onnxruntime
from PIL import Image, ImageOps
session = onnxruntime.InferenceSession(sys.argv[1])
card = json.loads(session.get_modelmeta().custom_metadata_map["reslab"])
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("L")
    images = numpy.asarray(picture)[None, :, :, None]
    (probabilities,) = session.run(["probabilities"], {"images": images})
    print(card["classes"][probabilities[0].argmax()])
"""


def test_without_reslab(trained: Run, pictures, tmp_path):
    reslab.export(trained, out=tmp_path / "m.onnx")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "m.onnx"), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = [r["predictions"][0]["class"] for r in reslab.predict(trained, pictures)]
    assert done.stdout.split() == expected


def test_weights_with_their_own_preprocessing(pictures, tmp_path):
    model = reslab.create("resnet18", 5, input_shape=(224, 224, 3))
    weights.save(model, tmp_path / "w.safetensors")
    record = reslab.export("resnet18", "onnx", tmp_path / "m.onnx", tmp_path / "w.safetensors")
    assert record["difference"]["probabilities"] < 1e-5
    expected = reslab.predict("resnet18", pictures, weights=tmp_path / "w.safetensors")
    for a, b in zip(reslab.predict(tmp_path / "m.onnx", pictures), expected, strict=True):
        assert a["predictions"][0]["class"] == b["predictions"][0]["class"]


@pytest.mark.parametrize("part", ["network", "view", "maps"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_writer_leaves_no_file(format, part, trained: Run, monkeypatch):
    class Damaged(Content):
        @cached_property
        def network(self) -> Graph:
            network = super().network
            return damaged(network, part == "maps") if part != "view" else network

        @cached_property
        def view(self) -> Graph:
            view = super().view
            return damaged(view, False) if part == "view" else view

    monkeypatch.setattr(sys.modules[reslab.export.__module__], "Content", Damaged)
    with pytest.raises(UserError, match=r"does not (answer as Keras|resize as Pillow) does"):
        reslab.export(trained, format, f"m{base.FORMATS[format].suffix}", maps=part == "maps")
    assert list(Path.cwd().iterdir()) == []


def damaged(graph: Graph, maps: bool) -> Graph:
    """The graph with its largest constant a tenth larger: of the maps, or of the rest."""
    floats = [
        name
        for name, value in graph.constants.items()
        if value.dtype.kind == "f" and name.startswith("class_maps/") == maps
    ]
    largest = max(floats, key=lambda name: graph.constants[name].size)
    constants = {**graph.constants, largest: graph.constants[largest] * np.float32(1.1)}
    return replace(graph, constants=constants)


def test_the_command(trained: Run, pictures, tmp_path):
    lines = output_of("export", trained.path, "--out", tmp_path / "m.onnx").splitlines()
    assert lines[0].startswith(f"{tmp_path / 'm.onnx'}: ")
    assert "compared with Keras on 16 validation images" in lines[1]
    text = output_of("predict", tmp_path / "m.onnx", *pictures)
    assert len(text.splitlines()) == len(pictures)
    assert json.loads(output_of("export", trained.path, "--out", tmp_path / "m.onnx", "--json"))


def test_what_is_refused(trained: Run, pictures, tmp_path, monkeypatch):
    error = error_of("export", trained.path, "--to", "onxx")
    assert "no format 'onxx'; did you mean 'onnx'?" in error
    assert "ends in .onnx" in error_of("export", trained.path, "--out", tmp_path / "m.xml")
    assert "there is no folder" in error_of(
        "export", trained.path, "--out", tmp_path / "a" / "m.onnx"
    )
    assert "there is no" in error_of("export", tmp_path / "nothing")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert "cannot be opened by ONNX Runtime" in error_of(
        "predict", tmp_path / "bad.onnx", pictures[0]
    )
    (tmp_path / "d.onnx").mkdir()
    assert "is a folder" in error_of("export", trained.path, "--out", tmp_path / "d.onnx")
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    assert 'pip install "reslab[onnxruntime]"' in error_of("export", trained.path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "was not exported by reslab"),
        ("no JSON", "is damaged: its card"),
        ({"classes": ["a"], "image_shape": [8, 8, 1]}, "is damaged: its card"),
        ({"classes": ["a"], "image_shape": [8, -8, 1], "any_size": True}, "is damaged: its card"),
        ({"classes": ["a"], "image_shape": [8, 8, 1], "any_size": True}, "names 1 classes"),
        ({"classes": list("abc"), "image_shape": [8, 8, 3], "any_size": True}, "does not run on"),
    ],
)
def test_files_with_another_card(card, message, trained: Run, pictures, tmp_path):
    onnx = pytest.importorskip("onnx")
    reslab.export(trained, out=tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    text = card if isinstance(card, str) else json.dumps(card)
    onnx.helper.set_model_props(model, {} if card is None else {exported.CARD: text})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=message):
        reslab.predict(tmp_path / "other.onnx", pictures)


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files_and_pipes(format, trained: Run, pictures, tmp_path):
    file = tmp_path / f"m{base.FORMATS[format].suffix}"
    reslab.export(trained, format, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be opened by"):
        reslab.predict(file, pictures)


def test_what_a_killed_export_left_is_removed(trained: Run, tmp_path):
    (tmp_path / ".export-old").mkdir()
    (tmp_path / ".export-old" / "m.onnx").write_bytes(b"half")
    (tmp_path / ".export-used").mkdir()
    script = f"""
import sys
from pathlib import Path
from reslab.core import locks
locks.lock(Path({str(tmp_path / ".export-used")!r}))
print("locked", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "locked\n"
        reslab.export(trained, out=tmp_path / "m.onnx")
        other.stdin.close()
    assert {path.name for path in tmp_path.glob(".export-*")} == {".export-used"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_name_with_the_letters_of_patterns(format, trained: Run, pictures, tmp_path):
    path = tmp_path / f"m[1]*{base.FORMATS[format].suffix}"
    record = reslab.export(trained, format, path)
    assert record["bytes"] > 1000
    assert len(reslab.predict(path, pictures)) == len(pictures)


@pytest.mark.parametrize("format", ["hub", "triton"])
def test_folders_are_opened_again(format, trained: Run, pictures, tmp_path):
    reslab.export(trained, format, tmp_path / "view")
    np.testing.assert_allclose(
        probabilities(tmp_path / "view", pictures), probabilities(trained, pictures), atol=5e-3
    )


def test_openvino_takes_batches_of_any_size(trained: Run, tmp_path):
    """Powers of two have networks of their own; the others share one."""
    reslab.export(trained, "openvino", tmp_path / "m.xml", fixed_size=True)
    run = opening.open_file(tmp_path / "m.xml").run
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8)
    single = np.concatenate([run(image[None]) for image in images])
    for size in (2, 3, 4, 5, 7, 8, 9):
        np.testing.assert_allclose(run(images[:size]), single[:size], atol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
def test_eight_bits(format, trained: Run, pictures, tmp_path):
    suffix = base.FORMATS[format].suffix
    record = reslab.export(trained, format, tmp_path / f"m{suffix}", int8=True)
    measured = record["int8"]
    images = measured["images"]
    assert measured["measured_on"] == "validation images"
    assert measured["agreement"]["value"] >= 0.95
    error = {name: rate["value"] for name, rate in measured["error"].items()}
    assert abs(error["keras"] - error["file"]) <= 1 - measured["agreement"]["value"]
    assert error["keras"] == pytest.approx(trained.log()[-1]["val_error"], abs=2 / images)
    assert len(reslab.predict(tmp_path / f"m{suffix}", pictures)) == len(pictures)


def test_eight_bits_are_really_used(trained: Run, tmp_path):
    onnx = pytest.importorskip("onnx")
    reslab.export(trained, out=tmp_path / "m.onnx", int8=True)
    constants = onnx.load(tmp_path / "m.onnx").graph.initializer
    kernels = [c for c in constants if len(c.dims) == 4 and c.data_type == onnx.TensorProto.INT8]
    assert len(kernels) == 6  # all convolutions


def test_eight_bits_that_answer_differently_leave_no_file(trained: Run, monkeypatch):
    honest = int8.quantised

    def damaged_network(network, source):
        model = honest(network, source)
        for constant in model.graph.initializer:
            if constant.data_type == 3 and len(constant.dims) == 4:
                values = np.frombuffer(constant.raw_data, np.int8)
                constant.raw_data = values[::-1].tobytes()
        return model

    monkeypatch.setattr(int8, "quantised", damaged_network)
    with pytest.raises(UserError, match="the int8 file answers as the model does for"):
        reslab.export(trained, "onnx", "m.onnx", int8=True)
    assert list(Path.cwd().iterdir()) == []


def test_eight_bits_need_images(trained: Run, thirds: Path):
    model = trained.model_path
    assert "say where they are with --data" in error_of(
        "export", model, "--out", "m.onnx", "--int8"
    )
    text = output_of("export", model, "--out", "m.onnx", "--int8", "--data", thirds)
    assert "images of thirds the error was" in text
    assert "the format litert has no --int8: use one of onnx, openvino" in error_of(
        "export", model, "--to", "litert", "--int8"
    )


@pytest.mark.slow
@pytest.mark.parametrize("format", OF_TENSORFLOW)
def test_the_formats_of_tensorflow(format, trained: Run, pictures, tmp_path):
    """Written in another process, whatever the backend of this one is."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / f"m{base.FORMATS[format].suffix}"
    record = reslab.export(trained, format, path)
    assert record["difference"]["probabilities"] < 1e-5
    assert record["fixed_size"] == (format == "litert")
    opened = opening.open_file(path)
    assert opened.card["classes"] == trained.info["data"]["classes"]
    np.testing.assert_allclose(
        probabilities(path, pictures), probabilities(trained, pictures), atol=5e-3
    )
    reslab.export(trained, format, path)  # in place of the first one
    (path / "own.txt" if path.is_dir() else tmp_path / "own.txt").write_text("")
    record_file = tmp_path / f"{path.name}.json"
    record_file.unlink()
    if path.is_dir():
        with pytest.raises(UserError, match="has files that reslab did not export"):
            reslab.export(trained, format, path)
        (path / "saved_model.pb").write_bytes(b"no model")
        with pytest.raises(UserError, match="cannot be opened by TensorFlow"):
            reslab.predict(path, pictures)
    else:
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(UserError, match="cannot be opened by LiteRT"):
            reslab.predict(path, pictures)


@pytest.mark.slow
@pytest.mark.parametrize("format", OF_TENSORFLOW)
def test_a_damaged_model_of_tensorflow_leaves_no_file(format, trained: Run, monkeypatch):
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    honest = saved.save

    def save(model, path, card):
        weights = model.get_weights()
        honest(model, path, card)
        other = keras.models.clone_model(model)
        other.set_weights([1.1 * w for w in weights])
        honest(other, path, card)

    monkeypatch.setattr(tensorflow_files.saved, "save", save)
    with pytest.raises(UserError, match="does not answer as Keras does"):
        reslab.export(trained, format, f"m{base.FORMATS[format].suffix}")
    assert list(Path.cwd().iterdir()) == []
