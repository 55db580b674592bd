"""What a training writes down about itself: run.json, and the card of the model file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import keras

from reslab.core import environment
from reslab.data import Data
from reslab.evaluation.tasks.registry import DEFAULT
from reslab.runs import recipe as recipes
from reslab.runs.options import TrainingOptions
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.spec.serialize import encode_network
from reslab.training.prepare import Preparation

OF_TASK = "task", "thresholds"  # entries of run.json that the card of the model has too


def run_info(prepared: Preparation, options: TrainingOptions) -> dict[str, Any]:
    """The entries of run.json at the beginning of a training."""
    data, counts = prepared.data, summary.counts(prepared.network)
    backend = keras.backend.backend()
    return {
        "command": environment.command(),
        "network": encode_network(prepared.network),
        "recipe": recipes.to_json(prepared.recipe),
        "data": {
            "name": data.name,
            "source": data.source,
            "classes": list(data.classes),
            "image_shape": list(data.image_shape),
            "checksum": data.checksum,
            "counts": sizes(data),
            "facts": data.facts,
            "provenance": data.provenance,
        },
        "backend": backend,
        "versions": environment.versions(),
        "commit": environment.commit(),
        "machine": environment.machine(backend),
        "params": counts.trainable_params,
        "multiply_adds": counts.multiply_adds,
        "notes": prepared.notes,
        "started": now(),
        "finished": None,
        "status": "running",
        "chosen_epoch": None,
        **({} if prepared.task.name == DEFAULT else {"task": prepared.task.name}),
        **options.record(
            weights=prepared.start and prepared.start.info,
            stacked=prepared.building.stacked,
            remat=prepared.building.remat,
        ),
    }


def sizes(data: Data) -> dict[str, int]:
    """The number of images in each part that the data have."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: len(part) for name, part in parts.items() if part is not None}


def card(run: Run) -> dict[str, Any]:
    """What a model file says about itself."""
    info = run.info
    return {
        "run": run.name,
        "classes": info["data"]["classes"],
        "image_shape": info["data"]["image_shape"],
        "view": info["data"]["facts"].get("view"),
        "scale": info["data"]["facts"].get("scale"),
        "data": info["data"]["name"],
        "network": info["network"],
        **{name: info[name] for name in OF_TASK if name in info},
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
