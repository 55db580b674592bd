"""The module of each task that shows its evaluation in a report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from reslab.evaluation.tasks.registry import task_name

MODULES = {
    "classification": "reslab.report.classification",
    "multilabel": "reslab.report.multilabel",
}


def module(info: Mapping[str, Any]) -> Any:
    """Return the module for a run; it has `TEMPLATE`, `evaluation` and `tiles`."""
    return import_module(MODULES[task_name(info)])
