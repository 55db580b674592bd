"""Tasks: training looks up a task by its name and does not import classification."""

from __future__ import annotations

import ast
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.data import ArraySplit, Data
from reslab.evaluation.tasks.base import Task
from reslab.evaluation.tasks.registry import TASKS, task, task_of
from reslab.report.tasks import MODULES
from reslab.runs.run import Run
from tests.helpers import tiny

ROOT = Path(reslab.__file__).parent
CLASSIFICATION_MODULES = ("tasks.classification", "evaluation.metrics", "evaluation.scoring")


def test_every_task_is_complete_and_has_its_report() -> None:
    assert MODULES.keys() == TASKS.keys()
    for name in TASKS:
        assert isinstance(task(name), Task)
        assert task(name).name == name
        assert (ROOT / "report" / "templates" / import_module(MODULES[name]).TEMPLATE).exists()


@pytest.mark.parametrize("package", ["runs", "training", "cli"])
def test_training_runs_and_commands_do_not_import_a_task(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                assert not [n for n in names for part in CLASSIFICATION_MODULES if part in n], path


def test_a_run_without_a_task_is_a_classification(trained: Run) -> None:
    assert "task" not in trained.info
    assert task_of(trained.info) is task("classification")


def test_a_run_of_an_unknown_task_is_refused(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "task": "classificaton"}))
    with pytest.raises(UserError, match="no task 'classificaton'; did you mean 'classification'"):
        reslab.evaluate(tmp_path / "run")


def test_targets_of_a_classification() -> None:
    """Targets are one-hot vectors. With balance, images of larger classes have smaller weights."""
    x, y = tiny.images(12, seed=0)
    y = np.where(y == 2, 0, y)  # 8 of class 0, 4 of class 1
    split = ArraySplit.of(x, y)
    data = Data("array", "Python", ("a", "b"), (8, 8, 1), split, None, None, "", {}, {})
    vectors, weights = task().targets(data, False)(np.array([0, 1]))
    np.testing.assert_array_equal(vectors, np.eye(2))
    assert weights is None
    _, weights = task().targets(data, True)(np.array([0, 1]))
    np.testing.assert_allclose(weights, [12 / 16, 12 / 8])
    mixed, _ = task().targets(data, False)(np.array([[0.3, 0.7]]))
    np.testing.assert_array_equal(mixed, [[0.3, 0.7]])
