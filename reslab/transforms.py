"""Functions from description to description: the plain twin, another head, no batch norm.

A variant of a network is a transform of its value, never a boolean in its constructor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reslab.errors import UserError, unknown
from reslab.spec import BN, Concat, Dense, Network, Part, Repeat, Residual, steps


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
    return replace(network, rows=rows, **changes)


def without_skips(part: Part) -> Part:
    """A residual unit without its shortcut: the plain twin's."""
    return (part.lead, part.body, part.tail) if isinstance(part, Residual) else part


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


def headless(network: Network) -> Network:
    """The network down to its last feature maps."""
    rows = {row: part for row, part in network.rows.items() if row != "head"}
    return replace(network, rows=rows)


def with_classes(network: Network, classes: int) -> Network:
    """The network with another number of outputs."""
    if classes < 1:
        raise UserError(f"a network needs at least one class, not {classes}")
    if "head" not in network.rows or network.classes is None:
        raise UserError(f"{network.name} has no head to give {classes} classes to")
    head = list(steps(network.rows["head"]))
    last = max(i for i, step in enumerate(head) if isinstance(step, Dense))
    dense = head[last]
    assert isinstance(dense, Dense)
    head[last] = replace(dense, units=classes)
    return replace(network, rows={**network.rows, "head": tuple(head)})


def row_names(network: Network, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if they are rows of the network; raises UserError with the nearest one."""
    for name in names:
        if name not in network.rows:
            raise unknown(f"row of {network.name}", name, network.rows)
    return names
