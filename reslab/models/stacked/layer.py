"""A layer of repeated units: one template, and variables with a leading axis."""

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
    """`times` units of one kind, each with its own weights, as one layer.

    Maps maps or vectors to the same shape, in the order of `data_format`. Each variable of a unit
    is stacked along a leading axis of `times`. The units run in sequence: as a scan on JAX and a
    while loop on TensorFlow, whose programs then do not grow with depth, as a Python loop on
    PyTorch. With `remat` the backward pass recomputes the activations inside units, and only the
    tensors between units are kept.

    `stack` is a `Stack` or its JSON. `frozen` are layers of the unit (indices into
    `template_layers`) that are not trained although the rest is.
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
            template.wholes.append(self._stacked_variable(i, template, values))
        self._template = template
        if not self.trainable:
            template.model.trainable = False
        self.freeze([template.model.layers[i] for i in self._frozen])

    def _stacked_variable(self, i: int, template: Template, values: np.ndarray) -> Any:
        v, (leaf, name) = template.variables[i], self.stack.variables[i]
        # Not `add_weight`: it gives all kernels the same path, and on PyTorch Keras keeps one
        # parameter of a layer for each path
        with keras.name_scope(self.stack.leaves[leaf][1]):
            stacked = keras.Variable(
                lambda shape, dtype: ops.convert_to_tensor(values, dtype),
                shape=values.shape,
                dtype=v.dtype,
                trainable=v.trainable,
                autocast=False,  # the layers of the unit cast their own variables
                name=name,
            )
        setattr(self, f"whole_{i}", stacked)  # Keras tracks attributes; files have this name
        return stacked

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        template = self.template
        n = template.trained

        def unit(
            x: Tensor, weights: Sequence[Tensor], states: Sequence[Tensor], rates: Sequence[Any]
        ) -> tuple[Tensor, States]:
            for (layer, _), rate in zip(template.varying, rates, strict=True):
                layer.current_rate = rate
            replaced = zip(template.variables, (*weights, *states), strict=True)
            with keras.StatelessScope(list(replaced)) as scope:
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
        config = {
            "stack": self.stack.encode(),
            "data_format": self.data_format,
            "remat": self.remat,
        }
        return {**super().get_config(), **config, "frozen": frozen}

    # One unit, and single layers of all of them -------------------------------------------------

    @property
    def template(self) -> Template:
        assert self._template is not None, "not built yet"
        return self._template

    @property
    def untracked_models(self) -> list[keras.Model]:
        """Models that Keras does not track in this layer, for `reslab.accelerate`."""
        return [] if self._template is None else [self._template.model]

    @property
    def template_layers(self) -> list[keras.layers.Layer]:
        """The stock layers of one unit, whose variables are placeholders for slices."""
        return list(self.template.model.layers)

    @property
    def wholes(self) -> list[tuple[Any, int, str]]:
        """The stacked variables, each with the index of its leaf in `stack.leaves` and its name."""
        both = zip(self.template.wholes, self.stack.variables, strict=True)
        return [(whole, leaf, name) for whole, (leaf, name) in both]

    def of(self, layer: keras.layers.Layer) -> dict[str, Any]:
        """The stacked variables of a template layer, by name."""
        ids = {id(v) for v in layer.variables}
        both = zip(self.template.variables, self.template.wholes, strict=True)
        return {v.name: whole for v, whole in both if id(v) in ids}

    def written_out(self, x: Tensor) -> Tensor:
        """Build the units one by one on x, as separate stock layers with new weights."""
        with policy(self.dtype_policy):
            return self.stack.traverse(Edge(self.stack.shape, x), visitor(self.data_format)).result

    @keras.layers.Layer.trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        if self._template is not None:
            self._template.model.trainable = bool(value)

    def freeze(self, layers: Sequence[keras.layers.Layer], frozen: bool = True) -> None:
        """Freeze these template layers in every unit, or unfreeze them."""
        for layer in layers:
            layer.trainable = not frozen
        both = zip(self.template.variables, self.template.wholes, strict=True)
        for v, whole in list(both)[: self.template.trained]:
            whole.trainable = v.trainable and self.trainable


class Template:
    """One unit as a Keras model, whose variables are placeholders for the slices of each unit.

    It is not a layer, so that Keras does not track its variables. The stacked variables, which
    are trained and saved, are in `wholes`, in the order of `variables`. The first `trained` of them
    are weights.
    """

    def __init__(self, stack: Stack, data_format: str) -> None:
        self.stack = stack
        visit_stock = visitor(data_format)

        def visit(leaf: Leaf, path: str, given: tuple[Edge, ...], out: Shape) -> Tensor:
            if isinstance(leaf, Dropout | StochasticDepth) and len(set(stack.drops[path])) > 1:
                site = Site(path, tuple(v.shape for v in given), out, data_format)
                return drop(leaf, site, VaryingDropout)(given[0].result)
            return visit_stock(leaf, path, given, out)

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
        """The stacked initial values, in the order of `variables`.

        The same seeds are drawn as for units built one by one, so that the values are the same.
        """
        first = [_numpy(v) for v in self.variables]
        values = [[value] for value in first]
        index = {variable: i for i, variable in enumerate(self.stack.variables)}
        random_values = [
            (index[leaf, name], draw)
            for leaf, owner in enumerate(self.owners)
            for name, draw in _draws(owner)
            if (leaf, name) in index
        ]
        for _ in range(1, self.stack.times):
            new = {i: draw(self.variables[i]) for i, draw in random_values}
            for i, slices in enumerate(values):
                slices.append(new.get(i, first[i]))
        return [np.stack(slices) for slices in values]


def _draws(layer: Any) -> list[tuple[str, Callable[[Any], np.ndarray]]]:
    """The variables of a layer with random initial values, and functions that draw new ones."""
    if isinstance(layer, keras.layers.Dropout):
        return [("seed_generator_state", lambda v: np.array([random.getrandbits(31), 0], v.dtype))]
    initializer = getattr(layer, "kernel_initializer", None)
    if initializer is None:
        return []

    def kernel(v: Any) -> np.ndarray:
        # without a seed in its configuration, the copy draws one
        copy = type(initializer).from_config(initializer.get_config())
        return np.asarray(keras.ops.convert_to_numpy(copy(v.shape, v.dtype)))

    return [("kernel", kernel)]


def _numpy(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable))


class VaryingDropout(keras.layers.Dropout):
    """Dropout with a rate that is set before each call: `current_rate`, a number or scalar tensor.

    `rate` is one of the rates that it will have. If it is 0, nothing is dropped, as in Dropout.
    """

    current_rate: Any = 0.0

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not self.rate:
            return inputs
        if isinstance(self.current_rate, float):
            return keras.random.dropout(
                inputs, self.current_rate, noise_shape=self.noise_shape, seed=self.seed_generator
            )
        # Keras's dropout with the same draws; Keras itself tests whether the rate is 0
        noise_shape = self.noise_shape or (None,) * len(inputs.shape)
        shape = [ops.shape(inputs)[i] if n is None else n for i, n in enumerate(noise_shape)]
        noise = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = 1.0 - self.current_rate
        tensorflow = keras.backend.backend() == "tensorflow"
        kept = noise >= self.current_rate if tensorflow else noise < keep
        return ops.where(kept, inputs / ops.cast(keep, inputs.dtype), ops.zeros_like(inputs))
