"""JSON that a damaged disk or another program may have changed: parsed within limits, and checked.

`parse` bounds what a text may unfold to before any of it is parsed. A record is described once, as
a `TypedDict` whose fields are built from the types here, beside the code that writes it. `check`
compares a value with such a type, so that no reader meets a value of a wrong kind later.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from reslab.core.errors import UserError, one_line, short
from reslab.core.paths import regular

MOST_FILE = 256 * 2**20  # bytes of a JSON file
MOST_MEMORY = 2**30  # bytes that parsed JSON may take, by `_memory`
MOST_DEPTH = 100  # levels of brackets; descriptions of networks have about ten
MOST_WHOLE = 2**63 - 1  # a whole number fits 64 bits

# Fields of records. Numbers are finite: JSON of Python also knows NaN and Infinity.
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e300)]
Count = Annotated[int, Meta(ge=0, le=MOST_WHOLE)]
AnyNumber = float  # NaN and Infinity too: the loss of a diverged training

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{19}")


class Damaged(ValueError):
    """A value that is not what the reader of a file expects. The message is one line."""


def parse(content: bytes | str) -> Any:
    """Parse JSON; raises Damaged if it is no JSON in UTF-8, or exceeds one of the limits above.

    The depth is bounded before Python's parser runs. It recurses in C, and where the recursion
    limit was raised for a deep network, it would end the process.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if len(content) > MOST_FILE or (len(content) > 2**20 and _memory(content) > MOST_MEMORY):
        raise Damaged(f"it would take more than {MOST_MEMORY // 2**20:,} MiB of memory")
    _check_depth(content)
    try:
        value = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Damaged(f"byte {error.start} is not UTF-8") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise Damaged(one_line(error)) from None
    if b"\\ud" in content or b"\\uD" in content or _LONG_NUMBER.search(content):
        _check_leaves(value)
    return value


def _check_depth(content: bytes) -> None:
    if content.count(b"[") + content.count(b"{") <= MOST_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(content):
        first = token[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MOST_DEPTH:
            raise Damaged(f"its brackets are nested in more than {MOST_DEPTH} levels")


def _memory(content: bytes) -> int:
    """An upper estimate of the bytes that the text and the parsed JSON take together.

    A character takes 1 byte, or 4 if any is beyond the first plane, in the text and in the values.
    An item takes a pointer and a number, a list 80 bytes, an object 240, and an entry of it a key.
    """
    width = 2 if content.isascii() else 9
    each = {b",": 40, b":": 80, b"[": 80, b"{": 240}
    return width * len(content) + sum(size * content.count(sign) for sign, size in each.items())


def _check_leaves(value: Any) -> None:
    """Check all strings and whole numbers."""
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            nodes += [*node, *node.values()]
        elif isinstance(node, list):
            nodes += node
        else:
            _check_leaf(node)


def _check_leaf(value: Any) -> None:
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise Damaged(f"a number is larger than {MOST_WHOLE}")
    if isinstance(value, str) and not is_unicode(value):
        raise Damaged(f"{value!a:.40} is not Unicode")


def is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogates, which no file and no terminal can show."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check(value: Any, record: Any) -> None:
    """Raise Damaged if a value does not agree with a type, such as a `TypedDict`.

    Keys that a `TypedDict` does not name are allowed: later versions may write more.
    """
    try:
        msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = short(path.rstrip("`").lstrip("."))
        text = text.replace("Object missing required field", "it has no").replace("`", "'")
        text = text[0].lower() + text[1:]
        raise Damaged(f"{text} in {where}" if path else text) from None


def read_json(file: Path, record: Any = Any, then: str = "restore it from a copy") -> Any:
    """The JSON in a file, checked against a type.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file cannot be read or is damaged. The message ends with what to do `then`.
    """
    try:
        if (size := regular(file).stat().st_size) > MOST_FILE:
            raise Damaged(f"it has {size:,} bytes; {MOST_FILE:,} are the most")
        value = parse(file.read_bytes())
        check(value, record)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    except Damaged as error:
        raise UserError(f"{file} is damaged: {error}; {then}") from None
    return value


def read_record(file: Path, kind: str, version: int, record: Any) -> dict[str, Any]:
    """The JSON object that describes a folder of results: run.json, study.json.

    Raises UserError if there is none, or if it is not a `kind` of this format version that agrees
    with the type `record`.
    """
    try:
        value = read_json(file)
    except FileNotFoundError:
        raise UserError(f"{file.parent} is not a {kind}: there is no {file}") from None
    if not isinstance(value, dict) or value.get("format") != version:
        raise UserError(f"{file} was not written by this version of reslab")
    check_record(file, value, record)
    return value


def check_record(file: Path, value: Any, record: Any, then: str = "restore it from a copy") -> None:
    """`check` for the content of a file: raises UserError, which ends with what to do `then`."""
    try:
        check(value, record)
    except Damaged as error:
        raise UserError(f"{file} is damaged: {error}; {then}") from None
