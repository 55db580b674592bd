"""SIGINT and SIGTERM: finish the step, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run; what it had saved is whole, and `resume` goes on from it.

    No `Exception`, so that nobody on the way takes it for a failure and goes on.
    """


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that a step is finished before the run stops."""
    stop = threading.Event()
    with on_signals(lambda *_: stop.set()):
        yield stop


@contextmanager
def on_signals(handle: Callable[..., Any]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `handle`, in the main thread, and unless they are ignored there.

    A shell has background jobs ignore SIGINT: it is meant for the one in front.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    heard = [kind for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN]
    before = {kind: signal.signal(kind, handle) for kind in heard}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def interrupt(*_: object) -> None:
    """A handler for where there is no step to finish: files appear whole or not at all."""
    raise Interrupted
