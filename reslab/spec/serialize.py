"""Descriptions as JSON and back: what a run folder keeps of its network.

A chain is a list; any other part is an object with its class under "type" and the fields that
differ from their defaults. Reading builds values of known classes only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from reslab.core.errors import UserError, unknown
from reslab.spec import network as spec
from reslab.spec import parts

PARTS: dict[str, type] = {
    cls.__name__: cls
    for cls in (*vars(parts).values(), spec.Residual, spec.Concat, spec.Repeat)
    if isinstance(cls, type)
    and dataclasses.is_dataclass(cls)
    and issubclass(cls, parts.Leaf | parts.Init | spec.Residual | spec.Concat | spec.Repeat)
}


def encode(part: Any) -> Any:
    """A part as plain lists, dictionaries and numbers."""
    if isinstance(part, tuple):
        return [encode(each) for each in part]
    if not dataclasses.is_dataclass(part):
        return part
    fields: dict[str, Any] = {"type": type(part).__name__}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value != _default(field):
            fields[field.name] = encode(value)
    return fields


def decode(data: Any) -> Any:
    """The part that `encode` wrote; raises UserError for anything else."""
    if isinstance(data, list):
        return tuple(decode(each) for each in data)
    if not isinstance(data, dict):
        return data
    fields = {name: decode(value) for name, value in data.items() if name != "type"}
    kind = data.get("type", "")
    if not isinstance(kind, str) or kind not in PARTS:
        raise unknown("part", str(kind), PARTS)
    try:
        return PARTS[kind](**fields)
    except TypeError as error:
        raise UserError(f"not a {kind}: {error}") from None


def encode_network(network: spec.Network) -> dict[str, Any]:
    fields = dataclasses.asdict(dataclasses.replace(network, rows={}, aux={}))
    rows = {row: encode(part) for row, part in network.rows.items()}
    aux = {row: [encode(part), weight] for row, (part, weight) in network.aux.items()}
    return {**fields, "input_shape": list(network.input_shape), "rows": rows, "aux": aux}


def decode_network(data: dict[str, Any]) -> spec.Network:
    """Raises UserError where the data describe no network."""
    try:
        rows = {row: decode(part) for row, part in data["rows"].items()}
        heads = data.get("aux", {}).items()
        aux = {row: (decode(part), float(weight)) for row, (part, weight) in heads}
        shape = tuple(data["input_shape"])
        return spec.Network(**{**data, "rows": rows, "input_shape": shape, "aux": aux})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"not the description of a network: {error}") from None


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
