"""The measured points of a landscape as arrays, from the study's folder alone."""

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
    """Losses in nats and errors (0 to 1) around a run's weights: [i] or [i, j] at steps a[i], a[j].

    NaN is not measured yet; infinity is a loss that is not finite.
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
    """The extreme eigenvalues of the Hessian on a grid [i, j] with steps `a`.

    `unsettled` is the number of points that stopped before both eigenvalues reached the tolerance.
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
        """|lambda_min / lambda_max|; infinite or NaN where the Hessian is not finite."""
        with np.errstate(all="ignore"):
            return np.abs(self.smallest / self.largest)


@dataclass(frozen=True)
class Trajectory:
    """A training on its principal plane.

    `at` (n, 2) are the projected checkpoints, in units of the weights; `share` is the fraction of
    the variance along each direction. `loss` (n,) is that of the checkpoints, `on_plane` (n,) that
    of the plane at their projections, and `surface` [i, j] that of the plane at a[i], b[j].
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
    """`grid` steps from -reach to reach; the one in the middle is exactly 0."""
    whole = np.arange(grid) - (grid - 1) // 2
    return reach * whole / ((grid - 1) // 2)


def surface_keys(run: int, seed: int, grid: int, dim: int) -> list[Key]:
    return [(run, seed, *place) for place in outwards(grid, dim)]


def names(study: Study) -> list[str]:
    return [run["name"] for run in study.settings["runs"]]


def surfaces(study: Study) -> list[Surface]:
    """The surfaces by run, then by seed."""
    asked, points = study.settings, Points(study.path / SURFACE).values
    grid, dim = asked["grid"], asked["dim"]
    surfaces = []
    for run, name in enumerate(names(study)):
        for seed in range(asked["seeds"]):
            loss, error = np.full((2, *(grid,) * dim), np.nan)
            for key in surface_keys(run, seed, grid, dim):
                if (point := points.get(key)) is not None:
                    loss[key[2:]], error[key[2:]] = point["loss"], point["error"]
            a = steps(asked["range"], grid)
            surfaces.append(Surface(run, name, seed, a, loss, error))
    return surfaces


def curvatures(study: Study) -> list[Curvature]:
    """The curvature of each measured run; the finest grid if there are several."""
    points = Points(study.path / CURVATURE).values
    curvatures = []
    for run, name in enumerate(names(study)):
        sizes = {key[1:3] for key in points if key[0] == run}
        if not sizes:
            continue
        grid, images = max(sizes)
        smallest, largest = np.full((2, grid, grid), np.nan)
        size = (run, grid, images)
        on_grid = {key[3:]: point for key, point in points.items() if key[:3] == size}
        for index, point in on_grid.items():
            smallest[index], largest[index] = point["smallest"], point["largest"]
        unsettled = sum(point["products"] >= MOST_STEPS for point in on_grid.values())
        a = steps(study.settings["range"], grid)
        curvatures.append(Curvature(run, name, images, a, smallest, largest, unsettled))
    return curvatures


def trajectories(study: Study) -> list[Trajectory]:
    """The trajectory of each run whose plane is known."""
    planes: dict[str, Any] = study.read("trajectories.json") or {}
    checkpoints = Points(study.path / TRAJECTORY).values
    points = Points(study.path / PLANE).values
    trajectories = []
    for run, name in enumerate(names(study)):
        plane = planes.get(str(run))
        if plane is None:
            continue
        surface = np.full((len(plane["a"]), len(plane["b"])), np.nan)
        for (r, i, j), point in points.items():
            if r == run:
                surface[i, j] = point["loss"]
        n = len(plane["names"])
        rows = [checkpoints.get((run, i), {}) for i in range(n)]
        loss, on_plane = (
            np.array([row.get(key, np.nan) for row in rows]) for key in ("loss", "on_plane")
        )
        trajectories.append(
            Trajectory(
                run,
                name,
                plane["names"],
                tuple(plane["share"]),
                np.array(plane["at"]),
                loss,
                on_plane,
                np.array(plane["a"]),
                np.array(plane["b"]),
                surface,
            )
        )
    return trajectories
