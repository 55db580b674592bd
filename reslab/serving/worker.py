"""What the endpoints of one worker share: the model, the threads, the limits and the metrics."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from reslab.serving.batcher import Batcher
from reslab.serving.body import Budget
from reslab.serving.metrics import ServerMetrics
from reslab.serving.refused import Refused, busy
from reslab.serving.settings import ServerSettings, threads_of

if TYPE_CHECKING:
    from reslab.serving.model import ServedModel

T = TypeVar("T")


class ServerWorker:
    """One process of a server.

    Attributes:
        model: The model; None until it is loaded and warmed.
        page: The page that tries the model; None until the model is loaded.
        draining: Whether the process was told to stop. It answers, and is not ready.
        failure: Why the model cannot be served.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings, self.limits = settings, settings.limits
        self.name = settings.model_name
        self.model: ServedModel | None = None
        self.page: str | None = None
        self.draining = False
        self.failure: BaseException | None = None
        self.metrics = ServerMetrics(self.name)
        self.budget = Budget(self.limits.held)
        self.batcher = Batcher(self._run, self.limits.queue, self.metrics.batch)
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "decode")

    @property
    def ready(self) -> bool:
        """Whether requests should be sent to this worker."""
        return self.model is not None and not self.draining

    def load(self) -> threading.Thread:
        """Load and warm the model in a thread: meanwhile the server lives and is not ready."""

        def work() -> None:
            try:
                from reslab.serving.model import ServedModel

                model = ServedModel.load(self.settings, threads_of(self.settings.workers))
                model.warm()
                self.page = model.page()
            except BaseException as error:
                self.failure = error
            else:
                self.model = model

        thread = threading.Thread(target=work, name="load", daemon=True)
        thread.start()
        return thread

    def loaded(self) -> ServedModel:
        """The model. Raises Refused while it is loaded."""
        if self.model is None:
            raise busy("the model is being loaded; try again later")
        return self.model

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Work off the event loop, such as decoding."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def outputs(self, count: int, prepare: Sequence[Callable[[], list[Any]]]) -> list[Any]:
        """The outputs for a number of images, which the functions of `prepare` return.

        Raises Refused if the queue is full or the time is over, or the model fails on an image.
        """
        if count > self.limits.queue:
            raise Refused(413, f"{count} pictures in a request are more than {self.limits.queue}")
        start = time.perf_counter()
        with self.batcher.place(count):
            try:
                async with asyncio.timeout(self.limits.request_seconds):
                    parts = [await self.in_thread(prepare[0])]
                    if len(prepare) > 1:
                        parts += await asyncio.gather(*map(self.in_thread, prepare[1:]))
                    self.metrics.decode_seconds.observe(time.perf_counter() - start)
                    images = [image for part in parts for image in part]
                    with self.budget.during(sum(image.nbytes for image in images)):
                        outputs = await self.batcher(images)
            except TimeoutError:
                seconds = self.limits.request_seconds
                raise busy(f"there was no answer within {seconds:g} s; try again later") from None
        self.metrics.request_seconds.observe(time.perf_counter() - start)
        for i, output in enumerate(outputs):
            if isinstance(output, Exception):
                raise busy(f"the model gives no answer for image {i}: {output}")
        return outputs

    def _run(self, images: list[Any]) -> list[Any]:
        return self.loaded().run(images)
