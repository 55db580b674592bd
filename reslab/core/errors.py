"""What a person did wrong, said in one line (standard library only)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher


class UserError(Exception):
    """Input that reslab cannot use. The message is one line that says what to do.

    The command line prints it without a traceback and exits with 2.
    """


# What reading a file raises that is not as it was written.
DAMAGE = KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration


def written(name: str) -> str:
    """The name, which is about to be written down; raises UserError where it is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"the name {name!a} is not UTF-8: rename it") from None
    return name


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> str(unknown("network", "resnet51", ["resnet56", "resnet50", "plain34"]))
    "no network 'resnet51'; did you mean 'resnet50'?"
    """
    names = sorted(known)
    best = max(names, key=lambda other: _likeness(name, other), default="")
    if _likeness(name, best)[0] >= 0.5:
        return UserError(f"no {kind} {name!r}; did you mean {best!r}?")
    return UserError(f"no {kind} {name!r}; there are: {', '.join(names)}")


def _likeness(name: str, other: str) -> tuple[float, int]:
    """Letters in common, 0 to 1; among equals, the nearer number: 50 is nearer to 51 than 56."""
    alike = SequenceMatcher(None, str(name).lower(), other.lower()).ratio()
    return alike, -abs(_number(str(name)) - _number(other))


def _number(name: str) -> int:
    return int("0" + "".join(c for c in name if c.isdecimal() and c.isascii()))
