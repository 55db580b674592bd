"""The notebooks run from the first cell to the last, on small data, and are saved clean."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import pages

NOTEBOOKS = pages.ROOT / "docs" / "notebooks"
SMALL = {
    "my-photos": "NETWORK, SIZE, EPOCHS = 'resnet20', 32, 2",
    "why-residual-networks-work": "DATA, DEPTH, IMAGES, EPOCHS = 'small', 20, 64, 2",
}


def cells(name: str) -> list[dict[str, Any]]:
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return list(notebook["cells"])


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_is_saved_without_outputs(name: str) -> None:
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    (parameters,) = (cell for cell in code if "parameters" in cell["metadata"].get("tags", []))
    assert "FOLDER" in "".join(parameters["source"]) or "DATA" in "".join(parameters["source"])


@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel"))
    and not os.environ.get("CI"),
    reason="there is no Jupyter kernel: scripts/install notebooks",
)
@pytest.mark.filterwarnings("default")  # Jupyter's own
@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs_and_shows_progress_and_result(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    here = tmp_path / "here"
    here.mkdir()
    pages.make_data(here)
    command = pages.make_command(tmp_path)
    monkeypatch.setenv("PATH", f"{command}{os.pathsep}{os.environ['PATH']}")
    path = os.pathsep.join(filter(None, (str(pages.ROOT), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    for variable, value in (
        ("KERAS_BACKEND", "torch"),
        ("RESLAB_OFFLINE", "1"),
        ("RESLAB_CACHE", str(tmp_path / "cache")),
        ("MPLBACKEND", "module://matplotlib_inline.backend_inline"),
        ("IPYTHONDIR", str(tmp_path / "ipython")),
    ):
        monkeypatch.setenv(variable, value)

    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (at,) = (i for i, cell in enumerate(notebook.cells) if cell.metadata.get("tags"))
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(SMALL[name]))
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(cwd=str(here))

    outputs = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    texts = [output["data"]["text/html"] for output in outputs]
    assert any(
        "over 2 epochs" in text and "evaluating" in text for text in texts
    )  # the progress, updated in place
    assert any("top1 error" in text and "report.html" in text for text in texts)
    assert any(
        "image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])
    )
