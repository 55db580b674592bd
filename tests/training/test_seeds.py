"""Several seeds: folder, progress, mean and deviation; killed, interrupted and failed runs."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest import mock

import keras
import pytest

import reslab
from reslab import data as datasets
from reslab.core.errors import UserError
from reslab.core.progress import Watch
from reslab.runs.run import Run
from reslab.training import finish
from reslab.training import train as training
from reslab.training.seeds import SeedRuns, resume_seeds, train_seeds
from tests.helpers import tiny
from tests.helpers.cli import error_of, invoke, output_of
from tests.helpers.training import RECIPE, same_bits

torch_only = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="where it stops does not depend on the backend"
)


class Killed(BaseException):
    """As sudden as a kill, within this process."""


def kill_at(calls: int) -> Watch:
    """A watch that raises Killed at this step, counted over all runs."""
    remaining = iter(range(calls - 1))

    def step(*_: object) -> None:
        if next(remaining, None) is None:
            raise Killed

    return Watch(step=step)


def train(thirds: Path, out: Path, watch: Watch | None = None, **more: Any) -> SeedRuns:
    return train_seeds(tiny.NETWORK, thirds, RECIPE, seeds=3, out=out, watch=watch, **more)


@pytest.fixture(scope="module")
def undisturbed(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> SeedRuns:
    """Three finished runs with the seeds 5, 6 and 7; tests only read them."""
    return train(thirds, tmp_path_factory.mktemp("seeds") / "whole", seed=5)


@pytest.mark.core
def test_the_runs_differ_by_their_seed_alone(undisturbed: SeedRuns, thirds: Path) -> None:
    assert [run.info["seed"] for run in undisturbed.runs] == [5, 6, 7]
    assert [run.name for run in undisturbed.runs] == [f"tiny-seed{seed}" for seed in (5, 6, 7)]
    weights = {run.digest() for run in undisturbed.runs}
    assert len(weights) == 3
    alone = reslab.train(
        tiny.NETWORK, thirds, RECIPE, seed=6, out=undisturbed.path.parent / "alone"
    )
    same_bits(alone, undisturbed.runs[1])


def test_mean_and_deviation_are_those_of_the_evaluations(undisturbed: SeedRuns) -> None:
    errors = [run.evaluation["top1_error"]["value"] for run in undisturbed.runs if run.evaluation]
    mean, sd = 100 * fmean(errors), 100 * stdev(errors)
    expected = f"test error {mean:.1f} ± {sd:.1f} % (mean ± sd, n = 3 seeds)"
    assert undisturbed.sentence == expected
    page = (undisturbed.path / "report.html").read_text(encoding="utf-8")
    assert f"{mean:.1f} ± {sd:.1f} %" in page


@torch_only
def test_the_data_are_loaded_once(thirds: Path, tmp_path: Path) -> None:
    with mock.patch.object(datasets, "load", wraps=datasets.load) as load:
        train(thirds, tmp_path / "seeds", epochs=1, images=96)
    assert load.call_count == 1
    counts = [Run.open(path).info["data"]["counts"] for path in (tmp_path / "seeds").glob("tiny*")]
    assert {count["train"] for count in counts} == {96}


@torch_only
def test_a_recipe_file_fits_the_number_of_images_as_in_a_single_run(
    thirds: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "quick"\nepochs = 1\n', encoding="utf-8")
    single = reslab.train(tiny.NETWORK, thirds, file, out=tmp_path / "single")
    several = train_seeds(tiny.NETWORK, thirds, file, seeds=2, out=tmp_path / "several")
    for run in several.runs:
        assert run.info["recipe"] == single.info["recipe"]
    assert single.info["recipe"]["batch"] == 16


def test_the_progress_is_that_of_all_runs(thirds: Path, tmp_path: Path) -> None:
    totals: list[float] = []
    steps: list[float] = []
    watch = Watch(start=totals.append, step=lambda done, text: steps.append(done))
    train(thirds, tmp_path / "seeds", watch, epochs=1)
    assert len(set(totals)) == 1
    assert steps == list(range(1, int(totals[0]) + 1))


STEPS = 30  # of a run: three epochs of 160 images in batches of 16


@torch_only
@pytest.mark.parametrize("step", [5, STEPS + 12, 3 * STEPS - 1])
def test_killed_runs_continue_to_the_same_bits(
    step: int, undisturbed: SeedRuns, thirds: Path, tmp_path: Path
) -> None:
    out = tmp_path / "seeds"
    with pytest.raises(Killed):
        train(thirds, out, kill_at(step), seed=5)
    done = [run for path in out.glob("tiny*") if (run := Run.open(path)).info["status"] == "done"]
    assert len(done) == step // STEPS
    with mock.patch.object(training, "train_prepared", wraps=training.train_prepared) as fresh:
        result = resume_seeds(out)
    assert fresh.call_count == 2 - step // STEPS
    for run, other in zip(result.runs, undisturbed.runs, strict=True):
        same_bits(run, other)
    assert result.sentence == undisturbed.sentence
    with mock.patch.object(training, "train_prepared", side_effect=Killed):
        assert not resume_seeds(out).trained
    assert [Run.open(run.path).info["finished"] for run in done] == [
        run.info["finished"] for run in done
    ]


@torch_only
def test_a_kill_before_the_first_checkpoint_of_a_run_starts_it_again(
    undisturbed: SeedRuns, thirds: Path, tmp_path: Path
) -> None:
    out = tmp_path / "seeds"
    shutil.copytree(undisturbed.path, out)
    shutil.rmtree(out / "tiny-seed6")
    (out / "tiny-seed6" / "checkpoints").mkdir(parents=True)
    shutil.rmtree(out / "tiny-seed7" / "checkpoints")
    Run.open(out / "tiny-seed7").save(status="running")
    result = resume_seeds(out)
    for run, other in zip(result.runs, undisturbed.runs, strict=True):
        same_bits(run, other)


@torch_only
def test_nothing_is_left_if_no_run_began(thirds: Path, tmp_path: Path) -> None:
    with mock.patch.object(training, "set_up", side_effect=Killed), pytest.raises(Killed):
        train(thirds, tmp_path / "seeds")
    assert not (tmp_path / "seeds").exists()


@torch_only
def test_a_failed_run_is_counted_and_not_averaged(thirds: Path, tmp_path: Path) -> None:
    set_up = training.set_up

    def diverging(run: Run, *rest: Any) -> Any:
        made = set_up(run, *rest)
        if run.info["seed"] != 1:
            return made
        batches = made.batches_from
        spoiled = lambda *at: ((x * float("nan"), y) for x, y in batches(*at))  # noqa: E731
        return replace(made, batches_from=spoiled)

    with mock.patch.object(training, "set_up", diverging):
        result = train(thirds, tmp_path / "seeds", epochs=1)
    assert [run.info["status"] for run in result.runs] == ["done", "failed", "done"]
    assert result.sentence.endswith("(mean ± sd, n = 2 seeds, 1 failed)")
    assert resume_seeds(tmp_path / "seeds").sentence == result.sentence
    with pytest.raises(UserError, match=r"all runs of .* have failed: the loss"):
        train(thirds, tmp_path / "all", changes={"rate": 1e30}, epochs=1)


@torch_only
def test_changed_data_are_refused(thirds: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(thirds, tmp_path / "data")
    with pytest.raises(Killed):
        train(copy, tmp_path / "seeds", kill_at(STEPS))
    tiny.folder(copy, train=96)
    with pytest.raises(UserError, match="have changed since it was started"):
        resume_seeds(tmp_path / "seeds")


@torch_only
def test_data_made_in_python_are_passed_again(thirds: Path, tmp_path: Path) -> None:
    data = replace(datasets.load(thirds), provenance={})
    with pytest.raises(Killed):
        train_seeds(tiny.NETWORK, data, RECIPE, seeds=2, out=tmp_path / "s", watch=kill_at(32))
    with pytest.raises(UserError, match="made in Python"):
        resume_seeds(tmp_path / "s")
    assert len(resume_seeds(tmp_path / "s", data=data).runs) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seeds": 1}, "from 2 to"),
        ({"seeds": 2, "seed": 2**32 - 1}, "seed is 4294967296"),
        ({"seeds": 2, "precision": "half"}, "precision"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], expected: str, thirds: Path) -> None:
    with pytest.raises(UserError, match=expected):
        train_seeds(tiny.NETWORK, thirds, RECIPE, **options)


# The command --------------------------------------------------------------------------------------


@torch_only
@pytest.mark.usefixtures("apart")
def test_the_command_prints_each_run_and_the_mean(thirds: Path) -> None:
    words = "train", "tiny", "--data", thirds, "--epochs", 1, "--batch", 16, "--set", "rate=0.05"
    lines = output_of(*words, "--seeds", 3).splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["seed 0", "seed 1", "seed 2"]
    assert all("95 % interval" in line for line in lines[:3])
    mean, covers, report = lines[-3:]  # after cautions: so short a training ends near guessing
    assert mean.startswith("test error ")
    assert mean.endswith(" % (mean ± sd, n = 3 seeds)")
    assert "the test images are the same" in covers
    path = Path("runs/tiny-thirds-quick-3seeds-1")
    assert report == f"report: {path / 'report.html'}"
    assert output_of("train", "--resume", path).splitlines() == [
        f"{path} is finished already",
        *lines,
    ]
    assert (path / "report.html").exists()


@torch_only
@pytest.mark.usefixtures("apart")
def test_an_interrupted_command_says_how_to_resume(thirds: Path) -> None:
    words = "train", "tiny", "--data", thirds, "--epochs", 1, "--batch", 16, "--out", "out"
    save_model = finish._save_model

    def interrupted(made: Any) -> None:
        if made.run.info["seed"] == 1:
            signal.raise_signal(signal.SIGINT)
        save_model(made)

    with mock.patch.object(finish, "_save_model", interrupted):
        answer = invoke(*words, "--set", "rate=0.05", "--seeds", 2)
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == (
        "stopped and saved; resume with: reslab train --resume out"
    )
    assert json.loads(Path("out/seeds.json").read_text())["seeds"] == [0, 1]
    assert "n = 2 seeds" in output_of("train", "--resume", "out")


@torch_only
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--seeds", 0), "--seeds"),
        (("--seeds", 2, "--seed", 2**32 - 1), "seed is 4294967296"),
        (("--seeds", 2, "--out", "."), "exists already"),
        (("--seeds", 2, "--resume", "runs/x"), "takes no other options"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[object, ...], expected: str, thirds: Path) -> None:
    first = () if "--resume" in words else ("tiny", "--data", thirds)
    assert expected in error_of("train", *first, *words)
