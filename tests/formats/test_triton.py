"""`reslab export --to triton`: a model repository that servers read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.formats import triton
from tests.helpers.cli import output_of

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("apart")


def config_of(folder: Path) -> str:
    return (folder / "config.pbtxt").read_text(encoding="utf-8")


def parsed(folder: Path) -> object:
    """The configuration as Triton's own description of it reads it."""
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(config_of(folder), model_config.ModelConfig())


def test_a_run(trained, tmp_path):
    import onnxruntime

    output_of("export", trained.path, "--to", "triton", "--out", tmp_path / "models")
    (folder,) = (tmp_path / "models").iterdir()
    assert folder.name == trained.path.name
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "1/model.onnx",
        "config.pbtxt",
        "labels.txt",
    ]
    classes = trained.info["data"]["classes"]
    assert (folder / "labels.txt").read_text().splitlines() == classes
    config = config_of(folder)
    assert f'name: "{folder.name}"' in config
    assert "dynamic_batching { }" in config
    # the shapes are those of the file, without the batch
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    assert re.findall(r"dims: \[ (.*) \]", config) == ["-1, -1, 1", "3"]
    assert len(session.get_inputs()[0].shape) == 4
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 1), dtype=np.uint8)
    assert session.run(["probabilities"], {"images": images})[0].shape == (2, 3)


def test_of_one_size_and_with_maps(trained, tmp_path):
    reslab.export(trained, "triton", tmp_path / "models", fixed_size=True, maps=True)
    (folder,) = (tmp_path / "models").iterdir()
    dims = re.findall(r'name: "(\w+)"\n.*\n    dims: \[ (.*) \]', config_of(folder))
    assert dims == [("images", "8, 8, 1"), ("probabilities", "3"), ("maps", "-1, -1, 3")]


@pytest.mark.slow
def test_triton_reads_the_configuration(trained, tmp_path):
    reslab.export(trained, "triton", tmp_path / "models", maps=True)
    (folder,) = (tmp_path / "models").iterdir()
    config = parsed(folder)
    assert (config.name, config.max_batch_size) == (folder.name, triton.MOST_BATCH)
    assert list(config.input[0].dims) == [-1, -1, 1]
    assert [each.name for each in config.output] == ["probabilities", "maps"]
    assert config.output[0].label_filename == "labels.txt"
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("run", "name"), [("a b/c", "a-b-c"), ("müde", "m-de"), ("..", "model"), ("ok_1.2", "ok_1.2")]
)
def test_names_that_servers_take(run, name):
    class Content:
        class source:
            card = {"run": run}  # noqa: RUF012

    assert triton.model_name(Content) == name  # type: ignore[arg-type]


def test_labels_are_lines():
    assert triton._line("a\nb\tc \u2028d") == "a b c d"
