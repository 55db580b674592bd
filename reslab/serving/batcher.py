"""Batching without a knob: whenever the engine is free, it takes all that waits, at most 32.

A single request is answered at once. Under load, batches grow by themselves: while one runs, the
next one gathers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from reslab.serving.refused import busy
from reslab.serving.settings import MOST_BATCH

Outputs = list[Any]  # of each image: what the engine gives for it, or an exception


class Job:
    """The images of one request, and the outputs that are there already."""

    def __init__(self, images: Sequence[Any], future: asyncio.Future[Outputs]) -> None:
        self.images, self.future = images, future
        self.outputs: Outputs = [None] * len(images)
        self.missing = len(images)

    def put(self, i: int, output: Any) -> None:
        self.outputs[i] = output
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.outputs)


class Batcher:
    """Joins the images of many requests to batches for one engine.

    Args:
        run: Maps a list of images to their outputs, in a thread of its own.
        queue: The pictures that may be accepted and not answered yet.
        observe: Gets the number of images and the seconds of each batch.
    """

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        queue: int,
        observe: Callable[[int, float], None],
    ) -> None:
        self.run, self.queue, self.observe = run, queue, observe
        self.accepted = 0
        self._waiting: deque[tuple[Job, int]] = deque()
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "engine")

    @contextmanager
    def place(self, images: int) -> Iterator[None]:
        """Places in the queue, from the decoding to the answer. Raises Refused if it is full."""
        if self.accepted + images > self.queue:
            raise busy(f"the queue is full: {self.accepted} pictures wait; try again later")
        self.accepted += images
        try:
            yield
        finally:
            self.accepted -= images

    async def __call__(self, images: Sequence[Any]) -> Outputs:
        """The outputs for images, or an exception for each that has none."""
        job = Job(images, asyncio.get_running_loop().create_future())
        self._waiting.extend((job, i) for i in range(len(images)))
        self._arrival.set()
        return await job.future

    async def serve(self) -> None:
        """Run batches until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrival.wait()
            batch = self._take()
            if not batch:
                self._arrival.clear()
                continue
            images = [job.images[i] for job, i in batch]
            start = time.perf_counter()
            try:
                outputs = await loop.run_in_executor(self._thread, self.run, images)
            except Exception as error:
                outputs = [error] * len(batch)
            self.observe(len(batch), time.perf_counter() - start)
            for (job, i), output in zip(batch, outputs, strict=True):
                job.put(i, output)

    def _take(self) -> list[tuple[Job, int]]:
        batch: list[tuple[Job, int]] = []
        while self._waiting and len(batch) < MOST_BATCH:
            job, i = self._waiting.popleft()
            if not job.future.done():  # its time was not over
                batch.append((job, i))
        return batch
