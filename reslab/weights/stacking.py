"""From stacked units to single layers and back, exact to the bit."""

from __future__ import annotations

from typing import Any

import keras

from reslab import build, stacked
from reslab.errors import UserError
from reslab.stacked import Stacked
from reslab.weights import bridge


def flatten(model: keras.Model) -> keras.Model:
    """The same model with its stacked units written out, layer by layer, and the same weights.

    Where the network has only parts that Keras has, a file of it opens without reslab. A model
    without stacked units comes back as it is.
    """
    held = stacked.holders(model)
    if not held:
        return model
    build.allow_layers(sum(h.stack.times * len(h.stack.leaves) for h in held))

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, Stacked):
            return layer.written_out(args[0])
        return layer(*args, **kwargs)

    flat = keras.models.clone_model(model, call_function=call)
    return _with_the_same(flat, model)


def stack(model: keras.Model, network: Any = None, remat: bool = False) -> keras.Model:
    """The same model with like units stacked, and the same weights; `remat` as in `create`.

    `network` is needed where the model's is not known. Raises UserError there, and where the model
    is not as `create` makes it.
    """
    net = bridge.about(model, network).network
    found = model.output if isinstance(model.output, dict) else {}
    aux = "head" in found
    data_format = "channels_first" if bridge.channels_first(model) else "channels_last"
    own = build.variables(model)
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


def _with_the_same(made: keras.Model, model: keras.Model) -> keras.Model:
    """`made` with the weights, statistics and generators of `model`, and what is known of it."""
    stacked.assign(build.variables(made), stacked.read(build.variables(model)))
    for name in ("reslab_network", "reslab"):
        if hasattr(model, name):
            setattr(made, name, getattr(model, name))
    return made
