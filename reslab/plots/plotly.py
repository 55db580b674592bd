"""What all charts share, as Plotly's JSON: plain dicts, so that a report needs no Plotly objects.

Colours are names of CSS custom properties ("--run-0"). The page's script replaces them by their
values, so that a chart follows the light or dark theme of the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUN_COLOURS = 8  # --run-0 ... --run-7 in report/templates/style.css
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    id: str
    figure: dict[str, Any]
    label: str  # read aloud in place of the chart
    style: str = "height: 20rem"


def text(value: object) -> str:
    """Escape a user's text: Plotly interprets tags, entities and `%{...}`."""
    return html.escape(str(value), quote=False).replace("%{", "%&#123;")


def shortened(value: str, most: int) -> str:
    """Escape a text, cut to `most` characters."""
    return text(value if len(value) <= most else value[: most - 1].rstrip() + "…")


def middle_cut(value: str, most: int) -> str:
    """A text of at most `most` characters, cut in the middle: the end of a file name counts."""
    if len(value) <= most:
        return value
    end = most // 2
    return f"{value[: most - end - 1]}…{value[-end:]}"


def finite(number: float | None) -> float | None:
    """None for NaN and infinity, which JSON does not have: the line has a gap there."""
    return float(number) if number is not None and math.isfinite(number) else None


def colour(number: int) -> str:
    return f"--run-{number % RUN_COLOURS}"


def dash(number: int) -> str:
    return DASHES[number % len(DASHES)]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "gridcolor": "--grid",
        "linecolor": "--rule",
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "fixedrange": True,  # scrolling the page on a touch screen must not drag the chart
        **more,
    }


def layout(x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 48, "r": 14, "t": 10, "b": 40},
        "paper_bgcolor": "--clear",
        "plot_bgcolor": "--clear",
        "font": {"color": "--muted", "size": 12, "family": "--font"},
        "hoverlabel": {
            "bgcolor": "--page",
            "bordercolor": "--rule",
            "font": {"color": "--ink", "family": "--font", "size": 12},
        },
        "showlegend": False,
        "dragmode": False,
        **more,
    }


def dots(rates: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> dict[str, Any]:
    """Horizontal dots with 95 % intervals, in percent."""
    values = [100 * (r["value"] if "value" in r else r["error"]) for r in rates]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(rows),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * r["high"] - v for r, v in zip(rates, values, strict=True)],
            "arrayminus": [v - 100 * r["low"] for r, v in zip(rates, values, strict=True)],
            "color": "--faint",
            "thickness": 1.6,
            "width": 0,
        },
        "hovertemplate": "%{hovertext}: %{x:.2f} %<extra></extra>",
    }


def named(rows: Sequence[int], names: Sequence[str], most: int) -> dict[str, Any]:
    """A vertical axis with a name for each row, from the top down."""
    return axis(
        tickmode="array",
        tickvals=list(rows),
        ticktext=[shortened(name, most) for name in names],
        range=[len(rows) - 0.4, -0.6],
        gridcolor="--grid",
    )
