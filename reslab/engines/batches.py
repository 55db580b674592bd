"""What a model takes: its inputs by name, and the check of the arrays given for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from reslab.core.errors import UserError

Size = int | None
EXACT = 2**24  # float32 represents all whole numbers up to here


@dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    `shape` includes the batch, whose size is free; None is an unknown size, or a model that takes
    any shape.
    """

    name: str
    shape: tuple[Size, ...] | None = None
    whole: bool = False  # whether its values are whole numbers, such as indices of an embedding

    def __str__(self) -> str:
        if self.shape is None:
            return self.name
        shown = ["n", *("any" if size is None else str(size) for size in self.shape[1:])]
        return f"{self.name} ({', '.join(shown)}{',' if len(shown) == 1 else ''})"

    def fits(self, array: np.ndarray) -> bool:
        """Whether the array has the shape, the number of images apart."""
        shape = array.shape if self.shape is None else self.shape
        return array.ndim == len(shape) > 0 and all(
            n in (None, m) for n, m in zip(shape[1:], array.shape[1:], strict=True)
        )


class ModelInputs:
    """The inputs of a model in a flat order, and as nested as the model takes them."""

    def __init__(self, model: Any) -> None:
        self.structure = _structure(model)
        paths = [path for path, _ in tree.flatten_with_path(self.structure)]
        by_path = isinstance(self.structure, Mapping) and all(len(path) == 1 for path in paths)
        self.inputs = []
        for path, tensor in zip(paths, tree.flatten(self.structure), strict=True):
            named = isinstance(tensor, keras.KerasTensor)
            name = "/".join(map(str, path)) if by_path else f"input {'/'.join(map(str, path))}"
            name = tensor.name if named and not by_path else name
            shape = tuple(tensor.shape) if named else None
            self.inputs.append(ModelInput(name, shape, named and "int" in tensor.dtype))
        if len(self.inputs) == 1 and not by_path:
            self.inputs = [ModelInput("images", self.inputs[0].shape, self.inputs[0].whole)]
        nested = any(len(path) > 1 for path in paths)
        self.by_name_only = by_path or nested  # a list would leave the order to a guess

    def __str__(self) -> str:
        return _listed(self.inputs)

    def arrays(self, given: Any) -> list[np.ndarray]:
        """The arrays of a batch in float32, in flat order.

        Args:
            given: One array for a model with one input. For several, a dictionary by name, a list
                in their order, or what is nested as the model's inputs are.

        Raises:
            UserError: An input is missing or unknown, an array has another shape than its input,
                they have different numbers of images, or values are not finite.
        """
        batches = [given]
        if len(self.inputs) > 1 or (self.by_name_only and isinstance(given, Mapping)):
            batches = self._in_order(given)
        arrays = [self._array(i, x) for i, x in zip(self.inputs, batches, strict=True)]
        if len({len(x) for x in arrays}) > 1:
            lengths = [f"{len(x)} for {i.name}" for i, x in zip(self.inputs, arrays, strict=True)]
            raise UserError(f"the model takes {self} with one n for all, not {_listed(lengths)}")
        if not len(arrays[0]):
            raise UserError("no images were given")
        for i, array in zip(self.inputs, arrays, strict=True):
            self._check_values(i, array)
        return arrays

    def pack(self, arrays: Sequence[Any]) -> Any:
        """The arrays, nested as the model takes them."""
        return tree.pack_sequence_as(self.structure, list(arrays))

    def _in_order(self, given: Any) -> list[Any]:
        names = [i.name for i in self.inputs]
        if isinstance(given, Mapping) and set(map(str, given)) & set(names):
            missing = [name for name in names if given.get(name) is None]
            if missing:
                verb = "is" if len(missing) == 1 else "are"
                raise UserError(f"the model takes {self}; {_listed(missing)} {verb} missing")
            if unknown := [str(name) for name in given if name not in names]:
                raise UserError(f"the model takes {self}; it has no input {unknown[0]!r}")
            return [given[name] for name in names]
        if isinstance(given, list | tuple) and not self.by_name_only:
            if len(given) != len(names):
                raise UserError(
                    f"the model takes {self}, a list of {len(names)}; {len(given)} were given"
                )
            return list(given)
        if not isinstance(given, Mapping | list | tuple) or (nested := self._nested(given)) is None:
            how = "a dictionary by name"
            how += "" if self.by_name_only else ", or a list in this order"
            raise UserError(f"the model takes {self}: {how}, not {_kind(given)}")
        return nested

    def _nested(self, given: Any) -> list[Any] | None:
        """The values of what is nested as the inputs are; None if it is nested otherwise."""
        try:
            tree.assert_same_structure(
                tree.lists_to_tuples(self.structure), tree.lists_to_tuples(given)
            )
        except (ValueError, TypeError):
            return None
        return list(tree.flatten(given))

    def _array(self, expected: ModelInput, given: Any) -> np.ndarray:
        array = _as_array(given, "" if len(self.inputs) == 1 else expected.name)
        rank = len(expected.shape or ())
        if rank == 2 and array.ndim == 1 and expected.shape and expected.shape[1] == 1:
            array = array[:, None]  # one number per image, as Keras takes them
        if expected.fits(array):
            return array
        if len(self.inputs) == 1:
            raise UserError(f"the model takes {self}, not an array of {array.shape}")
        raise UserError(f"the model takes {self}, not {expected.name} of {array.shape}")

    def _check_values(self, expected: ModelInput, array: np.ndarray) -> None:
        # the sum is finite unless a value is not, or it is too large for float32
        with np.errstate(over="ignore", invalid="ignore"):
            total = array.sum()
        if not np.isfinite(total) and not np.isfinite(array).all():
            subject = "the images have" if len(self.inputs) == 1 else f"{expected.name} has"
            raise UserError(f"{subject} values that are not finite (NaN or infinity)")
        if expected.whole and np.abs(array).max(initial=0) > EXACT:
            raise UserError(
                f"{expected.name} has whole numbers above {EXACT:,}, which float32 cannot "
                "represent: call the model itself"
            )


def _structure(model: Any) -> Any:
    """The inputs as nested as the model takes them: tensors, or "" for a model with its own call.

    A model with its own `call` has been called with this structure; if not, with one array.
    """
    if getattr(model, "inputs", None):
        nested = model.input if isinstance(model, keras.Function) else list(model.inputs)
        return nested[0] if isinstance(nested, list | tuple) and len(nested) == 1 else nested
    shapes = (model.get_build_config() or {}).get("input_shape")
    return _placeholders(shapes)


def _placeholders(shapes: Any) -> Any:
    if isinstance(shapes, Mapping):
        return {key: _placeholders(value) for key, value in shapes.items()}
    if isinstance(shapes, list | tuple) and any(isinstance(x, list | tuple) for x in shapes):
        placeholders = [_placeholders(x) for x in shapes]  # Keras's lists are of a class of its own
        return tuple(placeholders) if isinstance(shapes, tuple) else placeholders
    return ""


def _listed(items: Sequence[Any]) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def _kind(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"a dictionary with {', '.join(map(str, given)) or 'nothing'}"
    shape = getattr(given, "shape", None)
    return f"an array of {tuple(shape)}" if shape is not None else f"a {type(given).__name__}"


def _as_array(given: Any, name: str = "") -> np.ndarray:
    """Images as one array of float32. Raises UserError for anything else."""
    for method in ("detach", "cpu"):  # a tensor of PyTorch that has a gradient, or is on a GPU
        if hasattr(given, method):
            given = getattr(given, method)()
    try:
        if isinstance(given, list | tuple):
            given = [np.asarray(_as_array(x) if hasattr(x, "detach") else x) for x in given]
            shapes = sorted({x.shape for x in given}, key=str)
            if len(shapes) > 1:
                raise UserError(
                    f"{name or 'the images'} have {len(shapes)} shapes, such as {shapes[0]} and "
                    f"{shapes[1]}: resize them to one, or give each alone"
                )
        array = np.asarray(given)
        if array.dtype.kind not in "fiubV" or array.dtype.fields:
            raise TypeError
        return np.ascontiguousarray(array, "float32")
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(given).__name__
        reason = f": {str(error).splitlines()[0]}" if str(error) else ""
        if name:
            raise UserError(f"{name}: a {kind} is not an array of numbers{reason}") from None
        raise UserError(
            f"a {kind} is not an array of numbers (n, height, width, channels){reason}; "
            "reslab.load(...).preprocess reads image files"
        ) from None
