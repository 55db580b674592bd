"""The folder of a new run."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from reslab.core.errors import UserError
from reslab.core.files import writing
from reslab.runs.options import TrainingOptions
from reslab.training.prepare import Preparation


def check(options: TrainingOptions) -> None:
    """Raise UserError if the folder of the run exists already."""
    if options.out is not None and _exists(Path(options.out)):
        raise UserError(
            f"{options.out} exists already: choose another --out, or "
            f"`reslab train --resume {options.out}`"
        )


def path(prepared: Preparation, options: TrainingOptions, suffix: str = "") -> Path:
    """The folder of the run: the given one, or the first free runs/NETWORK-DATA-RECIPE-N."""
    if options.out is not None:
        return Path(options.out)
    source = prepared.data.provenance.get("source")
    if source is not None and Path("runs").resolve().is_relative_to(Path(source).resolve()):
        raise UserError(
            f"the default folder runs/ is inside the data folder {source}: name a folder outside "
            "with --out"
        )
    names = prepared.network.name, prepared.data.name, prepared.recipe.name
    stem = f"runs/{'-'.join(names)}{suffix}"
    return next(free for n in count(1) if not _exists(free := Path(f"{stem}-{n}")))


def _exists(place: Path) -> bool:
    with writing(place, "choose another --out"):  # the name may be too long to look for
        return place.exists()
    return False
