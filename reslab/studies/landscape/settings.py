"""The settings of a landscape, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError, unknown
from reslab.runs.run import Run
from reslab.studies.folder import default_path
from reslab.studies.runs import open_run

GRIDS = {1: 51, 2: 25}  # by dimension: 51 as in the paper; 25 x 25 takes minutes on 2 CPU cores
IMAGES = 1000
CURVATURE_GRID = 9
CURVATURE_IMAGES = 250  # a product costs about six forward passes, a point about twelve products
KEEP, RECOMPUTE = BN = "keep", "recompute"  # of the running statistics


@dataclass(frozen=True)
class Settings:
    """What a landscape measures; `measure.landscape` explains the fields.

    `images` is None for all images, `curvature` None for no curvature.
    """

    runs: tuple[Run, ...]
    dim: int
    grid: int
    reach: float
    images: int | None
    seeds: int
    bn: str
    curvature: int | None
    curvature_images: int
    trajectory: bool

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("no runs: name at least one run folder")
        if len({run.path.resolve() for run in self.runs}) < len(self.runs):
            raise UserError("a run is named twice: name different runs")
        if self.dim not in GRIDS:
            raise UserError(f"dim is {self.dim}: choose 1 or 2")
        for name, grid in (("grid", self.grid), ("curvature grid", self.curvature)):
            if grid is not None and (grid < 3 or grid % 2 == 0):
                raise UserError(
                    f"{name} is {grid}: choose an odd number from 3, so that it has a centre"
                )
        if not 0 < self.reach < float("inf"):
            raise UserError(
                f"range is {self.reach}: choose a number above 0; 1 is the norm of the weights"
            )
        if self.bn not in BN:
            raise unknown("batch norm policy", self.bn, BN)
        if self.seeds < 1:
            raise UserError(f"seeds is {self.seeds}: choose at least one draw of the directions")
        for images in (self.images, self.curvature_images):
            if images is not None and images < 1:
                raise UserError(f"images is {images}: choose at least one")

    @property
    def names(self) -> list[str]:
        """The names of the runs; their paths where two have the same name."""
        names = [run.path.name for run in self.runs]
        pairs = zip(names, self.runs, strict=True)
        return [name if names.count(name) == 1 else str(run.path) for name, run in pairs]

    @property
    def plane_grid(self) -> int:
        """The side of the grid on a trajectory's plane."""
        return self.grid if self.dim == 2 else GRIDS[2]

    def as_json(self) -> dict[str, Any]:
        """What identifies the study. Curvature and trajectories can be added to it later."""
        pairs = zip(self.names, self.runs, strict=True)
        return {
            "runs": [{"name": name, "weights": run.digest()} for name, run in pairs],
            "dim": self.dim,
            "grid": self.grid,
            "range": self.reach,
            "images": self.images,
            "seeds": self.seeds,
            "bn": self.bn,
        }

    @property
    def folder(self) -> Path:
        """The default folder: the same for the same settings."""
        parts = ["landscape", *(run.path.name for run in self.runs)]
        parts.append("x".join([str(self.grid)] * self.dim))
        parts += [f"range-{self.reach:g}"] if self.reach != 1 else []
        parts += [f"images-{self.images or 'all'}"] if self.images != IMAGES else []
        parts += [f"seeds-{self.seeds}"] if self.seeds != 1 else []
        parts += [f"bn-{self.bn}"] if self.bn != BN[0] else []
        return default_path(*parts)


def open_runs(runs: Sequence[Run | str | Path]) -> tuple[Run, ...]:
    return tuple(open_run(run) for run in runs)
