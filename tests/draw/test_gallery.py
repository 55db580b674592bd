"""Building blocks, layer by layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest

from reslab.draw import gallery
from reslab.draw.elements import piece
from reslab.draw.marks import Box
from reslab.spec import Leaf
from reslab.spec.shapes import Maps
from reslab.zoo.resnet import basic


def labels(name: str) -> list[str]:
    """The labels of the boxes of a block, from top to bottom."""
    boxes = sorted(gallery.picture([name]).boxes, key=lambda box: (box.y, box.x))
    return [box.text for box in boxes if box.look != "frame"]


def test_the_papers_blocks() -> None:
    assert labels("plain") == ["3x3 conv, 64", "BN", "ReLU", "3x3 conv, 64", "BN", "ReLU"]
    assert labels("basic") == ["3x3 conv, 64", "BN", "ReLU", "3x3 conv, 64", "BN", "+", "ReLU"]
    assert labels("preact")[:3] == ["BN", "ReLU", "1x1 conv, 64"]
    assert labels("preact")[-2:] == ["1x1 conv, 256", "+"]
    assert "1x1 conv, 128, /2" in labels("projection")
    assert "zero-pad, 128, /2" in labels("option_a")
    assert labels("inception").count("concat") == 1


def test_the_identity_starts_before_the_activation_and_the_projection_after_it() -> None:
    """He 2016, Fig. 4(e); a unit that changes the shape projects the activated input."""

    def fork(name: str) -> float:
        (line,) = [m for m in gallery.picture([name]).lines if m.look in ("identity", "change")][:1]
        return line.points[0][1]

    def top(name: str, text: str) -> float:
        return min(box.y for box in gallery.picture([name]).boxes if box.text == text)

    assert fork("preact") < top("preact", "BN")
    assert fork("characters") > top("characters", "ReLU")


def test_the_dense_block_of_five_layers_with_growth_rate_4() -> None:
    """Huang 2017, Fig. 1: every layer is connected to every later one."""
    counts = Counter(labels("dense"))
    assert [counts[w] for w in ("BN", "ReLU", "3x3 conv, 4")] == [5, 5, 5]
    assert {"x0: 6 maps", "x5: 4 maps", "concat, 26 maps"} <= set(counts)
    curves = [line for line in gallery.picture(["dense"]).lines if line.look == "dense"]
    # 6 sources; a straight line to the next layer, a curve to every later one
    assert Counter(curve.stage for curve in curves) == {0: 5, 1: 4, 2: 3, 3: 2, 4: 1}
    assert len({(c.points[0], c.points[-1]) for c in curves}) == 15


@pytest.mark.parametrize(
    ("kind", "symbol", "look"),
    [("multiply", "\N{MULTIPLICATION SIGN}", "sum"), ("maxout", "maxout", "join")],
)
def test_a_join_is_drawn_by_its_kind(kind: str, symbol: str, look: str) -> None:
    @dataclass(frozen=True)
    class Other(Leaf):
        @property
        def kind(self) -> str:
            return kind

    drawing = piece(replace(basic(64), join=Other()), Maps(8, 8, 64))
    assert [m.text for m in drawing.marks if isinstance(m, Box) and m.look == look] == [symbol]
