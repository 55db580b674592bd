"""Panels of lines as interactive charts: Plotly's JSON (see `plotly`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reslab.plots.figure import GAPS, Axis, Panel, Series
from reslab.plots.plotly import LEGEND, Chart, axis, colour, layout, shortened, text

SYMBOLS = {"inf": "triangle-up", "nan": "x-thin-open", "zero": "triangle-down"}
MARKERS = {
    "none": (0, "circle"),
    "dot": (4, "circle"),
    "disc": (9, "circle"),
    "circle": (8, "circle-open"),
    "square": (5, "square"),
    "diamond": (10, "diamond-open"),
}
FAINTEST = 0.25
SQUARE = "height: 25rem; max-width: 34rem"
PIXELS = 4 / 3  # per point


def chart(panel: Panel, chart_id: str, ends: tuple[float, float] | None = None) -> Chart:
    """Render a panel. `ends` are those of the y axis, where several charts share it."""
    ends = ends or y_ends([panel])
    traces = [trace for series in panel.series for trace in _traces(panel, series, ends)]
    y = _axis(panel.y)
    if panel.y.low is None or panel.y.high is None or not panel.y.ticks:
        y["range"] = [math.log10(v) if panel.y.log else v for v in ends]
    if panel.y.log and not panel.y.ticks:
        y |= {"exponentformat": "power", "dtick": _decades(ends)}
    rows = 0 if panel.y.log else len(panel.y.ticks)
    figure = {
        "data": traces,
        "layout": layout(
            axis(panel.x.label, showgrid=bool(rows), **_axis(panel.x)),
            axis(panel.y.label, **y),
            showlegend=True,
            legend={**LEGEND, "tracegroupgap": 0},
            margin={"l": 56, "r": 14, "t": 40, "b": 40},
            hovermode="closest",
            shapes=[_break(x) for x in panel.breaks],
            annotations=[_note(note) for note in panel.notes],
        ),
    }
    style = SQUARE if panel.square else f"height: {5 + 2 * rows}rem" if rows else "height: 24rem"
    return Chart(chart_id, figure, panel.alt or _alt(panel), style)


def y_ends(panels: Sequence[Panel]) -> tuple[float, float]:
    """The ends of a y axis that has room for all panels, and for marks at its edges."""
    values = [
        value
        for panel in panels
        for series in panel.series
        for value in (*series.y, *(() if series.bars == "x" else (*series.low, *series.high)))
        if value is not None and math.isfinite(value)
    ] or [1.0]
    low, high = min(values), max(values)
    if panels[0].y.log:
        room = 1.3 if panels[0].y.ticks else 2.5
        return low / room, high * room
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    lows = [panel.y.low for panel in panels if panel.y.low is not None]
    highs = [panel.y.high for panel in panels if panel.y.high is not None]
    return min(lows) if lows else low - room, max(highs) if highs else high + room


def _axis(described: Axis) -> dict[str, Any]:
    settings: dict[str, Any] = {"ticksuffix": described.unit} if described.unit else {}
    if described.log:
        settings["type"] = "log"
    if described.low is not None and described.high is not None:
        settings["range"] = [described.low, described.high]
    elif described.low == 0:
        settings["rangemode"] = "tozero"
    if described.ticks:
        settings |= {"tickmode": "array", "tickvals": [at for at, _ in described.ticks]}
        settings["ticktext"] = [shortened(label, 40) for _, label in described.ticks]
    return settings


def _decades(ends: tuple[float, float]) -> int:
    """Powers of ten between two ticks, so that at most seven ticks are drawn."""
    return max(1, math.ceil(math.log10(ends[1] / ends[0]) / 7))


def _break(x: float) -> dict[str, Any]:
    line = {"color": "--rule", "width": 1}
    place = {"x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "line", **place, "line": line, "layer": "below"}


def _note(note: Any) -> dict[str, Any]:
    look = {"showarrow": False, "xanchor": "right", "font": {"color": colour(note.colour)}}
    return {"xref": "paper", "x": note.x, "y": note.y, "text": text(note.text), **look}


def _traces(panel: Panel, series: Series, ends: tuple[float, float]) -> list[dict[str, Any]]:
    tint, name = colour(series.colour), text(series.name)
    size, symbol = MARKERS[series.marked]
    edge = 1.6 if symbol.endswith("-open") else 0
    modes = ["lines"] * bool(series.width) + ["markers"] * bool(size)
    group = _group(series)
    width = round(series.width * PIXELS, 1)
    trace = {
        "type": "scatter",
        "mode": "+".join(modes),
        "x": list(series.x),
        "y": list(series.y),
        "line": {"color": tint, "width": width, "dash": "dash" if series.dashed else "solid"},
        "marker": {"size": size, "symbol": symbol, "color": tint, "line": {"width": edge}},
        "name": name,
        "showlegend": bool(series.name) and series.in_legend,
        "hovertext": [text(each) for each in series.hover],
        "hovertemplate": _hover(panel, series),
        **group,
    }
    band = bool(series.low) and not series.bars
    if series.low and series.bars:
        trace[f"error_{series.bars}"] = _bars(series)
    traces = [_band(series, tint), trace] if band else [trace]
    for kind, symbol in SYMBOLS.items():
        places = [x for x, gap in series.gaps if gap == kind]
        if places:
            edge = ends[0] if kind == "zero" else ends[1]
            line = {"width": 1.6, "color": tint}
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": places,
                    "y": [edge] * len(places),
                    "marker": {"size": 8, "symbol": symbol, "color": tint, "line": line},
                    "cliponaxis": False,
                    "hovertemplate": f"{name}: {GAPS[kind]}<extra></extra>",
                    "name": name,
                    "showlegend": False,
                    **group,
                }
            )
    return traces


def _group(series: Series) -> dict[str, Any]:
    """A click on the legend hides the whole group."""
    opacity = round(FAINTEST + (1 - FAINTEST) * series.shade, 3)
    return {"legendgroup": f"{series.name}{series.colour}", "opacity": opacity}


def _hover(panel: Panel, series: Series) -> str:
    value, described = ("x", panel.x) if series.bars == "x" else ("y", panel.y)
    form = ".2f" if described.unit and not described.log else ".3g"
    number = f"{text(series.name)}: %{{{value}:{form}}}{described.unit}<extra></extra>"
    if series.hover:
        return f"%{{hovertext}}<br>{number}"
    return f"{text(panel.x.label)} %{{x:,}}<br>{number}"


def _bars(series: Series) -> dict[str, Any]:
    along = series.x if series.bars == "x" else series.y
    reach = [
        (0, 0) if v is None or a is None or b is None else (v - a, b - v)
        for v, a, b in zip(along, series.low, series.high, strict=True)
    ]
    look = {"color": colour(series.colour), "thickness": 1.4, "width": 4}
    ends = {"array": [b for _, b in reach], "arrayminus": [a for a, _ in reach]}
    return {"type": "data", "symmetric": False, **ends, **look}


def _band(series: Series, tint: str) -> dict[str, Any]:
    points = [
        (x, a, b)
        for x, a, b in zip(series.x, series.low, series.high, strict=True)
        if a is not None and b is not None
    ]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, *_ in points] + [x for x, *_ in reversed(points)],
        "y": [b for *_, b in points] + [a for _, a, _ in reversed(points)],
        "fill": "toself",
        "fillcolor": tint,
        "line": {"width": 0, "color": tint},
        "hoverinfo": "skip",
        "showlegend": False,
        **_group(series),
        "opacity": 0.15,
    }


def _alt(panel: Panel) -> str:
    ends = []
    for series in panel.series:
        values = [value for value in series.y if value is not None]
        if series.name and values:
            first, last = (f"{value:.3g}{panel.y.unit}" for value in (values[0], values[-1]))
            ends.append(f"{series.name}: {first} at first, {last} last")
    return f"{panel.title}: {panel.y.label} by {panel.x.label}. {'; '.join(ends)}."
