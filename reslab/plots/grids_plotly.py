"""Panels of numbers on a grid as interactive charts: contours, cells and surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from reslab.plots.figure import Axis, ColourScale, GridPanel, Track
from reslab.plots.figure_plotly import SQUARE
from reslab.plots.plotly import Chart, axis, finite, layout, text

LEVELS = 24  # of a contour


def chart(panel: GridPanel, chart_id: str) -> Chart:
    """Render a panel. A surface needs a browser with WebGL; the other kinds do not."""
    if panel.kind == "surface":
        return Chart(chart_id, _surface(panel), panel.alt, SQUARE)
    traces = [_contour(panel) if panel.kind == "contour" else _cells(panel)]
    if panel.centre:
        traces.append(_cross())
    if panel.track is not None:
        traces.append(_track(panel.track))
    figure = {
        "data": traces,
        "layout": layout(
            _axis(panel.x, panel.ends(panel.a)),
            _axis(panel.y, panel.ends(panel.b)),
        ),
    }
    return Chart(chart_id, figure, panel.alt, SQUARE)


def _axis(described: Axis, ends: tuple[float, float]) -> dict[str, Any]:
    return axis(described.title, range=list(ends), showgrid=False)


def _grid(panel: GridPanel) -> dict[str, Any]:
    """What all kinds have: z as it is drawn, and the values as `customdata`."""
    quantity = panel.scale.quantity
    return {
        "x": [float(f"{step:.6g}") for step in panel.a],
        "y": [float(f"{step:.6g}") for step in panel.b],
        "z": _rows(panel.scale.position(panel.values)),
        "customdata": _rows(panel.values),
        "colorscale": panel.scale.colours.capitalize(),
        "hovertemplate": "%{x:.2f}, %{y:.2f}<br>"
        + f"{quantity} %{{customdata:.4g}}<extra></extra>",
    }


def _contour(panel: GridPanel) -> dict[str, Any]:
    low, high = panel.scale.low, panel.scale.high
    return {
        "type": "contour",
        **_grid(panel),
        "zmin": low,
        "zmax": high,
        "contours": {"start": low, "end": high, "size": (high - low) / LEVELS},
        "line": {"width": 0.5, "color": "#ffffff"},
        "colorbar": _bar(panel.scale),
    }


def _cells(panel: GridPanel) -> dict[str, Any]:
    scale = panel.scale
    ends = {"zmin": scale.low, "zmax": scale.high}
    return {"type": "heatmap", **_grid(panel), **ends, "colorbar": _bar(scale)}


def _bar(scale: ColourScale) -> dict[str, Any]:
    return {"thickness": 12, "outlinewidth": 0, **_ticks(scale)}


def _ticks(scale: ColourScale) -> dict[str, Any]:
    if not scale.ticks:
        return {}
    return {
        "tickmode": "array",
        "tickvals": [at for at, _ in scale.ticks],
        "ticktext": [label for _, label in scale.ticks],
    }


def _surface(panel: GridPanel) -> dict[str, Any]:
    scale = panel.scale
    ends = {"cmin": scale.low, "cmax": scale.high, "showscale": False}
    look = {"color": "--muted", "gridcolor": "--rule", "showbackground": False}
    height = {"title": {"text": scale.quantity}, "range": [scale.low, scale.high]}
    scene = {
        "xaxis": {**look, "title": {"text": panel.x.label}},
        "yaxis": {**look, "title": {"text": panel.y.label}},
        "zaxis": {**look, **height, **_ticks(scale)},
        "aspectratio": {"x": 1, "y": 1, "z": 0.8},
        "camera": {"eye": {"x": 1.5, "y": -1.5, "z": 1.0}},
        "dragmode": "turntable",
    }
    margin = {"l": 0, "r": 0, "t": 0, "b": 0}
    trace = {"type": "surface", **_grid(panel), **ends}
    return {"data": [trace], "layout": layout({}, {}, scene=scene, margin=margin)}


def _cross() -> dict[str, Any]:
    marker = {"symbol": "cross-thin", "size": 12, "line": {"color": "#ffffff", "width": 2}}
    trace = {"type": "scatter", "mode": "markers", "x": [0], "y": [0], "marker": marker}
    return {**trace, "hoverinfo": "skip"}


def _track(track: Track) -> dict[str, Any]:
    edge = {"color": "#1a1d21", "width": 1}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [float(f"{x:.5g}") for x in track.x],
        "y": [float(f"{y:.5g}") for y in track.y],
        "line": {"color": "#ffffff", "width": 2},
        "marker": {"size": 6, "color": "#ffffff", "line": edge},
        "hovertext": [text(each) for each in track.hover],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _rows(values: np.ndarray) -> list[list[float | None]]:
    """Rows along y, as Plotly expects them; None where a value is not finite."""
    return [
        [None if (v := finite(value)) is None else float(f"{v:.5g}") for value in row]
        for row in values.T
    ]
