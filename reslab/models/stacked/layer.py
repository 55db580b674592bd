"""The layer that holds a run of like units: one template, and variables with a leading axis."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.models.rules import Tensor, drop, visitor
from reslab.models.scopes import policy
from reslab.models.stacked.loops import Slices, States, loop
from reslab.spec import Dropout, Edge, Leaf, Site, StochasticDepth, stacks, traverse
from reslab.spec.shapes import Shape, axes
from reslab.spec.stacks import Stack


@keras.saving.register_keras_serializable("reslab")
class Stacked(keras.layers.Layer):
    """`times` units of one kind, each with weights of its own, as one layer.

    Takes and gives maps or vectors of the stack's shape, in the order of `data_format`. Every
    variable of a unit is one with a leading axis of `times`. The units run one after the other: as
    a scan on JAX and TensorFlow, whose programs then do not grow with depth, as a loop on
    PyTorch. With `remat` they are computed anew on the way back, and only what goes from unit to
    unit is kept until then.

    `stack` is a `repeats.Stack` or its JSON. `frozen` are layers of the unit (numbers in
    `template_layers`) that stand still although the rest is trained.
    """

    def __init__(
        self,
        stack: Stack | Mapping[str, Any],
        data_format: str = "channels_last",
        remat: bool = False,
        frozen: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self.stack = stack if isinstance(stack, Stack) else stacks.decode(stack)
        kwargs.setdefault("name", self.stack.name)
        super().__init__(**kwargs)
        self.data_format, self.remat, self._frozen = data_format, bool(remat), tuple(frozen)
        self._template: Template | None = None

    def build(self, input_shape: Any) -> None:
        with policy(self.dtype_policy):
            template = Template(self.stack, self.data_format)
        for i, values in enumerate(template.initial_values()):
            template.wholes.append(self._whole(i, template, values))
        self._template = template
        if not self.trainable:
            template.model.trainable = False
        self.freeze([template.model.layers[i] for i in self._frozen])

    def _whole(self, i: int, template: Template, values: np.ndarray) -> Any:
        v, (leaf, name) = template.variables[i], self.stack.variables[i]
        # Not `add_weight`: it gives all kernels one path, by which Keras tells the parameters of a
        # layer apart on PyTorch
        with keras.name_scope(self.stack.leaves[leaf][1]):
            whole = keras.Variable(
                lambda shape, dtype: ops.convert_to_tensor(values, dtype),
                shape=values.shape,
                dtype=v.dtype,
                trainable=v.trainable,
                autocast=False,  # each layer of the unit knows which of its variables it casts
                name=name,
            )
        setattr(self, f"whole_{i}", whole)  # Keras tracks what is an attribute
        return whole

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        template = self.template
        n = template.trained

        def unit(
            x: Tensor, weights: Sequence[Tensor], states: Sequence[Tensor], rates: Sequence[Any]
        ) -> tuple[Tensor, States]:
            for (layer, _), rate in zip(template.varying, rates, strict=True):
                layer.now = rate
            given = zip(template.variables, (*weights, *states), strict=True)
            with keras.StatelessScope(list(given)) as scope:
                before = [scope.get_current_value(v) for v in template.variables[n:]]
                y = template.model.call(x, training=bool(training))
                after = [scope.get_current_value(v) for v in template.variables[n:]]
            return y, [None if new is old else new for old, new in zip(before, after, strict=True)]

        values = [whole.value for whole in template.wholes]
        rates = [rates for _, rates in template.varying]
        units = Slices(values[:n], values[n:], rates, self.stack.times)
        y, states = loop(unit, x, units, self.remat)
        for whole, new in zip(template.wholes[n:], states, strict=True):
            if new is not None:
                whole.assign(new)
        return y

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        layers = [] if self._template is None else self.template_layers
        frozen = [i for i, layer in enumerate(layers) if self.trainable and not layer.trainable]
        own = {"stack": self.stack.encode(), "data_format": self.data_format, "remat": self.remat}
        return {**super().get_config(), **own, "frozen": frozen}

    # One unit, and single layers of all of them -------------------------------------------------

    @property
    def template(self) -> Template:
        assert self._template is not None, "not built yet"
        return self._template

    @property
    def unseen(self) -> list[keras.Model]:
        """For `reslab.accelerate`: models that Keras does not find in this layer."""
        return [] if self._template is None else [self._template.model]

    @property
    def template_layers(self) -> list[keras.layers.Layer]:
        """The layers of one unit, stock Keras ones: their variables only stand for the slices."""
        return list(self.template.model.layers)

    @property
    def wholes(self) -> list[tuple[Any, int, str]]:
        """The stacked variables, each with the leaf that it belongs to (its number in
        `stack.leaves`) and its name there."""
        both = zip(self.template.wholes, self.stack.variables, strict=True)
        return [(whole, leaf, name) for whole, (leaf, name) in both]

    def of(self, layer: keras.layers.Layer) -> dict[str, Any]:
        """The stacked variables of a template layer, by name."""
        own = {id(v) for v in layer.variables}
        both = zip(self.template.variables, self.template.wholes, strict=True)
        return {v.name: whole for v, whole in both if id(v) in own}

    def written_out(self, x: Tensor) -> Tensor:
        """The units one by one on x, as stock layers of their own with fresh weights."""
        with policy(self.dtype_policy):
            return self.stack.traverse(Edge(self.stack.shape, x), visitor(self.data_format)).result

    @keras.layers.Layer.trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        if self._template is not None:
            self._template.model.trainable = bool(value)

    def freeze(self, layers: Sequence[keras.layers.Layer], frozen: bool = True) -> None:
        """Hold these template layers still in every unit, or let them move again."""
        for layer in layers:
            layer.trainable = not frozen
        both = zip(self.template.variables, self.template.wholes, strict=True)
        for v, whole in list(both)[: self.template.trained]:
            whole.trainable = v.trainable and self.trainable


class Template:
    """One unit as a Keras model of its own, whose variables only stand for the slices in turn.

    It is no layer, so that Keras tracks none of its variables: what is trained and saved are the
    stacked ones, in `wholes`, in the same order as `variables`: the first `trained` are weights.
    """

    def __init__(self, stack: Stack, data_format: str) -> None:
        self.stack = stack
        alike = visitor(data_format)

        def visit(leaf: Leaf, path: str, given: tuple[Edge, ...], out: Shape) -> Tensor:
            if isinstance(leaf, Dropout | StochasticDepth) and len(set(stack.drops[path])) > 1:
                site = Site(path, tuple(v.shape for v in given), out, data_format)
                return drop(leaf, site, VaryingDropout)(given[0].result)
            return alike(leaf, path, given, out)

        compute = keras.config.dtype_policy().compute_dtype
        inputs = keras.Input(axes(stack.shape, data_format), dtype=compute, name="unit")
        start = Edge(stack.shape, inputs)
        end = traverse(stack.unit, start, stack.path, visit, Counter(stack.seen))
        self.model = keras.Model(inputs, end.result)
        by_name = {layer.name: layer for layer in self.model.layers}
        self.owners = [by_name.get(path) for _, path, _ in stack.leaves]
        self.variables = [self._variable(leaf, name) for leaf, name in stack.variables]
        self.trained = sum(v.trainable for v in self.variables)
        self.wholes: list[Any] = []
        self.varying = [
            (layer, stack.drops[layer.name])
            for layer in self.model.layers
            if isinstance(layer, VaryingDropout)
        ]

    def _variable(self, leaf: int, name: str) -> Any:
        owner = self.owners[leaf]
        assert owner is not None
        return next(v for v in owner.variables if v.name == name)

    def initial_values(self) -> list[np.ndarray]:
        """What the variables start from, stacked, in the order of `variables`: the numbers that
        the same units would start from were they written out, for the same seeds are drawn."""
        first = [_numpy(v) for v in self.variables]
        values = [[value] for value in first]
        place = {where: i for i, where in enumerate(self.stack.variables)}
        drawn = [
            (place[leaf, name], draw)
            for leaf, owner in enumerate(self.owners)
            for name, draw in _draws(owner)
            if (leaf, name) in place
        ]
        for _ in range(1, self.stack.times):
            fresh = {i: draw(self.variables[i]) for i, draw in drawn}
            for i, mine in enumerate(values):
                mine.append(fresh.get(i, first[i]))
        return [np.stack(each) for each in values]


def _draws(layer: Any) -> list[tuple[str, Callable[[Any], np.ndarray]]]:
    """The variables of a layer that start from random numbers, and how these are drawn anew."""
    if isinstance(layer, keras.layers.Dropout):
        return [("seed_generator_state", lambda v: np.array([random.getrandbits(31), 0], v.dtype))]
    known = getattr(layer, "kernel_initializer", None)
    if known is None:
        return []

    def kernel(v: Any) -> np.ndarray:
        again = type(known).from_config(
            known.get_config()
        )  # without a seed of its own it draws one
        return np.asarray(keras.ops.convert_to_numpy(again(v.shape, v.dtype)))

    return [("kernel", kernel)]


def _numpy(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable))


class VaryingDropout(keras.layers.Dropout):
    """Dropout at a rate that is set before each call: `now`, a number or a scalar tensor.

    Its `rate` is one of those that it will have; where it is 0, nothing is dropped, as in Dropout.
    """

    now: Any = 0.0

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not self.rate:
            return inputs
        if isinstance(self.now, float):
            return keras.random.dropout(
                inputs, self.now, noise_shape=self.noise_shape, seed=self.seed_generator
            )
        # What Keras does with a number for a rate, with the same draws; it asks whether it is 0
        given = self.noise_shape or (None,) * len(inputs.shape)
        shape = [ops.shape(inputs)[i] if n is None else n for i, n in enumerate(given)]
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = 1.0 - self.now
        kept = drawn >= self.now if keras.backend.backend() == "tensorflow" else drawn < keep
        return ops.where(kept, inputs / ops.cast(keep, inputs.dtype), ops.zeros_like(inputs))
