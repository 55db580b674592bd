"""The variants of a residual unit, with the errors that the paper published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reslab.core.errors import unknown
from reslab.spec import Block, Network, Part, ReLU
from reslab.spec.transforms import without_skips
from reslab.studies.sweep.nets import units
from reslab.studies.sweep.results import FAIL
from reslab.zoo import identity_mappings as paper
from reslab.zoo.resnet import bottleneck_v1, option_a
from reslab.zoo.resnet import cifar as he2015

BOTTLENECK = 164  # the second depth of Table 2, 9n + 2 layers; all others here have 6n + 2
Rows = dict[str, Part]


@dataclass(frozen=True)
class Variant:
    """A row of a table: its cells, its network, and the published errors in percent by depth.

    `rows(block, n)` are the rows of the network with n blocks in each stage.
    """

    name: str
    cells: tuple[str, ...]
    rows: Callable[[Block, int], Rows]
    published: Mapping[int, float | str]

    @property
    def label(self) -> str:
        """The case; with its factors for constant scaling, of which there are three."""
        case, *factors = self.cells
        return f"{case} {' / '.join(factors)}" if case == "constant scaling" else case


def _units(change: Callable[..., Any], *values: float, last: Part = ()) -> Callable[..., Rows]:
    """The network of He et al. 2015 with every unit changed."""
    return lambda block, n: paper.original(paper.varied(block, change, *values), n, last)


def _conv(block: Block, n: int) -> Rows:
    return paper.original(paper.conv_shortcut, n)


def _preactivated(block: Block, n: int) -> Rows:
    return paper.cifar(paper.preact_basic if block is option_a else paper.preact_released, n)


# cells: case, what is on the shortcut, what is on the residual function F
SHORTCUTS = (
    Variant("original", ("original", "1", "1"), he2015, {110: 6.61}),
    Variant("plain", ("constant scaling", "0", "1"), _units(without_skips), {110: FAIL}),
    Variant(
        "shortcut_scaling",
        ("constant scaling", "0.5", "1"),
        _units(paper.constant_scaling, 0.5, 1),
        {110: FAIL},
    ),
    Variant(
        "constant_scaling",
        ("constant scaling", "0.5", "0.5"),
        _units(paper.constant_scaling),
        {110: 12.35},
    ),
    Variant(
        "exclusive_gating_0",
        ("exclusive gating (b = 0)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating, 0.0),
        {110: FAIL},  # with b from 0 to -5
    ),
    Variant(
        "exclusive_gating",
        ("exclusive gating (b = -6)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating),
        {110: 8.70},
    ),
    Variant(
        "exclusive_gating_7",
        ("exclusive gating (b = -7)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating, -7.0),
        {110: 9.81},
    ),
    Variant(
        "shortcut_gating_0",
        ("shortcut-only gating (b = 0)", "1 - g(x)", "1"),
        _units(paper.shortcut_only_gating, 0.0),
        {110: 12.86},
    ),
    Variant(
        "shortcut_gating",
        ("shortcut-only gating (b = -6)", "1 - g(x)", "1"),
        _units(paper.shortcut_only_gating),
        {110: 6.91},
    ),
    Variant("conv_shortcut", ("1x1 conv shortcut", "1x1 conv", "1"), _conv, {110: 12.22}),
    Variant(
        "dropout_shortcut",
        ("dropout shortcut", "dropout 0.5", "1"),
        _units(paper.dropout_shortcut),
        {110: FAIL},
    ),
)
ACTIVATIONS = (
    Variant("original", ("original",), he2015, {110: 6.61, 164: 5.93}),
    Variant(
        "bn_after_addition",
        ("BN after addition",),
        _units(paper.bn_after_addition),
        {110: 8.17, 164: 6.50},
    ),
    Variant(
        "relu_before_addition",
        ("ReLU before addition",),
        _units(paper.relu_before_addition),
        {110: 7.84, 164: 6.14},
    ),
    Variant(
        "relu_only_preactivation",
        ("ReLU-only pre-activation",),
        _units(paper.relu_only_preactivation, last=ReLU),
        {110: 6.71, 164: 5.91},
    ),
    Variant("full_preactivation", ("full pre-activation",), _preactivated, {110: 6.37, 164: 5.46}),
)
TABLES = {"shortcuts": SHORTCUTS, "activations": ACTIVATIONS}
HEADS = {"shortcuts": ("case", "on shortcut", "on F"), "activations": ("case",)}
SOURCES = {"shortcuts": "Table 1", "activations": "Table 2"}


def check(table: str, depth: int) -> None:
    """Raise UserError for an unknown table or an impossible depth."""
    if table not in TABLES:
        raise unknown("ablation", table, TABLES)
    _structure(table, depth)


def network(table: str, variant: Variant, depth: int) -> Network:
    """The network of a variant at a depth: 6n + 2, or `BOTTLENECK` for activations."""
    block, n = _structure(table, depth)
    return Network(
        f"resnet{depth}_{variant.name}",
        variant.rows(block, n),
        (32, 32, 3),
        f"ResNet-{depth} for CIFAR, {variant.label}",
        f"{paper.PAPER}, {SOURCES[table]}",
    )


def _structure(table: str, depth: int) -> tuple[Block, int]:
    """The block, and how many of them a stage has."""
    if table == "activations" and depth == BOTTLENECK:
        return bottleneck_v1, (depth - 2) // 9
    return option_a, units(depth)
