"""What a reader of a result should be warned of, and what to try (no Keras).

Cautions are computed from stored values, so that old runs have them too. The module of the task in
`result_module` has the functions that depend on what is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reslab.evaluation import unseen
from reslab.evaluation.tasks.registry import result_module
from reslab.plots.format import interval, percent
from reslab.weights.registry import TORCHVISION

# Fewer updates rarely leave the error of guessing: of new weights, and of trained ones that adapt.
# All trainings of 60 steps in bench/results/small-sets.json left it.
FEWEST_STEPS, FEWEST_STEPS_WITH_WEIGHTS = 50, 30
# A 95 % interval that is wider says little: 0 of 8 wrong is 0 to 32 %, 5 of 36 is 6 to 29 %.
WIDEST = 0.25
AIM = 0.1  # the width that is recommended
Z2 = 1.96**2
# A loss this many times the loss of guessing is a divergence. A mean over 50 steps of training
# stays below 2.5 in trainings that end well. In bench/results/small-sets.json, at the rates of the
# rule, the validation loss stays below 1,100: it is high in the first epochs, while batch norm's
# running statistics are far from those of the batches.
TRAINING, VALIDATION = 3.0, 3000.0
WINDOW = 50  # steps


def cautions(
    info: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    log: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return one text for each caution: what is wrong, then what to try. Often there are none.

    Args:
        info: The content of run.json.
        evaluation: The content of evaluation.json; None if there is none.
        log: The lines of log.jsonl.
    """
    seen = unseen.sentence(evaluation or {})
    return [
        *([seen] if seen else ()),
        *of_evaluation(info, evaluation, log),
        *_divergence(info, log),
    ]


def of_evaluation(
    info: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    log: Sequence[Mapping[str, Any]] = (),
) -> Iterator[str]:
    """The cautions that concern an evaluation: no better than chance, or too few images."""
    if evaluation is None:
        return
    task = result_module(info)
    error, n, split = task.main(evaluation), evaluation["n"], evaluation.get("split", "test")
    if error["value"] is None:  # no image has a label
        return
    what = task.MEASURE if split == "all" else f"{split} {task.MEASURE}"
    measured = f"{percent(error['value'], n)} ({interval(error, n)})"
    reached = [
        (name, rate)
        for name, rate in task.baselines(info, evaluation)
        if (error["low"] <= rate if task.HIGHER_IS_BETTER else error["high"] >= rate)
    ]
    images = f"{n:,} image" if n == 1 else f"{n:,} images"
    if reached:
        name, rate = reached[0]
        yield (
            f"the {what} of {measured} on {images} is not reliably better than {name} "
            f"({percent(rate, n)}). Try {_tries(info, log)}"
        )
    elif (width := error["high"] - error["low"]) > WIDEST:
        needed = _needed(error["value"], n) if task.IS_RATE else _rounded(n * (width / AIM) ** 2)
        yield (
            f"{images} are too few for a reliable {what}: the interval is "
            f"{100 * width:.0f} points wide. About {needed} images narrow it "
            f"to {100 * AIM:.0f} points"
        )


def _needed(rate: float, n: int) -> str:
    """How many images give an interval of width `AIM`, to two digits."""
    centre = (rate + Z2 / (2 * n)) / (1 + Z2 / n)
    return _rounded(4 * Z2 * centre * (1 - centre) / AIM**2)


def _rounded(images: float) -> str:
    digits = 10 ** max(0, math.floor(math.log10(images)) - 1)
    return f"{math.ceil(images / digits) * digits:,}"


def _tries(info: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> str:
    """What may help, most promising first, as options of `reslab train`."""
    recipe = info.get("recipe", {})
    longer = rate = []
    if recipe.get("steps"):
        longer = [f"a longer training (--set steps={2 * recipe['steps']})"]
    elif recipe.get("epochs"):
        longer = [f"a longer training (--epochs {_more_epochs(recipe['epochs'], log)})"]
    if recipe.get("rate"):
        rate = [f"a lower rate ({_lower_rate(recipe)})"]
    tries = rate + longer if any(_divergence(info, log)) else longer + rate
    if not info.get("weights"):
        tries.append(f"fine-tuning from trained weights (--weights {_weights(info)})")
    tries.append("more images of each class")
    return f"{', '.join(tries[:-1])} or {tries[-1]}" if tries[1:] else tries[0]


def _more_epochs(epochs: float, log: Sequence[Mapping[str, Any]]) -> str:
    """Twice as many, and at least `FEWEST_STEPS`."""
    lines = [line for line in log if line["kind"] == "epoch"]
    steps_per_epoch = lines[-1]["step"] / lines[-1]["epoch"] if lines else math.inf
    return f"{max(2 * epochs, math.ceil(FEWEST_STEPS / steps_per_epoch)):g}"


def _weights(info: Mapping[str, Any]) -> str:
    """Published weights of the run's network, or the name for another run's folder."""
    versions = TORCHVISION.get(str(info.get("network", {}).get("name")), {})
    return f"torchvision/{next(reversed(versions))}" if versions else "RUN"


def _lower_rate(recipe: Mapping[str, Any]) -> str:
    return f"--set rate={recipe['rate'] / 4:.2g}"


def _training_losses(
    log: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Means of the training loss over `WINDOW` steps or a little more, each with its last line.

    Epochs of fewer steps are taken together: a mean over a few steps can be high in a training that
    ends well.
    """
    yield from ((line, line["loss"]) for line in log if line["kind"] == "steps" and "loss" in line)
    epochs = [line for line in log if line["kind"] == "epoch" and "train_loss" in line]
    starts = [0, *(line["step"] for line in epochs)]
    for last in range(len(epochs)):
        first = last
        while first and starts[last + 1] - starts[first] < WINDOW:
            first -= 1
        steps = [starts[i + 1] - starts[i] for i in range(first, last + 1)]
        if sum(steps) < WINDOW and last + 1 < len(epochs):
            continue
        total = sum(n * epochs[i]["train_loss"] for i, n in enumerate(steps, first))
        yield epochs[last], total / max(1, sum(steps))


def _divergence(info: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The largest loss of training or validation, if it is far above that of guessing."""
    task = result_module(info)
    guessing = task.loss_of_guessing(info)
    losses = [(line, "validation", line.get("val_loss")) for line in log if line["kind"] == "epoch"]
    losses += [(line, "training", loss) for line, loss in _training_losses(log)]
    losses = [entry for entry in losses if isinstance(entry[2], int | float)]
    limits = {"validation": VALIDATION * guessing, "training": TRAINING * guessing}
    above = [
        (value / limits[part], part, value, line)
        for line, part, value in losses
        if value > limits[part]
    ]
    if not above:
        return
    _, part, value, line = max(above, key=lambda entry: entry[0])
    last = [value for _, other, value in losses if other == part][-1]
    where = f"in epoch {math.ceil(line['epoch'])}"
    if line["kind"] == "steps":
        where += f", step {line['step']}"
    then = "and did not come back" if last > limits[part] else "and came back"
    recipe = info.get("recipe", {})
    lower = f" ({_lower_rate(recipe)})" if recipe.get("rate") else ""
    yield (
        f"the {part} loss rose to {value:.3g} {where} (guessing has {guessing:.2f}) {then}: the "
        f"training diverged. Try a lower rate{lower}"
    )
