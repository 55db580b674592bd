"""`reslab evaluate` of exported files: the metrics of Keras on the same images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights
from reslab.core.errors import UserError
from reslab.formats import base
from reslab.runs.run import Run
from tests.helpers.cli import error_of, output_of

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("apart")
SAME = "n", "top1_error", "confusion", "classes", "split", "data", "checksum"


@pytest.fixture
def own(trained: Run, tmp_path: Path) -> Run:
    """A copy of the run, to write into."""
    shutil.copytree(trained.path, tmp_path / "own")
    return Run.open(tmp_path / "own")


@pytest.mark.parametrize("fixed_size", [False, True])
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_file_has_the_metrics_of_its_run(format, fixed_size, trained: Run, thirds, tmp_path):
    file = tmp_path / f"m{base.FORMATS[format].suffix}"
    reslab.export(trained, format, file, fixed_size=fixed_size)
    result = reslab.evaluate(file, thirds)
    expected = trained.evaluation
    assert expected is not None
    assert {key: result[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert result["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert "readings" not in result


def test_beside_its_run_it_reads_the_test_set(own: Run):
    reslab.export(own)
    before = own.evaluation
    text = output_of("evaluate", own.path / "model.onnx")
    assert text.startswith("test error")
    after = Run.open(own.path).evaluation
    assert before is not None
    assert after is not None
    assert after["readings"] == before["readings"] + 1
    assert {k: v for k, v in after.items() if k != "readings"} == {
        k: v for k, v in before.items() if k != "readings"
    }


def test_a_damaged_evaluation_of_the_run_keeps_the_result(own: Run, caplog):
    reslab.export(own)
    (own.path / "evaluation.json").write_text("{")
    assert reslab.evaluate(own.path / "model.onnx")["n"] == 48
    assert "this reading of the test set is not counted" in caplog.text


def test_elsewhere_it_needs_data(trained: Run, thirds, tmp_path):
    reslab.export(trained, out=tmp_path / "m.onnx")
    assert "say which images with --data" in error_of("evaluate", tmp_path / "m.onnx")
    text = output_of("evaluate", tmp_path / "m.onnx", "--data", thirds, "--json")
    result = json.loads(text)
    assert result["split"] == "test"
    assert result["command"] == f"reslab evaluate {tmp_path / 'm.onnx'} --data {thirds}"
    loaded = reslab.evaluate(tmp_path / "m.onnx", reslab.data.load(thirds, validation=0))
    assert loaded["confusion"] == result["confusion"]
    with pytest.raises(UserError, match=r"class"):
        reslab.evaluate(tmp_path / "m.onnx", classes(tmp_path / "other", ("x", "y")))


def test_published_weights_with_their_own_preprocessing(tmp_path):
    """The file resizes to 256 pixels and takes the middle 224, which predict does by Pillow."""
    model = reslab.create("resnet18", 3, input_shape=(224, 224, 3))
    weights.save(model, tmp_path / "w.safetensors")
    reslab.export("resnet18", "onnx", tmp_path / "m.onnx", tmp_path / "w.safetensors")
    folder = classes(tmp_path / "pictures", ("class 0", "class 1", "class 2"))
    result = reslab.evaluate(tmp_path / "m.onnx", folder)
    files = sorted(folder.rglob("*.png"))
    expected = np.zeros((3, 3), int)
    for answer in reslab.predict("resnet18", files, weights=tmp_path / "w.safetensors"):
        label = int(Path(answer["file"]).parent.name.split()[1])
        expected[label, int(answer["predictions"][0]["class"].split()[1])] += 1
    assert result["confusion"] == expected.tolist()


def classes(folder: Path, names: tuple[str, ...]) -> Path:
    """Two photos of each class, of different sizes."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for j, size in enumerate(((300, 240), (90, 200))):
            blocks = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)
            picture.save(folder / name / f"{i}{j}.png")
    return folder


@pytest.mark.slow
def test_all_formats_side_by_side(trained: Run):
    result = reslab.benchmark(trained, ["onnx", "onnx-int8", "openvino"], rounds=2)
    rows = {row["format"]: row for row in result["rows"]}
    assert list(rows)[1:] == ["onnx", "onnx-int8", "openvino"]
    for name, row in rows.items():
        assert row["bytes"] > 0
        assert list(row["seconds"]) == ["1", "32", "128"]
        for seconds in row["seconds"].values():
            assert 0 < seconds["least"] <= seconds["median"] <= seconds["most"]
        if name in ("onnx", "openvino"):
            assert row["agreement"]["value"] == 1
            assert row["error"]["file"] == row["error"]["keras"]


def test_what_is_not_measured(trained: Run):
    assert "did you mean 'onnx-int8'?" in error_of(
        "benchmark", trained.path, "--formats", "onnx-int9"
    )
    assert "there is no" in error_of("benchmark", "nothing")
