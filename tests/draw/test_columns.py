"""Networks side by side: drawings match `walk`, and Fig. 3 matches the paper."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import matplotlib
import pytest
from hypothesis import given, settings

from reslab.draw import picture, render
from reslab.draw.columns import LONGEST, Column, column, columns
from reslab.draw.elements import piece
from reslab.draw.marks import Box, Text
from reslab.spec import (
    AvgPool,
    Concat,
    Conv,
    Dense,
    GlobalAverage,
    Leaf,
    MaxPool,
    Network,
    Repeat,
    Residual,
    ZeroPadShortcut,
    input_maps,
    walk,
)
from reslab.spec.joins import Join
from reslab.zoo import NETWORKS
from tests.helpers.random_nets import few, networks

DRAWN = Conv | MaxPool | AvgPool | GlobalAverage | Dense
FIGURE_3 = [NETWORKS["vgg19"], NETWORKS["plain34"], NETWORKS["resnet34"]]


def main_path(network: Network) -> Iterator[Leaf]:
    """The layers that have boxes in Fig. 3; projections on shortcuts are dotted lines there."""
    return (
        layer.part
        for layer in walk(network)
        if isinstance(layer.part, DRAWN) and "_shortcut" not in layer.path
    )


def looks(network: Network) -> Counter[str]:
    """Return the number of skips by look, from the inputs of joins and of dense layers."""
    layers = {layer.path: layer for layer in walk(network)}
    skips: Counter[str] = Counter()
    for path, layer in layers.items():
        unit, _, kind = path.rpartition("_")
        if kind == "concat" and len(layer.inputs) > 1:
            branches = {
                p.removeprefix(f"{unit}_branch")[0] for p in layers if f"{unit}_branch" in p
            }
            skips["concat"] += len(branches) == 1  # the other branches are empty
        if kind in ("add", "gate", "multiply"):
            shortcut = [one for p, one in layers.items() if p.startswith(f"{unit}_shortcut_")]
            changes = shortcut and shortcut[0].in_shapes[0] != shortcut[-1].out_shape
            skips["change" if changes else "projection" if shortcut else "identity"] += 1
    return skips


def count_boxes(drawn: Column) -> int:
    """The number of boxes, with those of folded items multiplied."""
    total = 0
    for i, item in enumerate(drawn.items):
        times = 1
        for fold in drawn.folds:
            times *= fold.times if fold.start <= i < fold.end else 1
        total += times * sum(isinstance(m, Box) and m.layer for m in item.piece.marks)
    return total


def without_overlap(boxes: list[Box]) -> bool:
    boxes = [box for box in boxes if box.look != "frame"]
    for a, b in combinations(boxes, 2):
        (al, at, ar, ab), (bl, bt, br, bb) = a.extent, b.extent
        if al < br and bl < ar and at < bb and bt < ab:
            return False
    return True


SHALLOW = [net for net in NETWORKS.values() if sum(1 for _ in main_path(net)) <= 220]


@pytest.mark.parametrize("net", SHALLOW, ids=lambda net: net.name)
def test_every_layer_has_its_box_and_every_unit_its_skip(net: Network) -> None:
    drawn = column(net)
    assert drawn.boxes == len(list(main_path(net)))
    assert Counter(skip.look for skip in drawn.skips) == looks(net)


def test_deep_networks_are_folded_and_keep_their_layers() -> None:
    for name in ("resnet152", "resnet200_v2", "resnet1001_v2", "plain1202"):
        net = NETWORKS[name]
        (drawn,) = columns([net])
        assert drawn.boxes <= LONGEST
        assert count_boxes(drawn) == len(list(main_path(net)))
    first, second, *_ = columns([NETWORKS["resnet152_v1"]])[0].skips
    assert (first.look, second.look) == ("change", "identity")  # equal units, one projection


def test_one_deep_network_folds_its_neighbours() -> None:
    shallow, deep = columns([NETWORKS["resnet34"], NETWORKS["resnet152"]])
    assert shallow.folds
    assert deep.folds
    assert not any(each.folds for each in columns(FIGURE_3))


def test_figure_3() -> None:
    drawing = picture(FIGURE_3)
    boxes = [box for box in drawing.boxes if box.layer]
    by_column = [[b for b in boxes if b.x == x] for x in sorted({b.x for b in boxes})]
    assert [len(each) for each in by_column] == [16 + 5 + 3, 34 + 2, 34 + 2]
    assert without_overlap(drawing.boxes)
    labels = {m.text: m.y for m in drawing.marks if isinstance(m, Text) and "size" in m.text}
    assert list(labels) == [f"output size: {n}" for n in (224, 112, 56, 28, 14, 7, 1)]
    # the layers that the paper draws beside each size
    expected = {
        224: ["3x3 conv, 64"],
        112: ["pool, /2", "7x7 conv, 64, /2", "7x7 conv, 64, /2"],
        56: ["pool, /2"] * 3,
        28: ["pool, /2", "3x3 conv, 128, /2", "3x3 conv, 128, /2"],
        14: ["pool, /2", "3x3 conv, 256, /2", "3x3 conv, 256, /2"],
        7: ["pool, /2", "3x3 conv, 512, /2", "3x3 conv, 512, /2"],
        1: ["fc 4096", "avg pool", "avg pool"],
    }
    for size, labels_of_row in expected.items():
        texts = [
            box.text
            for each in by_column
            for box in each
            if box.y == labels[f"output size: {size}"]
        ]
        assert texts == labels_of_row
    looks_of_lines = Counter(line.look for line in drawing.lines)
    assert looks_of_lines["identity"] == 13 + 1  # and one in the legend
    assert looks_of_lines["change"] == 3 + 1


def test_the_svg_has_the_label_of_each_layer() -> None:
    svg = render.files(picture(FIGURE_3))["svg"].decode()
    counts = Counter(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    expected = Counter(
        f"{leaf.kernel}x{leaf.kernel} conv, {leaf.filters}" + ", /2" * (leaf.stride == 2)
        for net in FIGURE_3
        for leaf in main_path(net)
        if isinstance(leaf, Conv)
    )
    assert {label: n for label, n in counts.items() if "conv" in label} == expected
    assert counts["output size: 112"] == 1


def test_pictures_do_not_depend_on_the_settings_of_matplotlib() -> None:
    nets = [NETWORKS["resnet20"]]
    first = render.files(picture(nets))
    with matplotlib.rc_context({"font.size": 22.0, "svg.hashsalt": None, "savefig.dpi": 30}):
        assert render.files(picture(nets)) == first
    assert b"<dc:date>" not in first["svg"]


@given(networks())
@settings(few, max_examples=60)
def test_any_network_can_be_drawn(net: Network) -> None:
    count = len(list(main_path(net)))
    drawn, folded = column(net), column(net, fold=True)
    boxes = [m for item in drawn.items for m in item.piece.marks if isinstance(m, Box)]
    assert drawn.boxes - sum(box.look == "other" for box in boxes) == count
    assert count_boxes(folded) == drawn.boxes
    skips = Counter(skip.look for skip in drawn.skips if skip.look != "concat")
    expected = looks(net)
    del expected["concat"]  # not drawn inside branches
    assert skips <= expected
    assert skips.total() + sum(box.look == "sum" for box in boxes) == expected.total()
    assert without_overlap(picture([net, NETWORKS["resnet20"]]).boxes)


@given(networks())
@settings(few, max_examples=60)
def test_any_network_can_be_drawn_layer_by_layer(net: Network) -> None:
    layers = walk(net)
    drawing = piece(tuple(net.rows.values()), input_maps(net))
    boxes = [mark for mark in drawing.marks if isinstance(mark, Box)]
    joins = [layer for layer in layers if layer.part.kind in ("add", "concat")]
    assert sum(box.layer for box in boxes) == len(layers) - len(joins)
    assert sum(box.look in ("sum", "join") for box in boxes) == len(joins)
    assert without_overlap(boxes)


def test_a_network_of_open_size_and_one_that_shrinks_inside_a_unit() -> None:
    net = replace(NETWORKS["resnet18"], input_shape=(None, None, 3))
    texts = {m.text for m in picture([net]).marks if isinstance(m, Text)}
    assert {"output size: 1/2", "output size: 1/32", "output size: 1"} <= texts

    class Scale(Join):
        """The product of squeeze-and-excitation: one number for each map."""

        def out_shape(self, *in_shapes: object) -> object:  # type: ignore[override]
            return in_shapes[1]

    squeeze = Residual((GlobalAverage(), Dense(8)), shortcut=(), join=Scale())
    rows = {"conv1": (Conv(8, 3), squeeze, Conv(8, 3)), "head": (GlobalAverage(), Dense(2))}
    drawn = column(Network("squeezed", rows, (16, 16, 3)))
    assert [item.size for item in drawn.items] == [(16, 16)] * 4 + [(1, 1)] * 2
    assert [skip.look for skip in drawn.skips] == ["identity"]


def test_dense_layers_and_branches() -> None:
    layer = Concat(((), (Conv(16, 1), Conv(4, 3))))
    rows = {"conv1": Conv(8, 3), "dense": Repeat(layer, 40), "head": (GlobalAverage(), Dense(2))}
    (drawn,) = columns([Network("dense", rows, (16, 16, 3))])
    assert [(fold.end - fold.start, fold.times) for fold in drawn.folds] == [(2, 40)]
    assert [skip.look for skip in drawn.skips] == ["concat"]
    module = Concat((Conv(8, 1), (Conv(4, 1), Conv(8, 3)), ZeroPadShortcut(8)))
    drawn = column(Network("branches", {"conv1": module}, (16, 16, 3)))
    assert len(drawn.items) == 1
    assert drawn.boxes == 3
