"""`landscape`: a study of the loss around the weights of one run, or of several side by side."""

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
from reslab.evaluation import evaluation
from reslab.plots.format import count, duration
from reslab.runs.run import Run
from reslab.studies.folder import Study
from reslab.studies.landscape import publish, results
from reslab.studies.landscape.directions import filter_normalised
from reslab.studies.landscape.evaluator import Evaluator
from reslab.studies.landscape.hessian import Hessian
from reslab.studies.landscape.lanczos import ends
from reslab.studies.landscape.point_log import Key, Points, outwards
from reslab.studies.landscape.settings import CURVATURE_IMAGES, GRIDS, IMAGES, KEEP, Asked, opened
from reslab.studies.landscape.trajectory import Passage, enough
from reslab.studies.trained import Images, LoadedRun, load_run

TIMED = 3  # points, after the first, that say how long the rest will take


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
    """Measure the loss around trained weights, or go on with that; pictures and page at the end.

    f(a, b) = L(theta + a delta + b eta) on a grid of `grid` points a side (25, or 51 where `dim` is
    1) for a and b from -`reach` to `reach`, along filter-normalised directions (Li et al. 2018,
    Sec. 4); `seeds` draws of them. L is the mean cross-entropy over `images` training images, None
    for all, un-augmented. `bn` says what becomes of running statistics: "keep", or "recompute" at
    each point. `curvature` is the side of a grid of the Hessian's extreme eigenvalues over the same
    plane, on `curvature_images` of the images. `trajectory` shows the runs' kept checkpoints on
    their principal plane (Sec. 7). Several runs get the same directions, images and scales.

    `out` defaults to studies/landscape-..., by what is asked; the same call goes on with it. Raises
    UserError for what does not fit, `session.Interrupted` after a signal.
    """
    asked = Asked(
        opened(runs),
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
    for run in asked.runs if trajectory else ():
        enough(run)
    backend = keras.backend.backend()
    study = Study.begin(out or asked.folder, results.KIND, asked.as_json(), backend)
    study.save(runs=[str(run.path) for run in asked.runs])
    measuring = Measuring(asked, study, watch or Watch())
    measuring.all()
    publish.publish(study)
    return study


@dataclass
class Measuring:
    """One study under way. A run's network is loaded when a point of it is missing."""

    asked: Asked
    study: Study
    watch: Watch
    loaded: dict[str, Data] = field(default_factory=dict)  # by checksum

    def all(self) -> None:
        for run in range(len(self.asked.runs)):
            subject = Loaded(self, run)
            self.surfaces(run, subject)
            if self.asked.curvature is not None:
                self.curvature(run, subject, self.asked.curvature)
            if self.asked.trajectory:
                self.trajectory(run, subject)

    def name(self, run: int) -> str:
        return self.asked.names[run]

    def surfaces(self, run: int, its: Loaded) -> None:
        points, asked = Points(self.study.path / results.SURFACE), self.asked
        a = results.steps(asked.reach, asked.grid)
        for seed in range(asked.seeds):
            what = f"{self.name(run)}: surface" + (f", seed {seed}" if asked.seeds > 1 else "")

            def ready(seed: int = seed) -> Callable[[Key], dict[str, float]]:
                its.evaluator.along(*its.directions(seed, asked.dim))
                return lambda key: vars(its.evaluator.at(*a[list(key[2:])]))

            keys = results.surface_keys(run, seed, asked.grid, asked.dim)
            self.measure(what, points, keys, ready)

    def curvature(self, run: int, its: Loaded, grid: int) -> None:
        points, n = Points(self.study.path / results.CURVATURE), its.curvature_images
        a = results.steps(self.asked.reach, grid)

        def ready() -> Callable[[Key], dict[str, float]]:
            hessian = Hessian(its.few(n))
            its.evaluator.along(*its.directions(0, 2))

            def at(key: Key) -> dict[str, float]:
                its.evaluator.move(*a[list(key[3:])])
                return vars(ends(hessian.__matmul__, hessian.size))

            return at

        keys = [(run, grid, n, *place) for place in outwards(grid, 2)]
        self.measure(f"{self.name(run)}: curvature", points, keys, ready)

    def trajectory(self, run: int, its: Loaded) -> None:
        passage = Passage(its.run, lambda: its.evaluator)
        known = self.study.read("trajectories.json") or {}
        if str(run) not in known:
            facts = passage.facts(self.asked.plane_grid)
            self.study.write("trajectories.json", known | {str(run): facts})
        else:
            passage.go_on(known[str(run)])
        grid = [(run, *place) for place in outwards(self.asked.plane_grid, 2)]
        own = [(run, i) for i in range(len(passage.checkpoints))]
        for what, file, keys, ready in (
            ("checkpoints", results.TRAJECTORY, own, lambda: passage.checkpoint),
            ("plane of the training", results.PLANE, grid, lambda: passage.point),
        ):
            points = Points(self.study.path / file)
            self.measure(f"{self.name(run)}: {what}", points, keys, ready)

    def measure(
        self,
        what: str,
        points: Points,
        keys: Sequence[Key],
        ready: Callable[[], Callable[[Key], dict[str, float]]],
    ) -> None:
        """Those of the points that are missing, with a word on how long it will take."""
        missing = points.missing(keys)
        if not missing:
            return
        done, total = len(keys) - len(missing), len(keys)
        before = f", {count(done)} measured before" if done else ""
        self.watch.say(f"{what}: {count(total)} points{before}")
        self.watch.start(total)
        at = ready()
        begun = time.perf_counter()
        for n, key in enumerate(missing):
            points.add(key, **at(key))
            self.watch.step(done + n + 1, what)
            if n == 0:
                begun = time.perf_counter()  # the first one compiles
            elif n == TIMED:
                each = (time.perf_counter() - begun) / TIMED
                left = len(missing) - n - 1
                words = f"{count(left)} more points at {each:.2g} s each"
                self.watch.say(f"{what}: about {duration(left * each)}: {words}")


class Loaded:
    """A run's subject and its evaluator, made when first asked for."""

    def __init__(self, measuring: Measuring, run: int) -> None:
        self.measuring, self.number = measuring, run
        self.run = measuring.asked.runs[run]

    @cached_property
    def subject(self) -> LoadedRun:
        loaded, checksum = self.measuring.loaded, self.run.info["data"]["checksum"]
        key = f"{checksum} {self.run.info['data']['provenance']}"
        if key not in loaded:
            loaded[key] = evaluation.reload(self.run)
        asked = self.measuring.asked
        found = load_run(self.run, asked.images, data=loaded[key])
        study, info = self.measuring.study, self.run.info
        about = {
            "images": found.images.description,
            "data": info["data"]["name"],
            "classes": len(info["data"]["classes"]),
            "network": self.run.network.name,
            "params": info.get("params"),
        }
        study.save(subjects={**study.info.get("subjects", {}), str(self.number): about})
        self.measuring.watch.say(f"{asked.names[self.number]}: {found.images.description}")
        return found

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.subject, self.measuring.asked.bn)

    @property
    def curvature_images(self) -> int:
        asked = self.measuring.asked
        most = min(asked.curvature_images, self.run.info["data"]["counts"]["train"])
        return most if asked.images is None else min(most, asked.images)

    def few(self, n: int) -> LoadedRun:
        """With n of its images, evenly spread."""
        images = self.subject.images
        rows = np.linspace(0, len(images) - 1, n).round().astype(int)
        few = Images(images.x[rows], images.labels[rows], f"{n:,} of them")
        return replace(self.subject, images=few)

    def directions(self, seed: int, dim: int) -> list[dict[str, Any]]:
        start = self.evaluator.start
        return [filter_normalised(start, seed, which) for which in range(dim)]
