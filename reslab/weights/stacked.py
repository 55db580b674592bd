"""Convert between stacked units and single layers, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from reslab.acceleration.accelerate import accelerate, fast_initialisation
from reslab.core.errors import UserError
from reslab.models import build, stacked
from reslab.models.scopes import policy
from reslab.models.stacked import Stacked
from reslab.spec import Network
from reslab.weights import transfer


def flatten(model: keras.Model) -> keras.Model:
    """Convert the stacked units of a model to single layers with the same weights.

    If the network has only layers that Keras has, a file of the new model can be loaded without
    reslab.

    Args:
        model: A model of `reslab.create(..., stacked=True)`, or one that contains such a model.

    Returns:
        A new model; the same model if it has no stacked units.
    """
    stacked_layers = stacked.holders(model)
    if not stacked_layers:
        return model
    build.allow_layers(sum(x.stack.times * len(x.stack.leaves) for x in stacked_layers))

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Model) and stacked.holders(layer):
            return flatten(layer)
        return type(layer).from_config(layer.get_config())

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, Stacked):
            return layer.written_out(args[0])
        return layer(*args, **kwargs)

    with fast_initialisation():
        flat = keras.models.clone_model(model, clone_function=clone, call_function=call)
    return _copy_state(model, accelerate(flat))


def stack(
    model: keras.Model, network: str | Network | None = None, remat: bool = False
) -> keras.Model:
    """Convert the repeated units of a model to stacked ones with the same weights.

    Args:
        model: A model of `reslab.create`.
        network: The name of the model's network, or a `Network`. Needed only for a model that
            cannot be identified, see `about`.
        remat: Whether the stacked units recompute their activations in the backward pass
            (gradient checkpointing).

    Returns:
        A new model.

    Raises:
        UserError: The model cannot be identified, differs from what `reslab.create` builds, or has
            units that are only partly frozen.
    """
    net = transfer.about(model, network).network
    outputs = model.output if isinstance(model.output, dict) else {}
    aux = "head" in outputs
    data_format = "channels_first" if transfer.channels_first(model) else "channels_last"
    model_variables = build.variables(model)
    with policy(_policy(model)):
        stacked_model = build.create(
            net,
            input_shape=model.input_shape[1:],
            data_format=data_format,
            top=any(name.startswith("head_") for name in model_variables),
            taps=() if aux else tuple(outputs),
            aux=aux,
            stacked=True,
            remat=remat,
            name=model.name,
        )
    if build.variables(stacked_model).keys() != model_variables.keys():
        raise UserError(
            f"{model.name} cannot be stacked: it differs from what reslab.create builds of "
            f"{net.name}"
        )
    return _copy_state(model, stacked_model)


def _policy(model: keras.Model) -> Any:
    """The dtype policy of the first layer with weights; `reslab.create` gives all the same."""
    return next(layer.dtype_policy for layer in model.layers if layer.weights)


def _trainable(layer: Any) -> Iterator[tuple[str, bool]]:
    """The layer's name, or the names of the layers in stacked units, and whether each trains."""
    if not isinstance(layer, Stacked):
        yield layer.name, layer.trainable
        return
    for owner, paths in _stacked_paths(layer):
        yield from ((path, layer.trainable and owner.trainable) for path in paths)


def _freeze(layer: Stacked, trainable: Mapping[str, bool]) -> None:
    """Raises UserError if a layer is frozen in some of the units only."""
    for owner, paths in _stacked_paths(layer):
        states = {trainable[path] for path in paths}
        if len(states) > 1:
            raise UserError(
                f"{paths[0]} and its counterparts cannot be stacked: not all are frozen"
            )
        if states == {False}:
            layer.freeze([owner])


def _stacked_paths(layer: Stacked) -> list[tuple[Any, list[str]]]:
    """Each layer of the template unit, and the paths of the layers that it represents."""
    leaves = dict.fromkeys(leaf for _, leaf, _ in layer.wholes)
    units = layer.stack.paths
    return [(layer.template.owners[leaf], [unit[leaf] for unit in units]) for leaf in leaves]


def _copy_state(source: keras.Model, target: keras.Model) -> keras.Model:
    """Copy weights, statistics, generator states, frozen layers and reslab's attributes."""
    stacked.assign(build.variables(target), stacked.read(build.variables(source)))
    trainable = {path: state for layer in source.layers for path, state in _trainable(layer)}
    for layer in target.layers:
        if isinstance(layer, Stacked):
            _freeze(layer, trainable)
        elif layer.name in trainable:
            layer.trainable = trainable[layer.name]
    for name in ("reslab_network", "reslab"):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
    return target
