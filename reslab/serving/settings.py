"""What a server is told: the model, the address, and its limits. Without Keras and FastAPI."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from reslab.core.errors import UserError

PACKAGES = "fastapi", "uvicorn", "prometheus_client", "python_multipart"
MOST_BATCH = 32  # pictures that the engine takes at once
RETRY_SECONDS = 1  # what a client is told to wait if the server is full


@dataclass(frozen=True)
class ServerLimits:
    """What one worker takes. Beyond it requests are refused, and the server goes on.

    Attributes:
        body: The bytes of a request, also after decompression.
        pixels: The pixels of a picture.
        queue: The pictures that are accepted and not answered yet.
        body_seconds: The time for a client to send a request.
        request_seconds: The time from then to the answer.
        drain_seconds: How long new requests are still accepted after SIGTERM, while "ready" is 503.
    """

    body: int = 32 * 2**20
    pixels: int = 64_000_000
    queue: int = 256
    body_seconds: float = 30.0
    request_seconds: float = 30.0
    drain_seconds: float = 1.0

    @property
    def held(self) -> int:
        """The bytes of all requests and pictures that are in memory at once."""
        return max(2**29, 4 * self.body, 8 * self.pixels)


@dataclass(frozen=True)
class ServerSettings:
    """A server: see `reslab.serve` for the meaning of each field."""

    model: str
    weights: str | None = None
    scheme: str = "auto"
    strict: bool = True
    ema: bool = True
    engine: str = "auto"
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    cors: tuple[str, ...] = ()
    limits: ServerLimits = field(default_factory=ServerLimits)

    @property
    def model_name(self) -> str:
        """The name of the model in addresses."""
        if self.name or self.weights is not None:
            return self.name or self.model
        if "://" in self.model:  # on the hub, perhaps with a revision
            return self.model.rpartition("/")[2].partition("@")[0]
        path = Path(self.model)
        if path.suffix and path.stem != "model" and not path.is_dir():
            return path.stem
        return (path.parent if path.suffix and not path.is_dir() else path).resolve().name

    def check(self) -> None:
        """Raise UserError for settings that no server can have."""
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise UserError(
                f'the server needs {" and ".join(missing)}: pip install "reslab[serve]"'
            )
        if not 0 <= self.port <= 65535:
            raise UserError(f"the port is {self.port}: give a number from 0 to 65535")
        if self.workers < 1:
            raise UserError(f"{self.workers} workers: give at least 1")
        if not self.model_name or "/" in self.model_name or not self.model_name.isprintable():
            raise UserError(f"{self.model_name!r} cannot be a name in an address: give another one")
        for name, value in vars(self.limits).items():
            if value < (0 if name == "drain_seconds" else 1e-3):
                raise UserError(f"the limit {name} is {value}: give a positive number")


def threads_of(workers: int) -> int:
    """The threads of the engine of one worker."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // workers)
