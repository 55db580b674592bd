"""The interactive charts, as Plotly's JSON (see `report.figures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reslab.plots.plotly import LEGEND, Chart, axis, colour, layout, named, text
from reslab.studies.sweep import panels
from reslab.studies.sweep.panels import Curve, Line, Panel, Points
from reslab.studies.sweep.results import Spread

TOP = {"l": 48, "r": 14, "t": 34, "b": 40}


def errors(panel: Panel, top: float, chart_id: str) -> Chart:
    """Fig. 6 of He 2015: error by iteration, training thin and dashed, test bold."""
    traces: list[dict[str, Any]] = []
    for curve in panel.curves:
        for points in (curve.train, curve.test):
            if any(spread.n > 1 for _, spread in points):
                traces.append(_band(points, curve.number))
        traces.append(_line(curve, "training", curve.train, {"width": 1.2, "dash": "dash"}))
        traces.append(_line(curve, "test", curve.test, {"width": 3}))
    figure = {
        "data": traces,
        "layout": layout(
            axis("iterations", showgrid=False, rangemode="tozero"),
            axis("error", ticksuffix=" %", range=[0, top]),
            showlegend=True,
            legend=LEGEND,
            margin=TOP,
            hovermode="closest",
        ),
    }
    return Chart(chart_id, figure, _spoken(panel), "height: 24rem")


def _line(curve: Curve, what: str, points: Points, line: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{text(curve.label)}, {what}"
    shape = "lines+markers" if len(points) < 3 else "lines"
    return {
        "type": "scatter",
        "mode": shape,
        "x": [step for step, _ in points],
        "y": [_percent(spread.mean) for _, spread in points],
        "line": {"color": colour(curve.number), **line},
        "name": name,
        "hovertemplate": f"{name}: %{{y:.2f}} % after %{{x:,}} iterations<extra></extra>",
    }


def _band(points: Points, number: int) -> dict[str, Any]:
    """Mean - s to mean + s."""
    steps = [step for step, _ in points]
    upper = [_percent(spread.high) for _, spread in points]
    lower = [_percent(max(0.0, spread.low)) for _, spread in points]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": steps + steps[::-1],
        "y": upper + lower[::-1],
        "fill": "toself",
        "fillcolor": colour(number),
        "line": {"width": 0, "color": colour(number)},
        "opacity": 0.15,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _spoken(panel: Panel) -> str:
    said = [
        f"{curve.label}: {what} error {100 * points[-1][1].mean:.1f} % at the end"
        for curve in panel.curves
        for what, points in (("training", curve.train), ("test", curve.test))
        if points
    ]
    return f"{panel.title}, error by iteration. " + "; ".join(said) + "."


def by_depth(lines: Sequence[Line]) -> Chart:
    """Final error against depth: (name, colour, whether of the test, points)."""
    traces = []
    for (name, number, test, points), aside in zip(lines, panels.aside(lines), strict=True):
        spreads = [spread for _, spread in points]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [depth + aside for depth, _ in points],
                "y": [_percent(spread.mean) for spread in spreads],
                "error_y": _bars(spreads, number),
                "line": {"color": colour(number), "width": 3 if test else 1.2}
                | ({} if test else {"dash": "dash"}),
                "marker": {"size": 8, "symbol": "circle" if test else "circle-open"},
                "name": name,
                "hovertext": [f"{name}, {depth} layers" for depth, _ in points],
                "hovertemplate": "%{hovertext}: %{y:.2f} %<extra></extra>",
            }
        )
    depths = sorted({depth for *_, points in lines for depth, _ in points})
    figure = {
        "data": traces,
        "layout": layout(
            axis("layers", tickmode="array", tickvals=depths, showgrid=False),
            axis("error", ticksuffix=" %"),
            showlegend=True,
            legend=LEGEND,
            margin=TOP,
        ),
    }
    said = "; ".join(
        f"{name} {100 * spread.mean:.1f} % with {depth} layers"
        for name, *_, points in lines
        for depth, spread in points
    )
    return Chart("depth", figure, f"Error at the end by depth: {said}.", "height: 24rem")


def _bars(spreads: Sequence[Spread], number: int) -> dict[str, Any]:
    several = any(spread.n > 1 for spread in spreads)
    return {
        "type": "data",
        "array": [100 * spread.sd for spread in spreads],
        "visible": several,
        "color": colour(number),
        "thickness": 1.4,
        "width": 4,
    }


def beside(
    names: Sequence[str], measured: Sequence[Spread | None], published: Sequence[float | None]
) -> Chart:
    """A row a case: the measured test error (mean, s) and the published one, in percent."""
    rows = list(range(len(names)))
    own = [(row, spread) for row, spread in zip(rows, measured, strict=True) if spread]
    theirs = [(row, value) for row, value in zip(rows, published, strict=True) if value is not None]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [_percent(spread.mean) for _, spread in own],
        "y": [row for row, _ in own],
        "error_x": _bars([spread for _, spread in own], 0) | {"color": "--faint"},
        "marker": {"size": 11, "color": colour(0)},
        "name": "measured here",
        "hovertext": [text(names[row]) for row, _ in own],
        "hovertemplate": "%{hovertext}: %{x:.2f} %<extra>measured here</extra>",
    }
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": [value for _, value in theirs],
        "y": [row for row, _ in theirs],
        "marker": {"size": 10, "symbol": "diamond-open", "color": colour(1), "line": {"width": 2}},
        "name": "published",
        "hovertext": [text(names[row]) for row, _ in theirs],
        "hovertemplate": "%{hovertext}: %{x:.2f} %<extra>published</extra>",
    }
    figure = {
        "data": [dots, marks],
        "layout": layout(
            axis("test error", ticksuffix=" %", rangemode="tozero"),
            named(rows, names, most=40),
            showlegend=True,
            legend=LEGEND,
            margin=TOP,
        ),
    }
    said = "; ".join(f"{names[row]} {100 * spread.mean:.2f} %" for row, spread in own)
    height = f"height: {5 + 2 * len(names):.0f}rem"
    return Chart("beside", figure, f"Test error of each case, measured: {said}.", height)


def _percent(part: float) -> float:
    return float(f"{100 * part:.6g}")
