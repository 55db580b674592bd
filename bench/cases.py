"""Networks, images and initial weights for `training.py` and `step.py`, and their contenders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from turns import Turn


@dataclass(frozen=True)
class Case:
    """A network with the sizes of its benchmark."""

    name: str
    shape: tuple[int, int, int]  # (h, w, c)
    batch: int
    steps: int  # per turn, so that a turn takes a few seconds
    classes: int = 10
    precision: str = "float32"  # or mixed: computes in bfloat16, weights are float32


# Sizes for two CPU cores. Options of the scripts change them.
CASES = {
    case.name: case
    for case in (
        Case("resnet20", (32, 32, 3), 128, 12),
        Case("resnet56", (32, 32, 3), 128, 6),
        Case("resnet110", (32, 32, 3), 128, 4),
        Case("resnet50", (224, 224, 3), 16, 2, classes=1000),
    )
}
RATE, MOMENTUM, DECAY, PAD = 0.01, 0.9, 1e-4, 4
MEAN, STD = 127.5, 64.0
# Name of a contender: how `for_fit` makes its model, or the layout of `hand.Loop`.
OURS = {"reslab": "created", "reslab, loaded": "loaded", "reslab, torch.compile": "compiled"}
STOCK = "stock Keras"
COMPILED = "by hand, torch.compile"
TWINS = {
    "by hand, channels_last": "last",
    "by hand, channels_first": "first",
    COMPILED: "compiled",
}
# Float32 gradients of a newly initialised ResNet-50 differ from float64 by 4 % in every library,
# and by 0.4 % if the last gamma of each unit is 0.1. So all contenders start from such weights:
# otherwise their losses would not agree.
INITIAL_GAMMA = {"resnet50": ("_body_bn3/gamma", 0.1)}


def images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (n, h, w, c) and int32 (n,): the images and labels of one turn."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (case.batch * case.steps, *case.shape), dtype=np.uint8)
    return x, rng.integers(0, case.classes, len(x)).astype("int32")


def normalise(x: np.ndarray) -> np.ndarray:
    return (x.astype("float32") - MEAN) / STD


def create_model(case: Case) -> Any:
    """Create the network of a case in its precision."""
    import reslab
    from reslab.training.setup import precision

    with precision(case.precision):
        return reslab.create(
            case.name,
            classes=case.classes,
            input_shape=case.shape,
            data_format="channels_last",
        )


def write_model(turn: Turn, case: Case, file: str) -> None:
    """Write the network with the initial weights of all contenders to a file."""
    from reslab.models import build

    model = create_model(case)
    ending, factor = INITIAL_GAMMA.get(case.name, ("nothing", 1))
    for path, variable in build.variables(model).items():
        if path.endswith(ending):
            variable.assign(variable * factor)
    model.save(file)
    turn.ready()
    turn.wait()


def for_fit(case: Case, file: str, variant: str) -> Any:
    """Load and compile the model of a file; `variant` is created, compiled, loaded or stock."""
    import keras

    import reslab

    model = keras.saving.load_model(file)
    if variant in ("created", "compiled"):
        weights = model.get_weights()
        model = create_model(case)
        model.set_weights(weights)
    elif variant == "loaded":
        reslab.accelerate(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sgd, jit = keras.optimizers.SGD(RATE, MOMENTUM), variant == "compiled" or "auto"
    model.compile(sgd, loss, metrics=["accuracy"], jit_compile=jit)
    return model
