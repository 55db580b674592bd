"""Functions from description to description: the plain twin, another head, no batch norm.

A variant of a network is a transform of its value, never a boolean in its constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import index
from typing import Any, SupportsIndex

from reslab.core.errors import UserError, unknown
from reslab.spec.joins import Multiply
from reslab.spec.network import Concat, Network, Part, Repeat, Residual, unroll
from reslab.spec.parts import BN, Dense, StochasticDepth


def rewrite(part: Part, rule: Callable[[Part], Part]) -> Part:
    """The part with `rule` applied to every part in it, inner ones first."""
    if isinstance(part, tuple):
        part = tuple(rewrite(each, rule) for each in part)
    elif isinstance(part, Repeat):
        part = replace(part, part=rewrite(part.part, rule))
    elif isinstance(part, Concat):
        part = replace(part, branches=tuple(rewrite(each, rule) for each in part.branches))
    elif isinstance(part, Residual):
        inner: dict[str, Any] = {name: rewrite(getattr(part, name), rule) for name in _PATHS}
        part = replace(part, **inner)
    return rule(part)


_PATHS = ("lead", "body", "shortcut", "tail")


def transform(network: Network, rule: Callable[[Part], Part], **changes: Any) -> Network:
    """The network with `rule` applied to every part."""
    rows = {row: rewrite(part, rule) for row, part in network.rows.items()}
    aux = {row: (rewrite(part, rule), weight) for row, (part, weight) in network.aux.items()}
    return replace(network, rows=rows, aux=aux, **changes)


def without_skips(part: Part) -> Part:
    """A residual unit without its shortcut: the plain twin's.

    A product is no shortcut: squeeze-and-excitation stays. Stochastic depth goes, for without a
    shortcut nothing would be left of an image whose maps are dropped.
    """
    if isinstance(part, StochasticDepth):
        return ()
    if isinstance(part, Residual) and not isinstance(part.join, Multiply):
        return part.lead, part.body, part.tail
    return part


def plain(network: Network) -> Network:
    """The plain twin: the same layers with no skip (He 2015, Sec. 3.3)."""
    return transform(network, without_skips, name=f"plain({network.name})")


def without_bn(network: Network) -> Network:
    """The same network without batch normalisation; nothing takes its place."""
    return transform(
        network,
        lambda part: () if isinstance(part, BN) else part,
        name=f"without_bn({network.name})",
    )


def stochastic(network: Network, survival: float = 0.5) -> Network:
    """Stochastic depth with the linear rule (Huang 2016, eq. 4): unit l of L is kept with
    probability 1 - l / L (1 - survival) in training.

    Every unit gets a rate of its own, so repetitions are written out. Raises UserError where
    there is no residual unit, or `survival` is no probability above 0.
    """
    if not 0 < survival <= 1:
        raise UserError(f"survival is a probability above 0, not {survival}")
    units = sum(_is_unit(part) for row in network.rows.values() for part in unroll(row))
    if not units:
        raise UserError(f"{network.name} has no residual unit to drop")
    number = 0

    def dropping(part: Part) -> Part:
        nonlocal number
        if not isinstance(part, Residual) or not _is_unit(part):
            return part
        number += 1
        return replace(part, body=(part.body, StochasticDepth(number / units * (1 - survival))))

    rows = {
        row: tuple(dropping(step) for step in unroll(part)) for row, part in network.rows.items()
    }
    return replace(network, name=f"stochastic({network.name})", rows=rows)


def _is_unit(part: Part) -> bool:
    return isinstance(part, Residual) and not isinstance(part.join, Multiply)


def headless(network: Network) -> Network:
    """The network down to its last feature maps."""
    rows = {row: part for row, part in network.rows.items() if row != "head"}
    return replace(network, rows=rows, aux={})


def with_classes(network: Network, classes: int) -> Network:
    """The network with another number of outputs."""
    if isinstance(classes, bool) or not isinstance(classes, SupportsIndex):
        raise UserError(f"classes is a whole number, not {classes!r}")
    classes = index(classes)
    if classes < 1:
        raise UserError(f"a network needs at least one class, not {classes}")
    if "head" not in network.rows or network.classes is None:
        raise UserError(f"{network.name} has no head to give {classes} classes to")
    rows = {**network.rows, "head": _with_last_units(network.rows["head"], classes)}
    aux = {row: (_with_last_units(p, classes), weight) for row, (p, weight) in network.aux.items()}
    return replace(network, rows=rows, aux=aux)


def _with_last_units(head: Part, units: int) -> Part:
    """The head with so many outputs of its last full connection."""
    parts = list(unroll(head))
    last = max(i for i, step in enumerate(parts) if isinstance(step, Dense))
    dense = parts[last]
    assert isinstance(dense, Dense)
    parts[last] = replace(dense, units=units)
    return tuple(parts)


def row_names(network: Network, names: str | Iterable[str]) -> tuple[str, ...]:
    """The names (or the one), if they are rows of the network.

    Raises UserError with the nearest one.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in network.rows:
            raise unknown(f"row of {network.name}", name, network.rows)
    return names
