"""The process that sends the log of one run to one tracker.

A library of a tracker works over the network, starts threads and registers handlers. In a process
of its own nothing of this can reach the training: neither its random state, nor its signals, nor an
error, nor a server that does not answer. The process reads log.jsonl while it grows. It ends when
its standard input does, so also after the training was killed.

It writes messages to its standard output, one JSON object a line: `place`, `sent` or `failed`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reslab.core.errors import UserError, one_line
from reslab.runs.run import Run
from reslab.trackers.base import TRACKERS, Connection, Tracker
from reslab.trackers.rows import LogTail, results

INTERVAL = 0.5  # seconds between two looks at the log
MOST_ROWS = 50  # of one `send`
IGNORED = "SIGINT", "SIGTERM", "SIGHUP"  # they are for the training, whose end is told by stdin

Say = Callable[..., None]


def main(name: str, path: str, patience: float, limit: float) -> None:
    """Follow the run in a folder until standard input ends.

    Args:
        name: The tracker.
        path: The folder of the run.
        patience: Seconds for another process to finish that sends the same run to this tracker.
        limit: Seconds for the last rows and the report after that end; 0 for no limit.
    """
    for kind in IGNORED:
        if hasattr(signal, kind):
            signal.signal(getattr(signal, kind), signal.SIG_IGN)
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the library prints

    def say(**message: Any) -> None:
        with suppress(OSError):  # the training was killed
            print(json.dumps(message), file=messages, flush=True)

    sys.modules["torch"] = None  # type: ignore[assignment] # tensorboardX imports it, which takes 2 s
    over = threading.Event()
    threading.Thread(target=_wait_for_end, args=(over, limit), daemon=True).start()
    try:
        with only_one(name, path, patience):
            follow(TRACKERS[name], path, over, say)
    except UserError as error:
        say(failed=str(error))
    except BaseException as error:  # libraries also end the process
        say(failed=f"{type(error).__name__}: {one_line(error)}" if str(error) else repr(error))
    messages.close()
    sys.stderr.flush()
    os._exit(0)  # libraries wait for their servers at exit, which can take without end


def _wait_for_end(over: threading.Event, limit: float) -> None:
    while os.read(0, 1024):
        pass
    over.set()
    if limit:
        threading.Event().wait(limit)
        os._exit(1)


def follow(tracker: Tracker, path: str, over: threading.Event, say: Say) -> None:
    """Send the rows of a log while it grows, and at last the evaluation and the report."""
    run = Run.open(path)
    connection = tracker.open(run)
    say(place=connection.place)
    tail, sent = LogTail(run), 0
    while True:
        last = over.is_set()  # before the log is read for the last time
        sent += _send(connection, tail)
        if last:
            break
        over.wait(INTERVAL)
    run = Run.open(path)
    status = str(run.info["status"])
    row = results(run, max(0, connection.position.step)) if status == "done" else None
    if row is not None and row.position > connection.position:
        connection.send([row])
        sent += 1
    report = run.path / "report.html"
    connection.close(status, report if report.exists() and status != "running" else None)
    say(sent=sent)


def _send(connection: Connection, tail: LogTail) -> int:
    """Send the new rows that the tracker does not have; returns how many."""
    new, sent = tail.read(), 0
    while rows := list(islice(new, MOST_ROWS)):
        missing = []
        for row in rows:
            if row.position > connection.position:
                connection.position = row.position
                missing.append(row)
        if missing:
            connection.send(missing)
            sent += len(missing)
    return sent


@contextmanager
def only_one(name: str, path: str, patience: float) -> Iterator[None]:
    """Lock a tracker of a run for a block."""
    lock = FileLock(Path(path) / f".{name}.lock", timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process sends {path} to {name}: wait for it") from None
    except (OSError, NotImplementedError):  # a file system without locks
        pass
    yield  # the lock ends with the process
