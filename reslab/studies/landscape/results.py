"""What a study of a landscape asked for, and what it measured, from its folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.studies.folder import Study
from reslab.studies.landscape.lanczos import MOST_STEPS
from reslab.studies.landscape.point_log import Key, Points, outwards

KIND = "landscape"
SURFACE, CURVATURE, PLANE, TRAJECTORY = (
    f"{name}.jsonl" for name in ("surface", "curvature", "plane", "trajectory")
)


@dataclass(frozen=True)
class Surface:
    """Losses (nats) and errors (shares) around a run's weights, [i] or [i, j] for steps a_i, b_j.

    Not measured is NaN, no finite loss infinity.
    """

    run: int
    name: str
    seed: int
    a: np.ndarray
    loss: np.ndarray
    error: np.ndarray

    @property
    def middle(self) -> float:
        return float(self.loss[(len(self.a) // 2,) * self.loss.ndim])


@dataclass(frozen=True)
class Curvature:
    """Ends of the Hessian's spectrum on a grid [i, j] of its own; `a` are its steps.

    `unsettled` of the points stopped before both ends were within the tolerance.
    """

    run: int
    name: str
    images: int
    a: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray
    unsettled: int

    @property
    def ratio(self) -> np.ndarray:
        """|lambda_min / lambda_max|; infinite or NaN where the Hessian was not finite."""
        with np.errstate(all="ignore"):
            return np.abs(self.smallest / self.largest)


@dataclass(frozen=True)
class Trajectory:
    """A training on its principal plane: projections `at` (n, 2) in the units of the weights.

    `loss` are the checkpoints' own, `on_plane` the plane's at their projections; `surface` is the
    plane's loss [i, j] at `a` and `b`, `share` each direction's part of the variance.
    """

    run: int
    name: str
    names: Sequence[str]
    share: tuple[float, float]
    at: np.ndarray
    loss: np.ndarray
    on_plane: np.ndarray
    a: np.ndarray
    b: np.ndarray
    surface: np.ndarray


def steps(reach: float, grid: int) -> np.ndarray:
    """`grid` steps from -reach to reach; the middle one is exactly 0."""
    whole = np.arange(grid) - (grid - 1) // 2
    return reach * whole / ((grid - 1) // 2)


def surface_keys(run: int, seed: int, grid: int, dim: int) -> list[Key]:
    return [(run, seed, *place) for place in outwards(grid, dim)]


def names(study: Study) -> list[str]:
    return [run["name"] for run in study.settings["runs"]]


def surfaces(study: Study) -> list[Surface]:
    """By run, then by seed."""
    asked, points = study.settings, Points(study.path / SURFACE)
    grid, dim = asked["grid"], asked["dim"]
    found = []
    for run, name in enumerate(names(study)):
        for seed in range(asked["seeds"]):
            loss, error = np.full((2, *(grid,) * dim), np.nan)
            for key in surface_keys(run, seed, grid, dim):
                if (point := points.found.get(key)) is not None:
                    loss[key[2:]], error[key[2:]] = point["loss"], point["error"]
            found.append(Surface(run, name, seed, steps(asked["range"], grid), loss, error))
    return found


def curvatures(study: Study) -> list[Curvature]:
    """Of each run that has been measured; the finest grid where there are several."""
    points = Points(study.path / CURVATURE).found
    found = []
    for run, name in enumerate(names(study)):
        sizes = {key[1:3] for key in points if key[0] == run}
        if not sizes:
            continue
        grid, images = max(sizes)
        smallest, largest = np.full((2, grid, grid), np.nan)
        own = {key[3:]: point for key, point in points.items() if key[:3] == (run, grid, images)}
        for place, point in own.items():
            smallest[place], largest[place] = point["smallest"], point["largest"]
        unsettled = sum(point["products"] >= MOST_STEPS for point in own.values())
        a = steps(study.settings["range"], grid)
        found.append(Curvature(run, name, images, a, smallest, largest, unsettled))
    return found


def trajectories(study: Study) -> list[Trajectory]:
    """Of each run whose checkpoints were all measured."""
    known: dict[str, Any] = study.read("trajectories.json") or {}
    own, plane = Points(study.path / TRAJECTORY).found, Points(study.path / PLANE).found
    found = []
    for run, name in enumerate(names(study)):
        facts = known.get(str(run))
        if facts is None:
            continue
        surface = np.full((len(facts["a"]), len(facts["b"])), np.nan)
        for (r, i, j), point in plane.items():
            if r == run:
                surface[i, j] = point["loss"]
        n = len(facts["names"])
        both = [own.get((run, i), {}) for i in range(n)]
        loss, on_plane = (
            np.array([point.get(what, np.nan) for point in both]) for what in ("loss", "on_plane")
        )
        found.append(
            Trajectory(
                run,
                name,
                facts["names"],
                tuple(facts["share"]),
                np.array(facts["at"]),
                loss,
                on_plane,
                np.array(facts["a"]),
                np.array(facts["b"]),
                surface,
            )
        )
    return found
