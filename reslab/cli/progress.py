"""Bars above which lines stay, and how a study is run beneath one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import click

from reslab.cli.options import INTERRUPTED, load_tensorflow, use_backend

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


class Bar:
    """A bar with these words on either side, on a terminal; lines stay above it anywhere."""

    def __init__(self, left: str, *right: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn(left, markup=False),
            BarColumn(),
            *(TextColumn(words) for words in right),
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
        self.bar.stop()

    def say(self, text: str) -> None:
        """A line above the bar, as it is: names of files may look like Rich's markup."""
        self.console.out(text, highlight=False)


class Work(Bar):
    """How much of some work is done; what is begun next has a bar of its own."""

    def __init__(self) -> None:
        super().__init__("{task.description}", "{task.percentage:.0f} %")
        self.total = 0.0

    def watch(self) -> Watch:
        from reslab.core.progress import Watch

        return Watch(say=self.say, start=self.start, step=self.step)

    def start(self, total: float) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task, self.total = None, total

    def step(self, done: float, words: str) -> None:
        if self.task is None:  # begun here, so that what was done before counts for no speed
            self.task = self.bar.add_task(words, total=self.total, completed=int(done))
        self.bar.update(self.task, completed=done, description=words)


def conduct(run: Callable[[Watch], Study], backend: str | None) -> Study:
    """Run a study with a bar; where it is stopped, say how to go on with it."""
    use_backend(backend)
    load_tensorflow()
    from reslab.core.interrupts import Interrupted

    with Work() as work:
        try:
            return run(work.watch())
        except Interrupted:
            work.close()
            click.echo("stopped and saved: the same command goes on with it", err=True)
            sys.exit(INTERRUPTED)
