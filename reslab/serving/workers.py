"""Several workers: processes that share one socket, started and replaced by this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from reslab.core.errors import UserError
from reslab.core.interrupts import on_signals
from reslab.serving.settings import ServerSettings

POLL_SECONDS = 0.2
METRICS = "PROMETHEUS_MULTIPROC_DIR"


class WorkerProcess:
    """One worker, and what it says of itself: "ready", or why it cannot serve."""

    def __init__(self, settings: ServerSettings, listener: socket.socket, page: str | None) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = spawn.Pipe(duplex=False)
        self.process = spawn.Process(target=_work, args=(settings, listener, page, theirs))
        self.process.start()
        theirs.close()
        self.ready = False

    def heard(self) -> str:
        """Read what the worker says. Returns why it cannot serve; empty if it can."""
        try:
            while self.pipe.poll():
                text = self.pipe.recv()
                if text != "ready":
                    return str(text)
                self.ready = True
        except EOFError:
            pass
        if self.process.is_alive() or self.ready:
            return ""
        return (
            f"a worker ended while it loaded the model (exit code {self.process.exitcode}): is "
            "there enough memory for so many workers?"
        )


def _work(
    settings: ServerSettings, listener: socket.socket, page: str | None, pipe: Connection
) -> None:
    """The main function of a worker."""
    from reslab.serving.server import run_worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all processes
    try:
        run_worker(settings, listener, lambda: pipe.send("ready"), page)
    except UserError as error:
        pipe.send(str(error))
        raise SystemExit(2) from None


def run_workers(
    settings: ServerSettings,
    listener: socket.socket,
    on_ready: Callable[[], None],
    note: Callable[[str], None],
    page: str | None = None,
) -> None:
    """Serve with several processes until SIGINT or SIGTERM.

    Raises:
        UserError: A worker cannot read the model.
    """
    stopped: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="reslab-metrics-") as folder,
        on_signals(lambda sig, _: stopped.append(sig)),
    ):
        os.environ[METRICS] = folder
        workers: list[WorkerProcess] = []
        try:
            for _ in range(settings.workers):
                workers.append(WorkerProcess(settings, listener, page))
            announced = False
            while not stopped:
                wait(_signs(workers), POLL_SECONDS)
                _check(workers, settings, listener, page, note)
                if not announced and all(worker.ready for worker in workers):
                    announced = True
                    on_ready()
        finally:
            listener.close()  # with the last copy the port is free
            for worker in workers:
                worker.process.terminate()  # SIGTERM: each answers what it accepted
            for worker in workers:
                worker.process.join()
            del os.environ[METRICS]


def _signs(workers: list[WorkerProcess]) -> list[Any]:
    """What becomes readable when a worker says something or ends."""
    return [
        *(worker.process.sentinel for worker in workers),
        *(worker.pipe for worker in workers if not worker.ready),
    ]


def _check(
    workers: list[WorkerProcess],
    settings: ServerSettings,
    listener: socket.socket,
    page: str | None,
    note: Callable[[str], None],
) -> None:
    """Replace workers that ended. Raises UserError for one that was never ready."""
    for i, worker in enumerate(workers):
        if reason := worker.heard():
            raise UserError(reason)
        if not worker.process.is_alive():
            from prometheus_client import multiprocess

            note(f"a worker ended (exit code {worker.process.exitcode}); another one starts")
            multiprocess.mark_process_dead(worker.process.pid)
            workers[i] = WorkerProcess(settings, listener, page)
