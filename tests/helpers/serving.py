"""Servers in a thread of the test, a model that is quick or waits, and plain HTTP."""

from __future__ import annotations

import http.client
import io
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reslab.evaluation.predictor import Predictor
from reslab.evaluation.tasks.registry import task
from reslab.models.preprocess import Preprocess
from reslab.serving.address import listen
from reslab.serving.model import ServedModel
from reslab.serving.server import DrainingServer, make_server
from reslab.serving.settings import ServerLimits, ServerSettings
from reslab.serving.worker import ServerWorker

SHAPE = 8, 8, 3
CLASSES = "red", "green", "blue"


@dataclass
class Reply:
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """The text of an error, which must be JSON."""
        assert 400 <= self.status < 600
        assert self.headers["content-type"] == "application/json"
        assert list(self.json) == ["error"]
        return str(self.json["error"])


@dataclass
class ThreadedServer:
    """A server that runs in a thread."""

    port: int
    worker: ServerWorker
    server: DrainingServer
    thread: threading.Thread
    errors: list[BaseException] = field(default_factory=list)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            chunked = not isinstance(body, bytes | None)
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any, kind: str = "", **headers: str) -> Reply:
        """Post bytes, or a value as JSON. Underscores in the names of headers are hyphens."""
        if not isinstance(body, bytes | Iterator):
            body, kind = json.dumps(body).encode(), "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, body, {"content-type": kind} | named)

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self.server.handle_exit(signal.SIGTERM, None)


def reply_of(response: http.client.HTTPResponse) -> Reply:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


@contextmanager
def serving(
    model: ServedModel, page: str | None = None, cors: Sequence[str] = (), **limits: Any
) -> Iterator[ThreadedServer]:
    """A server of this model, on a free port."""
    limits = {"drain_seconds": 0.0} | limits
    settings = ServerSettings(
        model.name, name=model.name, cors=tuple(cors), limits=ServerLimits(**limits)
    )
    worker = ServerWorker(settings)
    worker.model = model
    model.most_pixels = settings.limits.pixels
    started = threading.Event()
    server = make_server(worker, started.set, page)
    listener = listen("127.0.0.1", 0)
    served = ThreadedServer(listener.getsockname()[1], worker, server, threading.Thread())

    def run() -> None:
        try:
            server.run(sockets=[listener])
        except BaseException as error:
            served.errors.append(error)
            started.set()

    served.thread = threading.Thread(target=run, daemon=True)
    served.thread.start()
    try:
        assert started.wait(20)
        yield served
    finally:
        served.stop()
        served.thread.join(20)
        assert not served.thread.is_alive()
        assert served.errors == []


def model_of(run: Callable[[np.ndarray], np.ndarray], name: str = "colours") -> ServedModel:
    """A model that runs a function of uint8 images (n, 8, 8, 3) instead of a network."""
    preprocess = Preprocess(SHAPE, margin=False)
    return ServedModel(
        name,
        Predictor(
            task(),
            {"classes": list(CLASSES)},
            SHAPE,
            any_size=False,
            read=preprocess.read,
            fit=preprocess.fit,
            run=lambda images: run(np.stack(images)),
            engine="test",
            seen=lambda width, height: (0, 0, width, height),
            maps=lambda: (lambda images, classes: images[..., 0], "test"),
        ),
        10**9,
    )


def means(images: np.ndarray) -> np.ndarray:
    """The share of each colour: float32 (n, 3)."""
    totals = images.astype("float32").sum(axis=(1, 2)) + 1
    return totals / totals.sum(axis=1, keepdims=True)


def picture(
    colour: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (20, 16)
) -> bytes:
    """A PNG of one colour with some noise."""
    width, height = size
    noise = np.random.default_rng(sum(colour)).integers(0, 40, (height, width, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def form(files: Sequence[tuple[str, bytes]], boundary: str = "frontier") -> tuple[bytes, str]:
    """The body of multipart/form-data with these files, and its content type."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
        % (boundary.encode(), name.encode(), content)
        for name, content in files
    ]
    body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
    return body, f"multipart/form-data; boundary={boundary}"


def pictures_at(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write grey and colour JPEGs and PNGs of several sizes."""
    rng, paths = np.random.default_rng(seed), []
    for i in range(count):
        blocks = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        sides = tuple(int(n) for n in rng.integers(9, 90, 2))
        paths.append(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
        blocks.resize(sides).convert("L" if i % 3 == 0 else "RGB").save(paths[-1])
    return paths
