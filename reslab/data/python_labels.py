"""The labels of data sets that are Python objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.core.errors import UserError, unknown

from .dataset import CLASSIFICATION, MULTILABEL
from .sources.table_labels import in_order

SETS = list, tuple, set, frozenset


@dataclass(frozen=True)
class PythonLabels:
    """Labels as numbers: int32 (n,), or 0 and 1 (n, classes) for several labels per image."""

    classes: tuple[str, ...]
    of_part: dict[str, np.ndarray]
    task: str
    column_per_label: bool = False


def read(
    parts: Mapping[str, Any],
    classes: Sequence[str] | None,
    notes: list[str],
    by_name: bool = False,
    least: int = 2,
) -> PythonLabels:
    """The labels of each part.

    Args:
        parts: For each part the labels of its images: numbers, names, rows of 0 and 1, or
            collections of numbers or names.
        classes: The names of all classes; None to find them.
        notes: Gets a sentence if something was decided.
        by_name: Whether numbers that are names of classes are taken as names, not as positions.
        least: The number of classes that are needed.

    Raises:
        UserError: A label is unknown, or is no label.
    """
    values = {part: _values(labels) for part, labels in parts.items()}
    if all(isinstance(v, np.ndarray) and v.ndim == 2 for v in values.values()):
        return _rows(values, classes, notes)
    lists = {part: list(v) for part, v in values.items()}
    if all(isinstance(each, SETS) for v in lists.values() for each in v):
        return _sets(lists, classes, by_name, least)
    plain = {part: [_plain(label) for label in v] for part, v in lists.items()}
    names, number_of = _numbering([x for v in plain.values() for x in v], classes, by_name)
    of_part = {part: np.array([number_of(x) for x in v], np.int32) for part, v in plain.items()}
    if len(names) < least:
        raise UserError(f"the data have one class, {names[0]!r}; at least two are needed")
    return PythonLabels(names, of_part, CLASSIFICATION)


def _values(labels: Any) -> Any:
    """An array of labels, or a list; a column (n, 1) is (n,)."""
    if labels is None or isinstance(labels, str | bytes) or not hasattr(labels, "__len__"):
        raise UserError(f"labels are a {type(labels).__name__}: give one label for each image")
    if not hasattr(labels, "__array__"):
        labels = [_numpy(x) for x in labels]
        if labels and all(isinstance(x, np.ndarray) and x.ndim == 1 for x in labels):
            if len({len(x) for x in labels}) > 1:
                raise UserError("labels are rows of different lengths: give 0 or 1 for each class")
            labels = np.stack(labels)
        else:
            return labels
    array = np.asarray(_numpy(labels))
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim not in (1, 2):
        raise UserError(
            f"labels have the shape {array.shape}: give (n,), or (n, classes) of 0 and 1"
        )
    return array


def _numpy(thing: Any) -> Any:
    if hasattr(thing, "detach"):
        thing = thing.detach().cpu()
    return np.asarray(thing) if hasattr(thing, "__array__") else thing


def _rows(
    parts: Mapping[str, np.ndarray], classes: Sequence[str] | None, notes: list[str]
) -> PythonLabels:
    """One-hot rows are one class per image; other rows of 0 and 1 several labels."""
    every = np.concatenate(list(parts.values()))
    if every.dtype.kind not in "biuf" or not np.isin(every, (0, 1)).all():
        raise UserError("labels are rows of numbers: give 0 or 1 for each class")
    k = every.shape[1]
    names = tuple(map(str, range(k))) if classes is None else tuple(classes)
    if len(names) != k:
        raise UserError(
            f"labels have {k} columns and there are {len(names)} names of classes: give "
            '{"train": (images, labels), "classes": names} with the names of the columns'
        )
    whole = {part: rows.astype(np.int32) for part, rows in parts.items()}
    if (every.sum(1) == 1).all():
        notes.append("labels are one-hot: one class for each image")
        return PythonLabels(
            names,
            {part: rows.argmax(1).astype(np.int32) for part, rows in whole.items()},
            CLASSIFICATION,
        )
    notes.append(f"several labels per image: rows of 0 and 1 for {k} classes")
    return PythonLabels(names, whole, MULTILABEL, column_per_label=True)


def _sets(
    parts: Mapping[str, list[Any]], classes: Sequence[str] | None, by_name: bool, least: int
) -> PythonLabels:
    plain = {p: [[_plain(_numpy(x)) for x in labels] for labels in v] for p, v in parts.items()}
    every = [x for v in plain.values() for labels in v for x in labels]
    names, number_of = _numbering(every, classes, by_name)
    of_part = {}
    for part, rows in plain.items():
        of_part[part] = np.zeros((len(rows), len(names)), np.int32)
        for i, labels in enumerate(rows):
            of_part[part][i, [number_of(x) for x in labels]] = 1
    if len(names) < least:
        raise UserError(f"the data have {len(names)} classes; at least two are needed")
    return PythonLabels(names, of_part, MULTILABEL)


def _plain(label: Any) -> int | str:
    """A name, or a whole number."""
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        if not value.strip():
            raise UserError("a label is an empty text: give the name of a class")
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise UserError(
        f"a label is {value!r}: give the name of a class or a whole number; reslab does not learn "
        "other values"
    )


def _numbering(
    labels: Sequence[int | str], classes: Sequence[str] | None, by_name: bool
) -> tuple[tuple[str, ...], Any]:
    """The names of the classes, and the function from a label to its number."""
    if classes is None:
        names = tuple(in_order({str(label) for label in labels}))
        position = {name: i for i, name in enumerate(names)}
        return names, lambda label: position[str(label)]
    names = tuple(map(str, classes))
    position = {name: i for i, name in enumerate(names)}
    numbers = [label for label in labels if isinstance(label, int)]
    named = by_name and all(str(label) in position for label in numbers)

    def number(label: int | str) -> int:
        if isinstance(label, int) and not named:
            if not 0 <= label < len(names):
                raise UserError(
                    f"a label is {label}, and there are {len(names)} classes: give 0 to "
                    f"{len(names) - 1}"
                )
            return label
        if str(label) not in position:
            raise unknown("class", str(label), names)
        return position[str(label)]

    return names, number
