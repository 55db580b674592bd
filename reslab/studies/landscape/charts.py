"""Loss surfaces as Plotly's charts: contours for every browser, solids for those with WebGL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.plots.plotly import Chart, axis, colour, dash, finite, layout, text
from reslab.studies.landscape.results import (
    Curvature,
    Surface,
    Trajectory,
    log10,
    log_range,
    round_losses,
)

SQUARE = "height: 25rem; max-width: 34rem"
HOVER = "a %{x:.2f}, b %{y:.2f}<br>loss %{customdata:.4g}<extra></extra>"


def contour(s: Surface, scale: tuple[float, float]) -> Chart:
    traces = [_contour(s.a, s.a, s.loss, scale), _cross()]
    figure = {"data": traces, "layout": _axes(s.a, s.a, "a", "b")}
    words = f"Contours of the loss around {s.name}: {s.middle:.3g} in the middle, {_edge(s)}."
    return Chart(f"contour-{s.run}-{s.seed}", figure, words, SQUARE)


def solid(s: Surface, scale: tuple[float, float]) -> Chart:
    """In three dimensions, to be turned."""
    low, high = scale
    ticks = _ticks(low, high)
    trace = {
        "type": "surface",
        "x": _rounded(s.a),
        "y": _rounded(s.a),
        "z": _grid(log10(s.loss)),
        "customdata": _grid(s.loss),
        "cmin": low,
        "cmax": high,
        "colorscale": "Viridis",
        "showscale": False,
        "hovertemplate": HOVER,
    }
    look = {"color": "--muted", "gridcolor": "--rule", "showbackground": False}
    side = {**look, "title": {"text": ""}}
    up = {**look, "title": {"text": "loss"}, "range": [low, high], **ticks}
    scene = {
        "xaxis": side | {"title": {"text": "a"}},
        "yaxis": side | {"title": {"text": "b"}},
        "zaxis": up,
        "aspectratio": {"x": 1, "y": 1, "z": 0.8},
        "camera": {"eye": {"x": 1.35, "y": -1.35, "z": 0.9}},
        "dragmode": "turntable",
    }
    margin = {"l": 0, "r": 0, "t": 0, "b": 0}
    figure = {"data": [trace], "layout": layout({}, {}, scene=scene, margin=margin)}
    words = f"The loss around {s.name} as a solid: {s.middle:.3g} in the middle, {_edge(s)}."
    return Chart(f"solid-{s.run}-{s.seed}", figure, words, SQUARE)


def lines(found: Sequence[Surface], what: str) -> Chart:
    """`what` is "loss", on a log axis, or "error", in percent; a line for each seed."""
    traces = []
    for s in found:
        values = 100 * s.error if what == "error" else s.loss
        name = text(s.name) + (f", seed {s.seed}" if s.seed else "")
        trace = {"type": "scatter", "mode": "lines", "x": _rounded(s.a), "y": _row(values)}
        hover = "%{y:.2f} %" if what == "error" else "%{y:.4g}"
        line = {"color": colour(s.run), "dash": dash(s.run), "width": 1.8}
        look = {"line": line, "hovertemplate": hover, "showlegend": s.seed == 0}
        traces.append(trace | look | {"name": name})
    y = axis(ticksuffix=" %", rangemode="tozero")
    if what == "loss":
        y = axis(type="log", **_ticks(*log_range([s.loss for s in found]), log=False))
    legend = {"x": 0.5, "xanchor": "center", "y": 1, "yanchor": "top"}
    look = {"hovermode": "x unified", "showlegend": True, "legend": legend}
    figure = {"data": traces, "layout": layout(axis("step"), y, **look)}
    ends = "; ".join(f"{s.name} {s.middle:.3g} in the middle, {_edge(s)}" for s in found)
    return Chart(f"lines-{what}", figure, f"{what} along random directions: {ends}.")


def ratio(c: Curvature) -> Chart:
    trace = {
        "type": "heatmap",
        "x": _rounded(c.a),
        "y": _rounded(c.a),
        "z": _grid(c.ratio),
        "zmin": 0,
        "zmax": 0.5,
        "colorscale": "Cividis",
        "colorbar": {"thickness": 12, "outlinewidth": 0},
        "hovertemplate": "a %{x:.2f}, b %{y:.2f}<br>ratio %{z:.3f}<extra></extra>",
    }
    half = (c.a[1] - c.a[0]) / 2
    around = np.array([c.a[0] - half, c.a[-1] + half])
    figure = {"data": [trace], "layout": _axes(around, around, "a", "b")}
    sound = c.ratio[np.isfinite(c.ratio)]
    most = f"at most {sound.max():.3f}" if sound.size else "never finite"
    words = f"Heat map of the ratio of the Hessian's ends around {c.name}: {most}."
    return Chart(f"ratio-{c.run}", figure, words, SQUARE)


def trajectory(t: Trajectory) -> Chart:
    scale = log_range([t.surface])
    way = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": _row(t.at[:, 0]),
        "y": _row(t.at[:, 1]),
        "line": {"color": "#ffffff", "width": 2},
        "marker": {"size": 6, "color": "#ffffff", "line": {"color": "#1a1d21", "width": 1}},
        "customdata": _row(t.loss),
        "hovertext": list(t.names),
        "hovertemplate": "%{hovertext}<br>its own loss %{customdata:.4g}<extra></extra>",
    }
    first, second = (
        f"{name} component, {100 * share:.1f} % of the variance"
        for name, share in zip(("first", "second"), t.share, strict=True)
    )
    traces = [_contour(t.a, t.b, t.surface, scale), way]
    figure = {"data": traces, "layout": _axes(t.a, t.b, first, second)}
    share = 100 * sum(t.share)
    words = f"The training of {t.name} on the plane of its first two components, {share:.1f} % of "
    words += "the variance."
    return Chart(f"trajectory-{t.run}", figure, words, SQUARE)


def checkpoints(t: Trajectory) -> Chart:
    """Each checkpoint's own loss, and the plane's below it."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "y": _row(values),
            "name": name,
            "line": {"color": colour(k), "dash": dash(k), "width": 1.8},
            "hovertemplate": "%{y:.4g}",
        }
        for k, (name, values) in enumerate((("its own", t.loss), ("the plane's", t.on_plane)))
    ]
    legend = {"x": 1, "xanchor": "right", "y": 1}
    y = axis(type="log", **_ticks(*log_range([t.loss, t.on_plane]), log=False))
    look = {"hovermode": "x unified", "showlegend": True, "legend": legend}
    figure = {"data": traces, "layout": layout(axis("checkpoint"), y, **look)}
    words = f"Loss of {t.name} at each checkpoint: {t.loss[0]:.3g} at first, {t.loss[-1]:.3g} last."
    return Chart(f"checkpoints-{t.run}", figure, words, SQUARE)


def _contour(a: Any, b: Any, loss: np.ndarray, scale: tuple[float, float]) -> dict[str, Any]:
    low, high = scale
    return {
        "type": "contour",
        "x": _rounded(a),
        "y": _rounded(b),
        "z": _grid(log10(loss)),
        "customdata": _grid(loss),
        "zmin": low,
        "zmax": high,
        "contours": {"start": low, "end": high, "size": (high - low) / 24},
        "line": {"width": 0.5, "color": "#ffffff"},
        "colorscale": "Viridis",
        "colorbar": {"thickness": 12, "outlinewidth": 0, **_ticks(low, high)},
        "hovertemplate": HOVER,
    }


def _cross() -> dict[str, Any]:
    marker = {"symbol": "cross-thin", "size": 12, "line": {"color": "#ffffff", "width": 2}}
    trace = {"type": "scatter", "mode": "markers", "x": [0], "y": [0], "marker": marker}
    return {**trace, "hoverinfo": "skip"}


def _axes(a: np.ndarray, b: np.ndarray, first: str, second: str) -> dict[str, Any]:
    x = axis(first, range=[float(a[0]), float(a[-1])], showgrid=False)
    return layout(x, axis(second, range=[float(b[0]), float(b[-1])], showgrid=False))


def _ticks(low: float, high: float, log: bool = True) -> dict[str, Any]:
    """Ticks at round losses on an axis of losses, or of their logarithms."""
    found = round_losses(low, high)
    return {
        "tickmode": "array",
        "tickvals": [math.log10(t) if log else t for t in found],
        "ticktext": [f"{t:g}" for t in found],
    }


def _grid(values: np.ndarray) -> list[list[float | None]]:
    """Rows of b, as Plotly wants them."""
    return [_row(row) for row in values.T]


def _row(values: np.ndarray) -> list[float | None]:
    return [None if (v := finite(value)) is None else float(f"{v:.5g}") for value in values]


def _rounded(steps: np.ndarray) -> list[float]:
    return [float(f"{step:.6g}") for step in steps]


def _edge(s: Surface) -> str:
    sound = s.loss[np.isfinite(s.loss)]
    return f"{sound.max():.3g} at most" if sound.size else "finite nowhere"
