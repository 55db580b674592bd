"""`spec.register`: parts that users write, in JSON, tables and pictures; and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab import spec
from reslab.core.errors import UserError
from reslab.spec import serialize, stacks, summary, walk
from reslab.spec.transforms import plain
from tests.helpers.user_parts import NETWORK, STOCK, Depthwise


def test_json_and_back() -> None:
    data = json.loads(json.dumps(serialize.encode_network(NETWORK)))
    assert serialize.decode_network(data) == NETWORK
    part = data["rows"]["conv1"][-1]
    assert part == {
        "type": "Depthwise",
        "defined_in": "tests.helpers.user_parts",
        "kernel": 5,
        "stride": 2,
    }


def test_counts_and_tables() -> None:
    layers = {layer.path: layer for layer in walk(NETWORK)}
    assert layers["conv2_x_3_body_depthwise1"].weights == {"kernel": (3, 3, 8, 1)}
    assert layers["conv2_x_1_larger"].inputs == ("conv2_x_1_body_sine1", "conv1_depthwise1")
    counts = summary.counts(NETWORK)
    # a convolution with its batch norm; a depthwise one; three units; the classifier
    trainable = 72 + 16 + 200 + 3 * (72 + 64 + 16 + 8) + 27
    assert counts.trainable_params == trainable
    assert counts.total_params == trainable + 16 + 3 * (16 + 8)
    assert counts.multiply_adds == 64 * 72 + 16 * 200 + 3 * 16 * (72 + 64) + 24
    assert summary.depth(NETWORK) == 9
    rows = {row["row"]: row["layers"] for row in summary.table(NETWORK)}
    assert rows["conv1"] == "3x3, 8, 5x5 depthwise, /2"
    assert rows["conv2_x"] == "[3x3 depthwise; 1x1, 8; sine] x 3"


def test_transforms_and_stacks() -> None:
    assert not any(layer.part.kind == "larger" for layer in walk(plain(NETWORK)))
    assert stacks.stacks(NETWORK) == []  # such units are written out


def test_pictures(tmp_path: Path) -> None:
    for file in reslab.draw.networks([NETWORK, STOCK], tmp_path / "mine"):
        assert file.stat().st_size > 1000
    text = (tmp_path / "mine.svg").read_text()
    assert "3x3 depthwise" in text
    assert "sine" in text


def test_a_part_that_is_not_registered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = serialize.encode_network(NETWORK)
    monkeypatch.delitem(serialize.REGISTERED, "Depthwise")
    with pytest.raises(UserError) as caught:
        serialize.decode_network(data)
    assert str(caught.value) == (
        "the part Depthwise is not registered in this process: first import the Python module that"
        " defines it with @reslab.spec.register (tests.helpers.user_parts)"
    )
    with pytest.raises(UserError, match="Depthwise cannot be saved: register it"):
        serialize.encode_network(NETWORK)


def test_where_a_script_s_part_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    part = type(Depthwise.__name__, (Depthwise,), {"__module__": "__main__"})
    monkeypatch.setitem(serialize.REGISTERED, "Depthwise", part)
    monkeypatch.setattr("__main__.__file__", "/home/me/train.py", raising=False)
    assert serialize.encode(part())["defined_in"] == "train.py"
    monkeypatch.delattr("__main__.__file__")
    assert serialize.encode(part())["defined_in"] == "a notebook or a console"


def test_a_class_may_be_registered_again() -> None:
    assert spec.register(Depthwise) is Depthwise


def frozen(name: str, base: type = spec.Leaf, **members: Any) -> type:
    members = {"__module__": __name__, "__annotations__": dict.fromkeys(members, int), **members}
    return dataclass(frozen=True)(type(name, (base,), members))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (frozen("Conv"), "a built-in part has this name"),
        (frozen("CONV"), "a built-in part has this name"),
        (frozen("Repeat"), "a built-in part has this name"),
        (frozen("Depthwise"), "tests.helpers.user_parts registered a part of this name"),
        (frozen("Block2"), "end it in a letter"),
        (frozen("Typed", type=1), "rename its field 'type'"),
        (frozen("Fine", base=object), "derive a class from reslab.spec.Leaf"),
        (Depthwise(), "derive a class from reslab.spec.Leaf"),
        (type("Bare", (spec.Leaf,), {}), r"put @dataclass\(frozen=True\) below the decorator"),
        (type("Inherits", (Depthwise,), {}), r"put @dataclass\(frozen=True\)"),
    ],
)
def test_what_cannot_be_registered(part: Any, message: str) -> None:
    before = dict(serialize.REGISTERED)
    with pytest.raises(UserError, match=message):
        spec.register(part)
    assert before == serialize.REGISTERED


def test_fields_that_json_cannot_hold() -> None:
    net = replace(NETWORK, rows={"conv1": Depthwise([3, 3])})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"\[3, 3\] cannot be saved: fields of parts hold"):
        serialize.encode_network(net)
