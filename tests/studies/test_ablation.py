"""Identity Mappings, Tables 1 and 2: networks, training, and the published errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from PIL import Image

from reslab.plots.format import NONE
from reslab.runs.run import Run
from reslab.spec import summary, walk
from reslab.studies import registry
from reslab.studies.ablation.measure import ablation
from reslab.studies.ablation.page import table
from reslab.studies.ablation.results import differences, verdicts
from reslab.studies.ablation.variants import TABLES, Variant, network
from reslab.studies.folder import Study
from reslab.studies.sweep import results as measured
from reslab.studies.sweep.results import Result
from reslab.studies.sweep.settings import Terms
from reslab.zoo import NETWORKS
from tests.helpers.cli import error_of, output_of

torch_only = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the study does not depend on the backend"
)
ZOO = {  # names in the zoo that are not resnet110_CASE
    "original": "resnet110",
    "plain": "plain110",
    "relu_only_preactivation": "resnet110_relu_only_v2",
    "full_preactivation": "resnet110_v2",
}
NOT_IN_THE_ZOO = "exclusive_gating_0", "exclusive_gating_7"
PUBLISHED = [
    (what, variant, depth)
    for what, variants in TABLES.items()
    for variant in variants
    for depth in variant.published
]


@pytest.mark.parametrize(
    ("what", "variant", "depth"), PUBLISHED, ids=lambda part: getattr(part, "name", str(part))
)
def test_at_the_papers_depth_the_nets_equal_those_of_the_zoo(
    what: str, variant: Variant, depth: int
) -> None:
    if variant.name in NOT_IN_THE_ZOO:
        return
    name = ZOO.get(variant.name, f"resnet110_{variant.name}").replace("110", str(depth))
    actual, expected = network(what, variant, depth), NETWORKS[name]
    layers = [(layer.path, layer.part, layer.inputs) for layer in walk(actual)]
    assert layers == [(layer.path, layer.part, layer.inputs) for layer in walk(expected)]


@pytest.mark.parametrize("what", TABLES)
@pytest.mark.parametrize("depth", [8, 14, 50])
def test_every_case_exists_at_other_depths(what: str, depth: int) -> None:
    for variant in TABLES[what]:
        net = network(what, variant, depth)
        assert summary.depth(net) == depth
        assert net.name == f"resnet{depth}_{variant.name}"


def test_verdicts_compare_the_test_error_with_that_of_the_original() -> None:
    errors: dict[str, list[float | None]] = {
        "original": [0.11, 0.12, 0.115],
        "plain": [0.30, 0.31, 0.305],
        "shortcut_gating": [0.115, 0.125, 0.12],
        "conv_shortcut": [0.05, 0.06, 0.055],
        "dropout_shortcut": [None, None, None],
    }
    results = {
        case: Result(
            case,
            tuple({"test_error": e, "status": "done", "images": {"test": 10_000}} for e in each),
        )
        for case, each in errors.items()
    }
    assert verdicts(results) == {
        "plain": "higher",
        "shortcut_gating": "not decided",
        "conv_shortcut": "lower",
        "dropout_shortcut": "failed",
    }


def test_the_intervals_of_all_cases_hold_together() -> None:
    """Each of m has the level 1 - 0.05 / m: the more cases, the wider."""

    def low(others: int) -> float:
        cases = ["original", *(f"case {i}" for i in range(others))]
        row = {"test_error": 0.1, "status": "done", "images": {"test": 10_000}}
        against = differences({case: Result(case, (row,)) for case in cases})["case 0"]
        assert against is not None
        return against.low

    deviation = (2 * 0.1 * 0.9 / 10_000) ** 0.5
    assert low(1) == pytest.approx(-1.960 * deviation, rel=1e-3)
    assert low(10) == pytest.approx(-2.807 * deviation, rel=2e-3)


@pytest.fixture(scope="module")
def activations(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the activations at 8 layers; tests only read it."""
    out = tmp_path_factory.mktemp("studies") / "activations"
    changes = {"batch": 16, "rate": 0.05}
    return ablation("activations", Terms(thirds, changes=changes, epochs=3, width=0.5, out=out), 8)


@torch_only
def test_some_cases_are_equal_if_every_unit_changes_the_shape(activations: Study) -> None:
    """With one unit per stage, a layer before the fork is the same as one after the addition.

    Then ReLU-only pre-activation equals the original, and full pre-activation equals BN after
    addition.
    """
    results = json.loads((activations.path / "results.json").read_text())
    curves = {row["case"]: (row["train"], row["test"]) for row in results["runs"]}
    assert curves["relu_only_preactivation"] == curves["original"]
    assert curves["full_preactivation"] == curves["bn_after_addition"]
    assert curves["full_preactivation"] != curves["original"]


@torch_only
def test_every_net_warms_up(activations: Study) -> None:
    """Identity Mappings, Sec. 3; He 2015 warms up the network of 110 layers only."""
    recipe = Run.open(activations.path / "runs" / "original-seed0").info["recipe"]
    assert recipe["warmup"] > 0
    assert recipe["warmup_layers"] == 0


@torch_only
def test_the_page_and_the_picture_show_the_results(activations: Study) -> None:
    text = (activations.path / "page.html").read_text(encoding="utf-8")
    for section in registry.sections(activations):
        for chart, _ in section.charts:
            assert f'id="{chart.id}"' in text
    assert activations.info["found"]["said"] in text
    published = [row["published"] for row in activations.info["found"]["cases"]]
    assert published == [6.61, 8.17, 7.84, 6.71, 6.37]
    with Image.open(activations.path / "cases.png") as picture:
        assert picture.width > 800


@torch_only
def test_a_failed_training_is_shown_as_fail(thirds: Path, tmp_path: Path) -> None:
    changes = {"batch": 48, "rate": 1e30, "warmup": 0}
    options = Terms(thirds, changes=changes, epochs=0.5, width=0.25, out=tmp_path / "study")
    study = ablation("shortcuts", options, 8)
    rows = table(study, measured.read(study)).rows
    assert [row[4] for row in rows] == ["fail"] * 11
    assert [row[5] for row in rows] == [NONE] * 11
    assert [row[6] for row in rows if "scaling" in row[0]] == ["fail", "fail", "12.35 %"]
    text = (study.path / "page.html").read_text(encoding="utf-8")
    assert "fail" in text


@torch_only
@pytest.mark.usefixtures("apart")
def test_the_command_prints_each_case_beside_the_published_error(thirds: Path) -> None:
    words = "--depth", 8, "--data", thirds, "--epochs", 0.5, "--width", 0.25, "--seeds", 2
    lines = output_of("ablate", "activations", *words, "--set", "batch=16").splitlines()
    assert lines[0].split("  ")[0] == "case"
    assert lines[0].endswith("median test error  paper, ResNet-110")
    assert lines[5].startswith("full pre-activation")
    assert lines[5].endswith("6.37 %")
    assert lines[6].startswith("Compared with the original unit, the test error is ")
    path = "studies/ablation-activations-8-thirds-0.5epochs-0.25width-2seeds"
    assert lines[7] == f"page: {path}/page.html"


@torch_only
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("shortcut",), "did you mean 'shortcuts'"),
        (("shortcuts", "--depth", "21"), "6n + 2"),
        (("shortcuts", "--images", "1000"), "192 training images"),
        ((), "Missing argument"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_wrong_arguments_are_one_line(words: tuple[Any, ...], expected: str, thirds: Path) -> None:
    assert expected in error_of("ablate", *words, "--data", thirds)
