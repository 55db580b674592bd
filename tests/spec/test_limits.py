"""Descriptions with odd values are refused when they are made or read; large ones are bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reslab import spec
from reslab.core.errors import UserError
from reslab.spec import network, summary
from reslab.spec.fields import MOST_LAYERS
from reslab.spec.serialize import decode_network, encode_network

HEAD = {"type": "GlobalAverage"}


def described(part: Any, **changes: Any) -> dict[str, Any]:
    rows = {"a": part, "head": [HEAD]}
    return {"name": "x", "input_shape": [8, 8, 3], "rows": rows} | changes


def repeated(part: Any, times: Any) -> dict[str, Any]:
    return {"type": "Repeat", "part": part, "times": times}


ODD: list[Any] = [
    True,
    "BN",
    [["BN"]],
    repeated([], "3"),
    repeated([], -1),
    repeated([{"type": "BN"}], 10**9),
    repeated([], 10**9),
    repeated(repeated([{"type": "BN"}], 1000), 1000),
    repeated(repeated([], 1000), 1000),
    [{"type": "Conv", "filters": 4, "kernel": 3, "stride": 0}],
    [{"type": "Conv", "filters": 4, "kernel": 3, "pad": -1}],
    [{"type": "Conv", "filters": 4, "kernel": 3, "groups": 0}],
    [{"type": "Conv", "filters": 4, "kernel": 3, "bias": 1}],
    [{"type": "Conv", "filters": 4, "kernel": 3, "init": 7}],
    [{"type": "MaxPool", "size": 2, "stride": True}],
    [{"type": "BN", "epsilon": float("nan")}],
    [{"type": "Dropout", "rate": 1.5}],
    [{"type": "Scale", "factor": "2"}],
    [{"type": "Activation", "function": 3}],
    [{"type": "Concat", "branches": []}],
    [{"type": "Concat", "branches": 3}],
    [{"type": "Residual", "body": [], "shortcut": [], "join": "Add"}],
    [{"type": "Residual", "body": [], "shortcut": [], "when": "never"}],
    [{"type": "AdaptiveAvgPool", "size": 10**30}],
    repeated([{"type": "MaxPool", "size": 1, "stride": 2**20, "pad": 2**24}], 4),
]


@pytest.mark.parametrize("part", ODD, ids=range(len(ODD)))
def test_an_odd_part_of_a_description(part: Any) -> None:
    with pytest.raises(UserError) as raised:
        spec.walk(decode_network(described(part, input_shape=[None, None, 3])))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": []},
        {"rows": 3},
        {"name": None},
        {"title": 5},
        {"aux": {"a": 3}},
        {"aux": {"a": [[], "1e"]}},
        {"aux": {"a": [[], float("inf")]}},
        {"input_shape": [8, 8, 0]},
        {"input_shape": [8, None, True]},
        {"input_shape": "abc"},
        {"data_format": "NHWC"},
        {"later": 1},
    ],
)
def test_an_odd_network(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError) as raised:
        decode_network(described([], **changes))
    assert str(raised.value).isprintable()


def test_parts_made_in_python_are_checked() -> None:
    for make in (
        lambda: spec.Conv(0, 3),
        lambda: spec.Conv(4, 2.5),  # type: ignore[arg-type]
        lambda: spec.Dense("10"),  # type: ignore[arg-type]
        lambda: spec.Repeat((), 10**6),
        lambda: spec.BN(momentum=2),
        lambda: spec.Network("x", {"a": [spec.BN()]}, (8, 8, 3)),  # type: ignore[dict-item]
    ):
        with pytest.raises(UserError):
            make()
    assert spec.Conv(np.int64(4), 3).filters == 4  # type: ignore[arg-type]


def test_the_most_layers() -> None:
    def net(times: int) -> network.Network:
        return spec.Network("x", {"a": spec.Repeat((spec.BN(),), times)}, (8, 8, 3))

    assert summary.counts(net(MOST_LAYERS)).trainable_params == 6 * MOST_LAYERS
    assert decode_network(encode_network(net(3))) == net(3)
    nested: Any = (spec.BN(),)
    for _ in range(5000):
        nested = (nested,)
    with pytest.raises(UserError, match="nested too deep"):
        spec.Network("x", {"a": nested}, (8, 8, 3))
    two = {"a": spec.Repeat((spec.BN(),), MOST_LAYERS), "b": spec.BN()}
    with pytest.raises(UserError, match="more than 100,000 layers"):
        spec.Network("x", two, (8, 8, 3))
