"""Numbers as a reader wants them: no more digits than the images can bear, never without n."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

NONE = "\u2013"  # what a table shows where there is no number


def count(n: float | None) -> str:
    """269722 -> "269,722"."""
    return NONE if n is None else f"{n:,.0f}"


def large(n: float | None) -> str:
    """40551424 -> "40.55 million"; below a million as `count`."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if n is not None and n >= size:
            return f"{n / size:.2f} {word}"
    return count(n)


def digits(n: int | None) -> int:
    """Decimals of a percentage of n images: a step of one image should show, and hardly less."""
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
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def moment(iso: str | None) -> str:
    """ "2026-11-24T03:38:00+00:00" -> "24 November 2026, 03:38 UTC"; unread text as it stands."""
    if not iso:
        return NONE
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = when.strftime("%Z")
    return f"{when.day} {when:%B %Y, %H:%M}" + (f" {zone}" if zone else "")


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one ISO moment to another; None where either is missing."""
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def value(thing: Any) -> str:
    """Any JSON value in one line of plain words."""
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


def counts(thing: Any) -> bool:
    """Whether a JSON value is a table of numbers, such as images by split and class."""
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
    all_names = list(names)
    if len(all_names) < 2:
        return "".join(all_names)
    return f"{', '.join(all_names[:-1])} and {all_names[-1]}"


def ticked(words: str) -> Markup:
    """Escaped words, what stands between `backticks` as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in words.split("`")]
    if len(parts) % 2 == 0:  # a tick without its twin
        return escape(words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )
