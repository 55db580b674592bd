"""`serve`: a trained model behind HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reslab import zoo
from reslab.runs.run import trained_file
from reslab.serving.address import listen
from reslab.serving.settings import ServerLimits, ServerSettings

if TYPE_CHECKING:
    from reslab.runs.run import Run

SAVED_MODEL = "saved_model.pb"  # in a folder that TensorFlow reads
log = logging.getLogger("reslab.serving")


def serve(
    model: str | os.PathLike[str] | Run,
    weights: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    engine: str = "auto",
    name: str = "",
    cors: Sequence[str] = (),
    max_body: float = 32,
    max_pixels: float = 64,
    max_queue: int = 256,
    body_seconds: float = 30,
    request_seconds: float = 30,
    drain_seconds: float = 1,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    note: Callable[[str], None] = log.info,
) -> None:
    """Serve a trained model over HTTP until SIGINT or SIGTERM.

    `POST /predict` takes pictures and answers as `reslab.predict` does. `/v2` is the Open Inference
    Protocol, `/metrics` is for Prometheus, `/docs` describes all, and `/` is a page to try it.
    Requests that wait are joined to batches of at most 32 pictures.

    Args:
        model: A run, the path of its folder, a model file, a file of `reslab.export`, or
            "hf://USER/NAME" on the Hugging Face hub. With `weights`, the name of a network.
        weights: Published weights or a weights file, for the named network.
        host: The address to listen on. Only this machine reaches 127.0.0.1.
        port: The port; 0 chooses a free one.
        workers: The number of processes, each with a copy of the model.
        engine: "onnxruntime", "openvino" or "backend". "auto" takes the first one that is
            installed, or the backend on a machine with a GPU; it compares no times.
        name: The name of the model in addresses. By default that of the run, file or network.
        cors: The origins (such as "https://example.com") whose pages may read the answers.
        max_body: The largest request, in MiB.
        max_pixels: The largest picture, in millions of pixels.
        max_queue: The pictures that a worker accepts before it answers them. Beyond, the answer is
            503.
        body_seconds: The time that a client has to send a request.
        request_seconds: The time from then to the answer. Beyond, the answer is 503.
        drain_seconds: How long requests are still accepted after a signal, while "ready" is 503.
        scheme: The library whose names `weights` has, as in `reslab.create`; `strict` and `ema`
            likewise.
        note: Gets lines about the server, such as its address. By default they are logged.

    Raises:
        UserError: A package is not installed, the port is in use, or the model cannot be read.
    """
    settings = ServerSettings(
        model=str(getattr(model, "path", model)),
        weights=None if weights is None else str(weights),
        scheme=scheme,
        strict=strict,
        ema=ema,
        engine=engine,
        name=name,
        host=host,
        port=port,
        workers=workers,
        cors=tuple(cors),
        limits=ServerLimits(
            body=int(max_body * 2**20),
            pixels=int(max_pixels * 1e6),
            queue=max_queue,
            body_seconds=body_seconds,
            request_seconds=request_seconds,
            drain_seconds=drain_seconds,
        ),
    )
    run_server(settings, note)


def run_server(settings: ServerSettings, note: Callable[[str], None]) -> None:
    """Serve until a signal: see `serve`."""
    settings.check()
    if settings.weights is None:
        file = trained_file(settings.model, is_model=lambda folder: (folder / SAVED_MODEL).exists())
        settings = replace(settings, name=settings.model_name, model=str(file))
    else:
        zoo.network(settings.model)
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    many = f" with {settings.workers} workers" if settings.workers > 1 else ""

    def on_ready() -> None:
        note(f"{settings.model_name} is served on http://{shown}:{port}{many} (Ctrl-C stops it)")

    with listener:
        from reslab.serving.server import run_worker
        from reslab.serving.workers import run_workers

        if settings.workers == 1:
            run_worker(settings, listener, on_ready)
        else:
            run_workers(settings, listener, on_ready, note)
