"""What a person did wrong, said in one line (standard library only)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Input that reslab cannot use. The message is one line that says what to do.

    The command line prints it without a traceback and exits with 2.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> str(unknown("network", "resnet51", ["resnet50", "plain34"]))
    "no network 'resnet51'; did you mean 'resnet50'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
    return UserError(f"no {kind} {name!r}; {hint}")
