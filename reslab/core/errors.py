"""Errors that a user can correct, with a message of one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from reslab.core.text import printable

MOST_LINE = 3000  # characters of a message


class UserError(Exception):
    """Input that reslab cannot use.

    The message is one line: what is wrong, and what to do. The command line prints it without a
    traceback and exits with status 2. Names in it may come from strangers: control characters, line
    breaks and text that is not Unicode are shown as escapes. Of a message of more than `MOST_LINE`
    characters the middle is left out: its end says what to do.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message).encode("utf-8", "backslashreplace").decode()
        text = printable(text).replace("\n", "\\n").replace("\t", "\\t")
        if len(text) > MOST_LINE:
            text = f"{text[: MOST_LINE // 2]} ... {text[5 - MOST_LINE // 2 :]}"
        super().__init__(text)


# The exceptions that reading a damaged file can raise.
DAMAGE = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration),
    *(ArithmeticError, RecursionError),
)


# Messages of PyTorch (on a CPU, on a GPU), JAX and TensorFlow; the first two are RuntimeErrors.
_OUT_OF_MEMORY = "not enough memory", "out of memory", "resource_exhausted", "oom when"


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of Python or of a backend says that there is too little memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY)


def written(name: str) -> str:
    """Return the name, which is about to be saved; raises UserError if it is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"the name {name!a} is not UTF-8: rename it") from None
    return name


def short(value: Any, most: int = 60) -> str:
    """A value as ASCII text for a message, cut where it is long."""
    try:
        text = ascii(value)
    except ValueError:  # a number of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(error: object, most: int = 200) -> str:
    """The text of another library's error as one printable line, cut where it is long."""
    text = " ".join(str(error).split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Make the error for an unknown name; it suggests the most similar known one.

    >>> str(unknown("network", "resnet51", ["resnet56", "resnet50", "plain34"]))
    "no network 'resnet51'; did you mean 'resnet50'?"
    """
    names, name = sorted(known), str(name)[:100]
    best = max(names, key=lambda other: _similarity(name, other), default="")
    if _similarity(name, best)[0] >= 0.5:
        return UserError(f"no {kind} {name!r}; did you mean {best!r}?")
    return UserError(f"no {kind} {name!r}; there are: {', '.join(names)}")


def _similarity(name: str, other: str) -> tuple[float, int]:
    """Similarity of two names, 0 to 1; ties go to the nearer number: resnet50 for resnet51."""
    ratio = SequenceMatcher(None, str(name).lower(), other.lower()).ratio()
    return ratio, -abs(_number(str(name)) - _number(other))


def _number(name: str) -> int:
    return int("0" + "".join(c for c in name if c.isdecimal() and c.isascii()))
