"""Panels of lines as interactive charts: Plotly's JSON (see `report.figures`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reslab.plots.figure import MARKS, Panel, Series
from reslab.plots.plotly import LEGEND, Chart, axis, colour, layout, text

SYMBOLS = {"inf": "triangle-up", "nan": "x-thin-open", "zero": "triangle-down"}
FAINTEST = 0.25


def chart(panel: Panel, chart_id: str, ends: tuple[float, float] | None = None) -> Chart:
    """One panel. `ends` are the y axis's, where several charts are to share one."""
    ends = ends or span(panel.log, [panel])
    traces = [trace for series in panel.series for trace in _traces(panel, series, ends)]
    y: dict[str, Any] = {"range": [_place(panel, v) for v in ends]}
    if panel.log:
        y |= {"type": "log", "exponentformat": "power", "dtick": _every(ends)}
    figure = {
        "data": traces,
        "layout": layout(
            axis(panel.x, showgrid=False),
            axis(panel.y, **y),
            showlegend=True,
            legend=LEGEND,
            margin={"l": 56, "r": 14, "t": 40, "b": 40},
            hovermode="closest",
            shapes=[_break(x) for x in panel.breaks],
        ),
    }
    return Chart(chart_id, figure, _spoken(panel), "height: 24rem")


def span(log: bool, panels: Sequence[Panel]) -> tuple[float, float]:
    """The ends of a y axis that has room for all, and for marks at its edges."""
    from reslab.plots.figure import numbers

    seen = numbers(panels) or [1.0]
    floor = [panel.floor for panel in panels if panel.floor is not None]
    low, high = min(seen), max(seen)
    if log:
        return low / 2.5, high * 2.5
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    return (min(floor) if floor else low - room), high + room


def _place(panel: Panel, value: float) -> float:
    return math.log10(value) if panel.log else value


def _every(ends: tuple[float, float]) -> int:
    """A tick at every power of ten, or at every so many that seven are enough."""
    return max(1, math.ceil(math.log10(ends[1] / ends[0]) / 7))


def _break(x: float) -> dict[str, Any]:
    line = {"color": "--rule", "width": 1}
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": line,
        "layer": "below",
    }


def _traces(panel: Panel, series: Series, ends: tuple[float, float]) -> list[dict[str, Any]]:
    opacity = round(FAINTEST + (1 - FAINTEST) * series.shade, 3)
    tint = colour(series.number)
    known = {"legendgroup": f"{series.name}{series.number}", "opacity": opacity}
    form = ".3g" if panel.log or not panel.unit else ".2f"
    name = text(series.name)
    main = {
        "type": "scatter",
        "mode": "markers" if series.dots else "lines+markers" if not series.dashed else "lines",
        "x": list(series.x),
        "y": list(series.y),
        "line": {"color": tint, "width": 1.8, "dash": "dash" if series.dashed else "solid"},
        "marker": {"size": 8 if series.dots else 4, "symbol": "circle-open" if series.dots else 0}
        | {"color": tint},
        "name": name,
        "showlegend": bool(series.name),
        "hovertext": [text(words) for words in series.said],
        "hovertemplate": f"%{{hovertext}}<br>{name}: %{{y:{form}}}{panel.unit}<extra></extra>"
        if series.said
        else f"{name}: %{{y:{form}}}{panel.unit}<extra></extra>",
        **known,
    }
    traces = [_band(series, tint), main] if series.low else [main]
    for kind, symbol in SYMBOLS.items():
        places = [x for x, why in series.lost if why == kind]
        if places:
            edge = ends[0] if kind == "zero" else ends[1]
            words = f"{name}: {MARKS[kind]}<extra></extra>"
            mark = {"size": 8, "symbol": symbol, "color": tint, "line": {"width": 1.6}}
            mark["line"] = {"width": 1.6, "color": tint}
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": places,
                    "y": [edge] * len(places),
                    "marker": mark,
                    "cliponaxis": False,
                    "hovertemplate": words,
                    "name": name,
                    "showlegend": False,
                    **known,
                }
            )
    return traces


def _band(series: Series, tint: str) -> dict[str, Any]:
    kept = [
        (x, a, b)
        for x, a, b in zip(series.x, series.low, series.high, strict=True)
        if a is not None and b is not None
    ]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, *_ in kept] + [x for x, *_ in reversed(kept)],
        "y": [b for *_, b in kept] + [a for _, a, _ in reversed(kept)],
        "fill": "toself",
        "fillcolor": tint,
        "line": {"width": 0, "color": tint},
        "opacity": 0.15,
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": f"{series.name}{series.number}",
    }


def _spoken(panel: Panel) -> str:
    said = []
    for series in panel.series:
        drawn = [v for v in series.y if v is not None]
        if series.name and drawn:
            unit = panel.unit
            said.append(f"{series.name}: {drawn[0]:.3g}{unit} at first, {drawn[-1]:.3g}{unit} last")
    return f"{panel.title}: {panel.y} by {panel.x}. " + "; ".join(said) + "."
