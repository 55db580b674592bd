"""Handle SIGINT and SIGTERM: finish the current step, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal stopped the work; what was saved is whole, and can be resumed.

    It is no `Exception`, so that no handler takes it for a failure and continues.

    Attributes:
        path: The folder of the run that can be resumed, if there is one.
    """

    path: Path | None = None


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set, so that the current step is finished first."""
    stop = threading.Event()
    with on_signals(lambda *_: stop.set()):
        yield stop


@contextmanager
def on_signals(handle: Callable[..., Any]) -> Iterator[None]:
    """SIGINT and SIGTERM call `handle` inside: in the main thread, unless they are ignored.

    A shell makes background jobs ignore SIGINT, which is meant for the job in the foreground.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    active = [kind for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN]
    before = {kind: signal.signal(kind, handle) for kind in active}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def interrupt(*_: object) -> None:
    """A handler for code without a step to finish: files appear whole or not at all."""
    raise Interrupted
