"""What a page says about its model, and what the scripts of the page need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.data import images
from reslab.engines.inference import inference
from reslab.evaluation.tasks.registry import task_of
from reslab.formats.exportable import Exportable
from reslab.formats.views import CentreView, ResizedView, View
from reslab.plots.format import count, percent
from reslab.runs.run import Run
from reslab.spec.serialize import decode_network
from reslab.weights import preprocessing

UNSURE_PART = 0.05  # of the validation images lie below the threshold
UNSURE_IMAGES = 500  # on which it is chosen, at most
BATCH = 32  # images that are read at once


def facts(card: Mapping[str, Any], view: View, run: Run | None) -> dict[str, Any]:
    """What the page shows and needs; JSON-serialisable.

    Args:
        card: Of the model: "classes", "image_shape" and others.
        view: How a picture becomes an image of the model.
        run: The run that trained the model, if it is known.
    """
    task = task_of(card)
    evaluation = run.evaluation if run is not None else None
    high, wide, channels = card["image_shape"]
    return {
        "title": _title(card),
        "data": card.get("data"),
        "weights": _weights(card.get("weights")),
        "source": _source(card),
        "task": task.name,
        "classes": list(card["classes"]),
        "thresholds": card.get("thresholds"),
        "channels": channels,
        "size": f"{wide} x {high}",
        "view": {"kind": _KINDS[type(view)], **asdict(view)},
        "middle": view.margin if isinstance(view, CentreView) else view.resize is not None,
        "margin": images.MARGIN,
        "needed": images.needed((high, wide), None),
        "evaluation": task.sentence(evaluation) if evaluation else None,
        "images": run.info["data"]["counts"] if run is not None else None,
        "parameters": count(run.info.get("params")) if run is not None else None,
    }


_KINDS = {CentreView: "centre", ResizedView: "resized"}


def view_of(card: Mapping[str, Any]) -> View:
    """The view of a model with this card."""
    if "preprocessing" in card:
        pre = preprocessing.decode(card["preprocessing"])
        return ResizedView(pre.size, pre.size, pre.resize, pre.interpolation)
    height, width, _ = card["image_shape"]
    return CentreView(height, width, margin=bool(card.get("view")))


def _title(card: Mapping[str, Any]) -> str:
    network = _network(card)
    return (network.title or network.name) if network is not None else "A trained model"


def _weights(weights: str | None) -> str | None:
    """The name of published weights, or of a file without its folders."""
    if weights is None or weights.split("/")[0] in ("timm", "torchvision", "keras"):
        return weights
    return Path(weights).name


def _source(card: Mapping[str, Any]) -> str:
    network = _network(card)
    return network.source if network is not None else ""


def _network(card: Mapping[str, Any]) -> Any:
    try:
        described = card["network"]
        return zoo.network(described) if isinstance(described, str) else decode_network(described)
    except (KeyError, UserError):
        return None


def unsure(source: Exportable) -> dict[str, Any] | None:
    """Below which largest probability a picture looks like none of the classes.

    The baseline of Hendrycks and Gimpel 2017 (arXiv 1610.02136): pictures of other things have a
    lower largest probability on average. The threshold is the 5 % quantile on images of the data,
    of which training does not know the classes: those for validation if the run has them.

    Returns:
        `{"below", "part", "images", "of"}`; None where there are no such images, or several labels.
    """
    sample = source.sample
    if not sample.real or sample.text == "training images":
        return None
    if task_of(source.card).activation != "softmax":
        return None
    positions = sample.spread(UNSURE_IMAGES)
    run = inference(source.model, compare=False)
    parts = [positions[i : i + BATCH] for i in range(0, len(positions), BATCH)]
    largest = [run.predict(source.in_order(sample.read(part))).max(-1) for part in parts]
    return {
        "below": float(np.quantile(np.concatenate(largest), UNSURE_PART)),
        "part": UNSURE_PART,
        "images": len(positions),
        "of": sample.text,
    }


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """What the model cannot know."""
    classes = len(facts["classes"])
    lines = []
    if facts["task"] == "classification":
        lines.append(f"It answers with one of its {classes:,} classes, whatever the picture shows.")
    else:
        lines.append(f"It knows {classes:,} labels and nothing else of the picture.")
    if rule := facts.get("unsure"):
        lines.append(
            f"If its largest probability is below {percent(rule['below'])}, this page says that "
            f"the picture looks like none of the classes. Of {rule['images']:,} {rule['of']}, "
            f"{100 * rule['part']:.0f} % are below. The rule finds some pictures of other things, "
            "not all: a model can be sure and wrong."
        )
    if facts["evaluation"]:
        lines.append(
            f"The error was measured on images of {facts['data']}. On pictures that were made in "
            "another way it can be larger."
        )
    else:
        lines.append("It has not been evaluated on test images, so its error is not known here.")
    if facts["maps"]:
        lines.append(
            "The map shows where the picture speaks for a class. It does not show the reason, and "
            "a large value can be on the background."
        )
    return lines
