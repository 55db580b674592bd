"""Progress bars, with lines that stay above them; and running a study below one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from reslab.cli.options import INTERRUPTED, load_tensorflow, use_backend
from reslab.cli.output import echo
from reslab.core.text import printable

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


class Bar:
    """A progress bar on standard error. Without a terminal only the lines appear.

    Args:
        left: The text on the left of the bar, as a Rich template.
        right: Texts on its right.
    """

    def __init__(self, left: str, *right: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn(left, markup=False),
            BarColumn(),
            *(TextColumn(text) for text in right),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: Any = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar; the lines stay."""
        self.bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar, without Rich's markup: a file name may look like it."""
        self.console.out(printable(text), highlight=False)


class StudyBar(Bar):
    """The bar of a study. Each phase of the study starts a new one."""

    def __init__(self) -> None:
        super().__init__("{task.description}", "{task.percentage:.0f} %")
        self.total = 0.0

    def watch(self) -> Watch:
        """The callbacks that a study reports its progress to."""
        from reslab.core.progress import Watch

        return Watch(say=self.say, start=self.start, step=self.step)

    def start(self, total: float) -> None:
        """Begin a phase of `total` units of work."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task, self.total = None, total

    def step(self, done: float, text: str) -> None:
        """Show that `done` units of the phase are finished.

        The first call creates the bar, so that work done in an earlier process does not count for
        the speed.
        """
        if self.task is None:
            self.task = self.bar.add_task(text, total=self.total, completed=int(done))
        self.bar.update(self.task, completed=done, description=text)


def run_study(run: Callable[[Watch], Study], backend: str | None) -> Study:
    """Run a study with a progress bar. After Ctrl-C, print how to continue, and exit with 130."""
    use_backend(backend)
    load_tensorflow()
    from reslab.core.interrupts import Interrupted

    with StudyBar() as bar:
        try:
            return run(bar.watch())
        except Interrupted:
            bar.close()
            echo("stopped and saved: run the same command again to continue", err=True)
            sys.exit(INTERRUPTED)
