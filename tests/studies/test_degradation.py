"""Studies of plain and residual twins: plan, training, resuming, results and page."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reslab import data as sets
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.evaluation import recorded_data
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.studies import registry
from reslab.studies.degradation.measure import degradation
from reslab.studies.degradation.results import answer
from reslab.studies.folder import Study
from reslab.studies.sweep import (
    budget,
    figures,
    nets,
)
from reslab.studies.sweep import (
    plan as planning,
)
from reslab.studies.sweep import (
    results as measured,
)
from reslab.studies.sweep import (
    run as running,
)
from reslab.studies.sweep.budget import Cost, Limits, Size
from reslab.studies.sweep.results import Result, Spread
from reslab.studies.sweep.settings import Terms
from reslab.training import train
from reslab.zoo import NETWORKS
from tests.helpers.cli import error_of, invoke, output_of

torch_only = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the study does not depend on the backend"
)

# The networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_the_nets_equal_those_of_the_zoo(depth: int) -> None:
    plain, residual = nets.twins(depth)
    assert residual.rows == NETWORKS[f"resnet{depth}"].rows
    assert plain.rows == NETWORKS[f"plain{depth}"].rows


@pytest.mark.parametrize("depth", [8, 14, 50])
def test_twins_of_any_depth_have_equal_depth_and_parameters(depth: int) -> None:
    plain, residual = nets.twins(depth)
    assert summary.depth(plain) == summary.depth(residual) == depth
    assert summary.counts(plain).trainable_params == summary.counts(residual).trainable_params


def test_half_the_filters_have_a_quarter_of_the_weights_of_the_inner_layers() -> None:
    whole, half = nets.residual(20), nets.widened(nets.residual(20), 0.5)
    inner = [summary.counts(net).trainable_params for net in (whole, half)]
    assert 3.9 < inner[0] / inner[1] < 4
    assert nets.widened(whole, 1) is whole
    summary.counts(nets.widened(whole, 0.3))  # odd numbers of filters fit as well


@pytest.mark.parametrize(("depth", "near"), [(18, 20), (7, 8), (1, 8), (57, 56)])
def test_an_impossible_depth_names_the_nearest_one(depth: int, near: int) -> None:
    with pytest.raises(UserError, match=rf"6n \+ 2 layers, such as {near}$"):
        nets.units(depth)


# The plan -------------------------------------------------------------------------------------

COSTS = st.dictionaries(
    st.sampled_from(["plain20", "plain56", "resnet20", "resnet56"]),
    st.builds(Cost, start=st.floats(0, 20), image=st.floats(1e-5, 0.1)),
    min_size=1,
)
FULL, TEST, BATCH = 50_000, 10_000, 128
LIMITS = Limits.of(164, FULL, epochs_fixed=False, images_fixed=False)


@given(costs=COSTS, seconds=st.floats(1, 1e6), seeds=st.integers(1, 5))
def test_a_plan_fits_and_one_more_would_not(
    costs: dict[str, Cost], seconds: float, seeds: int
) -> None:
    size = budget.choose(seconds, costs, LIMITS, TEST, seeds, BATCH)
    smallest = Size(LIMITS.epochs[0], LIMITS.images[0])
    if size is None:
        assert budget.seconds(costs, smallest, TEST, seeds) > seconds * 0.97
        return
    assert budget.seconds(costs, size, TEST, seeds) <= seconds * (1 + 1e-9)
    assert budget.FEW_EPOCHS <= size.epochs <= 164
    assert budget.FEW_IMAGES <= size.images <= FULL
    more = [Size(size.epochs + 1, FULL)] if size.epochs < 164 and size.images == FULL else []
    more += [Size(size.epochs, size.images + BATCH)] if size.images < FULL - 2 * BATCH else []
    for larger in more:
        assert budget.seconds(costs, larger, TEST, seeds) > seconds * (1 - 1e-9)
    if size.images < FULL:  # a sample only where the epochs are at their fewest
        assert size.epochs == budget.FEW_EPOCHS


@given(costs=COSTS, seconds=st.floats(1, 1e6), more=st.floats(1, 10))
def test_more_time_never_reduces_the_plan(
    costs: dict[str, Cost], seconds: float, more: float
) -> None:
    size = budget.choose(seconds, costs, LIMITS, TEST, 1, BATCH)
    larger = budget.choose(seconds * more, costs, LIMITS, TEST, 1, BATCH)
    if size is not None:
        assert larger is not None
        assert larger.images >= size.images
        assert larger.epochs >= size.epochs


def test_fixed_sizes_are_not_changed() -> None:
    costs = {"net": Cost(0, 1e-3)}
    fixed = Limits.of(2.5, FULL, epochs_fixed=True, images_fixed=False)
    assert budget.choose(1e9, costs, fixed, TEST, 1, BATCH) == Size(2.5, FULL)
    sample = Limits.of(164, 1000, epochs_fixed=False, images_fixed=True)
    size = budget.choose(200, costs, sample, TEST, 1, BATCH)
    assert size is not None
    assert size.images == 1000
    assert budget.choose(1, costs, sample, TEST, 1, BATCH) is None


# Results ----------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_a_spread_has_the_mean_and_sample_deviation(values: list[float]) -> None:
    spread = Spread(tuple(values))
    mean = math.fsum(values) / len(values)
    assert spread.mean == pytest.approx(mean)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    assert spread.sd == pytest.approx(math.sqrt(variance), abs=1e-7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3000))
def test_a_thinned_curve_is_short_and_keeps_its_mean(values: list[float]) -> None:
    points = [(50 * i, Spread((v, 1 - v))) for i, v in enumerate(values)]
    thin = figures.thinned(points)
    assert len(thin) <= figures.MOST
    size = math.ceil(len(points) / figures.MOST)
    whole = len(points) // size  # the last bucket may be smaller
    first = statistics.fmean(spread.values[0] for _, spread in thin[:whole])
    assert first == pytest.approx(statistics.fmean(values[: whole * size]), abs=1e-9)


def results_of(errors: dict[str, list[float | None]], images: int = 5000) -> dict[str, Result]:
    """Return results with these training errors; None is a failed training."""
    return {
        case: Result(
            case,
            tuple(
                {
                    "status": "failed" if e is None else "done",
                    "train_error": e,
                    "test_error": e,
                    "images": {"train": images, "test": images},
                }
                for e in each
            ),
        )
        for case, each in errors.items()
    }


@pytest.mark.parametrize(
    ("plain56", "resnet56", "verdict"),
    [
        ([0.25, 0.26, 0.27], [0.05, 0.06, 0.055], "degrade, residual nets do not degrade"),
        ([0.25, 0.26, 0.27], [0.10, 0.11, 0.12], "degrade, residual nets show no decided change"),
        ([0.25, 0.26, 0.27], [0.25, 0.26, 0.27], "degrade, residual nets degrade"),
        (
            [0.05, 0.20, 0.10],
            [0.05, 0.06, 0.055],
            "show no decided change, residual nets do not degrade",
        ),
        ([None] * 3, [0.05, 0.06, 0.055], "did not all train, residual nets do not degrade"),
    ],
)
def test_the_answer_depends_on_the_interval_of_the_difference(
    plain56: list[float | None], resnet56: list[float | None], verdict: str
) -> None:
    three: list[float | None] = [0.10, 0.11, 0.105]
    errors = {"plain20": three, "resnet20": three, "plain56": plain56, "resnet56": resnet56}
    text = answer(results_of(errors))
    assert (text.shallow, text.deep) == (20, 56)
    assert text.sentence.startswith(f"Plain nets {verdict}: from 20 to 56 layers")
    assert plain56[0] is None or "from 10.50 ± 0.50 % to " in text.sentence


def test_one_image_decides_nothing() -> None:
    """Neither with one seed, nor with equal errors of several seeds, whose deviation is zero."""
    for seeds in (1, 3):
        nets = {f"{kind}{d}": [d / 5000] * seeds for kind in ("plain", "resnet") for d in (20, 21)}
        text = answer(results_of(nets))
        assert (text.plain.verdict, text.residual.verdict) == ("not decided", "not decided")
        assert "rises" not in text.sentence
        assert "spread" not in text.sentence


def test_two_seeds_decide_only_what_their_scatter_cannot_explain() -> None:
    """The ranges mean +- sd of these errors do not overlap, but Welch's t has 2.0 degrees."""
    nets = {"plain20": [0.10, 0.12], "plain56": [0.13, 0.15]}
    change = answer(results_of(nets, 10**6)).plain
    assert change.verdict == "not decided"
    assert change.difference is not None
    assert change.difference.low == pytest.approx(0.03 - 4.30265 * 0.0141421, abs=1e-6)


def test_the_answer_mentions_a_single_seed_or_depth() -> None:
    one = results_of({"plain20": [0.1], "plain56": [0.2], "resnet20": [0.1], "resnet56": [0.05]})
    text = answer(one)
    assert text.sentence == (
        "With one seed, the intervals cover the images but not the variation between seeds: from "
        "20 to 56 layers, the training error of the plain net rises from 10.00 % to 20.00 % "
        "(difference 10.00 points, 95 % interval 8.61 to 11.39), and that of the residual net "
        "falls from 10.00 % to 5.00 % (difference -5.00 points, 95 % interval -6.03 to -3.98)."
    )
    stored = text.as_json()["plain_difference"]
    assert stored["seeds"] is False
    assert 0.08 < stored["low"] < stored["mean"] == pytest.approx(0.1)
    three = answer({k: v for k, v in one.items() if k != "resnet56"}).sentence
    assert three.endswith("that of the residual net is not measured yet.")
    two = results_of({"plain20": [0.1, 0.1], "plain56": [0.2, 0.2], "resnet20": [0.1, 0.1]})
    assert answer(two).sentence.startswith(
        "Plain nets degrade, residual nets are not trained yet: "
    )
    assert "two or more" in answer({k: v for k, v in one.items() if "20" in k}).sentence


# A study --------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"batch": 16, "rate": 0.05}


def terms(source: Path, out: Path, **more: Any) -> Terms:
    usual = {"changes": SETTINGS, "epochs": 2.5, "images": 96, "width": 0.25}
    return Terms(source, out=out, **{**usual, **more})


@pytest.fixture(scope="module")
def short(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of two runs; tests only read it."""
    return degradation(terms(thirds, tmp_path_factory.mktemp("studies") / "short"), (8,))


@pytest.fixture(scope="module")
def study(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study; tests only read it."""
    out = tmp_path_factory.mktemp("studies") / "whole"
    return degradation(terms(thirds, out, seeds=2), (14, 8))


def runs(study: Study) -> dict[str, Run]:
    return {path.name: Run.open(path) for path in sorted((study.path / "runs").iterdir())}


def test_a_study_trains_every_net_with_every_seed(study: Study) -> None:
    names = {f"{k}{d}-seed{s}" for k in ("plain", "resnet") for d in (8, 14) for s in (0, 1)}
    assert runs(study).keys() == names
    for run in runs(study).values():
        assert run.info["status"] == "done"
        assert run.info["data"]["counts"] == {"train": 96, "test": 48}
        assert run.info["recipe"]["validation"] == 0
        assert [path.stem for path in run.checkpoints.iterdir()] == ["last"]
    alike = [run.info["recipe"] for run in runs(study).values()]
    assert all(recipe == alike[0] for recipe in alike)


@pytest.mark.core
def test_the_last_test_error_equals_the_evaluation_of_the_model(short: Study) -> None:
    """The score of the last checkpoint equals the evaluation of the saved model."""
    tests = json.loads((short.path / "test.json").read_text())
    for name, run in runs(short).items():
        rows = tests[name]
        assert [row["step"] for row in rows] == [6, 12, 15]
        evaluation = run.evaluation
        assert evaluation is not None
        assert rows[-1]["error"] == pytest.approx(evaluation["top1_error"]["value"])
        assert rows[-1]["loss"] == pytest.approx(evaluation["loss"], rel=1e-4)


@pytest.mark.parametrize(("per_epoch", "every"), [(39, 39), (99, 99), (150, 50), (391, 50)])
def test_curves_use_epoch_means_for_short_epochs_and_log_lines_for_long_ones(
    per_epoch: int, every: int
) -> None:
    """A log line averages over the current epoch: after 39 + 11 steps, only over 11 steps."""
    ends = range(per_epoch, 6 * per_epoch + 1, per_epoch)
    log = {
        "steps": [{"step": step, "error": 0.5} for step in range(50, ends[-1] + 1, 50)],
        "epoch": [{"step": step, "train_error": 0.4, "seconds": 1.0} for step in ends],
    }
    info = {
        "status": "done",
        "params": 1,
        "multiply_adds": 1,
        "recipe": {"batch": 1},
        "data": {"counts": {"test": 1}},
    }
    run: Any = SimpleNamespace(name="a run", info=info, log=log.__getitem__)
    drawn = [step for step, _ in measured._row(run, [])["train"]]
    assert drawn == list(range(every, ends[-1] + 1, every))


def test_the_results_equal_the_logs(study: Study) -> None:
    results = measured.read(study)
    # the last half epoch of 2.5 has three batches of 16
    assert {r.images("train_error") for r in results.values()} == {48}
    assert {r.images("test_error") for r in results.values()} == {48}
    for case, result in results.items():
        logs = [runs(study)[f"{case}-seed{seed}"].log("epoch") for seed in (0, 1)]
        spread = result.spread("train_error")
        assert spread is not None
        assert spread.values == tuple(log[-1]["train_error"] for log in logs)
        curve = result.curve("train")
        assert [step for step, _ in curve] == [6, 12, 15]
        assert curve[0][1].mean == pytest.approx(np.mean([log[0]["train_error"] for log in logs]))
    assert study.info["found"]["answer"]["said"] == answer(results).sentence


def test_a_study_without_numbers_of_images_gets_them_from_its_errors(
    study: Study, tmp_path: Path
) -> None:
    copy = Study(tmp_path, study.info)
    rows = json.loads((study.path / "results.json").read_text())["runs"]
    copy.write("results.json", {"runs": [{k: r[k] for k in r if k != "images"} for r in rows]})
    for name, result in measured.read(copy).items():
        assert result.images("train_error") == measured.read(study)[name].images("train_error")
        assert 48 % result.images("test_error") == 0
        assert result.images("test_error") > 1


class Killed(BaseException):
    """Simulates a kill in this process."""


def kill_after(calls: int) -> Callable[..., None]:
    """Return a step callback that raises Killed after this number of calls."""
    remaining = iter(range(calls))

    def step(*_: object) -> None:
        if next(remaining, None) is None:
            raise Killed

    return step


@torch_only
@pytest.mark.parametrize("moment", ["in an epoch", "before a score", "after a run", "at the end"])
def test_a_killed_study_continues_to_the_same_numbers(
    moment: str, short: Study, thirds: Path, tmp_path: Path
) -> None:
    options = terms(thirds, tmp_path / "study")
    targets: dict[str, tuple[Any, str]] = {
        "before a score": (running.Scorer, "__call__"),
        "after a run": (measured, "write"),
        "at the end": (Study, "mark_done"),
    }
    killing: AbstractContextManager[Any] = nullcontext()
    watch = Watch(step=kill_after(25))
    if moment in targets:
        watch, killing = Watch(), mock.patch.object(*targets[moment], side_effect=Killed)
    with killing, pytest.raises(Killed):
        degradation(options, (8,), watch)
    began = [run.info["started"] for run in runs(Study.open(tmp_path / "study")).values()]
    again = degradation(options, (8,))
    assert {run.info["started"] for run in runs(again).values()}.issuperset(began)
    assert numbers(again) == numbers(short)


def numbers(study: Study) -> Any:
    rows = json.loads((study.path / "results.json").read_text())["runs"]
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


@torch_only
def test_a_finished_study_repeats_nothing(study: Study, thirds: Path) -> None:
    with mock.patch.object(train, "train", side_effect=Killed):
        degradation(terms(thirds, study.path, seeds=2), (8, 14))


@torch_only
def test_other_settings_in_the_same_folder_are_an_error(study: Study, thirds: Path) -> None:
    for more in ({"epochs": 3}, {"changes": {**SETTINGS, "rate": 0.1}}, {"images": 90}):
        with pytest.raises(UserError, match="was started with"):
            degradation(terms(thirds, study.path, **{"seeds": 2, **more}), (8, 14))


@torch_only
def test_the_page_and_the_pictures_show_the_results(study: Study) -> None:
    text = (study.path / "page.html").read_text(encoding="utf-8")
    charts = [chart for s in registry.sections(study) for chart, _ in s.charts]
    assert len({chart.id for chart in charts}) == len(charts) == 3
    for chart in charts:
        assert f'id="{chart.id}"' in text
    assert study.info["found"]["answer"]["said"] in text
    for name in ("errors", "depth"):
        assert ElementTree.parse(study.path / f"{name}.svg").getroot().tag.endswith("svg")
        with Image.open(study.path / f"{name}.png") as picture:
            assert picture.width > 800


@torch_only
def test_runs_on_a_sample_reload_their_data(thirds: Path, study: Study) -> None:
    data = sets.load(thirds, validation=0)
    run = runs(study)["plain8-seed0"]
    again = recorded_data.reload(run)
    assert len(again.train) == run.info["data"]["counts"]["train"] < len(data.train)
    unfinished = Run(run.path, {**run.info, "status": "running"})
    with (
        mock.patch.object(Run, "open", return_value=unfinished),
        pytest.raises(UserError, match="started with other data"),
    ):
        train.resume(run.path, data=data)


@torch_only
def test_checkpoints_are_kept_on_request_and_scored_once(thirds: Path, tmp_path: Path) -> None:
    options = terms(thirds, tmp_path / "study", epochs=2, keep_checkpoints=True)
    study = degradation(options, (8,))
    for run in runs(study).values():
        names = sorted(path.stem for path in run.checkpoints.glob("epoch-*"))
        assert names == ["epoch-0000", "epoch-0001", "epoch-0002"]
    with mock.patch.object(running.Scorer, "__call__", side_effect=Killed):
        degradation(options, (8,))


@torch_only
def test_a_loss_that_is_not_finite_is_a_result(thirds: Path, tmp_path: Path) -> None:
    options = terms(thirds, tmp_path / "study", changes={**SETTINGS, "rate": 1e30}, epochs=1)
    study = degradation(options, (8,))
    assert {run.info["status"] for run in runs(study).values()} == {"failed"}
    assert [net["train_error"]["mean"] for net in study.info["found"]["nets"]] == [None, None]
    assert degradation(options, (8,)).info["status"] == "done"


@torch_only
def test_a_budget_is_planned_once(thirds: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    changes = {"batch": 16, "epochs": 1}
    options = Terms(thirds, changes=changes, budget=60.0, out=tmp_path / "study")
    watch = Watch(say=messages.append, step=kill_after(3))
    with pytest.raises(Killed):
        degradation(options, (8,), watch)
    plan = Study.open(tmp_path / "study").info["plan"]
    assert (plan["epochs"], plan["images"], plan["width"]) == (1, 192, 1)
    assert plan["seconds"] < 3600
    assert any(line.startswith("plan: 2 runs of 1 epochs of 192") for line in messages)
    with mock.patch.object(planning, "cost", side_effect=Killed):
        assert degradation(options, (8,)).info["plan"] == plan


@torch_only
def test_a_budget_that_is_too_small_names_a_sufficient_one(thirds: Path, tmp_path: Path) -> None:
    expensive = mock.Mock(return_value=Cost(start=10, image=1.1))
    options = Terms(thirds, changes={"batch": 16}, budget=1.0, out=tmp_path / "study")
    with mock.patch.object(planning, "cost", expensive), pytest.raises(UserError) as caught:
        degradation(options, (8,))
    # two nets: 10 s each; ten epochs of 192 images and a third of 48, and that third once more
    minutes = math.ceil((2 * 10 + 2.2 * (10 * (192 + 16) + 16)) / 0.9 / 60)
    assert f"takes more than {minutes} minutes at the speed of plain8" in str(caught.value)
    assert expensive.call_count == 1  # the first network is enough
    assert not (tmp_path / "study").exists()


@torch_only
def test_a_budget_that_only_the_deep_nets_exceed_names_a_sufficient_one(
    thirds: Path, tmp_path: Path
) -> None:
    def by_depth(case: nets.Case, *_: Any) -> Cost:
        return Cost(start=0, image=1e-3 if "8" in case.name else 1.0)

    options = Terms(thirds, changes={"batch": 16}, budget=1.0, out=tmp_path / "study")
    with mock.patch.object(planning, "cost", by_depth), pytest.raises(UserError) as caught:
        degradation(options, (8, 14))
    minutes = math.ceil(2.002 * (10 * (192 + 16) + 16) / 0.9 / 60)
    assert f"takes about {minutes} minutes here: give a larger --budget" in str(caught.value)


@torch_only
def test_a_hopeless_budget_is_refused_before_anything_is_measured(
    thirds: Path, tmp_path: Path
) -> None:
    options = Terms(thirds, changes={"batch": 16}, budget=0.01, out=tmp_path / "study")
    with (
        mock.patch.object(planning, "cost", side_effect=Killed),
        pytest.raises(
            UserError, match=r"the smallest plan, 4 runs of 10 epochs .* takes more than"
        ),
    ):
        degradation(options, (8, 14))
    assert not (tmp_path / "study").exists()


@torch_only
def test_the_smallest_plan_is_said_before_the_measurement(thirds: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    options = Terms(thirds, changes={"batch": 16}, budget=2.0, out=tmp_path / "study")
    with mock.patch.object(planning, "cost", side_effect=Killed), pytest.raises(Killed):
        degradation(options, (8,), Watch(say=messages.append))
    # two nets, ten epochs of twelve batches
    assert "the smallest plan, 2 runs of 10 epochs of 192 images at width 0.5" in messages[-2]
    assert ": 240 steps, more than 0.1 minutes on any" in messages[-2]
    assert messages[-1] == "measuring how much fits into 2 minutes ..."


@given(
    st.lists(st.integers(0, 10**8), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 64),
)
def test_the_lower_bound_is_below_the_cost_of_a_machine_at_the_limits(
    multiply_adds: list[int], seeds: int, cores: int
) -> None:
    """A machine that is exactly as fast as the limits, and measures in no time."""
    size, limits = Size(10, 5000), (budget.FASTEST_CORE * cores, budget.FASTEST_STEP / BATCH)
    costs = {
        str(i): Cost(budget.FASTEST_START, max(3 * count / limits[0], limits[1] * 1.05))
        for i, count in enumerate(multiply_adds)
    }
    bound = budget.lower_bound(multiply_adds, size, TEST, seeds, BATCH, cores)
    measuring = budget.FASTEST_START * len(costs)
    assert bound <= budget.seconds(costs, size, TEST, seeds) + measuring + 1e-6
    assert bound >= budget.lower_bound(multiply_adds, size, TEST, seeds, BATCH, None)


# The command ----------------------------------------------------------------------------------


@torch_only
@pytest.mark.usefixtures("apart")
def test_the_command_prints_the_table_and_the_answer(thirds: Path) -> None:
    words = "degradation", "--data", thirds, "--depths", "8,14", "--epochs", 0.5, "--width", 0.25
    answer = invoke(*words, "--set", "batch=16")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].split() == ["net", "parameters", "training", "error", "test", "error", "seeds"]
    assert [line.split()[0] for line in lines[1:5]] == ["plain8", "resnet8", "plain14", "resnet14"]
    assert "from 8 to 14 layers" in lines[5]
    path = Path("studies/degradation-8-14-thirds-0.5epochs-0.25width")
    assert lines[6] == f"page: {path / 'page.html'}"
    printed = json.loads(output_of(*words, "--set", "batch=16", "--json"))
    assert printed["study"] == str(path)
    assert printed["answer"]["said"] == lines[5]


@torch_only
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--depths", "20,57"), "6n + 2"),
        (("--depths", "deep"), "write it as --depths 20,56"),
        (("--budget", "0"), "above 0"),
        (("--budget", "nan"), "above 0"),
        (("--epochs", "-1"), "above 0"),
        (("--width", "0"), "above 0"),
        (("--seeds", "0"), "at least one"),
        (("--images", "0"), "at least one"),
        (("--images", "1000"), "192 training images"),
        (("--images", "2"), "every class"),
        (("--recipe", "paper-cifer"), "did you mean 'paper-cifar'"),
        (("--recipe", "paper-imagenet"), "choose another"),
        (("--set", "validation=0.1"), "validation"),
        (("--set", "rate"), "field=value"),
        (("--data", "fashion-mnits"), "fashion-mnist"),
        (("--backend", "troch"), "did you mean 'torch'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_wrong_options_are_one_line(words: tuple[str, ...], expected: str, thirds: Path) -> None:
    data = () if "--data" in words else ("--data", thirds)
    assert expected in error_of("degradation", *data, *words)
