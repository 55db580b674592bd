"""`landscape`: the loss around the weights of one run, or of several runs side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.interrupts import interrupt, on_signals
from reslab.core.progress import Watch
from reslab.data import Data
from reslab.evaluation import recorded_data
from reslab.plots.format import count, duration
from reslab.runs.run import Run
from reslab.studies.folder import Study
from reslab.studies.landscape import publish, results
from reslab.studies.landscape.directions import filter_normalised
from reslab.studies.landscape.evaluator import Evaluator
from reslab.studies.landscape.hessian import Hessian
from reslab.studies.landscape.lanczos import ends
from reslab.studies.landscape.point_log import Key, Points, outwards
from reslab.studies.landscape.settings import (
    CURVATURE_IMAGES,
    GRIDS,
    IMAGES,
    KEEP,
    Settings,
    open_runs,
)
from reslab.studies.landscape.trajectory import Passage, enough
from reslab.studies.trained import Images, LoadedRun, load_run

TIMED = 3  # points after the first, from which the remaining time is estimated


@on_signals(interrupt)
def landscape(
    runs: Sequence[Run | str | Path],
    *,
    dim: int = 2,
    grid: int | None = None,
    reach: float = 1.0,
    images: int | None = IMAGES,
    seeds: int = 1,
    bn: str = KEEP,
    curvature: int | None = None,
    curvature_images: int = CURVATURE_IMAGES,
    trajectory: bool = False,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Study:
    """Measure the loss around trained weights; write pictures, exported files and a page.

    The loss is f(a, b) = L(theta + a delta + b eta) along filter-normalised random directions delta
    and eta (Li et al. 2018, Sec. 4). L is the mean cross-entropy over training images without
    augmentation. Several runs have the same directions, images and scales. Calling it again
    continues an interrupted study.

    Args:
        runs: Runs, or their folders.
        dim: 1 for lines, 2 for planes.
        grid: Points per axis, odd. None for 51 (lines) or 25 (planes).
        reach: a and b go from -reach to reach.
        images: Number of training images, drawn at random; None for all.
        seeds: Number of draws of the directions.
        bn: Batch norm's running statistics: "keep" those of the run, or "recompute" them at each
            point.
        curvature: Points per axis of a grid of the Hessian's extreme eigenvalues on the same plane;
            None for no curvature.
        curvature_images: Number of images for the Hessian.
        trajectory: Whether to show the kept checkpoints on their principal plane (Sec. 7).
        out: Folder of the study; studies/landscape-... by default.
        watch: Callbacks for progress.

    Returns:
        The finished study.

    Raises:
        UserError: A setting or a run cannot be used.
        reslab.core.interrupts.Interrupted: A signal stopped the study.
    """
    settings = Settings(
        open_runs(runs),
        dim,
        GRIDS.get(dim, 0) if grid is None else grid,
        float(reach),
        images,
        seeds,
        bn,
        curvature,
        curvature_images,
        trajectory,
    )
    for run in settings.runs if trajectory else ():
        enough(run)
    backend = keras.backend.backend()
    study = Study.begin(out or settings.folder, results.KIND, settings.as_json(), backend)
    study.save(runs=[str(run.path) for run in settings.runs])
    Measuring(settings, study, watch or Watch()).all()
    publish.publish(study)
    return study


@dataclass
class Measuring:
    """A study in progress. A run's network is loaded only if one of its points is missing."""

    settings: Settings
    study: Study
    watch: Watch
    loaded: dict[str, Data] = field(default_factory=dict)  # by checksum

    def all(self) -> None:
        for run in range(len(self.settings.runs)):
            loaded = Loaded(self, run)
            self.surfaces(run, loaded)
            if self.settings.curvature is not None:
                self.curvature(run, loaded, self.settings.curvature)
            if self.settings.trajectory:
                self.trajectory(run, loaded)

    def name(self, run: int) -> str:
        return self.settings.names[run]

    def surfaces(self, run: int, loaded: Loaded) -> None:
        points, settings = Points(self.study.path / results.SURFACE), self.settings
        a = results.steps(settings.reach, settings.grid)
        for seed in range(settings.seeds):
            task = f"{self.name(run)}: surface"
            task += f", seed {seed}" if settings.seeds > 1 else ""

            def ready(seed: int = seed) -> Callable[[Key], dict[str, float]]:
                loaded.evaluator.along(*loaded.directions(seed, settings.dim))
                return lambda key: vars(loaded.evaluator.at(*a[list(key[2:])]))

            keys = results.surface_keys(run, seed, settings.grid, settings.dim)
            self.measure(task, points, keys, ready)

    def curvature(self, run: int, loaded: Loaded, grid: int) -> None:
        points, n = Points(self.study.path / results.CURVATURE), loaded.curvature_images
        a = results.steps(self.settings.reach, grid)

        def ready() -> Callable[[Key], dict[str, float]]:
            hessian = Hessian(loaded.few(n))
            loaded.evaluator.along(*loaded.directions(0, 2))

            def at(key: Key) -> dict[str, float]:
                loaded.evaluator.move(*a[list(key[3:])])
                return vars(ends(hessian.__matmul__, hessian.size))

            return at

        keys = [(run, grid, n, *index) for index in outwards(grid, 2)]
        self.measure(f"{self.name(run)}: curvature", points, keys, ready)

    def trajectory(self, run: int, loaded: Loaded) -> None:
        passage = Passage(loaded.run, lambda: loaded.evaluator)
        planes = self.study.read("trajectories.json") or {}
        if str(run) not in planes:
            plane = passage.plane(self.settings.plane_grid)
            self.study.write("trajectories.json", planes | {str(run): plane})
        else:
            passage.continue_with(planes[str(run)])
        grid = [(run, *index) for index in outwards(self.settings.plane_grid, 2)]
        checkpoints = [(run, i) for i in range(len(passage.checkpoints))]
        for task, file, keys, ready in (
            ("checkpoints", results.TRAJECTORY, checkpoints, lambda: passage.checkpoint),
            ("plane of the training", results.PLANE, grid, lambda: passage.point),
        ):
            points = Points(self.study.path / file)
            self.measure(f"{self.name(run)}: {task}", points, keys, ready)

    def measure(
        self,
        task: str,
        points: Points,
        keys: Sequence[Key],
        ready: Callable[[], Callable[[Key], dict[str, float]]],
    ) -> None:
        """Measure the missing points, and estimate how long that takes."""
        missing = points.missing(keys)
        if not missing:
            return
        done, total = len(keys) - len(missing), len(keys)
        earlier = f", {count(done)} of them measured earlier" if done else ""
        self.watch.say(f"{task}: {count(total)} points{earlier}")
        self.watch.start(total)
        at = ready()
        start = time.perf_counter()
        for n, key in enumerate(missing):
            points.add(key, **at(key))
            self.watch.step(done + n + 1, task)
            if n == 0:
                start = time.perf_counter()  # the first point compiles
            elif n == TIMED:
                seconds = (time.perf_counter() - start) / TIMED
                left = len(missing) - n - 1
                rate = f"{count(left)} more points at {seconds:.2g} s each"
                self.watch.say(f"{task}: about {duration(left * seconds)} ({rate})")


class Loaded:
    """A run's subject and its evaluator, created when first used."""

    def __init__(self, measuring: Measuring, run: int) -> None:
        self.measuring, self.number = measuring, run
        self.run = measuring.settings.runs[run]

    @cached_property
    def subject(self) -> LoadedRun:
        loaded, checksum = self.measuring.loaded, self.run.info["data"]["checksum"]
        key = f"{checksum} {self.run.info['data']['provenance']}"
        if key not in loaded:
            loaded[key] = recorded_data.reload(self.run)
        settings = self.measuring.settings
        loaded_run = load_run(self.run, settings.images, data=loaded[key])
        study, info = self.measuring.study, self.run.info
        about = {
            "images": loaded_run.images.description,
            "data": info["data"]["name"],
            "classes": len(info["data"]["classes"]),
            "network": self.run.network.name,
            "params": info.get("params"),
        }
        study.save(subjects={**study.info.get("subjects", {}), str(self.number): about})
        self.measuring.watch.say(f"{settings.names[self.number]}: {loaded_run.images.description}")
        return loaded_run

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.subject, self.measuring.settings.bn)

    @property
    def curvature_images(self) -> int:
        settings = self.measuring.settings
        most = min(settings.curvature_images, self.run.info["data"]["counts"]["train"])
        return most if settings.images is None else min(most, settings.images)

    def few(self, n: int) -> LoadedRun:
        """The subject with n of its images, evenly spaced."""
        images = self.subject.images
        rows = np.linspace(0, len(images) - 1, n).round().astype(int)
        few = Images(images.x[rows], images.labels[rows], f"{n:,} of them")
        return replace(self.subject, images=few)

    def directions(self, seed: int, dim: int) -> list[dict[str, Any]]:
        start = self.evaluator.start
        return [filter_normalised(start, seed, which) for which in range(dim)]
