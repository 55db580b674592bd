"""What can be served: runs, exported files, networks with weights, on each engine."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.runs.run import Run
from reslab.serving import model as model_module
from reslab.serving.model import ServedModel
from reslab.serving.refused import Refused
from reslab.serving.settings import ServerSettings
from tests.helpers import serving as helper

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return helper.pictures_at(tmp_path_factory.mktemp("pictures"), 6, seed=3)


def rows(model: ServedModel, files: list[Path]) -> np.ndarray:
    outputs = model.run([model.read(file.read_bytes(), file.name) for file in files])
    assert not any(isinstance(output, Exception) for output in outputs)
    return np.stack(outputs)


def check(model: ServedModel, source: object, files: list[Path], **options: object) -> None:
    """The same probabilities as `reslab predict`, for files and for decoded pictures."""
    results = reslab.predict(source, files, top=99, **options)  # type: ignore[arg-type]
    for row, result in zip(rows(model, files), results, strict=True):
        by_name = {p["class"]: p["probability"] for p in result["predictions"]}
        expected = [by_name[name] for name in model.classes]
        np.testing.assert_allclose(row, expected, atol=5e-6)
    picture = np.asarray(Image.open(files[1]).convert("RGB"))
    picture = picture if model.predictor.image_shape[2] == 3 else picture[..., :1]
    assert model.fit(picture[None])[0].shape == model.predictor.image_shape


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "backend"])
def test_a_run_on_each_engine(engine, trained, files):
    if engine != "backend":
        pytest.importorskip(engine)
    model = ServedModel.load(ServerSettings(str(trained.path), engine=engine), 1)
    model.warm()
    check(model, trained, files, engine=engine)
    assert model.predictor.engine in (engine, "torch", "jax", "tensorflow")


@pytest.mark.parametrize("fixed_size", [False, True])
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_exported_file(format, fixed_size, trained, files, tmp_path):
    if format == "openvino":
        pytest.importorskip("openvino")
    out = tmp_path / {"onnx": "m.onnx", "openvino": "m.xml"}[format]
    reslab.export(trained, format, out, fixed_size=fixed_size)
    model = ServedModel.load(ServerSettings(str(out)), 1)
    model.warm()
    check(model, trained, files)  # resized by Pillow, as the run does
    assert not model.predictor.any_size


def test_the_page_says_what_the_model_is(trained: Run):
    settings = ServerSettings(str(trained.model_path), name="tiny")
    page = ServedModel.load(settings, 1).page()
    assert "/predict" in page
    assert f"{trained.info['data']['counts']['train']}" in page
    assert "test error" in page


@pytest.mark.slow
def test_a_network_with_weights(files, tmp_path):
    net = reslab.create("resnet18", 5, input_shape=(224, 224, 3))
    file = tmp_path / "w.safetensors"
    weights.save(net, file)
    model = ServedModel.load(ServerSettings("resnet18", weights=str(file)), 1)
    model.warm()
    check(model, "resnet18", files, weights=file)
    assert "/predict" in model.page()
    reslab.export("resnet18", "onnx", tmp_path / "m.onnx", file)
    exported = ServedModel.load(ServerSettings(str(tmp_path / "m.onnx")), 1)
    check(exported, "resnet18", files, weights=file)
    assert "/predict" in exported.page()


def whole_pictures() -> ServedModel:
    """A model that resizes by itself, as some exported files do."""
    model = helper.model_of(helper.means)
    return ServedModel("any", replace(model.predictor, any_size=True), 10**9)


def test_pictures_of_several_sizes_run_in_batches_of_one_size(monkeypatch):
    monkeypatch.setattr(model_module, "MOST_PIXELS_BATCH", 250)
    model = whole_pictures()
    shapes = [(8, 8), (8, 9), (8, 8), (8, 8), (8, 8), (30, 30), (8, 9)]
    images = [np.full((*shape, 3), i, np.uint8) for i, shape in enumerate(shapes)]
    assert list(model._batches(images)) == [[0, 2, 3], [4], [1, 6], [5]]
    np.testing.assert_allclose(
        np.stack(model.run(images)), np.concatenate([helper.means(x[None]) for x in images])
    )


def test_a_whole_picture_that_is_too_large(monkeypatch):
    monkeypatch.setattr(model_module, "MOST_PIXELS_WHOLE", 50)
    model = whole_pictures()
    with pytest.raises(Refused, match="8x8 pixels; exported files that resize take 50") as error:
        model.read(helper.picture(), "a.png")
    assert error.value.status == 413


def test_large_pictures_are_decoded_in_turn(monkeypatch):
    """Otherwise a few requests would take gigabytes."""
    from reslab.data import formats

    locked = []
    lock = formats._one_large_picture

    class Lock:
        def __enter__(self) -> None:
            lock.acquire()
            locked.append(True)

        def __exit__(self, *_: object) -> None:
            lock.release()

    monkeypatch.setattr(formats, "_one_large_picture", Lock())
    monkeypatch.setattr(model_module, "BESIDE_OTHERS", 1000)
    model = helper.model_of(helper.means)
    for size, count in (((20, 20), 0), ((40, 40), 1)):
        out = io.BytesIO()
        Image.new("RGB", size).save(out, "PNG")
        model.read(out.getvalue(), "a.png")
        assert len(locked) == count


def test_an_engine_that_cannot_run_the_file(trained, tmp_path):
    reslab.export(trained, out=tmp_path / "m.onnx")
    with pytest.raises(UserError, match="leave --engine out"):
        ServedModel.load(ServerSettings(str(tmp_path / "m.onnx"), engine="backend"), 1)
