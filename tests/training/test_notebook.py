"""The display of a training in a notebook, and that of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reslab
from reslab.runs.run import Run
from reslab.training import notebook
from tests.helpers import tiny


def test_a_run_displays_its_result_and_its_report(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.path.parent)
    shown = trained._repr_html_()
    assert "48 images" in shown  # of the test set
    assert f"src='{trained.path.name}/report.html'" in shown
    assert shown.count("<polyline") == 2  # training and validation error
    assert "http" not in shown


def test_names_are_escaped(trained: Run) -> None:
    info = {**trained.info, "data": {**trained.info["data"], "name": "<script>"}}
    shown = Run(trained.path, info)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_there_is_no_display_outside_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook.watch() is None
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)  # type: ignore[arg-type]
    assert notebook.watch() is None


def test_a_training_in_a_notebook_updates_one_output(
    thirds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[str] = []

    def display(content: str, display_id: bool) -> Any:
        assert display_id
        outputs.append(content)
        return SimpleNamespace(update=outputs.append)

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True))
    shown = SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", kernel)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", shown)  # type: ignore[arg-type]
    monkeypatch.setattr(notebook, "INTERVAL", 0.0)

    run = reslab.train(tiny.NETWORK, thirds, epochs=2, batch=64, out=tmp_path / "run")

    assert str(run.path) in outputs[0]
    assert "over 2 epochs" in outputs[-1]
    assert "validation error" in outputs[-1]
    assert "evaluating" in outputs[-1]
    assert len(outputs) > 4  # steps too
