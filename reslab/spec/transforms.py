"""Functions from network to network: the plain twin, another head, no batch normalisation.

A variant of a network is a transform of its value, never an option of its constructor.
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

__all__ = [
    "headless",
    "plain",
    "rewrite",
    "stochastic",
    "transform",
    "with_classes",
    "without_bn",
    "without_skips",
]


def rewrite(part: Part, rule: Callable[[Part], Part]) -> Part:
    """Apply a function to every part inside a part, and to the part itself, inner parts first.

    Args:
        part: The part.
        rule: A function from a part to its replacement.

    Returns:
        The new part.
    """
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
    """Apply a function to every part of a network, auxiliary heads included.

    Args:
        network: The network.
        rule: A function from a part to its replacement.
        changes: Other fields to replace, such as name="...".

    Returns:
        The new network.
    """
    rows = {row: rewrite(part, rule) for row, part in network.rows.items()}
    aux = {row: (rewrite(part, rule), weight) for row, (part, weight) in network.aux.items()}
    return replace(network, rows=rows, aux=aux, **changes)


def without_skips(part: Part) -> Part:
    """Remove the shortcut of a residual unit; other parts stay as they are.

    A product is not a skip, so squeeze-and-excitation stays. Stochastic depth is removed: without
    a skip, dropped maps would leave nothing of an image.
    """
    if isinstance(part, StochasticDepth):
        return ()
    if isinstance(part, Residual) and not isinstance(part.join, Multiply):
        return part.lead, part.body, part.tail
    return part


def plain(network: Network) -> Network:
    """Make the plain twin: the same layers without skips (He 2015, Sec. 3.3).

    Args:
        network: The network.

    Returns:
        The twin, with the name "plain(NAME)".
    """
    return transform(network, without_skips, name=f"plain({network.name})")


def without_bn(network: Network) -> Network:
    """Remove batch normalisation; nothing replaces it.

    Args:
        network: The network.

    Returns:
        The network without it, with the name "without_bn(NAME)".
    """
    return transform(
        network,
        lambda part: () if isinstance(part, BN) else part,
        name=f"without_bn({network.name})",
    )


def stochastic(network: Network, survival: float = 0.5) -> Network:
    """Add stochastic depth by the linear rule (Huang 2016, eq. 4).

    In training, unit l of L is kept with probability 1 - l / L (1 - survival). Every unit has its
    own rate, so repetitions are written out.

    Args:
        network: The network.
        survival: Probability with which the last unit is kept, above 0 and at most 1.

    Returns:
        The network, with the name "stochastic(NAME)".

    Raises:
        UserError: There is no residual unit, or `survival` is out of range.
    """
    if not 0 < survival <= 1:
        raise UserError(f"survival is a probability above 0 and at most 1, not {survival}")
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
    """Remove the classifier and the auxiliary heads: the network ends at its last feature maps."""
    rows = {row: part for row, part in network.rows.items() if row != "head"}
    return replace(network, rows=rows, aux={})


def with_classes(network: Network, classes: int) -> Network:
    """Change the number of classes, in the auxiliary heads as well.

    Args:
        network: The network.
        classes: Number of outputs, at least 1.

    Returns:
        The network with the new last fully connected layer.

    Raises:
        UserError: `classes` is not such a number, or the network has no classifier.
    """
    if isinstance(classes, bool) or not isinstance(classes, SupportsIndex):
        raise UserError(f"classes is an integer, not {classes!r}")
    classes = index(classes)
    if classes < 1:
        raise UserError(f"a network needs at least one class, not {classes}")
    if "head" not in network.rows or network.classes is None:
        raise UserError(f"{network.name} has no head to give {classes} classes to")
    rows = {**network.rows, "head": _with_last_units(network.rows["head"], classes)}
    aux = {row: (_with_last_units(p, classes), weight) for row, (p, weight) in network.aux.items()}
    return replace(network, rows=rows, aux=aux)


def _with_last_units(head: Part, units: int) -> Part:
    """Change the number of outputs of the last fully connected layer of a head."""
    parts = list(unroll(head))
    last = max(i for i, step in enumerate(parts) if isinstance(step, Dense))
    dense = parts[last]
    assert isinstance(dense, Dense)
    parts[last] = replace(dense, units=units)
    return tuple(parts)


def row_names(network: Network, names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names as a tuple; raises UserError if one is not a row of the network."""
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in network.rows:
            raise unknown(f"row of {network.name}", name, network.rows)
    return names
