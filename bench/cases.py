"""What `training.py` and `step.py` train: networks, images, first weights; and the contenders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from turns import Turn


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, int, int]  # (h, w, c)
    batch: int
    steps: int  # of a turn: a few seconds
    classes: int = 10
    precision: str = "float32"  # or mixed: bfloat16, weights in float32


# as two cores take them; all can be said otherwise
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
# whose it is: how its model is made (see `for_fit`), or its twin lies (see `hand.Loop`)
OURS = {"reslab": "created", "reslab, loaded": "loaded", "reslab, torch.compile": "compiled"}
STOCK = "stock Keras"
COMPILED = "by hand, torch.compile"
TWINS = {
    "by hand, channels_last": "last",
    "by hand, channels_first": "first",
    COMPILED: "compiled",
}
# Float32 gradients of a fresh ResNet-50 are 4 % off those in float64, whoever computes them, 0.4 %
# where each unit's last scale is a tenth: so it begins, for all contenders, or none could agree.
GENTLE = {"resnet50": ("_body_bn3/gamma", 0.1)}


def images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, h, w, c) and int32 (n,): what one turn trains on."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (case.batch * case.steps, *case.shape), dtype=np.uint8)
    return x, rng.integers(0, case.classes, len(x)).astype("int32")


def scaled(x: np.ndarray) -> np.ndarray:
    return (x.astype("float32") - MEAN) / STD


def created(case: Case) -> Any:
    import reslab
    from reslab.training.setup import precision

    with precision(case.precision):
        return reslab.create(
            case.name,
            classes=case.classes,
            input_shape=case.shape,
            data_format="channels_last",
        )


def written(turn: Turn, case: Case, file: str) -> None:
    """The network with its first weights as a file, which all contenders begin with."""
    from reslab.models import build

    model = created(case)
    ending, factor = GENTLE.get(case.name, ("nothing", 1))
    for path, variable in build.variables(model).items():
        if path.endswith(ending):
            variable.assign(variable * factor)
    model.save(file)
    turn.ready()
    turn.wait()


def for_fit(case: Case, file: str, way: str) -> Any:
    """The file's model, ready for `fit`; `way` is created, compiled, loaded, or stock."""
    import keras

    import reslab

    model = keras.saving.load_model(file)
    if way in ("created", "compiled"):
        weights = model.get_weights()
        model = created(case)
        model.set_weights(weights)
    elif way == "loaded":
        reslab.accelerate(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sgd, jit = keras.optimizers.SGD(RATE, MOMENTUM), way == "compiled" or "auto"
    model.compile(sgd, loss, metrics=["accuracy"], jit_compile=jit)
    return model
