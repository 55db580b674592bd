"""Reading the body of a request within limits, and the pictures in it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from reslab.serving.forms import read_form
from reslab.serving.refused import Refused, busy
from reslab.serving.settings import ServerLimits

Named = tuple[str, bytes]  # a picture: its name, and its encoded bytes
# What clients send when they are not told a type; the content decides whether it is a picture.
RAW = "", "application/octet-stream", "application/x-www-form-urlencoded"


class Budget:
    """The bytes of all requests and pictures that are in memory."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    def take(self, size: int) -> None:
        """Raises Refused if there are no more."""
        if self.taken + size > self.most:
            raise busy("the server holds too many large requests; try again later")
        self.taken += size

    def give_back(self, size: int) -> None:
        self.taken -= size

    @contextmanager
    def during(self, size: int) -> Iterator[None]:
        """Take bytes inside. Raises Refused."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)


class Body:
    """The body of one request, whose bytes are taken from a budget inside a `with` block."""

    def __init__(self, request: Request, limits: ServerLimits, budget: Budget) -> None:
        self.request, self.limits, self.budget = request, limits, budget
        self.taken = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self.budget.give_back(self.taken)

    async def read(self) -> bytes:
        """The whole body, decompressed. Raises Refused."""
        declared = self.request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limits.body:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                content = await self._received()
        except TimeoutError:
            raise Refused(
                408, f"the request took more than {self.limits.body_seconds:g} s to arrive"
            ) from None
        except ClientDisconnect:
            raise Refused(400, "the connection was closed too early") from None
        encoding = self.request.headers.get("content-encoding", "identity").strip().lower()
        return content if encoding == "identity" else self._decompressed(content, encoding)

    async def _received(self) -> bytes:
        chunks, size = [], 0
        async for chunk in self.request.stream():
            size += len(chunk)
            if size > self.limits.body:
                raise self._too_large()
            self._take(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]

    def _decompressed(self, content: bytes, encoding: str) -> bytes:
        windows = {"gzip": 31, "x-gzip": 31, "deflate": 15}
        if encoding not in windows:
            raise Refused(415, f"the content encoding {encoding!r} is not known: use gzip or none")
        decoder = zlib.decompressobj(windows[encoding])
        try:
            plain = decoder.decompress(content, self.limits.body + 1)
        except zlib.error as error:
            raise Refused(400, f"the body is not {encoding}: {error}") from None
        if len(plain) > self.limits.body:
            raise self._too_large()
        if not decoder.eof:
            raise Refused(400, f"the body is not complete {encoding} data")
        self._take(len(plain))
        return plain

    def _take(self, size: int) -> None:
        self.budget.take(size)
        self.taken += size

    def _too_large(self) -> Refused:
        return Refused(413, f"the request has more than {self.limits.body:,} bytes")


async def pictures(request: Request, body: Body) -> list[Named]:
    """The pictures in a request: its whole body, or the files of a form. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        content_type = request.headers["content-type"]
        files = read_form(await body.read(), content_type, body.limits.queue)
    elif kind in RAW or kind.startswith("image/"):
        files = [("image 0", await body.read())]
    else:
        raise Refused(
            415,
            f"the content type is {kind!r}: send a picture (image/..., application/octet-stream), "
            "or pictures as files of multipart/form-data",
        )
    for name, content in files:
        if not content:
            raise Refused(400, f"{name} is empty: send a picture")
    return files
