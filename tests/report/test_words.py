"""Numbers in words, by example."""

from __future__ import annotations

import pytest

from reslab.report import words


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (words.count(269722), "269,722"),
        (words.count(None), words.NONE),
        (words.large(40_551_424), "40.55 million"),
        (words.large(4_089_184_256), "4.09 billion"),
        (words.large(650), "650"),
        (words.percent(0.0895, 10_000), "8.95 %"),
        (words.percent(0.0895, 500), "8.9 %"),
        (words.percent(None, 500), words.NONE),
        (words.percent(float("nan"), 500), words.NONE),
        (words.interval({"low": 0.0841, "high": 0.0952}, 10_000), "8.41 to 9.52 %"),
        (words.duration(3.21), "3.2 s"),
        (words.duration(42.4), "42 s"),
        (words.duration(723.4), "12 min 3 s"),
        (words.duration(3599.7), "1 h 00 min"),
        (words.duration(3 * 86400 + 7200), "3 d 2 h"),
        (words.duration(None), words.NONE),
        (words.moment("2026-11-24T03:38:00+00:00"), "24 November 2026, 03:38 UTC"),
        (words.moment("2026-11-24T03:38:00Z"), "24 November 2026, 03:38 UTC"),
        (words.moment("yesterday"), "yesterday"),
        (words.moment(None), words.NONE),
        (words.value(None), "none"),
        (words.value(True), "yes"),
        (words.value(0.0005), "0.0005"),
        (words.value(64_000), "64,000"),
        (words.value(["pad-crop(4)", "flip"]), "pad-crop(4), flip"),
        (words.value({"train": 5, "test": 2}), "train 5, test 2"),
        (words.value([]), "none"),
        (words.heading("weight_decay"), "weight decay"),
        (words.heading("memory_gib"), "memory, GiB"),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.ticked("run `a <b>` now"), "run <code>a &lt;b&gt;</code> now"),
        (words.ticked("one ` only <"), "one ` only &lt;"),
    ],
)
def test_words(shown, wanted):
    assert shown == wanted


def test_seconds_between_needs_both_moments():
    start, end = "2026-11-24T09:12:30+00:00", "2026-11-24T09:13:00+00:00"
    assert words.seconds_between(start, end) == 30
    assert words.seconds_between(start, None) is None
