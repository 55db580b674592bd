"""What a server measures of itself, for Prometheus."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reslab import __version__
from reslab.serving.settings import MOST_BATCH

if TYPE_CHECKING:
    from prometheus_client import Counter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SEVERAL = "PROMETHEUS_MULTIPROC_DIR"  # the folder that the workers of a server share
SECONDS = 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10


class ServerMetrics:
    """Counters of one worker."""

    def __init__(self, model: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()
        names = ["path", "status"]
        self._requests = Counter(
            "reslab_requests", "Requests that were answered.", names, registry=registry
        )
        self._by_path_and_status: dict[tuple[str, int], Counter] = {}
        self.request_seconds = Histogram(
            "reslab_request_seconds",
            "From the headers of a request for predictions to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "reslab_decode_seconds",
            "Decoding and resizing the pictures of a request, with the wait for a thread.",
            buckets=SECONDS,
            registry=registry,
        )
        self.engine_seconds = Histogram(
            "reslab_engine_seconds", "One batch on the engine.", buckets=SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "reslab_batch_size",
            "Pictures in a batch.",
            buckets=[2**i for i in range(MOST_BATCH.bit_length())],
            registry=registry,
        )
        self.queue = Gauge(
            "reslab_queue_pictures",
            "Pictures that are accepted and not answered yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "reslab_ready_workers",
            "Workers that take requests.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        info = Gauge(
            "reslab_info",
            "The model and the version of reslab.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="max",
        )
        info.labels(model, __version__).set(1)
        self._with_process()

    def _with_process(self) -> None:
        """The memory and the CPU time of the process, where it is alone."""
        if SEVERAL not in os.environ:
            from prometheus_client import ProcessCollector

            ProcessCollector(registry=self.registry)

    def count(self, path: str, status: int) -> None:
        """Count an answer."""
        key = path, status
        if key not in self._by_path_and_status:
            self._by_path_and_status[key] = self._requests.labels(path, str(status))
        self._by_path_and_status[key].inc()

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_size.observe(size)
        self.engine_seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics, of all workers."""
        from prometheus_client import CollectorRegistry, generate_latest

        if SEVERAL not in os.environ:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
