"""What a person sees of a study under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Watch:
    """`say` is told lines that stay, `start` the whole of some work, `step` what is done of it."""

    say: Callable[[str], None] = lambda text: None
    start: Callable[[float], None] = lambda total: None
    step: Callable[[float, str], None] = lambda done, words: None
