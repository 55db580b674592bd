"""Numbers, durations, dates and lists as text, by example."""

from __future__ import annotations

import pytest

from reslab.plots import format


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (format.count(269722), "269,722"),
        (format.count(None), format.NONE),
        (format.large(40_551_424), "40.55 million"),
        (format.large(4_089_184_256), "4.09 billion"),
        (format.large(650), "650"),
        (format.percent(0.0895, 10_000), "8.95 %"),
        (format.percent(0.0895, 500), "8.9 %"),
        (format.percent(None, 500), format.NONE),
        (format.percent(float("nan"), 500), format.NONE),
        (format.interval({"low": 0.0841, "high": 0.0952}, 10_000), "8.41 to 9.52 %"),
        (format.duration(3.21), "3.2 s"),
        (format.duration(42.4), "42 s"),
        (format.duration(723.4), "12 min 3 s"),
        (format.duration(3599.7), "1 h 00 min"),
        (format.duration(3 * 86400 + 7200), "3 d 2 h"),
        (format.duration(None), format.NONE),
        (format.date("2026-11-24T03:38:00+00:00"), "24 November 2026, 03:38 UTC"),
        (format.date("2026-11-24T03:38:00Z"), "24 November 2026, 03:38 UTC"),
        (format.date("yesterday"), "yesterday"),
        (format.date(None), format.NONE),
        (format.value(None), "none"),
        (format.value(True), "yes"),
        (format.value(0.0005), "0.0005"),
        (format.value(64_000), "64,000"),
        (format.value(["pad-crop(4)", "flip"]), "pad-crop(4), flip"),
        (format.value({"train": 5, "test": 2}), "train 5, test 2"),
        (format.value([]), "none"),
        (format.heading("weight_decay"), "weight decay"),
        (format.heading("memory_gib"), "memory, GiB"),
        (format.listed(["a"]), "a"),
        (format.listed(["a", "b", "c"]), "a, b and c"),
        (format.with_code("run `a <b>` now"), "run <code>a &lt;b&gt;</code> now"),
        (format.with_code("one ` only <"), "one ` only &lt;"),
    ],
)
def test_texts(shown, wanted):
    assert shown == wanted


def test_seconds_between_needs_both_dates():
    start, end = "2026-11-24T09:12:30+00:00", "2026-11-24T09:13:00+00:00"
    assert format.seconds_between(start, end) == 30
    assert format.seconds_between(start, None) is None
