"""Numbers, durations, dates and lists as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

NONE = "\u2013"  # shown in a table where there is no number


def count(n: float | None) -> str:
    """269722 -> "269,722"."""
    return NONE if n is None else f"{n:,.0f}"


def large(n: float | None) -> str:
    """40551424 -> "40.55 million"; below a million like `count`."""
    for size, unit in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if n is not None and n >= size:
            return f"{n / size:.2f} {unit}"
    return count(n)


def digits(n: int | None) -> int:
    """Decimals of a percentage over n images: one image should be visible, and not much less."""
    return 1 if not n or n < 2000 else 2


def percent(rate: float | None, n: int | None = None) -> str:
    """0.0895 of 10,000 -> "8.95 %"."""
    if rate is None or not math.isfinite(rate):
        return NONE
    return f"{100 * rate:.{digits(n)}f} %"


def interval(rate: Mapping[str, float | None], n: int | None) -> str:
    """{"low": 0.0841, "high": 0.0952} of 10,000 -> "8.41 to 9.52 %"."""
    low, high = rate["low"], rate["high"]
    if low is None or high is None:
        return NONE
    return f"{100 * low:.{digits(n)}f} to {100 * high:.{digits(n)}f} %"


def duration(seconds: float | None) -> str:
    """723.4 -> "12 min 3 s"."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    rounded = round(seconds)
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    minutes = round(rounded / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def date(iso: str | None) -> str:
    """ "2026-11-24T03:38:00+00:00" -> "24 November 2026, 03:38 UTC"; other text unchanged."""
    if not iso:
        return NONE
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = when.strftime("%Z")
    return f"{when.day} {when:%B %Y, %H:%M}" + (f" {zone}" if zone else "")


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one ISO date to another; None if either is missing."""
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def value(thing: Any) -> str:
    """Any JSON value as one line of text."""
    if thing is None:
        return "none"
    if isinstance(thing, bool):
        return "yes" if thing else "no"
    if isinstance(thing, int):
        return f"{thing:,}" if abs(thing) >= 10_000 else str(thing)
    if isinstance(thing, float):
        return f"{thing:.6g}"
    if isinstance(thing, Mapping):
        return ", ".join(f"{key} {value(item)}" for key, item in thing.items()) or "none"
    if isinstance(thing, Iterable) and not isinstance(thing, str):
        return ", ".join(value(item) for item in thing) or "none"
    return str(thing)


def is_count_table(thing: Any) -> bool:
    """Whether a JSON value is a table of integers, such as images by split and class."""
    return (
        isinstance(thing, Mapping)
        and bool(thing)
        and all(
            isinstance(row, Mapping) and row and all(isinstance(n, int) for n in row.values())
            for row in thing.values()
        )
    )


def heading(key: str) -> str:
    """ "weight_decay" -> "weight decay", "memory_gib" -> "memory, GiB"."""
    return str(key).replace("_gib", ", GiB").replace("_", " ")


def listed(names: Iterable[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def with_code(text: str) -> Markup:
    """Escape a text, and mark what is between `backticks` as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without a second one
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )
