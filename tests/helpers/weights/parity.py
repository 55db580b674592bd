"""Compare networks of other libraries with reslab's: same random weights, same logits.

`measure` compares in both directions: it loads the library's weights into reslab's model, and lets
the library's own code load reslab's file.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import reslab
from reslab import weights, zoo
from reslab.models.build import variables
from reslab.spec import BN, Network, walk
from reslab.weights.schemes import map_variables, schemes
from tests.helpers.weights import libraries

CLOSE = 1e-4  # relative to the largest logit, in float32


@dataclass(frozen=True)
class Case:
    """A network of a library and reslab's.

    `stages` maps rows of reslab's network to the layers of the library's network with their output.
    """

    library: str
    theirs: str
    ours: str
    stages: Mapping[str, str]
    size: int = 64
    slow: bool = False

    @property
    def net(self) -> Network:
        return zoo.network(self.ours)


@dataclass(frozen=True)
class Result:
    """Largest differences relative to the largest absolute value."""

    to_ours: float
    to_theirs: float
    stages: Mapping[str, float]

    @property
    def worst(self) -> float:
        return max(self.to_ours, self.to_theirs, *self.stages.values())


Values = Callable[[np.ndarray], dict[str, np.ndarray]]  # images -> outputs by row, and "logits"


def measure(case: Case) -> Result:
    """Compare outputs in both directions, with equal random weights and images."""
    shape = (case.size, case.size, 3)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    model = reslab.create(case.net, input_shape=shape, data_format="channels_last")
    with tempfile.TemporaryDirectory() as folder:
        theirs = LIBRARIES[case.library](case, Path(folder))
        _same_epsilons(case, theirs)
        weights.load(model, theirs.save(), scheme=case.library)
        our_values, their_values = ours(model, case)(images), theirs.values(images)
        to_ours = {row: _difference(our_values[row], their_values[row]) for row in their_values}

        _randomise(model)
        weights.save(model, theirs.file, scheme=case.library)
        theirs.load()
        logits = ours(model, case)(images)["logits"]
        to_theirs = _difference(logits, theirs.values(images)["logits"])
    return Result(to_ours.pop("logits"), to_theirs, to_ours)


def _same_epsilons(case: Case, theirs: Any) -> None:
    """Compare epsilons directly: outputs would not show a difference of 1e-8."""
    layers = walk(case.net)
    mappings = map_variables(schemes()[case.library], layers)
    names = {m.ours: name for name, m in mappings.items()}
    for layer in layers:
        if isinstance(layer.part, BN):
            name = names[f"{layer.path}/gamma"].replace("/", ".").rpartition(".")[0]
            assert theirs.epsilon(name) == layer.part.epsilon, layer.path


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    assert np.ptp(b) > 0
    return float(np.abs(a - b).max() / np.abs(b).max())


def ours(model: keras.Model, case: Case) -> Values:
    """Return a function from images to the outputs of the rows and the logits of our model."""
    ends = {layer.row: layer.path for layer in walk(case.net, model.input_shape[1:])}
    outputs = {row: model.get_layer(ends[row]).output for row in case.stages}
    stages = keras.Model(model.input, {**outputs, "logits": model.output})
    return lambda x: {k: np.asarray(v) for k, v in stages.predict_on_batch(x).items()}


def _randomise(model: keras.Model) -> None:
    rng = np.random.default_rng(2)
    for name, variable in variables(model).items():
        if not name.endswith("seed_generator_state"):
            variable.assign(libraries.random(rng, name, tuple(variable.shape), first=False))


class Torch:
    """torchvision or timm."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.file = case, folder / "net.pth"
        options = {"aux_logits": False, "init_weights": False} if case.theirs == "googlenet" else {}
        self.net = libraries.torch_net(case.library, case.theirs, **options)

    def save(self) -> Path:
        import torch

        torch.save(self.net.state_dict(), self.file)
        return self.file

    def load(self) -> None:
        import torch

        self.net.load_state_dict(torch.load(self.file, weights_only=True))  # strict

    def epsilon(self, name: str) -> float:
        return self.net.get_submodule(name).eps

    def values(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        values: dict[str, np.ndarray] = {}

        def store(row: str) -> Callable[..., None]:
            def hook(module: Any, inputs: Any, out: Any) -> None:
                values[row] = (
                    out.numpy().transpose(0, 2, 3, 1).copy()
                )  # an in-place ReLU may follow

            return hook

        hooks = [
            self.net.get_submodule(name).register_forward_hook(store(row))
            for row, name in self.case.stages.items()
        ]
        with torch.no_grad():
            x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
            logits = self.net(x).numpy()
        for hook in hooks:
            hook.remove()
        return {**values, "logits": logits}


class Keras:
    """keras.applications."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.file = case, folder / "net.weights.h5"
        self.net = libraries.fill_keras(self.make())

    def make(self) -> keras.Model:
        build = getattr(keras.applications, self.case.theirs)
        shape = (self.case.size, self.case.size, 3)
        return build(weights=None, input_shape=shape, classifier_activation=None)

    def save(self) -> Path:
        self.net.save_weights(self.file)
        return self.file

    def load(self) -> None:
        self.net.load_weights(self.file)

    def values(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = {row: self.backbone.get_layer(n).output for row, n in self.case.stages.items()}
        if not outputs:
            return {"logits": np.asarray(self.net.predict_on_batch(images))}
        stages = keras.Model(self.backbone.input, outputs)
        values = {row: np.asarray(v) for row, v in stages.predict_on_batch(images).items()}
        return {**values, "logits": np.asarray(self.net.predict_on_batch(images))}

    def epsilon(self, name: str) -> float:
        return self.backbone.get_layer(name).epsilon

    @property
    def backbone(self) -> keras.Model:
        return self.net


class Hub(Keras):
    """KerasHub: a classifier on a backbone, with the settings of a preset."""

    def make(self) -> keras.Model:
        from tests.helpers.weights import hub

        return hub.make(self.case.theirs, self.case.size)

    def load(self) -> None:
        with warnings.catch_warnings():  # the model is compiled, the file has no optimiser state
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            self.net.load_weights(self.file)

    @property
    def backbone(self) -> keras.Model:
        return self.net.backbone


LIBRARIES: dict[str, Any] = {"torchvision": Torch, "timm": Torch, "keras": Keras, "keras_hub": Hub}
