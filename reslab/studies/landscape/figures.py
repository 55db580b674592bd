"""The figures of a landscape, described for both renderers: all runs have one colour scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reslab.plots import scales
from reslab.plots.figure import (
    Axis,
    ColourScale,
    Figure,
    GridPanel,
    Panel,
    Series,
    Track,
    loss_axis,
)
from reslab.studies.landscape.results import Curvature, Surface, Trajectory

UNIT = " filter norms"  # not in the labels of the 3-D pictures, which have no room for it
FIRST, SECOND = Axis("first direction", UNIT), Axis("second direction", UNIT)
MOST_RATIO = 0.5  # the end of the colour scale of |lambda_min / lambda_max|, as in the paper


def loss_scale(losses: Iterable[np.ndarray]) -> ColourScale:
    """A logarithmic scale from the lowest to the highest finite loss."""
    low, high = scales.log_range(list(losses))
    return ColourScale("loss", "loss (nats), log scale", low, high, log=True)


def contour(surface: Surface, scale: ColourScale, title: str = "") -> GridPanel:
    alt = f"Contours of the loss around {surface.name}: {_described(surface)}."
    return _around(surface, scale, title, alt)


def solid(surface: Surface, scale: ColourScale) -> GridPanel:
    """The surface in three dimensions."""
    alt = f"The loss around {surface.name} as a surface: {_described(surface)}."
    return _around(surface, scale, surface.name, alt, kind="surface")


def _around(surface: Surface, scale: ColourScale, title: str, alt: str, **more: Any) -> GridPanel:
    a, centre = surface.a, more.get("kind") != "surface"
    where = (FIRST, SECOND, a, a, surface.loss, scale)
    return GridPanel(title, *where, centre=centre, alt=alt, **more)


def contours(surfaces: Sequence[Surface]) -> Figure:
    """Li et al. 2018, Fig. 5: a column for each run, a row for each draw of the directions."""
    scale = loss_scale(s.loss for s in surfaces)
    seeds = sorted({s.seed for s in surfaces})
    rows = [
        [
            contour(s, scale, s.name if len(seeds) == 1 else f"{s.name}, seed {s.seed}")
            for s in surfaces
            if s.seed == seed
        ]
        for seed in seeds
    ]
    title = "Loss around the trained weights"
    return Figure(title, "", rows, "all", (3.6, 3.5), (1.4, 0.5), share_x=True)


def solids(surfaces: Sequence[Surface]) -> Figure:
    """Li et al. 2018, Fig. 1: the surfaces of the first draw in three dimensions."""
    first = [s for s in surfaces if s.seed == 0]
    scale = loss_scale(s.loss for s in first)
    row = [solid(s, scale) for s in first]
    return Figure("Loss surfaces, log axis", "", [row], "none", (4.4, 4.4), (0.6, 0.0))


def line(surfaces: Sequence[Surface], metric: str) -> Panel:
    """The "loss", on a log axis, or the "error", in percent, along each direction."""
    series = []
    for s in surfaces:
        values = 100 * s.error if metric == "error" else s.loss
        name = f"{s.name}, seed {s.seed}" if s.seed else s.name
        look: dict[str, Any] = {"width": 1.6, "marker": "none", "in_legend": not s.seed}
        series.append(Series(name, s.run, _numbers(s.a), _finite(values), **look))
    y = Axis("training error", unit=" %", low=0)
    if metric == "loss":
        y = loss_axis("loss (nats), log axis", [s.loss for s in surfaces])
    ends = "; ".join(f"{s.name} {_described(s)}" for s in surfaces)
    alt = f"{metric.capitalize()} along random directions: {ends}."
    x = Axis("step, in norms of the filters")
    return Panel("", x, y, series, legend="best" if metric == "loss" else "none", alt=alt)


def lines(surfaces: Sequence[Surface]) -> Figure:
    """Li et al. 2018, Fig. 2, with filter-normalised directions."""
    row = [line(surfaces, "loss"), line(surfaces, "error")]
    return Figure("Loss along random directions", "", [row], "none", (4.5, 3.9), (0.0, 0.0))


def ratio(curvature: Curvature) -> GridPanel:
    """|lambda_min / lambda_max| of the Hessian on the plane of the surface."""
    finite = curvature.ratio[np.isfinite(curvature.ratio)]
    most = f"at most {finite.max():.3f}" if finite.size else "finite nowhere"
    scale = ColourScale("ratio", "|λ min / λ max|", 0, MOST_RATIO, colours="cividis", clipped=True)
    a = curvature.a
    alt = f"Ratio of the Hessian's extreme eigenvalues around {curvature.name}: {most}."
    where = (FIRST, SECOND, a, a, curvature.ratio, scale)
    return GridPanel(curvature.name, *where, kind="cells", alt=alt)


def ratios(curvatures: Sequence[Curvature]) -> Figure:
    """Li et al. 2018, Fig. 7."""
    row = [ratio(c) for c in curvatures]
    title = "Negative against positive curvature"
    return Figure(title, "", [row], "all", (3.6, 3.5), (1.4, 0.5))


def path(trajectory: Trajectory, points: int | None = None) -> GridPanel:
    """The first `points` checkpoints of a training, or all, on its principal plane."""
    t = trajectory
    points = len(t.at) if points is None else points
    hover = [f"{name}: its loss is {_loss(v)}" for name, v in zip(t.names, t.loss, strict=True)]
    track = Track(t.at[:points, 0].tolist(), t.at[:points, 1].tolist(), hover[:points])
    x, y = (
        Axis(f"{which} component, {100 * share:.1f} % of the variance")
        for which, share in zip(("first", "second"), t.share, strict=True)
    )
    alt = (
        f"The training of {t.name} on the plane of its first two principal components, "
        f"{100 * sum(t.share):.1f} % of the variance."
    )
    where = (x, y, t.a, t.b, t.surface, loss_scale([t.surface]))
    return GridPanel(t.names[points - 1], *where, track=track, alt=alt)


def checkpoints(trajectory: Trajectory) -> Panel:
    """The loss of each checkpoint, and that of the plane at its projection."""
    t = trajectory
    number = list(range(len(t.loss)))
    series = [
        Series("checkpoint", 0, number, _finite(t.loss), hover=t.names, width=1.6, marker="dot"),
        Series(
            "plane at its projection",
            1,
            number,
            _finite(t.on_plane),
            hover=t.names,
            width=1.6,
            dashed=True,
            marker="square",
        ),
    ]
    y = loss_axis("loss (nats), log axis", [t.loss, t.on_plane])
    alt = f"Loss of {t.name}: {_loss(t.loss[0])} at the first checkpoint, {_loss(t.loss[-1])} at "
    alt += "the last."
    return Panel("", Axis("checkpoint", whole=True), y, series, alt=alt, square=True)


def training(trajectory: Trajectory) -> Figure:
    """Li et al. 2018, Fig. 9, and beside it the losses of the checkpoints and of the plane."""
    title = f"The training of {trajectory.name} on its principal plane"
    row: list[Panel | GridPanel] = [path(trajectory), checkpoints(trajectory)]
    return Figure(title, "", [row], "none", (5.1, 4.3), (0.0, 0.0), widths=(1.25, 1))


def frames(trajectory: Trajectory) -> list[GridPanel]:
    """`path`, one more checkpoint in each frame."""
    return [path(trajectory, n + 1) for n in range(len(trajectory.at))]


def _described(surface: Surface) -> str:
    finite = surface.loss[np.isfinite(surface.loss)]
    most = f"at most {_loss(finite.max())}" if finite.size else "finite nowhere"
    return f"{_loss(surface.middle)} in the middle, {most}"


def _loss(value: float) -> str:
    return f"{value:.3g}"


def _finite(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def _numbers(steps: np.ndarray) -> list[float]:
    return [float(f"{step:.6g}") for step in steps]
