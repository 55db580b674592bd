"""Tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reslab.core.errors import unknown

if TYPE_CHECKING:
    from reslab.evaluation.tasks.base import Task

DEFAULT = "classification"  # the task of a run whose run.json names none
TASKS = {
    "classification": "reslab.evaluation.tasks.classification",
    "multilabel": "reslab.evaluation.tasks.multilabel",
}
RESULTS = {  # modules without Keras: the main result of an evaluation, and what chance reaches
    "classification": "reslab.evaluation.tasks.chance",
    "multilabel": "reslab.evaluation.tasks.multilabel_chance",
}


def task(name: str = DEFAULT) -> Task:
    """The task of this name; raises UserError if there is none."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    loaded: Task = import_module(TASKS[name]).TASK
    return loaded


def task_name(info: Mapping[str, Any]) -> str:
    """The task named in a run.json or a model's card; raises UserError for an unknown one."""
    name = str(info.get("task", DEFAULT))
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return name


def task_of(info: Mapping[str, Any]) -> Task:
    """The task of a run with this run.json, or of a model with this card."""
    return task(task_name(info))


def result_module(info: Mapping[str, Any]) -> Any:
    """The module of `RESULTS` for a run with this run.json."""
    return import_module(RESULTS[task_name(info)])
