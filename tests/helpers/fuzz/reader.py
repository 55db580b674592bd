"""What a reader of files is for the fuzzer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.fuzz.mutations import Mutation


@dataclass(frozen=True)
class Reader:
    """A file that is damaged, and a function that reads it.

    `read` gets the folder of all files. It uses what it reads as the program does, and returns
    something that is equal for equal content.
    """

    name: str
    file: str
    damage: Mutation
    read: Callable[[Path], Any]
