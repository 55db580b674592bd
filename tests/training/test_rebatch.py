"""Runs without enough memory, and resuming a run with another batch or recomputed activations."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.data import Pipeline
from reslab.models import stacked
from reslab.runs.recipe import Recipe
from reslab.runs.run import Run
from reslab.training import loop as loops
from reslab.training import rebatch
from tests.helpers import tiny
from tests.helpers.cli import invoke, output_of
from tests.helpers.training import checkpoint_weights, same_bits

pytestmark = pytest.mark.usefixtures("apart")
TRAIN_IMAGES = 173  # of `thirds`, without validation
MESSAGES = [
    MemoryError("Unable to allocate 288. GiB for an array"),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate request"),
]
RECIPE = Recipe("short", epochs=3, batch=16, rate=0.1, schedule="one-cycle", augment=("flip",))


class Killed(BaseException):
    """As sudden as a kill, within this process."""


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Raise an error after a step, on each batch above a size or in models that keep activations.

    A checkpoint is written after each step before it.
    """

    original = loops.Steps.on_train_batch_end

    def fails(error: BaseException | None, step: int = 0, above: int = 8, remat: bool = False):
        def on_train_batch_end(self: Any, batch: int, logs: Any = None) -> None:
            training = self.loop.training
            enough = training.options.remat if remat else training.batch <= above
            if error is not None and self.loop.progress.step >= step and not enough:
                raise error
            original(self, batch, logs)

        monkeypatch.setattr(loops.Steps, "on_train_batch_end", on_train_batch_end)

    return fails


def begin(thirds: Path, out: str = "run", **options: Any) -> None:
    reslab.train(tiny.NETWORK, thirds, RECIPE, out=out, checkpoint_seconds=0, **options)


def interrupted(thirds: Path, fails: Callable[..., None], step: int, **options: Any) -> Run:
    """A run that ended after a step, as by a kill."""
    fails(Killed(), step)
    with pytest.raises(Killed):
        begin(thirds, **options)
    fails(None)
    return Run.open("run")


@pytest.mark.parametrize("error", MESSAGES, ids=lambda e: type(e).__name__ + str(e)[:4])
@pytest.mark.parametrize("step", [0, 14])
def test_the_printed_advice_about_the_batch_ends_with_a_finished_run(
    thirds: Path, fails: Any, error: Exception, step: int
) -> None:
    fails(error, step)
    words = "train", "tiny", "--data", thirds, "--out", "run", "--batch", 16, "--epochs", 2
    answer = invoke(*words, "--set", "rate=0.1", "--checkpoint-seconds", 0)
    assert answer.code == 2
    message = answer.err.splitlines()[-1]
    assert message.startswith("reslab: there is not enough memory for steps of 16 images")
    advice = re.findall("`reslab ([^`]+)`", message)
    assert [words.split()[-2:] for words in advice] == [["--batch", "8"], ["run", "--remat"]]
    done = invoke(*shlex.split(advice[0]))
    assert done.code == 0, done.err
    run = Run.open("run")
    assert run.info["status"] == "done"
    assert run.info["recipe"]["batch"] == 8
    assert run.info["recipe"]["rate"] == pytest.approx(0.05)
    epochs = run.log("epoch")
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert epochs[-1]["step"] == 2 * (TRAIN_IMAGES // 8)
    when = "after 1.4 epochs" if step else "from the start"
    (note,) = (n["text"] for n in run.log("note") if "instead of" in n["text"])
    assert note.startswith(f"{when}: batch 8 instead of 16, learning rate 0.05 instead of 0.1; 42 ")
    assert note in done.err
    assert when in (run.path / "report.html").read_text(encoding="utf-8")


def test_the_printed_advice_about_activations_ends_with_a_finished_run(
    thirds: Path, fails: Any
) -> None:
    fails(MESSAGES[1], 14, remat=True)
    with pytest.raises(UserError, match="not enough memory") as raised:
        begin(thirds)
    advice = re.findall("`reslab ([^`]+)`", str(raised.value))
    assert "--remat" in advice[1]
    output_of(*shlex.split(advice[1]))
    run = Run.open("run")
    assert run.info["status"] == "done"
    assert run.info["remat"] is run.info["stacked"] is True
    assert run.info["resumed_with"] == [{"remat": True}]
    assert any("activations of stacked units are recomputed" in n["text"] for n in run.log("note"))
    assert not stacked.holders(reslab.load(run.path))  # the file has single layers, as before


@pytest.mark.core
def test_recomputed_activations_change_no_numbers(thirds: Path, fails: Any) -> None:
    begin(thirds, "whole", stacked=False)
    run = interrupted(thirds, fails, 14, stacked=False)
    fails(None)
    resumed = reslab.resume(run.path, remat=True, batch=None)
    assert resumed.info["status"] == "done"
    ours, theirs = (Run.open(name).log("epoch") for name in ("run", "whole"))
    for a, b in zip(ours, theirs, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02)
    # with zeros in place of the momentum of 14 steps, the first step is 10 % of what it should be
    one, other = reslab.load("run"), reslab.load("whole")
    for x, y in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=0.05, atol=0.02)


@pytest.mark.core
def test_every_image_of_the_epoch_is_seen_once(
    thirds: Path, fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 4 steps of 16 in the second epoch, steps of 8 go on with the next image."""
    taken: list[tuple[int, list[int]]] = []
    rows = Pipeline._rows

    def recorded(self: Pipeline, order: np.ndarray, step: int) -> np.ndarray:
        taken.append((step, rows(self, order, step).tolist()))
        return rows(self, order, step)

    run = interrupted(thirds, fails, 14)
    monkeypatch.setattr(Pipeline, "_rows", recorded)
    begin(thirds, "whole")
    second = dict(taken[10 * (len(taken) // 30) : 20 * (len(taken) // 30)])
    taken.clear()
    reslab.resume(run.path, batch=8)
    first_resumed = dict(taken[: len(taken) * 13 // 34])
    assert sorted(first_resumed) == list(range(8, 21))
    resumed = [i for step in range(8, 20) for i in first_resumed[step]]
    assert resumed == [i for step in range(4, 10) for i in second[step]]


def test_a_kill_between_the_record_and_the_checkpoint(thirds: Path, fails: Any) -> None:
    run = interrupted(thirds, fails, 14)
    shutil.copytree("run", "other")
    rebatch.change(Run.open("other"), 8, None)  # and killed here
    done, other = reslab.resume(run.path, batch=8), reslab.resume("other")
    same_bits(done, other)
    assert [n["text"] for n in done.log("note")] == [n["text"] for n in other.log("note")]


def test_a_larger_batch_keeps_the_log(thirds: Path, fails: Any) -> None:
    run = interrupted(thirds, fails, 19)
    fails(Killed(), 5, above=0)
    with pytest.raises(Killed):
        reslab.resume(run.path, batch=64)
    assert [line["epoch"] for line in run.log("epoch")] == [1, 2]
    fails(None)
    done = reslab.resume(run.path)
    lines = done.log("epoch")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [10, 4, 6]
    assert lines[-1]["rate"] <= 0.4


def test_batches_again_and_again(thirds: Path, fails: Any) -> None:
    """Steps are counted right after two changes, and when the first of them left no checkpoint."""
    run = interrupted(thirds, fails, 14)
    rebatch.change(run, 8, None)
    done = reslab.resume("run", batch=4)
    assert [each["batch"] for each in done.info["resumed_with"]] == [8, 4]
    assert done.info["recipe"]["rate"] == pytest.approx(0.025)
    assert done.log("epoch")[-1]["step"] == 3 * (TRAIN_IMAGES // 4)


def test_memory_that_is_short_after_the_last_step(
    thirds: Path, fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reslab.evaluation import evaluation

    with pytest.MonkeyPatch.context() as short:

        def compute(*_: object) -> None:
            raise MemoryError

        short.setattr(evaluation, "evaluate_on", compute)
        with pytest.raises(UserError, match="--batch 8"):
            begin(thirds)
    steps = checkpoint_weights(Run.open("run"))
    done = reslab.resume("run", batch=8)
    assert done.info["status"] == "done"
    for name, array in checkpoint_weights(done).items():
        if "iteration" not in name:
            np.testing.assert_array_equal(array, steps[name])


def test_a_checkpoint_of_an_earlier_version(thirds: Path, fails: Any) -> None:
    """It does not say in which batch its steps are counted: that of the run."""
    from reslab.core.files import read_arrays, write_arrays

    run = interrupted(thirds, fails, 14)
    file = run.checkpoints / "last.safetensors"
    arrays, meta = read_arrays(file)
    progress = {k: v for k, v in meta["progress"].items() if k not in ("batch", "earlier_step")}
    write_arrays(file, arrays, {"progress": progress})
    done = reslab.resume(run.path, batch=8)
    assert done.log("epoch")[-1]["step"] == 3 * (TRAIN_IMAGES // 8)


def test_what_does_not_go_together(thirds: Path, fails: Any, trained: Run) -> None:
    with pytest.raises(UserError, match="is finished, so --batch and --remat have no effect"):
        reslab.resume(trained.path, batch=8)
    run = interrupted(thirds, fails, 3)
    for batch in (0, -1, 174):
        with pytest.raises(UserError, match=rf"--batch {batch}: give 1 to 173"):
            reslab.resume(run.path, batch=batch)
    assert "resumed_with" not in json.loads((run.path / "run.json").read_text())
    further = reslab.resume(trained.path, epochs=0.5, batch=8, out="further")
    assert further.info["recipe"]["batch"] == 8
    rates = (r.info["recipe"]["rate"] for r in (trained, further))
    assert next(rates) / next(rates) == pytest.approx(trained.info["recipe"]["batch"] / 8)


def test_steps_become_epochs() -> None:
    recipe = rebatch.rescaled(
        Recipe("r", steps=50, batch=100, rate=0.4, warmup_rate=0.04), 25, 1010
    )
    assert (recipe.steps, recipe.epochs, recipe.batch) == (0, 5.0, 25)
    assert (recipe.rate, recipe.warmup_rate) == pytest.approx((0.1, 0.01))
    assert recipe.total_steps(1010 // 25) == 200
