"""The endpoints of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from reslab import __version__
from reslab.core.errors import UserError, short
from reslab.serving import body, describe, metrics, open_inference, pages
from reslab.serving.body import Body
from reslab.serving.gate import RequestGate
from reslab.serving.refused import Refused
from reslab.serving.worker import ServerWorker

MOST_TOP = 10_000
PREFIX = "/v2/models/{name}"
VERSIONED = PREFIX + "/versions/{version}"
Handler = Callable[[Request], Awaitable[Response]]


class Endpoints:
    """The handlers of one worker: each takes a request and returns the response, or is Refused."""

    def __init__(self, worker: ServerWorker, page: str | None) -> None:
        self.worker, self._page = worker, page

    async def predict(self, request: Request) -> Response:
        """Answer with the classes of one picture or several."""
        worker = self.worker
        model, top = worker.loaded(), _top(request)
        with Body(request, worker.limits, worker.budget) as content:
            files = await body.pictures(request, content)
            work = [partial(_read, model.read, data, name) for name, data in files]
            outputs = await worker.outputs(len(files), work)
        return _json(
            [
                {"file": name, "predictions": model.predictions(output, top)}
                for (name, _), output in zip(files, outputs, strict=True)
            ]
        )

    async def infer(self, request: Request) -> Response:
        """Answer a request of the Open Inference Protocol."""
        worker = self.worker
        self._check_name(request)
        model = worker.loaded()
        length = request.headers.get(open_inference.HEADER_LENGTH)
        with Body(request, worker.limits, worker.budget) as content:
            data = await content.read()
            asked = await worker.in_thread(open_inference.parse, data, length, model)
            if isinstance(asked.images, list):
                named = enumerate(asked.images)
                work = [partial(_read, model.read, data, f"image {i}") for i, data in named]
            else:
                work = [partial(model.fit, asked.images)]
            rows = await worker.outputs(len(asked.images), work)
        content_bytes, headers = open_inference.answer(model, asked, rows)
        return Response(content_bytes, headers=headers)

    async def server(self, request: Request) -> Response:
        """The server and its extensions of the protocol."""
        return _json(open_inference.SERVER)

    async def live(self, request: Request) -> Response:
        """200 as long as the process answers."""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """200 if requests should be sent here, else 503."""
        return _json({"ready": self.worker.ready}, 200 if self.worker.ready else 503)

    async def models(self, request: Request) -> Response:
        """The names of the models: there is one."""
        return _json({"models": [self.worker.name]})

    async def metadata(self, request: Request) -> Response:
        """The inputs and outputs of the model."""
        self._check_name(request)
        return _json(open_inference.metadata(self.worker.loaded()))

    async def configuration(self, request: Request) -> Response:
        """The configuration of the model, as Triton gives it."""
        self._check_name(request)
        return _json(open_inference.configuration(self.worker.loaded()))

    async def model_ready(self, request: Request) -> Response:
        """200 if the model answers, else 503."""
        self._check_name(request)
        ready = self.worker.ready
        return _json({"name": self.worker.name, "ready": ready}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """The metrics of all workers, for Prometheus."""
        measured = self.worker.metrics
        measured.queue.set(self.worker.batcher.accepted)
        measured.ready.set(self.worker.ready)
        text = await self.worker.in_thread(measured.text)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def page(self, request: Request) -> Response:
        """A page to try the model."""
        text = self._page or self.worker.page or pages.upload(self.worker.name)
        return HTMLResponse(text, headers=pages.HEADERS)

    async def docs(self, request: Request) -> Response:
        """The reference of these endpoints, as a page without scripts."""
        address = str(request.base_url).rstrip("/")
        text = pages.reference(request.app.openapi(), self.worker.name, address)
        return HTMLResponse(text, headers=pages.HEADERS)

    def _check_name(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", "1")
        if name != self.worker.name:
            raise Refused(404, f"there is no model {short(name)}; the model is {self.worker.name}")
        if version != open_inference.VERSION:
            raise Refused(404, f"{name} has no version {short(version)}; it has version 1")


def _read(read: Callable[[bytes, str], Any], content: bytes, name: str) -> list[Any]:
    return [read(content, name)]


def _top(request: Request) -> int | None:
    text = request.query_params.get("top")
    if text is None:
        return None
    top = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= top <= MOST_TOP:
        raise Refused(400, f"top is {short(text)}: give a number of classes, at least 1")
    return top


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def create_app(worker: ServerWorker, page: str | None = None) -> FastAPI:
    """The application of one worker. `page` is the HTML at "/"; None: the page of the model."""
    endpoints = Endpoints(worker, page)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(worker.batcher.serve())
        yield
        batches.cancel()

    app = FastAPI(
        title=f"reslab serve: {worker.name}",
        version=__version__,
        docs_url=None,  # Swagger UI comes from a CDN
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_routes(app, endpoints)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(UserError, _refused)
    app.add_middleware(RequestGate, worker=worker)
    if worker.settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=worker.settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[open_inference.HEADER_LENGTH],
        )
    return app


def _add_routes(app: FastAPI, endpoints: Endpoints) -> None:
    def add(path: str, handler: Handler, method: str = "GET", **about: Any) -> None:
        app.add_api_route(path, handler, methods=[method], response_class=Response, **about)
        if method == "POST":
            # FastAPI's route describes it, and this one answers: it takes a tenth of a millisecond
            # less, since there is nothing to inject
            app.router.routes.insert(0, Route(path, handler, methods=[method]))

    add("/predict", endpoints.predict, "POST", **describe.PREDICT)
    for prefix in (PREFIX, VERSIONED):
        add(f"{prefix}/infer", endpoints.infer, "POST", **describe.INFER)
        add(prefix, endpoints.metadata, **describe.OF_THE_MODEL)
        add(f"{prefix}/ready", endpoints.model_ready, **describe.OF_THE_MODEL)
        add(f"{prefix}/config", endpoints.configuration, **describe.OF_THE_MODEL)
    add("/v2", endpoints.server)
    add("/v2/models", endpoints.models)
    add("/v2/health/live", endpoints.live)
    add("/v2/health/ready", endpoints.ready, **describe.READY)
    add("/metrics", endpoints.metrics)
    add("/docs", endpoints.docs, include_in_schema=False)
    add("/", endpoints.page, include_in_schema=False)


async def _refused(request: Request, error: Exception) -> Response:
    """Every error as JSON that says what is wrong."""
    if isinstance(error, Refused):
        return _error(error.status, str(error), error.headers)
    if not isinstance(error, HTTPException):
        return _error(400, str(error), {})
    path = short(request.url.path)
    texts = {404: f"there is no {path}", 405: f"{path} does not take {request.method}"}
    return _error(error.status_code, texts.get(error.status_code, error.detail), error.headers)


def _error(status: int, text: str, headers: Any) -> Response:
    response = _json({"error": text}, status)
    response.headers.update(headers or {})
    return response
