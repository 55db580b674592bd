"""Which module shows the evaluation of which task."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from reslab.evaluation.tasks.registry import task_name

MODULES = {"classification": "reslab.report.classification"}


def module(info: Mapping[str, Any]) -> Any:
    """The module for a run with this run.json: it has `TEMPLATE` and `evaluation`."""
    return import_module(MODULES[task_name(info)])
