"""The position of a layer in its network, parsed from its stable path (standard library only).

The naming schemes are written in terms of `LayerPath`, because the libraries' own names describe
the same position: the third convolution in the body of the second unit of conv4_x.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reslab.spec import Layer

_WITHIN_ROW = re.compile(
    r"(?:(?P<unit>\d+)_)?"
    r"(?:(?P<arm>lead|body|shortcut|tail|branch\d+)_)?"
    r"(?:(?P<inner>\d+)_(?P<inner_arm>lead|body|shortcut|tail|branch\d+)_)?"
    r"(?P<kind>[a-z]+)(?P<number>\d*)"
)


@dataclass(frozen=True)
class LayerPath:
    """A parsed path: `conv3_x_4_body_conv1` is row conv3_x, unit 4, arm body, kind conv, number 1.

    `inner` is the number of a unit within the unit (squeeze and excitation), else None. `after` is
    the number of convolutions before the layer in its arm: 0 for a batch norm before the first
    convolution (pre-activation), 2 for the one after the second.
    """

    path: str
    row: str
    unit: int | None
    arm: str
    inner: int | None
    kind: str
    number: int
    after: int = 0

    @property
    def row_number(self) -> int:
        """The number in the row's name: 4 in conv4_x, 2 in transition2; 0 if there is none."""
        match = re.search(r"\d+", self.row)
        return int(match[0]) if match else 0

    @property
    def branch(self) -> int:
        """The number of the branch, from 1; 0 outside of branches."""
        return int(self.arm.removeprefix("branch")) if self.arm.startswith("branch") else 0


def parse_layer_path(layer: Layer) -> LayerPath | None:
    """The parsed path of one layer, without `after`.

    None if the path is nested more deeply than the names of any library.
    """
    match = _WITHIN_ROW.fullmatch(layer.path.removeprefix(f"{layer.row}_"))
    if not match:
        return None
    return LayerPath(
        path=layer.path,
        row=layer.row,
        unit=int(match["unit"]) if match["unit"] else None,
        arm=match["arm"] or "",
        inner=int(match["inner"]) if match["inner"] else None,
        kind=match["kind"],
        number=int(match["number"] or 0),
    )


def parse_layer_paths(layers: Sequence[Layer]) -> list[LayerPath]:
    """The parsed paths in order of computation; layers that cannot be parsed are omitted."""
    convolutions: Counter[tuple] = Counter()
    paths = []
    for path in filter(None, map(parse_layer_path, layers)):
        arm = path.row, path.unit, path.arm, path.inner
        paths.append(replace(path, after=convolutions[arm]))
        convolutions[arm] += path.kind == "conv"
    return paths


def family(paths: Sequence[LayerPath]) -> str:
    """The kind of network: "dense", "inception", "preact", "residual", or "sequential" (VGG)."""
    rows = {p.row for p in paths}
    if any(re.fullmatch(r"dense\d+", row) for row in rows):
        return "dense"
    if any(row.startswith("inception") for row in rows):
        return "inception"
    if any(p.arm == "lead" or (p.kind == "bn" and p.arm == "body" and not p.after) for p in paths):
        return "preact"
    if any(p.arm == "body" for p in paths):
        return "residual"
    return "sequential"
