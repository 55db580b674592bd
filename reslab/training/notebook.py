"""The live progress of a training in a notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Mapping
from typing import Any

from reslab.core.progress import Watch
from reslab.runs.display import curves_html

INTERVAL = 0.5  # seconds between two updates of the output
LINES = 6  # lines of text that are shown


def watch() -> Watch | None:
    """Show the progress of a training below the cell; None outside of a notebook."""
    if not in_notebook():
        return None
    output = Output()
    return Watch(say=output.say, start=output.start, step=output.step, epoch=output.epoch)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code. IPython in a terminal has no kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class Output:
    """One output of a cell, updated while the training runs."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.lines: list[str] = []
        self.epochs: list[Mapping[str, Any]] = []
        self.total = self.done = 0.0
        self.state = ""
        self.updated = 0.0

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.show()

    def start(self, total: float) -> None:
        self.total = total
        self.show()

    def step(self, done: float, text: str) -> None:
        self.done, self.state = done, text
        if time.monotonic() - self.updated >= INTERVAL:
            self.show()

    def epoch(self, line: Mapping[str, Any]) -> None:
        self.epochs.append(line)
        self.show()

    def show(self) -> None:
        from IPython.display import HTML, display

        self.updated = time.monotonic()
        if self.handle is None:
            self.handle = display(HTML(self.html()), display_id=True)
        else:
            self.handle.update(HTML(self.html()))

    def html(self) -> str:
        first, *others = self.lines or [""]
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in (first, *others[-LINES:]))
        bar = ""
        if self.total:
            bar = (
                f"<div><progress value='{self.done:g}' max='{self.total:g}'></progress> "
                f"{self.done:g} of {self.total:g} steps; {html.escape(self.state)}</div>"
            )
        return lines + bar + curves_html(self.epochs)
