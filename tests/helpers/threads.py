"""The threads that prepare batches."""

from __future__ import annotations

import threading
import time


def left() -> list[str]:
    """Their names, once they have had the time to end."""
    deadline = time.monotonic() + 5
    while (names := _under_way()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return names


def _under_way() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("reslab", "grain"))]
