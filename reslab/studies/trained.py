"""A trained network as an analysis looks at it: weights by name, and images that stand still."""

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
from reslab.evaluation import evaluation
from reslab.models import build, saved, stacked
from reslab.runs.run import Run
from reslab.spec import Network, summary
from reslab.training.memory import FLAT_FILE

SPLITS = "train", "validation"  # the test images are for judging


@dataclass(frozen=True, eq=False)
class Images:
    """Images as a network takes them: standardised, un-augmented, in its layout."""

    x: np.ndarray  # float32 (n, h, w, c), or (n, c, h, w) for a channels_first network
    labels: np.ndarray  # int32 (n,)
    said: str  # "all 54,000 train images", "1,000 of 54,000 train images, drawn with seed 0"

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Subject:
    """A run's network with the weights of some moment, float32, and the images to look at it with.

    `model` maps standardised images to logits. Stacked units have single layers' names here as
    everywhere.
    """

    run: Run
    model: keras.Model
    images: Images

    @property
    def name(self) -> str:
        return self.run.name

    def variables(self) -> dict[str, Any]:
        """By `layer/variable`, as `build.variables` has them."""
        return build.variables(self.model)

    def weights(self) -> dict[str, np.ndarray]:
        return stacked.read(self.variables())

    def assign(self, arrays: Mapping[str, Any]) -> None:
        stacked.assign(self.variables(), arrays)


def subject(
    run: Run | str | Path,
    images: int | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    checkpoint: str | None = None,
    data: Data | None = None,
) -> Subject:
    """A run as it was judged, or at a checkpoint ("best", "last", "epoch-0003").

    `images` is the size of a sample of `split`, drawn with `seed`; None takes all of them. A run
    without a model (it failed, or is not finished) is looked at with its last checkpoint. `data`
    are the run's, where they are loaded already. Raises UserError where the run has no weights or
    no such split, or its data have changed.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    data = data or evaluation.reload(run)
    model = fresh(run.network)
    found = Subject(run, model, sample(data, standard(run), model, images, split, seed))
    arrays = weights(run, checkpoint)
    if missing := [name for name in found.variables() if name not in arrays]:
        raise UserError(f"{run.path} has no weights of {missing[0]}: they are of another network")
    found.assign({name: arrays[name] for name in found.variables()})
    return found


def fresh(network: Network) -> keras.Model:
    """The network with first weights; deep ones stacked, or they would take long to build."""
    return build.create(network, stacked=summary.depth(network) > FLAT_FILE)


def sample(
    data: Data,
    standard: Normalization,
    model: keras.Model,
    images: int | None = None,
    split: str = "train",
    seed: int = 0,
) -> Images:
    """All images of a split, or so many drawn without replacement, as `model` takes them."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    part: Split | None = getattr(data, split)
    if part is None:
        raise UserError(f"{data.name} has no {split} images")
    if images is not None and images < 1:
        raise UserError(f"{images} images: at least one")
    count, said = len(part), f"all {len(part):,} {split} images"
    if images is not None and images < count:
        drawn = Stream(seed, "analysis", split).permutation(count)[:images]
        part, said = part.take(np.sort(drawn)), f"{images:,} of {count:,} {split} images"
        said += f", drawn with seed {seed}"
    x = standard(part.images(np.arange(len(part))))
    return Images(to_layout(x, model.input_shape), part.labels, said)


def standard(run: Run) -> Normalization:
    """How the run's images were standardised."""
    arrays, _ = read_arrays(run.path / "standardise.safetensors")
    return Normalization(arrays["mean"], arrays["std"])


def weights(run: Run, checkpoint: str | None = None) -> dict[str, np.ndarray]:
    """The judged model's weights by `layer/variable`, or those of a checkpoint; see `subject`."""
    if checkpoint is None and run.model_path.exists():
        model, _ = saved.load_with_card(run.model_path)
        inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        return stacked.read(build.variables(inner))
    if checkpoint is None:
        best = run.checkpoints / "best.safetensors"
        return read_arrays(best if best.exists() else run.checkpoints / "last.safetensors")[0]
    kept = {path.stem: path for path in sorted(run.checkpoints.glob("*.safetensors"))}
    if checkpoint not in kept:
        raise unknown(f"checkpoint of {run.path}", checkpoint, kept)
    return read_arrays(kept[checkpoint])[0]


def kept_checkpoints(run: Run) -> list[str]:
    """The names of the checkpoints of every epoch, the first weights' first; UserError if none."""
    names = sorted(path.stem for path in run.checkpoints.glob("epoch-*.safetensors"))
    if not names:
        raise UserError(
            f"{run.path} has kept no checkpoints: train it with `reslab train --keep-checkpoints`"
        )
    return names
