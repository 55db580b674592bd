"""The process of one worker: it serves until a signal, and loses no accepted request."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from reslab.serving.app import create_app
from reslab.serving.connection import JsonConnection
from reslab.serving.settings import ServerSettings
from reslab.serving.worker import ServerWorker

KEEP_ALIVE_SECONDS = 20


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which after a signal goes on for a moment before it stops.

    In this moment "ready" is 503, requests are answered, and each answer closes its connection.
    """

    def __init__(
        self, config: uvicorn.Config, worker: ServerWorker, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.worker, self.on_ready = worker, on_ready
        self.stop_at = float("inf")
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for SIGINT and SIGTERM."""
        if self.worker.draining and sig == signal.SIGINT:
            self.stop_at, self.force_exit = 0.0, True
        elif not self.worker.draining:
            drains = self.worker.ready
            self.worker.draining = True
            seconds = self.worker.limits.drain_seconds if drains else 0.0
            self.stop_at = time.monotonic() + seconds

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. Returns whether the server stops."""
        stop = await super().on_tick(counter)
        if self.worker.ready and not self._announced:
            self._announced = True
            self.on_ready()
        return stop or self.worker.failure is not None or time.monotonic() >= self.stop_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer what was accepted, and end."""
        accepted = [client for each in sockets or [] for client in _accept_all(each)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for client in accepted:
            await loop.connect_accepted_socket(self._connection, client)
        await super().shutdown(sockets)

    def _connection(self) -> Any:
        return JsonConnection(self.config, self.server_state, self.lifespan.state)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """The connections that clients have opened: closing the socket would reset them."""
    accepted: list[socket.socket] = []
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return accepted
        client.setblocking(False)
        accepted.append(client)


def make_server(
    worker: ServerWorker, on_ready: Callable[[], None], page: str | None = None
) -> DrainingServer:
    """The server of a worker. `run` serves; `page` is the HTML at "/"."""
    limits = worker.limits
    # it warns of each form that is damaged, and the client is told anyway
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        create_app(worker, page),
        http=JsonConnection,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.request_seconds + 1),
    )
    return DrainingServer(config, worker, on_ready)


def run_worker(
    settings: ServerSettings,
    listener: socket.socket,
    on_ready: Callable[[], None],
    page: str | None = None,
) -> None:
    """Load the model and serve on a socket until SIGINT or SIGTERM.

    Raises:
        UserError: The model cannot be read.
    """
    worker = ServerWorker(settings)
    server = make_server(worker, on_ready, page)
    worker.load()
    server.run(sockets=[listener])
    if worker.failure is not None:
        raise worker.failure
