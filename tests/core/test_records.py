"""JSON of strangers: limits, types, and one line for whatever is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.records import Count, Damaged, Fraction, Number

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
)


class Row(TypedDict):
    n: Count
    error: NotRequired[Fraction | None]


@given(value=JSON)
def test_what_json_writes_is_read(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(records.parse(text)) == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "nested in more than 100 levels"),
        (b"[" * 101 + b"]" * 101, "nested in more than 100 levels"),
        (b'{"a": ' * 150 + b"1" + b"}" * 150, "nested in more than 100 levels"),
        (b"9" * 5000, "digits"),
        (b"[1, -99999999999999999999]", "larger than 9223372036854775807"),
        (b'{"\\ud800": 1}', "is not Unicode"),
        (b'["a\\uDC00"]', "is not Unicode"),
        (b'"caf\xe9"', "byte 4 is not UTF-8"),
        (b"[1,", "Expecting value"),
        (b"", "Expecting value"),
        (b"[" + b"{}," * 5_000_000 + b"1]", "more than 1,024 MiB"),
        (b"[" + b'"a",' * 30_000_000 + b"1]", "more than 1,024 MiB"),
    ],
    ids=range(12),
)
def test_what_is_no_json_or_too_much(content: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says) as raised:
        records.parse(content)
    assert str(raised.value).isprintable()


def test_deep_json_does_not_end_the_process() -> None:
    """Python's parser recurses in C: where a deep network raised the limit, it would overflow."""
    script = (
        "import sys\n"
        "from reslab.core import records\n"
        "sys.setrecursionlimit(301_000)\n"
        "try:\n"
        "    records.parse(b'[' * 2_000_000)\n"
        "except records.Damaged as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "its brackets are nested in more than 100 levels\n"


def test_the_deepest_and_the_largest_values_are_read() -> None:
    assert records.parse("[" * 100 + "]" * 100)
    assert records.parse(str(2**63 - 1)) == 2**63 - 1
    assert records.parse('"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "it has no 'n'"),
        ({"n": True}, "expected 'int', got 'bool' in 'n'"),
        ({"n": -1}, "expected 'int' >= 0 in 'n'"),
        ({"n": 1.5}, "expected 'int', got 'float' in 'n'"),
        ({"n": 1, "error": float("nan")}, "in 'error'"),
        ({"n": 1, "error": 1.01}, "expected 'float' <= 1.0 in 'error'"),
        ([], "expected 'object', got 'array'"),
    ],
)
def test_a_record_of_a_wrong_kind(value: Any, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        records.check(value, Row)


def test_a_record_may_have_more() -> None:
    records.check({"n": 1, "error": None, "later": [1]}, Row)
    records.check([{"n": 1}, {"n": 2, "error": 1}], list[Row])
    records.check(3, Number)


def test_a_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        records.read_json(file, Row)
    file.write_text('{"n": "1"}')
    with pytest.raises(UserError, match=r"a\.json is damaged: expected 'int'.*; delete it"):
        records.read_json(file, Row, "delete it")
    with file.open("r+b") as opened:
        opened.truncate(records.MOST_FILE + 1)
    with pytest.raises(UserError, match="268,435,457 bytes; 268,435,456 are the most"):
        records.read_json(file)
    with pytest.raises(UserError, match="cannot be read"):
        records.read_json(tmp_path)
