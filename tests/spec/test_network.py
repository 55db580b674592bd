"""Networks as values: paths, shapes, transforms, JSON and errors."""

from __future__ import annotations

import json

import pytest

from reslab.core.errors import UserError
from reslab.spec import (
    BN,
    Add,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Multiply,
    Network,
    ReLU,
    Repeat,
    Residual,
    StochasticDepth,
    serialize,
    summary,
    unroll,
    walk,
)
from reslab.spec.shapes import Maps
from reslab.spec.transforms import headless, plain, row_names, stochastic, with_classes, without_bn
from reslab.zoo import NETWORKS, network


def test_layer_paths() -> None:
    paths = {layer.path: layer for layer in walk(network("resnet50"))}
    fourth = paths["conv3_x_4_body_conv1"]
    assert fourth.part == Conv(128, 1)
    assert fourth.in_shapes == (Maps(28, 28, 512, stride=8),)
    assert paths["conv1_conv1"].inputs == ("",)
    assert "conv3_x_1_shortcut_conv1" in paths
    assert "conv3_x_2_shortcut_conv1" not in paths
    assert paths["conv3_x_2_add"].inputs == ("conv3_x_2_body_bn3", "conv3_x_1_tail_relu1")


def test_paths_are_unique() -> None:
    for net in NETWORKS.values():
        paths = [layer.path for layer in walk(net)]
        assert len(set(paths)) == len(paths)


def test_repetition_is_the_same_as_writing_it_out() -> None:
    def rows(part: object) -> dict[str, object]:
        return {"a": (Conv(8, 3), part), "head": (GlobalAvgPool, Dense(2))}

    unit = Residual((Conv(8, 3), BN()), shortcut=())
    short = Network("n", rows(Repeat(unit, 3)), (8, 8, 3))  # type: ignore[arg-type]
    long = Network("n", rows((unit, unit, unit)), (8, 8, 3))  # type: ignore[arg-type]
    assert walk(short) == walk(long)
    assert len(list(unroll(Repeat((unit, ReLU), 3)))) == 6


def test_the_shortcut_is_taken_where_channels_or_stride_change() -> None:
    def shortcuts(width: int, stride: int) -> int:
        unit = Residual(Conv(width, 3, stride), shortcut=Conv(width, 1, stride))
        layers = walk(Network("n", {"a": unit}, (None, None, 16)))
        return sum("shortcut" in layer.path for layer in layers)

    assert shortcuts(16, 1) == 0
    assert shortcuts(16, 2) == 1
    assert shortcuts(32, 1) == 1


def test_open_sizes_are_strides() -> None:
    layers = walk(network("resnet50"), (None, None, 3))
    ends = {layer.row: layer.out_shape for layer in layers}
    assert [ends[row].stride for row in ("conv1", "conv2_x", "conv5_x")] == [2, 4, 32]  # type: ignore[union-attr]
    assert layers[0].multiply_adds is None
    assert summary.counts(network("resnet50"), (None, None, 3)).multiply_adds is None


def test_plain_and_without_bn() -> None:
    twin = plain(network("resnet56"))
    assert not any(isinstance(layer.part, Add) for layer in walk(twin))
    assert summary.depth(twin) == 56
    bare = without_bn(network("resnet20"))
    assert not any(isinstance(layer.part, BN) for layer in walk(bare))
    assert headless(network("resnet20")).classes is None


def test_stochastic_depth_follows_the_linear_rule() -> None:
    """Huang 2016, eq. 4: unit l of L survives with probability 1 - l / L (1 - p_L)."""
    net = stochastic(network("resnet20"), 0.8)
    drops = [layer.part for layer in walk(net) if isinstance(layer.part, StochasticDepth)]
    assert [drop.rate for drop in drops] == pytest.approx([0.2 * i / 9 for i in range(1, 10)])
    assert summary.counts(net) == summary.counts(network("resnet20"))
    twin = walk(plain(net))
    assert [layer.part for layer in twin] == [layer.part for layer in walk(network("plain20"))]
    with pytest.raises(UserError, match="no residual unit"):
        stochastic(network("plain20"))
    with pytest.raises(UserError, match="probability"):
        stochastic(network("resnet20"), 0)


def test_squeeze_and_excitation_is_not_a_skip() -> None:
    twin = walk(plain(network("seresnet50")))
    assert sum(isinstance(layer.part, Multiply) for layer in twin) == 16
    assert not any(isinstance(layer.part, Add) for layer in twin)


def test_classes() -> None:
    assert with_classes(network("characters"), 10).classes == 10
    dense = [
        s
        for s in unroll(with_classes(network("characters"), 10).rows["head"])
        if isinstance(s, Dense)
    ]
    assert [d.units for d in dense] == [512, 10]
    with pytest.raises(UserError, match="at least one class"):
        with_classes(network("resnet20"), 0)
    with pytest.raises(UserError, match="no head"):
        with_classes(headless(network("resnet20")), 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_json_and_back(name: str) -> None:
    text = json.dumps(serialize.encode_network(network(name)))
    assert serialize.decode_network(json.loads(text)) == network(name)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "x", "rows": [], "input_shape": [1, 1, 1]},
        {"name": "x", "rows": {"a": {"type": "os.system"}}, "input_shape": [8, 8, 3]},
        {"name": "x", "rows": {"a": {"type": {"a": 1}}}, "input_shape": [8, 8, 3]},
        {"name": "x", "rows": {"a": {"type": "Conv", "colour": "red"}}, "input_shape": [8, 8, 3]},
        {"name": "x", "rows": {}, "input_shape": 3},
    ],
)
def test_json_without_a_network_is_refused(data: dict) -> None:
    with pytest.raises(UserError):
        serialize.decode_network(data)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Residual(Conv(8, 3), shortcut=Conv(16, 1), when="always"), "shapes must agree"),
        (Conv(8, 5, pad=0), "does not fit maps of 4x4"),
        (Conv(9, 3, groups=2), "do not divide"),
        ((Flatten(), Conv(8, 3)), "Conv takes maps"),
        (Dense(3), "takes a vector"),
        (Concat((Conv(4, 3, 2), Conv(4, 3))), "differ in size"),
        (MaxPool(3, 2, pad="odd"), "'even' or 'same'"),
    ],
)
def test_errors_name_the_part_that_does_not_fit(part: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        walk(Network("n", {"row": part}, (4, 4, 3)))  # type: ignore[dict-item]
    assert str(caught.value).startswith("row")


def test_unknown_names_suggest_the_most_similar() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        network("resnet51")
    with pytest.raises(UserError, match="conv4_x"):
        row_names(network("resnet50"), ("conv4",))


def test_table_reads_like_table_1() -> None:
    rows = {row["row"]: row for row in summary.table(network("resnet50"))}
    assert rows["conv1"]["layers"] == "7x7, 64, stride 2"
    assert rows["conv1"]["output"] == "112x112"
    assert rows["conv4_x"]["layers"] == "[1x1, 256; 3x3, 256; 1x1, 1024] x 6"
    assert rows["conv2_x"]["layers"].startswith("3x3 max pool, stride 2, [1x1, 64")
    assert sum(row["params"] for row in rows.values()) == 25_557_032
