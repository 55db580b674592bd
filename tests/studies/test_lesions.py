"""Networks without single units: comparison with NumPy on changed networks, and end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import reslab
from reslab import zoo
from reslab.cli.lesions import lesions as command
from reslab.core.errors import UserError
from reslab.core.interrupts import Interrupted
from reslab.core.progress import Watch
from reslab.models import build
from reslab.runs import run
from reslab.spec import (
    BN,
    Conv,
    Dense,
    GlobalAvgPool,
    Layer,
    Network,
    Part,
    ReLU,
    Residual,
    Scale,
    stage,
    unroll,
    walk,
)
from reslab.spec.transforms import plain
from reslab.studies import registry
from reslab.studies import units as study_units
from reslab.studies.folder import Study
from reslab.studies.lesions import chain, measure
from reslab.studies.lesions.measure import measure_lesions
from reslab.zoo import identity_mappings as im
from reslab.zoo.resnet import basic, bottleneck, option_a
from reslab.zoo.senet import squeezed
from tests.helpers import tiny
from tests.helpers.reference import forward, randomise


def network(block: Any) -> Network:
    rows = {
        "conv1": (Conv(8, 3), BN(), ReLU),
        "conv2_x": stage(block, 8, 2),
        "conv3_x": stage(block, 12, 3, 2),
        "head": (GlobalAvgPool, Dense(3)),
    }
    return Network("net", rows, (8, 8, 1))


BLOCKS = {
    "basic": basic,
    "option_a": option_a,
    "bottleneck": bottleneck,
    "preact": im.preact_basic,
    "preact_bottleneck": im.preact,
    "squeezed": squeezed(basic, 4),
    "relu_before_addition": im.varied(basic, im.relu_before_addition),
    "scaled": im.varied(basic, im.constant_scaling),
    "gated": im.varied(option_a, im.exclusive_gating, 0.5),
    "gated_shortcut": im.varied(option_a, im.shortcut_only_gating, 0.5),
}


def batch(n: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 8, 8, 1)).astype("float32")


def all_lesions(net: Network) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, np.ndarray]]:
    """Return the logits of every lesion of a network with random weights, and the weights."""
    model = build.create(net)
    values = randomise(model)
    results = dict(chain.lesioned(chain.chain(model, study_units.units(net)), batch()))
    for name, variable in build.variables(model).items():  # all weights are restored
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), values[name])
    return results, values


def without_body(net: Network, number: int) -> Network:
    """Return the network with the body of unit `number` (from 0) multiplied by zero."""
    count = -1

    def rule(part: Part) -> Part:
        nonlocal count
        if not isinstance(part, Residual):
            return part
        count += 1
        return replace(part, body=(part.body, Scale(0.0))) if count == number else part

    rows = {row: tuple(rule(step) for step in unroll(part)) for row, part in net.rows.items()}
    return replace(net, rows=rows)


def logits(net: Network, values: dict[str, np.ndarray]) -> np.ndarray:
    return forward(walk(net), values, batch())


@pytest.mark.parametrize("block", BLOCKS)
def test_a_removed_unit_equals_its_shortcut(block: str) -> None:
    """Compare with NumPy on a network in which the body of the unit is multiplied by zero."""
    net = network(BLOCKS[block])
    units = study_units.units(net)
    assert [unit.name for unit in units] == [f"conv2_x_{i}" for i in (1, 2)] + [
        f"conv3_x_{i}" for i in (1, 2, 3)
    ]
    results, values = all_lesions(net)
    np.testing.assert_allclose(results[chain.WHOLE], logits(net, values), rtol=1e-3, atol=1e-4)
    for number, unit in enumerate(units):
        expected = logits(without_body(net, number), values)
        np.testing.assert_allclose(
            results["removed", unit.name], expected, rtol=1e-3, atol=1e-4, err_msg=unit.name
        )


@pytest.mark.core
def test_lesions_on_every_backend() -> None:
    net = network(option_a)
    results, values = all_lesions(net)
    expected = logits(without_body(net, 3), values)
    np.testing.assert_allclose(results["removed", "conv3_x_2"], expected, rtol=1e-3, atol=1e-4)
    assert len(results) == 5 + 2 + 1


@pytest.mark.parametrize("block", ["basic", "bottleneck", "preact", "squeezed"])
def test_a_plain_network_without_a_unit_skips_its_layers(block: str) -> None:
    """Compare with NumPy on the walk without these layers. The next layer reads their input."""
    net = plain(network(BLOCKS[block]))
    units = study_units.units(net)
    twins = study_units.units(network(BLOCKS[block]))
    assert [unit.name for unit in units] == [unit.name for unit in twins]
    assert [unit.keeps_shape for unit in units] == [unit.keeps_shape for unit in twins]
    results, values = all_lesions(net)
    removed = {name for what, name in results if what == "removed"}
    assert removed == {unit.name for unit in units if unit.keeps_shape}
    for unit in units:
        if unit.keeps_shape:
            removed_paths = {layer.path for layer in unit.layers}
            remaining = [
                replace(x, inputs=tuple(unit.start if i == unit.end else i for i in x.inputs))
                for x in walk(net)
                if x.path not in removed_paths
            ]
            expected = forward(remaining, values, batch())
            np.testing.assert_allclose(
                results["removed", unit.name], expected, rtol=1e-3, atol=1e-4, err_msg=unit.name
            )


def swapped(layers: Sequence[Layer], one: study_units.Unit, two: study_units.Unit) -> list[Layer]:
    """Return the walk with both units in the other order and the inputs rewired accordingly."""

    def rewired(unit: study_units.Unit, start: str) -> list[Layer]:
        return [
            replace(x, inputs=tuple(start if i == unit.start else i for i in x.inputs))
            for x in unit.layers
        ]

    units = [*rewired(two, one.start), *rewired(one, two.end)]
    paths = [layer.path for layer in layers]
    begin = paths.index(one.layers[0].path)
    following = layers[begin + len(units) :]
    end = [
        replace(x, inputs=tuple(one.end if i == two.end else i for i in x.inputs))
        for x in following
    ]
    return [*layers[:begin], *units, *end]


@pytest.mark.parametrize("net", [network(basic), plain(network(basic)), network(im.preact_basic)])
def test_swapped_units_run_in_the_other_order(net: Network) -> None:
    units = study_units.units(net)
    results, values = all_lesions(net)
    pairs = [(a, b) for a, b in pairwise(units) if study_units.swappable(a, b)]
    assert {name for what, name in results if what == "swapped"} == {a.name for a, _ in pairs}
    assert [(a.name, b.name) for a, b in pairs][-1] == ("conv3_x_2", "conv3_x_3")
    for one, two in pairs:
        expected = forward(swapped(walk(net), one, two), values, batch())
        np.testing.assert_allclose(results["swapped", one.name], expected, rtol=1e-3, atol=1e-4)


def test_units_of_the_zoo() -> None:
    for name, count in (("resnet56", 27), ("plain56", 27), ("resnet50", 16), ("vgg16", 0)):
        assert len(study_units.units(zoo.network(name))) == count, name
    assert not study_units.units(zoo.network("densenet121"))
    # a deep stem is not a unit, although it is three chains in a row
    assert study_units.units(zoo.network("resnet50_d"))[0].row == "conv2_x"
    assert study_units.units(plain(zoo.network("resnet50_d")))[0].row == "conv2_x"


def test_logits_that_are_not_finite_count_as_wrong() -> None:
    sums = {"wrong": 0, "loss": 0.0}
    z = np.array([[np.nan, np.nan], [2.0, 1.0]], "float32")
    measure._add(sums, z, np.array([0, 0]))
    assert sums == {"wrong": 1, "loss": None}


# End to end ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twin(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> run.Run:
    out = tmp_path_factory.mktemp("runs") / "plain"
    return reslab.train(plain(tiny.NETWORK), thirds, epochs=1, batch=32, out=out)


def test_an_interrupted_study_continues(
    trained: run.Run, twin: run.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "BATCH", 8)
    whole = measure_lesions([trained, twin], images=19, out=tmp_path / "whole")

    def stop(done: float, text: str) -> None:
        if done > 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        measure_lesions([trained, twin], images=19, out=tmp_path / "again", watch=Watch(step=stop))
    half = Study.open(tmp_path / "again")
    assert 0 < half.read("lesions.json")["runs"][0]["seen"] < 19
    registry.sections(half)
    again = measure_lesions([trained, twin], images=19, out=tmp_path / "again")
    assert again.read("lesions.json") == whole.read("lesions.json")
    assert (again.path / "lesions.png").exists()
    first, second = again.read("lesions.json")["runs"]
    assert "validation images" in first["said"]
    assert (first["residual"], second["residual"]) == (True, False)
    # the error of the whole network is the validation error of the chosen epoch in the log
    (line,) = [x for x in trained.log("epoch") if x["epoch"] == trained.info["chosen_epoch"]]
    assert first["n"] == trained.info["data"]["counts"]["validation"]
    assert first["whole"]["wrong"] / first["n"] == pytest.approx(line["val_error"])
    (section,) = registry.sections(again)
    start = "trained: the whole network has an error of"
    assert any(text.startswith(start) for text in section.paragraphs)


def test_training_images_are_used_without_a_validation_split(
    thirds: Path, trained: run.Run, tmp_path: Path
) -> None:
    without_validation = reslab.train(
        tiny.NETWORK,
        thirds,
        epochs=1,
        batch=64,
        out=tmp_path / "bare",
        changes={"validation": 0},
    )
    study = measure_lesions([without_validation, trained], images=30, out=tmp_path / "study")
    entry, other = study.read("lesions.json")["runs"]
    assert entry["said"] == "30 of 192 train images, drawn with seed 0"
    assert other["n"] < 30  # all validation images
    (section,) = registry.sections(study)
    assert f"on {entry['said']} and {other['said']};" in section.paragraphs[0]
    assert [row[:2] for row in section.tables[0].rows] == [
        ("bare", "30"),
        ("trained", str(other["n"])),
    ]


def test_bad_input_is_one_line(apart: None, trained: run.Run) -> None:
    def answer(*words: Any) -> str:
        with pytest.raises(UserError) as caught:
            command.main([str(word) for word in words], standalone_mode=False)
        return str(caught.value)

    assert "is not a run" in answer("nowhere")
    assert "is a network" in answer("resnet20")
    assert "at least one" in answer(trained.path, "--images", -1)
