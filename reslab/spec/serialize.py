"""Descriptions to JSON and back: what a run folder keeps of its network.

A chain is a list. Any other part is an object with its class name under "type" and the fields that
differ from their defaults. Reading makes values of known classes only: the built-in parts, and
those that `register` added.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, TypeVar

from reslab.core.errors import UserError, unknown
from reslab.spec import joins, leaf, network, parts
from reslab.spec.leaf import Leaf

NOT_LEAVES = leaf.Init, network.Residual, network.Concat, network.Repeat
BUILT_IN: dict[str, type] = {cls.__name__: cls for cls in NOT_LEAVES} | {
    name: cls
    for module in (parts, joins)
    for name, cls in vars(module).items()
    if dataclasses.is_dataclass(cls) and isinstance(cls, type) and issubclass(cls, Leaf)
}
REGISTERED: dict[str, type] = {}  # the parts that users write, by class name
KEYS = "type", "defined_in"  # in the JSON of a part, beside its fields

UserPart = TypeVar("UserPart", bound=Leaf)


class UnregisteredPart(UserError):
    """A description has a user's part that this process has not registered."""


def register(part: type[UserPart]) -> type[UserPart]:
    """Register a part of your own, so that networks with it can be saved and read.

    Use it as a decorator of a frozen dataclass that derives from `reslab.spec.Leaf`:

        import keras
        from dataclasses import dataclass
        from reslab import spec

        @spec.register
        @dataclass(frozen=True)
        class Depthwise(spec.Leaf):
            kernel: int = 3

            def weights(self, in_shape):
                return {"kernel": (self.kernel, self.kernel, in_shape.channels, 1)}

            def multiply_adds(self, in_shape, out_shape):
                size = out_shape.positions
                return None if size is None else size * out_shape.channels * self.kernel**2

            def keras_layer(self, site):
                return keras.layers.DepthwiseConv2D(
                    self.kernel,
                    padding="same",
                    use_bias=False,
                    data_format=site.data_format,
                    name=site.path,
                )

    The part is then used as any other: it is counted, drawn, built, trained and kept in run
    folders. Fields hold numbers, text, booleans, None, parts, or tuples of these. A part that
    changes the shape overrides `out_shape`; `label` is its text in tables and pictures.

    Every process that reads a run of such a network has to import the module that registers the
    part first. The command line knows only built-in parts, so use `reslab.resume`,
    `reslab.evaluate` and the other functions from Python. A Keras layer of your own inside
    `keras_layer` must also be registered with `keras.saving.register_keras_serializable`. Repeated
    units with such a part are not stacked.

    Args:
        part: The class. Its name is what JSON keeps.

    Returns:
        The class itself.

    Raises:
        UserError: It is not a frozen dataclass that derives from `Leaf`, or its name or a field's
            name cannot be used. The same class may be registered again, as in a notebook cell that
            is run twice.
    """
    if not (isinstance(part, type) and issubclass(part, Leaf)):
        raise UserError(f"cannot register {part!r}: derive a class from reslab.spec.Leaf")
    name = part.__name__
    params = vars(part).get("__dataclass_params__")
    if params is None or not params.frozen:
        raise UserError(f"cannot register {name}: put @dataclass(frozen=True) below the decorator")
    if name.lower() in map(str.lower, BUILT_IN):
        raise UserError(f"cannot register {name}: a built-in part has this name; choose another")
    if not (name.isascii() and name[-1].isalpha()):
        raise UserError(f"cannot register {name}: layer paths number parts, so end it in a letter")
    other = REGISTERED.get(name, part)
    if (other.__module__, other.__qualname__) != (part.__module__, part.__qualname__):
        raise UserError(
            f"cannot register {name}: {other.__module__} registered a part of this name; choose"
            " another"
        )
    for field in vars(part)["__dataclass_fields__"]:
        if field in KEYS:
            raise UserError(f"cannot register {name}: rename its field {field!r}")
    REGISTERED[name] = part
    return part


def is_built_in(part: Any) -> bool:
    """Whether reslab itself has the part, rather than a user."""
    return BUILT_IN.get(type(part).__name__) is type(part)


def encode(part: Any) -> Any:
    """Return a part as plain lists, dictionaries, text and numbers; `decode` reads them.

    Raises UserError for a part that is not registered, and for a field that JSON cannot hold.
    """
    if isinstance(part, tuple):
        return [encode(each) for each in part]
    if part is None or isinstance(part, str | int | float):
        return part
    name = type(part).__name__
    fields: dict[str, Any] = {"type": name}
    if not is_built_in(part):
        if REGISTERED.get(name) is not type(part):
            if isinstance(part, Leaf):
                raise UserError(f"{name} cannot be saved: register it with @reslab.spec.register")
            raise UserError(
                f"{part!r} cannot be saved: fields of parts hold numbers, text, parts, or tuples"
            )
        fields["defined_in"] = _origin(type(part))
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value != _default(field):
            fields[field.name] = encode(value)
    return fields


def _origin(part: type) -> str:
    """Where the class is defined, for people: a module, or the name of a script."""
    if part.__module__ != "__main__":
        return part.__module__
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Path(script).name if script else "a notebook or a console"


def decode(data: Any) -> Any:
    """Return the part that `encode` wrote.

    Raises UserError for anything else; UnregisteredPart where a user's part is not registered.
    """
    if isinstance(data, list):
        return tuple(decode(each) for each in data)
    if not isinstance(data, dict):
        return data
    fields = {name: decode(value) for name, value in data.items() if name not in KEYS}
    kind = data.get("type", "")
    known = BUILT_IN | REGISTERED
    if not isinstance(kind, str) or kind not in known:
        if isinstance(data.get("defined_in"), str):
            raise UnregisteredPart(
                f"the part {kind} is not registered in this process: first import the Python module"
                f" that defines it with @reslab.spec.register ({data['defined_in']})"
            )
        raise unknown("part", str(kind), known)
    try:
        return known[kind](**fields)
    except UnregisteredPart:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"not a {kind}: {error}") from None


def encode_network(net: network.Network) -> dict[str, Any]:
    """Return a network as JSON holds it. Raises UserError as `encode` does."""
    fields = dataclasses.asdict(dataclasses.replace(net, rows={}, aux={}))
    rows = {row: encode(part) for row, part in net.rows.items()}
    aux = {row: [encode(part), weight] for row, (part, weight) in net.aux.items()}
    return {**fields, "input_shape": list(net.input_shape), "rows": rows, "aux": aux}


def decode_network(data: dict[str, Any]) -> network.Network:
    """Return the network that `encode_network` wrote; raises UserError for anything else."""
    try:
        rows = {row: decode(part) for row, part in data["rows"].items()}
        heads = data.get("aux", {}).items()
        aux = {row: (decode(part), float(weight)) for row, (part, weight) in heads}
        shape = tuple(data["input_shape"])
        return network.Network(**{**data, "rows": rows, "input_shape": shape, "aux": aux})
    except RecursionError:
        raise UserError("not the description of a network: it is nested too deep") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"not the description of a network: {error}") from None


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
