"""How many of the labels that are listed as likely wrong are wrong, where some were made wrong.

    python bench/wrong_labels.py OUT.json

3 % of the labels of Fashion-MNIST get another class, in all parts. A residual network of 6 layers
is trained on 5,000 training images by the recipe `quick`, for 10 epochs. The lists are those of the
report: of test and validation images by confident learning, and of the same images by the
confidence of the contradiction. Labels that were wrong before count as right, so the true precision
is higher.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import reslab
from reslab.core.environment import machine, versions
from reslab.data import load
from reslab.evaluation import likely_labels
from reslab.evaluation.scoring import outputs
from reslab.evaluation.suspects import surest_mistakes
from reslab.models import saved
from reslab.spec import BN, Conv, Dense, GlobalAvgPool, Network, ReLU, stage
from reslab.zoo.resnet import basic

FRACTION, IMAGES, EPOCHS = 0.03, 5000, 10
TOPS = (20, 50, 100, 200)
NETWORK = Network(
    "small",
    {
        "conv1": (Conv(16, 3, stride=2), BN(), ReLU),
        "conv2_x": stage(basic, 32, 1, stride=2),
        "conv3_x": stage(basic, 64, 1, stride=2),
        "head": (GlobalAvgPool, Dense(10)),
    },
    (28, 28, 1),
)


def flipped(split: Any, key: int) -> tuple[Any, np.ndarray]:
    """A split with wrong labels, and where they are: bool (n,)."""
    rng, n = np.random.default_rng(key), len(split)
    wrong = np.zeros(n, bool)
    wrong[rng.permutation(n)[: round(FRACTION * n)]] = True
    others = (split.labels + rng.integers(1, 10, n)) % 10
    return replace(split, labels=np.where(wrong, others, split.labels).astype(np.int32)), wrong


def counted(ranking: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Of the first labels of a list, and of the whole list, how many were made wrong."""
    hits = wrong[ranking]
    return {
        "listed": len(ranking),
        "right": int(hits.sum()),
        "made_wrong": int(wrong.sum()),
        "first": {str(top): int(hits[:top].sum()) for top in TOPS if top <= len(hits)},
    }


def main(out: Path) -> None:
    data = load("fashion-mnist", images=IMAGES)
    parts, wrong = {}, {}
    for key, name in enumerate(("train", "validation", "test")):
        parts[name], wrong[name] = flipped(getattr(data, name), key)
    data = replace(data, **parts, checksum=f"{data.checksum} 3 % wrong", provenance={})
    with tempfile.TemporaryDirectory() as folder:
        run = reslab.train(NETWORK, data, "quick", epochs=EPOCHS, out=Path(folder) / "run")
        model, _ = saved.load_with_card(run.model_path)
        evaluation = run.evaluation  # read from the folder
    assert evaluation is not None
    unseen = ("test", "validation")
    probabilities = np.concatenate([outputs(model, parts[name]) for name in unseen])
    labels = np.concatenate([parts[name].labels for name in unseen])
    planted = np.concatenate([wrong[name] for name in unseen])
    result = {
        "versions": versions(),
        "machine": machine("torch"),
        "network": NETWORK.name,
        "images": {"train": IMAGES, "unseen": len(labels)},
        "test_error": evaluation["top1_error"],
        "confident_learning": counted(likely_labels.ranked(probabilities, labels), planted),
        "contradictions": counted(surest_mistakes(probabilities, labels), planted),
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
