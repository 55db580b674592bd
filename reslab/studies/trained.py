"""The model of a trained run with named weights, and a fixed set of images to measure it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.core.files import read_arrays
from reslab.core.rng import Stream
from reslab.data import Data, Normalization, Split, to_layout
from reslab.data.dataset import CLASSIFICATION
from reslab.data.normalize import stored
from reslab.evaluation import recorded_data
from reslab.models import build, saved, stacked
from reslab.runs.run import Run
from reslab.spec import Network, summary
from reslab.training.memory import FLAT_FILE

SPLITS = "train", "validation"  # studies do not use the test images


@dataclass(frozen=True, eq=False)
class Images:
    """Images as a network takes them: normalised, not augmented, in the network's layout."""

    x: np.ndarray  # float32 (n, h, w, c), or (n, c, h, w) for a channels_first network
    labels: np.ndarray  # int32 (n,)
    description: str  # "all 54,000 train images", "1,000 of 54,000 train images, drawn with seed 0"

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run's network with its weights in float32, and the images to measure it on.

    `model` maps normalised images to logits. Variables have the names of single layers, also where
    the model stacks units.
    """

    run: Run
    model: keras.Model
    images: Images

    @property
    def name(self) -> str:
        return self.run.name

    def variables(self) -> dict[str, Any]:
        """Return the variables by `layer/variable`, see `build.variables`."""
        return build.variables(self.model)

    def weights(self) -> dict[str, np.ndarray]:
        return stacked.read(self.variables())

    def assign(self, arrays: Mapping[str, Any]) -> None:
        stacked.assign(self.variables(), arrays)


def load_run(
    run: Run | str | Path,
    images: int | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    checkpoint: str | None = None,
    data: Data | None = None,
) -> LoadedRun:
    """Load a run with its final weights, or with those of a checkpoint, and a sample of images.

    Args:
        run: The run or its folder. A run without a final model (it failed, or is not finished) is
            loaded with its best checkpoint, else with its last.
        images: Number of images to draw from the split; None takes all of them.
        split: "train" or "validation".
        seed: Seed of the draw.
        checkpoint: "best", "last" or a kept epoch such as "epoch-0003".
        data: The data of the run, if they are loaded already.

    Raises:
        UserError: The run has no such weights or split, or its data have changed.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    data = data or recorded_data.reload(run)
    refuse_several_labels(data)
    model = new_model(run.network)
    loaded = LoadedRun(run, model, sample(data, normalization_of(run), model, images, split, seed))
    arrays = weights(run, checkpoint)
    if missing := [name for name in loaded.variables() if name not in arrays]:
        raise UserError(
            f"{run.path} has no weights for {missing[0]}: its weights are of another network"
        )
    loaded.assign({name: arrays[name] for name in loaded.variables()})
    return loaded


def refuse_several_labels(data: Data) -> None:
    """Raise UserError for data with several labels per image: studies measure a softmax."""
    if data.task != CLASSIFICATION:
        raise UserError(
            f"{data.name} has several labels per image, and studies are for one class per image: "
            "give other data"
        )


def new_model(network: Network) -> keras.Model:
    """Return the network with new weights; deep networks are stacked, which builds faster."""
    return build.create(network, stacked=summary.depth(network) > FLAT_FILE)


def sample(
    data: Data,
    normalization: Normalization,
    model: keras.Model,
    images: int | None = None,
    split: str = "train",
    seed: int = 0,
) -> Images:
    """Return all images of a split, or a sample without replacement, as inputs for `model`."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    part: Split | None = getattr(data, split)
    if part is None:
        raise UserError(f"{data.name} has no {split} images")
    if images is not None and images < 1:
        raise UserError(f"{images} images: at least one is needed")
    count, description = len(part), f"all {len(part):,} {split} images"
    if images is not None and images < count:
        indices = Stream(seed, "analysis", split).permutation(count)[:images]
        part, description = part.take(np.sort(indices)), f"{images:,} of {count:,} {split} images"
        description += f", drawn with seed {seed}"
    x = normalization(part.images(np.arange(len(part))))
    return Images(to_layout(x, model.input_shape), part.labels, description)


def normalization_of(run: Run) -> Normalization:
    """Return the mean and std with which the run's images were normalised."""
    path = run.path / "standardise.safetensors"
    arrays, _ = read_arrays(path)
    return stored(arrays, run.info["data"]["image_shape"], path)


def weights(run: Run, checkpoint: str | None = None) -> dict[str, np.ndarray]:
    """Return weights by `layer/variable`: the final ones, or a checkpoint's; see `load_run`."""
    if checkpoint is None and run.model_path.exists():
        model, _ = saved.load_with_card(run.model_path)
        inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        return stacked.read(build.variables(inner))
    if checkpoint is None:
        best = run.checkpoints / "best.safetensors"
        return read_arrays(best if best.exists() else run.checkpoints / "last.safetensors")[0]
    files = {path.stem: path for path in sorted(run.checkpoints.glob("*.safetensors"))}
    if checkpoint not in files:
        raise unknown(f"checkpoint of {run.path}", checkpoint, files)
    return read_arrays(files[checkpoint])[0]


def kept_checkpoints(run: Run) -> list[str]:
    """Return the names of the kept checkpoints, epoch 0 first. Raises UserError if none."""
    names = sorted(path.stem for path in run.checkpoints.glob("epoch-*.safetensors"))
    if not names:
        raise UserError(
            f"{run.path} has kept no checkpoints: train it with `reslab train --keep-checkpoints`"
        )
    return names
