"""What is done for each request, whatever it asks for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from reslab.serving.worker import ServerWorker

DISCARD_SECONDS = 1.0  # for the rest of a refused request
CLOSE = b"connection", b"close"


class RequestGate:
    """Counts answers, and ends connections that must not stay open.

    A client that still sends gets an answer only if the server reads on. So the rest of a refused
    request is read and discarded for a moment, before the answer.
    """

    def __init__(self, app: ASGIApp, worker: ServerWorker) -> None:
        self.app, self.worker = app, worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        more = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        waits = any(name == b"expect" for name, _ in scope["headers"])  # for us, with its body

        async def receive_all() -> Message:
            nonlocal more, waits
            waits = False
            message = await receive()
            more = bool(message.get("more_body"))
            return message

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                if more and not waits:
                    await _discard(receive_all)
                if more or self.worker.draining:
                    message["headers"] = [*message.get("headers", []), CLOSE]
                self.worker.metrics.count(_path(scope), message["status"])
            await send(message)

        await self.app(scope, receive_all, send_counted)


def _path(scope: Scope) -> str:
    """The address without names, so that there are few of them."""
    if "endpoint" not in scope:
        return "other"
    path = str(scope["path"])
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path


async def _discard(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while (await receive()).get("more_body"):
                pass
