"""From stacked units to single layers and back, exact to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from reslab.acceleration.accelerate import accelerate, making
from reslab.core.errors import UserError
from reslab.models import build, stacked
from reslab.models.scopes import policy
from reslab.models.stacked import Stacked
from reslab.weights import transfer


def flatten(model: keras.Model) -> keras.Model:
    """The same model with its stacked units written out, layer by layer, and the same weights.

    Where the network has only parts that Keras has, a file of it opens without reslab. A model
    without stacked units comes back as it is.
    """
    held = stacked.holders(model)
    if not held:
        return model
    build.allow_layers(sum(h.stack.times * len(h.stack.leaves) for h in held))

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Model) and stacked.holders(layer):
            return flatten(layer)
        return type(layer).from_config(layer.get_config())

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, Stacked):
            return layer.written_out(args[0])
        return layer(*args, **kwargs)

    with making():
        flat = keras.models.clone_model(model, clone_function=clone, call_function=call)
    return _with_the_same(accelerate(flat), model)


def stack(model: keras.Model, network: Any = None, remat: bool = False) -> keras.Model:
    """The same model with like units stacked, and the same weights; `remat` as in `create`.

    `network` is needed where the model's is not known. Raises UserError there, and where the model
    is not as `create` makes it.
    """
    net = transfer.about(model, network).network
    found = model.output if isinstance(model.output, dict) else {}
    aux = "head" in found
    data_format = "channels_first" if transfer.channels_first(model) else "channels_last"
    own = build.variables(model)
    with policy(_policy(model)):
        again = build.create(
            net,
            input_shape=model.input_shape[1:],
            data_format=data_format,
            top=any(name.startswith("head_") for name in own),
            taps=() if aux else tuple(found),
            aux=aux,
            stacked=True,
            remat=remat,
        )
    if build.variables(again).keys() != own.keys():
        raise UserError(f"{model.name} is not as reslab.create makes {net.name}: it is not stacked")
    return _with_the_same(again, model)


def _policy(model: keras.Model) -> Any:
    """The dtype policy of its first layer with weights: `create` makes all under one."""
    return next(layer.dtype_policy for layer in model.layers if layer.weights)


def _moves(layer: Any) -> Iterator[tuple[str, bool]]:
    """Whether a layer, or each one of stacked units, learns; by its name."""
    if not isinstance(layer, Stacked):
        yield layer.name, layer.trainable
        return
    for owner, paths in _stacked_paths(layer):
        yield from ((path, layer.trainable and owner.trainable) for path in paths)


def _freeze(layer: Stacked, moves: Mapping[str, bool]) -> None:
    """Raises UserError where a layer learns in some of the units alone."""
    for owner, paths in _stacked_paths(layer):
        found = {moves[path] for path in paths}
        if len(found) > 1:
            raise UserError(f"{paths[0]} and those like it cannot be stacked: not all are frozen")
        if found == {False}:
            layer.freeze([owner])


def _stacked_paths(layer: Stacked) -> list[tuple[Any, list[str]]]:
    """Each layer of a unit, and the names of those that it stands for."""
    leaves = dict.fromkeys(leaf for _, leaf, _ in layer.wholes)
    units = layer.stack.paths
    return [(layer.template.owners[leaf], [unit[leaf] for unit in units]) for leaf in leaves]


def _with_the_same(made: keras.Model, model: keras.Model) -> keras.Model:
    """`made` with the weights, statistics and generators of `model`, what of it stands still, and
    what is known of it."""
    stacked.assign(build.variables(made), stacked.read(build.variables(model)))
    moves = {path: moves for layer in model.layers for path, moves in _moves(layer)}
    for layer in made.layers:
        if isinstance(layer, Stacked):
            _freeze(layer, moves)
        elif layer.name in moves:
            layer.trainable = moves[layer.name]
    for name in ("reslab_network", "reslab"):
        if hasattr(model, name):
            setattr(made, name, getattr(model, name))
    return made
