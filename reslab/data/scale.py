"""The scale of pictures with more than 8 bits for each value: one for a data set.

Values of `low` become 0 and values of `high` become 255. `low` is 0, and `high` is the largest
value of 8, 10, 12, 14 or 16 bits, the smallest of them that no value of the data set exceeds. For
pictures of floats `high` may also be 1, and floats from -1 to 1 keep both signs. Other values are
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from reslab.core.errors import UserError

TOPS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
INTEGERS, FLOATS = "integers", "floats"
CONVERT = "convert the pictures to 8 bits, all in the same way"


@dataclass(frozen=True)
class GreyScale:
    """The values that become 0 and 255, of pictures of "integers" or of "floats"."""

    kind: str
    low: float
    high: float

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """From a run or the card of a model; raises UserError for other values."""
        if stored is None:
            return None
        try:
            kind, low, high = str(stored["kind"]), float(stored["low"]), float(stored["high"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"the scale {stored!r} is damaged") from None
        if kind not in (INTEGERS, FLOATS) or not -1 <= low < high <= TOPS[-1]:
            raise UserError(f"the scale {stored!r} is damaged")
        return cls(kind, low, high)

    def stored(self) -> dict[str, Any]:
        """What `of` reads."""
        return asdict(self)

    @property
    def text(self) -> str:
        """Such as "integers from 0 to 4095"."""
        return f"{self.kind} from {self.low:g} to {self.high:g}"

    def problem(self, values: Values) -> str:
        """Why these values are not on the scale; empty if they are."""
        if values.kind == self.kind and self.low <= values.low and values.high <= self.high:
            return ""
        return (
            f"its grey values, {values.kind} from {values.low:g} to {values.high:g}, are not on "
            f"the scale of the data: {self.text}"
        )


SIXTEEN_BITS = GreyScale(INTEGERS, 0, TOPS[-1])


@dataclass(frozen=True)
class Values:
    """The smallest and the largest value of a picture, and their kind."""

    kind: str
    low: float
    high: float

    @classmethod
    def of(cls, array: np.ndarray) -> Self:
        """Raises ValueError if no scale fits these values."""
        kind = FLOATS if array.dtype.kind == "f" else INTEGERS
        if kind == FLOATS and not np.isfinite(array).all():
            raise ValueError("it has pixels that are not finite")
        values = cls(kind, float(array.min(initial=array.flat[0])), float(array.max(initial=0)))
        if values.scale() is None:
            range_of_kind = "0..65535" if kind == INTEGERS else "-1..1 or 0..65535"
            raise ValueError(
                f"its grey values, {values.low:g} to {values.high:g}, are not in {range_of_kind}"
            )
        return values

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `str`; raises ValueError."""
        kind, low, high = text.split()
        return cls(kind, float(low), float(high))

    def __str__(self) -> str:
        return f"{self.kind} {self.low!r} {self.high!r}"

    def scale(self) -> GreyScale | None:
        """The scale of a data set with these values; None if there is none."""
        tops = TOPS if self.kind == INTEGERS else (1, *TOPS)
        if self.low >= 0:
            high = next((top for top in tops if self.high <= top), None)
            return None if high is None else GreyScale(self.kind, 0, high)
        if self.kind == FLOATS and self.low >= -1 and self.high <= 1:
            return GreyScale(FLOATS, -1, 1)
        return None


def choose(values: Iterable[str]) -> GreyScale | None:
    """The scale of a data set from the values of its pictures; None if all have 8 bits.

    Raises UserError if no scale fits all.
    """
    ranges = [Values.parse(text) for text in values if text]
    if not ranges:
        return None
    kinds = sorted({each.kind for each in ranges})
    if len(kinds) > 1:
        raise UserError(
            f"some pictures have grey values that are integers of more than 8 bits, and others "
            f"floats: {CONVERT}"
        )
    both = Values(kinds[0], min(v.low for v in ranges), max(v.high for v in ranges))
    if (scale := both.scale()) is None:
        raise UserError(
            f"the pictures have grey values from {both.low:g} to {both.high:g}; floats in -1..1 or "
            f"in 0..65535 are read: {CONVERT}"
        )
    return scale


def to_bytes(array: np.ndarray, scale: GreyScale | None) -> np.ndarray:
    """uint8 from the values of a picture. Without a scale, integers are those of 16 bits.

    Raises ValueError if values lie outside the scale, or floats have none.
    """
    values = Values.of(array)
    if scale is None and values.kind == FLOATS:
        raise ValueError(
            "its grey values are floats, and the training had none, so their scale is not known: "
            "convert it to 8 bits"
        )
    scale = scale or SIXTEEN_BITS
    if problem := scale.problem(values):
        raise ValueError(problem)
    factor = 255 / (scale.high - scale.low)
    return np.rint((array.astype(np.float64) - scale.low) * factor).astype(np.uint8)
