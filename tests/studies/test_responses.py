"""Standard deviations of layer responses (He 2015, Fig. 7): against NumPy, and end to end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab import zoo
from reslab.cli.responses import responses as command
from reslab.core import files
from reslab.core.errors import UserError
from reslab.models.stacked import slices
from reslab.runs import run
from reslab.spec import walk
from reslab.spec.transforms import plain, without_bn
from reslab.studies import registry, runs, units
from reslab.studies import trained as loading
from reslab.studies.responses import measure, page
from reslab.studies.responses.measure import measure_responses
from tests.helpers.reference import forward


def sources(name: str) -> list[str]:
    return [response.source for response in units.response_layers(zoo.network(name))]


def test_responses_are_taken_after_batch_norm() -> None:
    """In pre-activation units no batch norm follows the last 3x3 convolution."""
    original = sources("resnet20")
    assert len(original) == 19  # all layers except for the classifier
    assert original[:3] == ["conv1_bn1", "conv2_x_1_body_bn1", "conv2_x_1_body_bn2"]
    assert len(sources("plain20")) == 19
    assert all("_bn" in name for name in original + sources("plain20"))
    bottlenecks = units.response_layers(zoo.network("resnet50"))
    assert len(bottlenecks) == 16  # one in each unit
    assert {r.layer.path.rpartition("_")[2] for r in bottlenecks} == {"conv2"}
    preact = sources("resnet110_v2")
    assert preact[1:3] == ["conv2_x_1_body_bn1", "conv2_x_1_body_conv2"]
    unnormalised = units.response_layers(without_bn(zoo.network("resnet20")))
    assert [r.source for r in unnormalised] == [r.layer.path for r in unnormalised]
    # in the plain twin of a pre-activation network the next unit's batch norm follows directly
    assert all(r.normalised for r in units.response_layers(plain(zoo.network("resnet110_v2"))))
    assert units.response_layers(zoo.network("alexnet"))
    assert all(r.layer.kind == "conv" for r in bottlenecks)


def test_deviations_match_numpy(trained: run.Run) -> None:
    """Over all images, positions and channels; with several batches and with one."""
    loaded = loading.load_run(trained, images=90)
    names = [response.source for response in units.response_layers(trained.network)]
    stds = measure.deviations(loaded, names)
    layers, weights = walk(trained.network), loaded.weights()
    for name, value in zip(names, stds, strict=True):
        end = next(i for i, layer in enumerate(layers) if layer.path == name)
        y = forward(layers[: end + 1], weights, loaded.images.x)
        assert value == pytest.approx(y.std(), rel=1e-4), name
    one = measure.deviations(loaded, names[:1])
    assert one == pytest.approx(stds[:1])


def test_stacked_models_are_loaded_flat(trained: run.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = runs.load_flat(trained, 16, "train")
    monkeypatch.setattr(loading, "FLAT_FILE", 1)
    assert slices.holders(loading.load_run(trained, images=16).model)
    loaded = runs.load_flat(trained, 16, "train")
    assert not slices.holders(loaded.model)
    names = [response.source for response in units.response_layers(trained.network)]
    np.testing.assert_array_equal(
        measure.deviations(loaded, names), measure.deviations(flat, names)
    )


@pytest.fixture(scope="module")
def twin(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> run.Run:
    from tests.helpers import tiny

    out = tmp_path_factory.mktemp("runs") / "plain"
    return reslab.train(plain(tiny.NETWORK), thirds, epochs=1, batch=32, out=out)


def test_several_runs_in_one_figure(trained: run.Run, twin: run.Run, tmp_path: Path) -> None:
    study = measure_responses([trained, twin], images=32, out=tmp_path / "study")
    assert {path.name for path in study.path.iterdir()} == {
        *("study.json", "responses.json", "responses.png", "responses.svg", "page.html", ".lock")
    }
    (section,) = registry.sections(study)
    (ordered, _), (descending, _) = section.charts
    for trace in descending.figure["data"]:
        assert trace["y"] == sorted(trace["y"], reverse=True)
    assert [sorted(t["y"]) for t in ordered.figure["data"]] == [
        sorted(t["y"]) for t in descending.figure["data"]
    ]
    means = {row["run"]: row["mean"] for row in study.info["found"]["runs"]}
    word = "smaller" if means["trained"] < means["plain"] else "not smaller"
    assert any(f"trained has {word} responses than plain" in text for text in section.paragraphs)
    before = (study.path / "responses.json").stat().st_mtime_ns
    assert (
        measure_responses([trained, twin], images=32, out=tmp_path / "study").info["status"]
        == "done"
    )
    assert (study.path / "responses.json").stat().st_mtime_ns == before


def entry(network: str, mean: float, seed: int) -> dict[str, Any]:
    """A measured run of three layers with this mean response."""
    layers = [{"path": f"conv{i}", "normalised": True} for i in range(3)]
    return {
        "label": f"{network}-seed{seed}",
        "network": network,
        "residual": network.startswith("resnet"),
        "layers": layers,
        "std": [mean - 0.1, mean, mean + 0.1],
    }


@pytest.mark.parametrize(
    ("resnet", "plain", "expected"),
    [
        ([0.60, 0.61, 0.62], [0.80, 0.81, 0.82], "resnet8 (3 runs) has smaller responses than"),
        ([0.80, 0.81, 0.82], [0.60, 0.61, 0.62], "resnet8 (3 runs) has larger responses than"),
        ([0.60, 0.90, 0.75], [0.80, 0.81, 0.82], "Whether resnet8 (3 runs) has smaller responses"),
    ],
)
def test_several_runs_of_a_network_are_compared_by_an_interval(
    resnet: list[float], plain: list[float], expected: str
) -> None:
    entries = [entry("resnet8", mean, seed) for seed, mean in enumerate(resnet)]
    entries += [entry("plain8", mean, seed) for seed, mean in enumerate(plain)]
    (sentence,) = page._comparisons(entries)
    assert sentence.startswith(expected)
    assert "95 % interval of the difference" in sentence


def test_single_runs_are_only_described() -> None:
    sentences = page._comparisons([entry("resnet8", 0.7, 0), entry("plain8", 0.71, 0)])
    assert sentences[0].startswith("resnet8-seed0 has smaller responses than plain8-seed0")
    assert "single runs: another seed" in sentences[1]


def test_a_damaged_study_is_named(trained: run.Run, tmp_path: Path) -> None:
    study = measure_responses([trained], images=8, out=tmp_path / "study")
    study.write("responses.json", {"runs": [{"label": "trained", "std": [1.0], "layers": []}]})
    with pytest.raises(UserError, match="is damaged"):
        registry.sections(study)


def test_bad_input_is_one_line(apart: None, trained: run.Run) -> None:
    def answer(*words: Any) -> str:
        with pytest.raises(UserError) as caught:
            command.main([str(word) for word in words], standalone_mode=False)
        return str(caught.value)

    assert "is not a run" in answer("nowhere")
    assert "is a network" in answer("resnet20")
    assert "name each run once" in answer(trained.path, trained.path)
    assert "at least one" in answer(trained.path, "--images", 0)
    with pytest.raises(UserError, match="kept for evaluation"):
        measure_responses([trained], split="test")
    with pytest.raises(UserError, match="no runs"):
        measure_responses([])


def test_numbers_belong_to_the_named_sample(trained: run.Run, tmp_path: Path) -> None:
    study = measure_responses([trained], images=20, split="validation", out=tmp_path / "study")
    (entry,) = study.read("responses.json")["runs"]
    assert "validation images" in entry["said"]
    loaded = loading.load_run(trained, images=20, split="validation")
    names = [layer["source"] for layer in entry["layers"]]
    np.testing.assert_allclose(entry["std"], measure.deviations(loaded, names), rtol=1e-6)


def test_a_run_that_was_trained_further_is_a_different_input(
    trained: run.Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    unfinished = run.Run.open(tmp_path / "run")
    unfinished.model_path.unlink()  # not finished: its latest weights are measured
    measure_responses([unfinished], images=8, out=tmp_path / "study")
    for name in ("best", "last"):
        checkpoint = unfinished.checkpoints / f"{name}.safetensors"
        arrays, meta = files.read_arrays(checkpoint)
        files.write_arrays(checkpoint, {k: 2 * v for k, v in arrays.items()}, meta)
    with pytest.raises(UserError, match="with these runs at another stage of their training"):
        measure_responses([unfinished], images=8, out=tmp_path / "study")
