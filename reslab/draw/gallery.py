"""The building blocks by name, and their drawings layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reslab.core.errors import unknown
from reslab.draw import labels
from reslab.draw.elements import GAP, piece
from reslab.draw.marks import Drawing, Mark, Text, around, straight
from reslab.spec import Part
from reslab.spec.shapes import Maps
from reslab.spec.transforms import without_skips
from reslab.zoo import (
    characters,
    densenet,
    googlenet,
    identity_mappings,
    resnet,
    resnext,
    senet,
)


@dataclass(frozen=True)
class Example:
    """A part to draw, the channels and side of its input maps, a title and the source."""

    part: Part
    channels: int
    title: str
    source: str
    side: int = 56


HE15, HE16 = "He et al. 2015", "He et al. 2016"
DECK = "the deck, 'Code'"
BLOCKS = {
    "plain": Example(without_skips(resnet.basic(64)), 64, "plain block", f"{HE15}, Sec. 3.3"),
    "basic": Example(resnet.basic(64), 64, "residual block", f"{HE15}, Fig. 5 left"),
    "projection": Example(resnet.basic(128, 2), 64, "option B", f"{HE15}, Sec. 3.3"),
    "option_a": Example(resnet.option_a(128, 2), 64, "option A", f"{HE15}, Sec. 3.3"),
    "bottleneck": Example(resnet.bottleneck(64), 256, "bottleneck", f"{HE15}, Fig. 5 right"),
    "preact": Example(identity_mappings.preact(64), 256, "pre-activation", f"{HE16}, Fig. 4(e)"),
    "dense": Example(
        (densenet.dense_layer(4),) * 5,
        6,
        "5-layer dense block, growth rate 4",
        "Huang et al. 2017, Fig. 1",
    ),
    "inception": Example(
        googlenet.NETWORKS["googlenet_2014"].rows["inception_3a"],
        192,
        "Inception (3a)",
        "Szegedy et al. 2014, Fig. 2(b)",
        28,
    ),
    "resnext": Example(
        resnext.grouped(32, 4)(64), 256, "ResNeXt, 32x4d", "Xie et al. 2016, Fig. 3(c)"
    ),
    "se": Example(
        senet.squeezed(resnet.bottleneck)(64), 256, "SE bottleneck", "Hu et al. 2017, Fig. 3"
    ),
    "gated": Example(
        identity_mappings.exclusive_gating(resnet.basic(64)),
        64,
        "exclusive gating",
        f"{HE16}, Fig. 2(c)",
    ),
    "characters": Example(characters.corrected(64), 1, "the deck's block, corrected", DECK, 28),
    "characters_printed": Example(
        characters.printed(64), 1, "the deck's block, as printed", DECK, 28
    ),
}


def picture(names: Sequence[str]) -> Drawing:
    """Draw building blocks side by side; raises UserError for an unknown name."""
    marks: list[Mark] = []
    for name in names:
        drawn = _titled(block(name))
        left = around(drawn)[0]
        at = around(marks)[2] + 40 if marks else 0.0
        marks += (mark.moved(at - left, 0) for mark in drawn)
    return Drawing(tuple(marks), ", ".join(names))


def block(name: str) -> Example:
    """The block of this name; raises UserError for an unknown one."""
    if name not in BLOCKS:
        raise unknown("block", name, BLOCKS)
    return BLOCKS[name]


def _titled(block: Example) -> list[Mark]:
    maps = Maps(block.side, block.side, block.channels)
    drawn = piece(block.part, maps)
    return [
        Text(0, -46, block.title, "title"),
        Text(0, -32, block.source, "note"),
        Text(0, -8, labels.size(maps), "box"),
        *drawn.marks,
        straight((0, drawn.height), (0, drawn.height + GAP), arrow=True),
    ]
