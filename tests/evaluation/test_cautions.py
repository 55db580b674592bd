"""Cautions: a result that is not better than chance, too few images, a loss that diverged."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.cli.train import train
from reslab.evaluation.cautions import WIDEST, cautions
from reslab.evaluation.metrics import classification_metrics, wilson
from reslab.evaluation.tasks.chance import baselines
from reslab.report import page
from tests.helpers.cli import output_of
from tests.helpers.runs import make_run

CLASSES = "boat", "bus", "car"
INFO: dict[str, Any] = {
    "data": {"classes": list(CLASSES), "facts": {}},
    "recipe": {"epochs": 10, "steps": 0, "rate": 0.4},
    "network": {"name": "resnet18"},
    "weights": None,
}


def evaluation(counts: dict[str, int], wrong: int) -> dict[str, Any]:
    """Return an evaluation of this many images by class, of which the first ones are wrong."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    predicted = labels.copy()
    predicted[:wrong] = (labels[:wrong] + 1) % len(counts)
    probabilities = np.eye(len(counts))[predicted]
    return {"split": "test", **classification_metrics(probabilities, labels, list(counts))}


def even(n: int) -> dict[str, int]:
    return dict.fromkeys(CLASSES, n)


def epochs(*val_losses: float, train_loss: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"kind": "epoch", "epoch": i, "step": 20 * i, "train_loss": train_loss, "val_loss": loss}
        for i, loss in enumerate(val_losses, 1)
    ]


@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=5),
    st.integers(0, 300),
)
def test_a_caution_means_that_the_interval_reaches_chance_or_is_wide(
    sizes: list[int], wrong: int
) -> None:
    n = sum(sizes)
    result = evaluation({f"class {i}": size for i, size in enumerate(sizes)}, min(wrong, n))
    low, high = wilson(min(wrong, n), n)
    guessing, largest = 1 - 1 / len(sizes), 1 - max(sizes) / n
    texts = cautions(INFO, result, [])
    assert bool(texts) == (high >= min(guessing, largest) or high - low > WIDEST)
    if high >= guessing:
        assert "not reliably better than guessing" in texts[0]
    elif high >= largest:
        assert "not reliably better than always naming 'class" in texts[0]
    elif texts:
        assert "too few for a reliable test error" in texts[0]


def test_the_story_of_the_issue() -> None:
    """23 of 36 wrong, at three classes: as good as guessing; 3 of 36: no caution."""
    (text,) = cautions(INFO, evaluation(even(12), 23), [])
    assert text == (
        "the test error of 63.9 % (47.6 to 77.5 %) on 36 images is not reliably better than "
        "guessing (66.7 %). Try a longer training (--epochs 20), a lower rate (--set rate=0.1), "
        "fine-tuning from trained weights (--weights torchvision/IMAGENET1K_V1) or more images of "
        "each class"
    )
    assert cautions(INFO, evaluation(even(12), 3), epochs(1.2, 0.4)) == []
    assert cautions(INFO, None, epochs(1.2, 0.4)) == []


def test_a_handful_of_test_images() -> None:
    """A folder of 20 photos has four for the test."""
    result = evaluation({"boat": 2, "bus": 1, "car": 1}, 0)
    (text,) = cautions(INFO, result, [])
    assert text.startswith("4 images are too few for a reliable test error: the interval is 49")
    images = int(re.search(r"About ([\d,]+) images", text)[1].replace(",", ""))  # type: ignore[index]
    centre = sum(wilson(0, 4)) / 2
    low, high = wilson(round(centre * images), images)
    assert high - low == pytest.approx(0.1, abs=0.01)


def test_the_largest_class_is_that_of_the_training_part() -> None:
    info = {**INFO, "data": {"classes": ["a", "b"], "facts": {"counts": {"train": {"b": 90}}}}}
    info["data"]["facts"]["counts"]["train"]["a"] = 10
    result = evaluation({"a": 70, "b": 30}, 65)
    assert baselines(info, result) == [
        ("guessing", 0.5),
        ("always naming 'b'", pytest.approx(0.7)),
    ]
    (text,) = cautions(info, evaluation({"a": 10, "b": 90}, 9), [])
    assert "always naming 'b' (10.0 %)" in text


def test_what_to_try_depends_on_the_run() -> None:
    result = evaluation(even(12), 23)

    def tries(log: list[dict[str, Any]] | None = None, **changes: Any) -> str:
        return cautions({**INFO, **changes}, result, log or [])[0].partition("Try ")[2]

    few = [{"kind": "epoch", "epoch": 3, "step": 3, "train_loss": 1.0}]
    assert tries(few).startswith("a longer training (--epochs 50), a lower")
    assert tries(epochs(1e6, 1)).startswith("a lower rate (--set rate=0.1), a longer")
    assert "--set steps=200" in tries(recipe={"steps": 100, "epochs": 0, "rate": 0.1})
    assert "--weights" not in tries(weights={"source": "x"})
    assert "(--weights RUN)" in tries(network={"name": "resnet20"})
    assert tries(recipe={}, weights={"source": "x"}) == "more images of each class"
    options = {option for parameter in train.params for option in parameter.opts}
    assert set(re.findall(r"--[\w-]+", tries())) <= options


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            epochs(1.1, 1e16, 0.7),
            "validation loss rose to 1e.16 in epoch 2 .guessing has 1.10.*came",
        ),
        (epochs(1.1, 0.9, 1e16), "did not come back"),
        (epochs(1.1, 0.9, train_loss=4.0), "training loss rose to 4 in epoch 2"),
        (
            [
                {"kind": "steps", "step": 50, "epoch": 0.5, "loss": 1.1},
                {"kind": "steps", "step": 150, "epoch": 1.5, "loss": 700.0},
                *epochs(1.1, 0.9),
            ],
            "training loss rose to 700 in epoch 2, step 150 .*came back: .*--set rate=0.1",
        ),
    ],
)
def test_a_loss_that_diverged(log: list[dict[str, Any]], expected: str) -> None:
    (text,) = cautions(INFO, evaluation(even(100), 3), log)
    assert re.search(expected, text), text


def test_a_few_steps_of_a_high_loss_are_no_divergence() -> None:
    """Epochs of seven steps: two of them are high, and the mean over 50 steps is not."""
    losses = [0.9] * 9 + [3.9, 5.2, 2.2] + [0.8] * 20
    log = [
        {"kind": "epoch", "epoch": i + 1, "step": 7 * (i + 1), "train_loss": loss, "val_loss": 1.0}
        for i, loss in enumerate(losses)
    ]
    assert cautions(INFO, evaluation(even(100), 3), log) == []
    log[13]["train_loss"] = 20.0
    (text,) = cautions(INFO, evaluation(even(100), 3), log)
    assert "and came back" in text


@given(st.lists(st.floats(0, 30 * math.log(3)), min_size=1), st.floats(0, 2.4 * math.log(3)))
def test_the_usual_ups_and_downs_are_no_divergence(losses: list[float], train_loss: float) -> None:
    assert cautions(INFO, None, epochs(*losses, train_loss=train_loss)) == []


def test_losses_that_are_missing() -> None:
    log = [
        {"kind": "note", "text": "a note"},
        {"kind": "epoch", "epoch": 1, "step": 3, "train_loss": 1.0, "val_loss": None},
    ]
    assert cautions(INFO, None, log) == []


def test_the_report_shows_them_at_the_top(tmp_path: Path) -> None:
    bad = make_run(tmp_path / "bad", classes=CLASSES, error=1.1, n=30)
    good = make_run(tmp_path / "good", classes=CLASSES, error=0.05, n=600)
    for run, expected in ((bad, 1), (good, 0)):
        html = page.write([run], tmp_path / "page.html").read_text(encoding="utf-8")
        assert html.count("<b>Caution:</b>") == expected
    html = page.write([bad, good], tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("<b>Caution:</b>") == 1


@pytest.mark.usefixtures("apart")
def test_train_and_evaluate_print_them(thirds: Path) -> None:
    printed = output_of(
        *("train", "tiny", "--data", thirds, "--epochs", 0.1, "--set", "rate=0", "--out", "run")
    )
    assert "caution: the test error of " in printed
    assert "caution: the test error of " in output_of("evaluate", "run")
    assert '"cautions": [' in output_of("evaluate", "run", "--json")
    assert "cautions" not in Path("run/evaluation.json").read_text(encoding="utf-8")
