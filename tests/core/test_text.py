"""Text from elsewhere, made safe for a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.core.text import printable


@given(st.text())
def test_no_control_character_remains_and_json_stays_json(text: str) -> None:
    safe = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in safe)
    data = {text: [text]}
    assert json.loads(printable(json.dumps(data, ensure_ascii=False))) == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\x1b]0;owned\x07", "cat\\u001b]0;owned\\u0007"),
        ("\x9b2J", "\\u009b2J"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("蜂, é and ü\n\tstay", "蜂, é and ü\n\tstay"),
    ],
)
def test_escapes_are_visible(text: str, expected: str) -> None:
    assert printable(text) == expected
