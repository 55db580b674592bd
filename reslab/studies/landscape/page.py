"""A study of a landscape as sections of a page, from its folder alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.plots import figure_plotly, grids_plotly
from reslab.plots.format import NONE, count, listed, percent
from reslab.plots.plotly import Chart, finite
from reslab.report.sections import Picture, Section, Table
from reslab.studies.folder import Study
from reslab.studies.landscape import figures, results
from reslab.studies.landscape.lanczos import MOST_STEPS, TOLERANCE
from reslab.studies.landscape.results import Curvature, Surface, Trajectory

SOURCE = "Li et al. 2018, arXiv 1712.09913"
NEAR = 0.25, 0.5  # steps within which the highest loss is looked for
POLICIES = {
    "keep": "Batch norm keeps the running statistics of the trained weights.",
    "recompute": "Batch norm's running statistics are measured anew at each point, over the same "
    "images.",
}


def sections(study: Study) -> list[Section]:
    found = results.surfaces(study)
    inner = [*_draws(study, found), *_curvature(study), *_trajectories(study)]
    main = _flat(study, found) if study.settings["dim"] == 2 else _along(study, found)
    return [
        Section(
            f"Loss around {listed(results.names(study))}",
            words(study),
            charts=main,
            pictures=_solid_picture(study),
            tables=[_table(study, found)],
            measured=study.commands,
            sections=inner,
        )
    ]


def words(study: Study) -> list[str]:
    """How it was measured: a surface means nothing without."""
    asked, about = study.settings, study.info.get("subjects", {})
    images = listed(dict.fromkeys(each["images"] for each in about.values())) or "images"
    alike = len({(each["images"], each["data"]) for each in about.values()}) == 1
    places = " x ".join([str(asked["grid"])] * asked["dim"])
    draws = "seed 0" if asked["seeds"] == 1 else f"seeds 0 to {asked['seeds'] - 1}"
    axes = "Each direction is" if asked["dim"] == 1 else "Both directions are"
    return [
        f"Mean cross-entropy on {images}, un-augmented, at {places} points from "
        f"-{asked['range']:g} to {asked['range']:g}. {axes} Gaussian, each filter scaled to the "
        f"norm of the filter that it moves ({SOURCE}, Sec. 4), drawn with {draws}. Biases and "
        f"batch norm's scales and shifts stand still. {POLICIES[asked['bn']]}",
        "All runs have the same draws where their layers have the same names and shapes, the same "
        f"scale and {'the same' if alike else 'not the same'} images. The middle is the trained "
        "network."
        if len(asked["runs"]) > 1
        else "The middle is the trained network.",
        *_gone(results.surfaces(study)),
    ]


def _gone(found: Sequence[Surface]) -> list[str]:
    gone = {s.name: int(np.isposinf(s.loss).sum()) for s in found}
    said = [f"{count(n)} of {name}" for name, n in gone.items() if n]
    return [f"Points without a finite loss are left blank: {listed(said)}."] if said else []


def _flat(study: Study, found: Sequence[Surface]) -> list[Any]:
    """Contours and solids of the first draw, run beside run."""
    scale = figures.loss_scale(s.loss for s in found)
    charts: list[tuple[Chart, str]] = []
    for name, describe, caption in (
        ("contour", figures.contour, "loss, log scale"),
        ("solid", figures.solid, "drag to rotate (needs WebGL)"),
    ):
        for s in found:
            if s.seed == 0:
                chart = grids_plotly.chart(describe(s, scale), f"{name}-{s.run}")
                charts.append((chart, f"{s.name}: {caption}"))
    return charts


def _along(study: Study, found: Sequence[Surface]) -> list[Any]:
    return [
        (figure_plotly.chart(figures.line(found, "loss"), "lines-loss"), "Loss in nats, log axis"),
        (figure_plotly.chart(figures.line(found, "error"), "lines-error"), "Error on these images"),
    ]


def _solid_picture(study: Study) -> list[Picture]:
    """One run's in its own size, several as wide as the page."""
    several = len(study.settings["runs"]) > 1
    path = study.path / ("surface.png" if several else "surface.svg")
    picture = Picture(path, "The same on one scale, log axis", wide=several)
    return [picture] if path.exists() else []


def sharpness(study: Study, found: Sequence[Surface]) -> list[dict[str, Any]]:
    """Of each run and draw: the middle, the highest loss near it, and the share of the points that
    are better than a guess. None where there is no finite number."""
    about, rows = study.info.get("subjects", {}), []
    for s in found:
        middle = (len(s.a) // 2,) * s.loss.ndim
        chance = math.log(about[str(s.run)]["classes"])
        row = {"run": s.name, "seed": s.seed, "loss": finite(s.middle)}
        row |= {"error": finite(s.error[middle])}
        row |= {f"highest within {near:g}": finite(highest(s, near)) for near in NEAR}
        rows.append(row | {"better than chance": float((s.loss < chance).mean())})
    return rows


def _table(study: Study, found: Sequence[Surface]) -> Table:
    caption = (
        "Sharpness: the loss in the middle, the highest within so many steps of it, and the share "
        "of the points whose loss is below that of a guess"
    )
    rows = sharpness(study, found)
    shares = "error", "better than chance"
    cells = [[percent(v) if k in shares else _cell(v) for k, v in row.items()] for row in rows]
    return Table(caption, list(rows[0]), cells, names=2)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else NONE if value is None else str(value)


def highest(s: Surface, near: float) -> float:
    """The highest loss where every step is at most `near`; NaN where the grid has no such point."""
    inside = np.abs(s.a) <= near + 1e-9
    if inside.sum() < 3:
        return math.nan
    return float(s.loss[np.ix_(*(inside,) * s.loss.ndim)].max())


def _draws(study: Study, found: Sequence[Surface]) -> list[Section]:
    path = study.path / "contour.png"
    if study.settings["seeds"] == 1 or not path.exists():
        return []
    said = f"The same for {study.settings['seeds']} draws of the directions, on one scale."
    picture = Picture(path, "A column a run, a row a draw", wide=True)
    return [Section("Other directions", (said,), pictures=[picture])]


def _curvature(study: Study) -> list[Section]:
    found = results.curvatures(study)
    if not found:
        return []
    said = (
        "The ratio |lambda_min / lambda_max| of the Hessian's extreme eigenvalues: near 0 the loss "
        "is all but convex there, however the plane is chosen. By Lanczos's method on products of "
        f"the Hessian, that of all kernels, over {found[0].images:,} of the images "
        f"({SOURCE}, Sec. 6); each end to a residual of {100 * TOLERANCE:g} % of it."
    )
    late = [f"{count(c.unsettled)} of {c.name}" for c in found if c.unsettled]
    stopped = f"Stopped after {MOST_STEPS} products, short of that: {listed(late)}."
    head = ("run", "lambda_max", "lambda_min", "ratio", "median ratio", "highest ratio")
    return [
        Section(
            "Curvature",
            (said, stopped) if late else (said,),
            charts=[
                (
                    grids_plotly.chart(figures.ratio(c), f"ratio-{c.run}"),
                    f"{c.name}: |lambda_min / lambda_max|",
                )
                for c in found
            ],
            tables=[
                Table("In the middle, and over the grid", head, [_curvature_row(c) for c in found])
            ],
        )
    ]


def _curvature_row(c: Curvature) -> list[str]:
    middle = len(c.a) // 2, len(c.a) // 2
    sound = c.ratio[np.isfinite(c.ratio)]
    cells = [c.largest[middle], c.smallest[middle], c.ratio[middle]]
    cells += [np.median(sound), sound.max()] if sound.size else [math.nan, math.nan]
    return [c.name, *(_number(float(cell)) for cell in cells)]


def _trajectories(study: Study) -> list[Section]:
    made = []
    for t in results.trajectories(study):
        share = " and ".join(f"{100 * part:.1f} %" for part in t.share)
        said = (
            f"The {len(t.names)} checkpoints of {t.name}, on the plane of the first two principal "
            f"components of theta_i - theta_n ({SOURCE}, Sec. 7), which have {share} of the "
            "variance. All that was trained is projected. The plane's loss is that of the last "
            "weights with "
            + (
                "their statistics"
                if study.settings["bn"] == "keep"
                else "statistics measured at each point"
            )
            + "; a checkpoint's own loss is beside it."
        )
        film = study.path / f"trajectory-{t.run}.gif"
        pictures = [Picture(film, "The way, checkpoint by checkpoint")] if film.exists() else []
        made.append(
            Section(
                f"The training of {t.name}",
                (said,),
                charts=[
                    (
                        grids_plotly.chart(figures.path(t), f"trajectory-{t.run}"),
                        "Loss on the plane, log scale",
                    ),
                    (
                        figure_plotly.chart(figures.checkpoints(t), f"checkpoints-{t.run}"),
                        "Loss of each checkpoint, log axis",
                    ),
                ],
                pictures=pictures,
                tables=[_way(t)],
            )
        )
    return made


def _way(t: Trajectory) -> Table:
    rows = [
        [name, f"{x:.4g}", f"{y:.4g}", _number(own), _number(under)]
        for name, (x, y), own, under in zip(t.names, t.at, t.loss, t.on_plane, strict=True)
    ]
    head = ("checkpoint", "first", "second", "its own loss", "the plane's there")
    return Table("Each checkpoint", head, rows, folded=True)


def _number(value: float) -> str:
    if math.isnan(value):
        return NONE
    return f"{value:.4g}" if math.isfinite(value) else "not finite"
