"""Text from files and other people, made safe for a terminal."""

from __future__ import annotations

import re

# Control characters could move the cursor, change the window's title, or hide text; the marks of
# writing direction could show a name in another order. Line breaks and tabs stay.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Replace control characters by their escapes, such as `\u001b`: JSON text stays JSON."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
