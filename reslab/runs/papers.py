"""The recipes of the papers, and recipes by name or from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError, one_line, short, unknown
from reslab.core.paths import regular
from reslab.runs.fields import set_fields
from reslab.runs.recipe import Recipe
from reslab.runs.sizing import sized

MOST_TOML = 2**20  # bytes of a recipe file
MOST_BASES = 20  # recipes of which each is the base of the one before

# run.json and study.json store all fields, and resuming a study compares them: the texts of
# `promise` and `source` must not change.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="quick",
            promise="the most from a few epochs: `reslab train resnet20 --data fashion-mnist "
            "--recipe quick --epochs 3`, minutes on two CPU cores",
            source="one-cycle: Smith and Topin 2017, arXiv 1708.07120; "
            "tuned here on validation images only",
            epochs=5,
            rate=0.4,
            nesterov=True,
            weight_decay=5e-4,
            schedule="one-cycle",
            label_smoothing=0.05,
            augment=("flip",),
            standardise="channel",
        ),
        Recipe(
            name="fine-tune",
            promise="a net for few images from one trained on many: `reslab train resnet50 "
            "--weights timm/resnet50.a1_in1k --data PATH`; against training from scratch: "
            "bench/finetune.py",
            source="the head first: Kumar et al. 2022, arXiv 2202.10054; rates that fall towards "
            "the input: Howard and Ruder 2018, arXiv 1801.06146",
            batch=32,
            epochs=10,
            rate=0.05,
            nesterov=True,
            weight_decay=5e-4,
            schedule="one-cycle",
            head_first=0.2,
            row_decay=0.7,
            label_smoothing=0.05,
            augment=("flip",),
        ),
        Recipe(
            name="paper-cifar",
            promise="`reslab train resnet20 --data cifar10 --recipe paper-cifar`: 8.75 % test "
            "error in the paper, with all 50,000 images (--set validation=0); 182 epochs of 45,000",
            source="He et al. 2015, arXiv 1512.03385, Sec. 4.2; warm-up for 110 layers",
            steps=64_000,
            rule="caffe",
            weight_decay=1e-4,
            drops=(0.5, 0.75),  # 32k and 48k of 64k
            warmup=400 / 64_000,
            warmup_layers=110,
            augment=("pad-crop(4)", "flip"),
            standardise="pixel-mean",
        ),
        Recipe(
            name="paper-imagenet",
            promise="`reslab train resnet50_v1 --data PATH --recipe paper-imagenet`: 22.85 % top-1 "
            "error with 10 crops in the paper; weeks on one GPU",
            source="He et al. 2015, arXiv 1512.03385, Sec. 3.4; it does not say what counts as a "
            "plateau: here five epochs without a better validation error",
            batch=256,
            steps=600_000,
            rule="caffe",
            weight_decay=1e-4,
            schedule="plateau",
            augment=("scale-crop(256,480)", "flip", "pca-colour(0.1)"),
            standardise="pixel-mean",
            validation=0.02,
        ),
        Recipe(
            name="li2018",
            promise="`reslab train resnet56_b --data cifar10 --recipe li2018`: 5.89 % test error "
            "in the paper; deep nets without skips want --set rate=0.01",
            source="Li et al. 2018, arXiv 1712.09913, and the released training code",
            epochs=300,
            nesterov=True,
            weight_decay=5e-4,
            decay="all",
            drops=(150 / 300, 225 / 300, 275 / 300),
            augment=("pad-crop(4)", "flip"),
            standardise="channel",
        ),
        Recipe(
            name="characters",
            promise="`reslab train characters --data glyphs --recipe characters`: the slide prints "
            "no error",
            source="the deck, slides 'Code': Adadelta, rate 0.1, categorical cross-entropy; it "
            "names no batch and no number of epochs",
            epochs=10,
            optimizer="adadelta",
            rate=0.1,
            schedule="constant",
            standardise="channel",
        ),
    )
}


def _toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file."""
    try:
        if (size := regular(path).stat().st_size) > MOST_TOML:
            raise UserError(f"{path} has {size:,} bytes; {MOST_TOML:,} are the most of a recipe")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {error.strerror}") from None
    except RecursionError:
        raise UserError(f"{path} is not a recipe: its brackets are nested too deep") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise UserError(f"{path} is not TOML: {one_line(error)}") from None


def recipe(
    name: str | Path | Recipe,
    above: tuple[Path, ...] = (),
    *,
    images: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> Recipe:
    """Get a recipe by name, or read it from a TOML file.

    A file `name.toml` has fields of `Recipe`, and optionally `base`: the name or file of a recipe
    whose other fields it takes.

    Args:
        name: A name ("quick", "paper-cifar"), the path of a .toml file, or a `Recipe`, which is
            returned as it is.
        above: Files that have this one as their base; a file must not be its own base.
        images: The number of training images, to which "quick" and "fine-tune" fit their batch,
            rate and length (see `reslab.runs.sizing`). None: the recipe as it is written.
        given: Fields that the caller sets afterwards; the fitted ones follow from them.

    Returns:
        The recipe.

    Raises:
        UserError: There is no such recipe (the message names the nearest one), or the file is
            wrong, or sets a field that its schedule or its optimiser does not read.
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str | Path):
        raise UserError(f"a recipe is a name or a .toml file, not {name!r}")
    if str(name) in RECIPES:
        chosen = RECIPES[str(name)]
        return chosen if images is None else sized(chosen, images, given or {})
    path = Path(name)
    if path.suffix != ".toml":
        raise unknown("recipe", str(name), RECIPES)
    if path.absolute() in above:
        raise UserError(f"{path} has itself as its base: name another one")
    if len(above) == MOST_BASES:
        raise UserError(f"{path} has more than {MOST_BASES} bases above it: write its fields out")
    values = _toml(path)
    base = values.pop("base", None)
    values = {"name": path.stem, **values}
    if base is not None:
        if not isinstance(base, str):
            raise UserError(
                f"{path}: base is {short(base)}; it is the name of a recipe, or a .toml file"
            )
        fields = {**values, **(given or {})}
        above = (*above, path.absolute())
        return set_fields(recipe(base, above, images=images, given=fields), values)
    return set_fields(Recipe(name=path.stem, epochs=1), values)
