"""What a study of a landscape is asked for, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError, unknown
from reslab.runs.run import Run

GRIDS = {1: 51, 2: 25}  # by dimension: the paper's 51, and what takes minutes on two CPU cores
IMAGES = 1000
CURVATURE_GRID = 9
CURVATURE_IMAGES = 250  # a Hessian product costs about six passes, a point about twelve products
KEEP, RECOMPUTE = BN = "keep", "recompute"  # what becomes of running statistics


@dataclass(frozen=True)
class Asked:
    """`images` None is all of them. `curvature` is the side of that grid, None without."""

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
            raise UserError("a landscape needs a run: name at least one run folder")
        if len({run.path.resolve() for run in self.runs}) < len(self.runs):
            raise UserError("the same run twice: name different ones")
        if self.dim not in GRIDS:
            raise UserError(f"dim is 1 or 2, not {self.dim}")
        for what, grid in (("grid", self.grid), ("curvature grid", self.curvature)):
            if grid is not None and (grid < 3 or grid % 2 == 0):
                raise UserError(f"{what} is {grid}: odd, and 3 at least, for a middle")
        if not 0 < self.reach < float("inf"):
            raise UserError(f"range is {self.reach}: a number above 0; 1 is the weights' own norm")
        if self.bn not in BN:
            raise unknown("batch norm policy", self.bn, BN)
        if self.seeds < 1:
            raise UserError(f"{self.seeds} draws of the directions: at least one")
        for images in (self.images, self.curvature_images):
            if images is not None and images < 1:
                raise UserError(f"{images} images: at least one")

    @property
    def names(self) -> list[str]:
        """Of the runs; by their folders where they are called alike."""
        own = [run.path.name for run in self.runs]
        both = zip(own, self.runs, strict=True)
        return [name if own.count(name) == 1 else str(run.path) for name, run in both]

    @property
    def plane_grid(self) -> int:
        """Side of a trajectory's plane."""
        return self.grid if self.dim == 2 else GRIDS[2]

    def as_json(self) -> dict[str, Any]:
        """What identifies the study: curvature and trajectories are added to a surface."""
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
        """Where the study goes by default: the same for the same question."""
        words = ["landscape", *(run.path.name for run in self.runs)]
        words.append("x".join([str(self.grid)] * self.dim))
        words += [f"range-{self.reach:g}"] if self.reach != 1 else []
        words += [f"images-{self.images or 'all'}"] if self.images != IMAGES else []
        words += [f"seeds-{self.seeds}"] if self.seeds != 1 else []
        words += [f"bn-{self.bn}"] if self.bn != BN[0] else []
        return Path("studies") / "-".join(words)


def opened(runs: Sequence[Run | str | Path]) -> tuple[Run, ...]:
    return tuple(run if isinstance(run, Run) else Run.open(run) for run in runs)
