"""A study of a landscape as sections of a page, from its folder alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.plots import figure_plotly, grids_plotly
from reslab.plots.format import count, listed, percent
from reslab.plots.plotly import Chart, finite
from reslab.report.sections import Picture, Section, Table
from reslab.studies.folder import Study
from reslab.studies.landscape import figures, results
from reslab.studies.landscape.lanczos import MOST_STEPS, TOLERANCE
from reslab.studies.landscape.results import Curvature, Surface, Trajectory

SOURCE = "Li et al. 2018, arXiv 1712.09913"
NEAR = 0.25, 0.5  # radii of the sharpness, in steps
POLICIES = {
    "keep": "Batch norm uses the running statistics of the trained weights.",
    "recompute": "Batch norm's running statistics are recomputed at each point, on the same "
    "images.",
}


def sections(study: Study) -> list[Section]:
    """The sections of the page, from the study's folder. UserError if the folder is damaged."""
    surfaces = results.surfaces(study)
    charts = _plane(surfaces) if study.settings["dim"] == 2 else _lines(surfaces)
    return [
        Section(
            f"Loss around {listed(results.names(study))}",
            method(study),
            charts=charts,
            pictures=_solid_picture(study),
            tables=[_sharpness_table(study, surfaces)],
            measured=study.commands,
            sections=[*_draws(study), *_curvature(study), *_trajectories(study)],
        )
    ]


def method(study: Study) -> list[str]:
    """How the loss was measured, in paragraphs."""
    asked, subjects = study.settings, study.info.get("subjects", {})
    images = listed(dict.fromkeys(each["images"] for each in subjects.values())) or "images"
    same = len({(each["images"], each["data"]) for each in subjects.values()}) == 1
    points = " x ".join([str(asked["grid"])] * asked["dim"])
    seeds = "seed 0" if asked["seeds"] == 1 else f"seeds 0 to {asked['seeds'] - 1}"
    directions = "Each direction is" if asked["dim"] == 1 else "Both directions are"
    return [
        f"Mean cross-entropy on {images}, without augmentation, at {points} points from "
        f"-{asked['range']:g} to {asked['range']:g}. {directions} Gaussian, drawn with {seeds}. "
        f"Each filter of a direction is scaled to the norm of the network's filter ({SOURCE}, "
        "Sec. 4). Biases and batch norm's scales and shifts are not changed. "
        f"{POLICIES[asked['bn']]}",
        "Layers with the same name and shape have the same random draws in all runs. All runs have "
        f"the same colour scale and {'the same' if same else 'different'} images. The trained "
        "network is at the centre."
        if len(asked["runs"]) > 1
        else "The trained network is at the centre.",
        *_blank(results.surfaces(study)),
    ]


def _blank(surfaces: Sequence[Surface]) -> list[str]:
    points = {s.name: int(np.isposinf(s.loss).sum()) for s in surfaces}
    texts = [f"{count(n)} of {name}" for name, n in points.items() if n]
    return [f"Points without a finite loss are left blank: {listed(texts)}."] if texts else []


def _plane(surfaces: Sequence[Surface]) -> list[tuple[Chart, str]]:
    """Contours and surfaces of the first draw, run beside run."""
    scale = figures.loss_scale(s.loss for s in surfaces)
    charts: list[tuple[Chart, str]] = []
    for name, describe, caption in (
        ("contour", figures.contour, "loss in nats, log scale"),
        ("solid", figures.solid, "loss in nats, log axis; drag to rotate (needs WebGL)"),
    ):
        for s in surfaces:
            if s.seed == 0:
                chart = grids_plotly.chart(describe(s, scale), f"{name}-{s.run}")
                charts.append((chart, f"{s.name}: {caption}"))
    return charts


def _lines(surfaces: Sequence[Surface]) -> list[tuple[Chart, str]]:
    loss, error = (
        figure_plotly.chart(figures.line(surfaces, metric), f"lines-{metric}")
        for metric in ("loss", "error")
    )
    return [(loss, "Loss in nats, log axis"), (error, "Error on these images")]


def _solid_picture(study: Study) -> list[Picture]:
    """A single run's picture in its own size; several runs' as wide as the page."""
    several = len(study.settings["runs"]) > 1
    path = study.path / ("surface.png" if several else "surface.svg")
    picture = Picture(path, "The surfaces on one scale, in nats, log axis", wide=several)
    return [picture] if path.exists() else []


def sharpness(study: Study, surfaces: Sequence[Surface]) -> list[dict[str, Any]]:
    """How fast the loss rises around the trained weights, for each run and draw.

    The loss and error at the centre, the highest loss near it, and the fraction of points whose
    loss is below that of a uniform guess. None where there is no finite number.
    """
    subjects, rows = study.info.get("subjects", {}), []
    for s in surfaces:
        centre = (len(s.a) // 2,) * s.loss.ndim
        chance = math.log(subjects[str(s.run)]["classes"])
        row = {"run": s.name, "seed": s.seed, "loss": finite(s.middle)}
        row |= {"error": finite(s.error[centre])}
        row |= {f"highest within {near:g}": finite(highest(s, near)) for near in NEAR}
        rows.append(row | {"better than chance": float((s.loss < chance).mean())})
    return rows


def sharpness_texts(study: Study, surfaces: Sequence[Surface]) -> list[dict[str, str]]:
    """The rows of `sharpness` with units, and with the reason where there is no number."""
    texts = []
    for s, row in zip(surfaces, sharpness(study, surfaces), strict=True):
        text = {"run": s.name, "seed": str(s.seed)}
        text["loss"] = _nats(row["loss"], _around(s, 0))
        text["error"] = _missing(_around(s, 0)) if row["error"] is None else percent(row["error"])
        for near in NEAR:
            value = row[f"highest within {near:g}"]
            text[f"highest loss within {near:g}"] = _nats(value, _around(s, near))
        texts.append(text | {"better than chance": percent(row["better than chance"])})
    return texts


def _around(s: Surface, near: float) -> np.ndarray:
    """The losses where each step is at most `near`."""
    inside = np.abs(s.a) <= near + 1e-9
    return s.loss[np.ix_(*(inside,) * s.loss.ndim)]


def _nats(loss: float | None, losses: np.ndarray) -> str:
    return _missing(losses) if loss is None else f"{loss:.4g} nats"


def _missing(losses: np.ndarray) -> str:
    """Why there is no finite number for these points of a grid."""
    if np.isnan(losses).any():
        return "not measured yet"
    return "not finite" if np.isinf(losses).any() else "no number: the grid is too coarse"


def _sharpness_table(study: Study, surfaces: Sequence[Surface]) -> Table:
    caption = (
        "Sharpness: loss and error at the centre, the highest loss within "
        f"{NEAR[0]} and {NEAR[1]} of it (in norms of the filters), and the fraction of points with "
        "a loss below that of a random guess"
    )
    rows = sharpness_texts(study, surfaces)
    return Table(caption, list(rows[0]), [list(row.values()) for row in rows], names=2)


def highest(s: Surface, near: float) -> float:
    """The highest loss where each step is at most `near`. NaN if the grid has no such point."""
    losses = _around(s, near)
    return math.nan if len(losses) < 3 else float(losses.max())


def _draws(study: Study) -> list[Section]:
    path = study.path / "contour.png"
    if study.settings["seeds"] == 1 or not path.exists():
        return []
    text = f"The loss for {study.settings['seeds']} draws of the directions, on one scale."
    picture = Picture(path, "A column for each run, a row for each draw", wide=True)
    return [Section("Other directions", (text,), pictures=[picture])]


def _curvature(study: Study) -> list[Section]:
    curvatures = results.curvatures(study)
    if not curvatures:
        return []
    text = (
        "The ratio |lambda_min / lambda_max| of the Hessian's extreme eigenvalues. Where it is "
        "near 0, the loss is almost convex in all directions, not only in this plane. The "
        "eigenvalues are found by Lanczos's method, with the Hessian of all kernels over "
        f"{curvatures[0].images:,} of the images ({SOURCE}, Sec. 6), each to a residual of "
        f"{100 * TOLERANCE:g} %. Eigenvalues are in nats per square of a weight; the ratio has no "
        "unit."
    )
    unfinished = [f"{count(c.unsettled)} of {c.name}" for c in curvatures if c.unsettled]
    stopped = f"Stopped after {MOST_STEPS} products, before that residual: {listed(unfinished)}."
    charts = [
        (
            grids_plotly.chart(figures.ratio(c), f"ratio-{c.run}"),
            f"{c.name}: |lambda_min / lambda_max|",
        )
        for c in curvatures
    ]
    head = ("run", "lambda_max", "lambda_min", "ratio", "median ratio", "highest ratio")
    table = Table("At the centre, and over the grid", head, [_curvature_row(c) for c in curvatures])
    paragraphs = (text, stopped) if unfinished else (text,)
    return [Section("Curvature", paragraphs, charts=charts, tables=[table])]


def _curvature_row(c: Curvature) -> list[str]:
    centre = len(c.a) // 2, len(c.a) // 2
    ratios = c.ratio[np.isfinite(c.ratio)]
    at_centre = [_number(float(v[centre])) for v in (c.largest, c.smallest)]
    at_centre.append(at_centre[0] if math.isnan(c.largest[centre]) else _ratio(c.ratio[centre]))
    over_grid = [f"{v:.4g}" for v in (np.median(ratios), ratios.max())] if ratios.size else []
    return [c.name, *at_centre, *(over_grid or ["no finite ratio"] * 2)]


def _ratio(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def _trajectories(study: Study) -> list[Section]:
    return [_trajectory(study, t) for t in results.trajectories(study)]


def _trajectory(study: Study, t: Trajectory) -> Section:
    shares = " and ".join(f"{100 * share:.1f} %" for share in t.share)
    keep = study.settings["bn"] == "keep"
    statistics = "their running statistics" if keep else "running statistics recomputed there"
    text = (
        f"The {len(t.names)} checkpoints of {t.name}, projected on the plane of the first two "
        f"principal components of theta_i - theta_n ({SOURCE}, Sec. 7). The components explain "
        f"{shares} of the variance. All trained variables are projected. The loss at a point of "
        f"the plane is that of the last checkpoint's weights, moved to the point, with "
        f"{statistics}. It differs from the loss of a checkpoint that is projected there."
    )
    film = study.path / f"trajectory-{t.run}.gif"
    return Section(
        f"The training of {t.name}",
        (text,),
        charts=[
            (
                grids_plotly.chart(figures.path(t), f"trajectory-{t.run}"),
                "Loss on the plane in nats, log scale",
            ),
            (
                figure_plotly.chart(figures.checkpoints(t), f"checkpoints-{t.run}"),
                "Loss of each checkpoint in nats, log axis",
            ),
        ],
        pictures=[Picture(film, "The path, checkpoint by checkpoint")] if film.exists() else [],
        tables=[_checkpoints(t)],
    )


def _checkpoints(t: Trajectory) -> Table:
    rows = [
        [name, f"{x:.4g}", f"{y:.4g}", _number(loss), _number(on_plane)]
        for name, (x, y), loss, on_plane in zip(t.names, t.at, t.loss, t.on_plane, strict=True)
    ]
    head = (
        "checkpoint",
        "first component",
        "second component",
        "its loss, nats",
        "loss of the plane there, nats",
    )
    return Table("Each checkpoint; components in units of the weights", head, rows, folded=True)


def _number(value: float) -> str:
    if math.isnan(value):
        return "not measured yet"
    return f"{value:.4g}" if math.isfinite(value) else "not finite"
