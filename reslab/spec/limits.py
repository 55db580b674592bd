"""The limits of a network: what its fields may hold, and how many layers it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reslab.core.errors import UserError, short
from reslab.spec.fields import MOST_LAYERS, MOST_SIZE, Decimal, Whole

if TYPE_CHECKING:
    from reslab.spec.network import Network

_SHAPE = Whole(1, MOST_SIZE, none=True), Whole(1, MOST_SIZE, none=True), Whole(1, MOST_SIZE)


def check_network(network: Network) -> None:
    """Raise UserError if a field has a wrong kind, or if there are more layers than `MOST_LAYERS`.

    A part inside is checked when it is made; here it is checked that it is a part.
    """
    shape, order = network.input_shape, network.data_format
    if not all(isinstance(text, str) for text in (network.name, network.title, network.source)):
        raise UserError("a network has a name, a title and a source, which are text")
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise UserError(f"the input_shape is {short(shape)}; give (height, width, channels)")
    for number, rule in zip(shape, _SHAPE, strict=True):
        if not rule.accepts(number):
            raise UserError(f"the input_shape is {short(shape)}; each number should be {rule}")
    if order not in (None, "channels_first", "channels_last"):
        raise UserError(f"the data_format is {short(order)}; give channels_first or channels_last")
    if not isinstance(network.rows, Mapping) or not isinstance(network.aux, Mapping):
        raise UserError("the rows of a network, and its auxiliary heads, are mappings from names")
    heads = {row: _head(row, head) for row, head in network.aux.items()}
    if not all(isinstance(row, str) for row in (*network.rows, *heads)):
        raise UserError("the rows of a network are named by text")
    try:
        layers = sum(layer_count(part) for part in (*network.rows.values(), *heads.values()))
    except RecursionError:
        raise UserError("the parts of the network are nested too deep: use fewer levels") from None
    if layers > MOST_LAYERS:
        raise UserError(
            f"the network has more than {MOST_LAYERS:,} layers, which is the most: repeat less"
        )


def _head(row: Any, head: Any) -> Any:
    """The part of an auxiliary head."""
    if not isinstance(head, tuple) or len(head) != 2 or not Decimal().accepts(head[1]):
        raise UserError(f"the auxiliary head {short(row)} is a part and the weight of its loss")
    return head[0]


def layer_count(part: Any) -> int:
    """How many layers a part has at most; an empty repetition counts as one layer.

    Raises UserError if something in it is not a part.
    """
    if isinstance(part, tuple):
        return sum(map(layer_count, part))
    count = getattr(part, "layer_count", None)
    if count is None or isinstance(part, type):
        raise UserError(f"{short(part)} is not a part of a network: use a part or a tuple of parts")
    return int(count())
