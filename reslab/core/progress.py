"""How a training or a study reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Watch:
    """Functions that are called while the work is done; by default they do nothing.

    Attributes:
        say: Gets a line of text that should stay on the screen.
        start: Gets the total amount of the work that begins: for a training, its steps.
        step: Gets the amount that is done, and a short text about it.
        epoch: Gets the log's line of each epoch of a training, after it is saved.
    """

    say: Callable[[str], None] = lambda text: None
    start: Callable[[float], None] = lambda total: None
    step: Callable[[float, str], None] = lambda done, text: None
    epoch: Callable[[Mapping[str, Any]], None] = lambda line: None
