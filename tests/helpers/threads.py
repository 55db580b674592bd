"""The threads that prepare batches."""

from __future__ import annotations

import threading
import time


def running_workers() -> list[str]:
    """Return the names of worker threads that are still running after up to 5 s."""
    deadline = time.monotonic() + 5
    while (names := _worker_names()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return names


def _worker_names() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("reslab", "grain"))]
