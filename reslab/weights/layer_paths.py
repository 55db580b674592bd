"""Where a layer stands, read from its stable path (standard library only).

The schemes of names are written in terms of a `Place`, as the libraries' own names are: the third
convolution in the body of the second unit of conv4_x.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reslab.spec import Layer

_REST = re.compile(
    r"(?:(?P<unit>\d+)_)?"
    r"(?:(?P<arm>lead|body|shortcut|tail|branch\d+)_)?"
    r"(?:(?P<inner>\d+)_(?P<inner_arm>lead|body|shortcut|tail|branch\d+)_)?"
    r"(?P<kind>[a-z]+)(?P<number>\d*)"
)


@dataclass(frozen=True)
class Place:
    """`conv3_x_4_body_conv1` is row conv3_x, unit 4, arm body, kind conv, number 1.

    `inner` is the number of a unit inside the unit (squeeze and excitation); None outside one.
    `after` counts the convolutions before it in its arm: 0 for a batch norm that comes first
    (pre-activation), 2 for the one behind the second convolution.
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
        """The figure in the row's name: 4 of conv4_x, 2 of transition2; 0 where there is none."""
        found = re.search(r"\d+", self.row)
        return int(found[0]) if found else 0

    @property
    def branch(self) -> int:
        return int(self.arm.removeprefix("branch")) if self.arm.startswith("branch") else 0


def place(layer: Layer) -> Place | None:
    """None where the path nests deeper than any library's names do."""
    rest = layer.path.removeprefix(f"{layer.row}_")
    found = _REST.fullmatch(rest)
    if not found:
        return None
    return Place(
        path=layer.path,
        row=layer.row,
        unit=int(found["unit"]) if found["unit"] else None,
        arm=found["arm"] or "",
        inner=int(found["inner"]) if found["inner"] else None,
        kind=found["kind"],
        number=int(found["number"] or 0),
    )


def places(layers: Sequence[Layer]) -> list[Place]:
    """Of the layers that a scheme can speak of, in order of computation."""
    convolutions: Counter[tuple] = Counter()
    all_places = []
    for found in filter(None, map(place, layers)):
        arm = found.row, found.unit, found.arm, found.inner
        all_places.append(replace(found, after=convolutions[arm]))
        convolutions[arm] += found.kind == "conv"
    return all_places


def family(all_places: Sequence[Place]) -> str:
    """What the rows are made of: "dense" or "inception" rows, "preact" or "residual" units, else
    "sequential" (AlexNet, VGG)."""
    rows = {p.row for p in all_places}
    if any(re.fullmatch(r"dense\d+", row) for row in rows):
        return "dense"
    if any(row.startswith("inception") for row in rows):
        return "inception"
    if any(
        p.arm == "lead" or (p.kind == "bn" and p.arm == "body" and not p.after) for p in all_places
    ):
        return "preact"
    if any(p.arm == "body" for p in all_places):
        return "residual"
    return "sequential"
