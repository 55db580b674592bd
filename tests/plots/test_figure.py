"""One description of a figure, and what both renderers make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from reslab.plots import figure_matplotlib, figure_plotly, grids_plotly, scales
from reslab.plots.figure import (
    Axis,
    ColourScale,
    Figure,
    GridPanel,
    Note,
    Panel,
    Series,
    Track,
    loss_axis,
    names_axis,
)

LINE = Series("a net", 0, [1, 2, 3], [1.0, 2.0, 3.0], low=[0.5, 1.5, 2.5], high=[1.5, 2.5, 3.5])
PANEL = Panel("a panel", Axis("layer", whole=True), Axis("error", unit=" %"), [LINE])
STEPS = np.linspace(-1, 1, 5)
LOSSES = 10.0 ** (STEPS[:, None] ** 2 + 2 * STEPS[None, :] ** 2)
SCALE = ColourScale("loss", "loss (nats)", *scales.log_range([LOSSES]), log=True)
GRID = GridPanel("a grid", Axis("first"), Axis("second"), STEPS, STEPS, LOSSES, SCALE)


def drawn(figure: Figure) -> Canvas:
    canvas = Canvas()
    figure_matplotlib._fill(canvas, figure)
    return canvas


def test_panels_that_share_an_axis_have_room_for_all_of_them() -> None:
    high = replace(PANEL, series=[replace(LINE, y=[1.0, 50.0, 100.0], low=(), high=())])
    axes = drawn(Figure("title", "", [[PANEL, high], [high]])).axes
    for each in axes[:3]:
        low, top = each.get_ylim()
        assert low < 0.5
        assert top > 100


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (None, 4.0), (-1.0, 4.0)])
def test_the_ends_of_an_axis_are_kept(low: float | None, high: float | None) -> None:
    panel = replace(PANEL, y=Axis("error", low=low, high=high))
    ends = drawn(Figure("title", "", [[panel]])).axes[0].get_ylim()
    chart = figure_plotly.chart(panel, "id").figure["layout"]["yaxis"]["range"]
    for given, *shown in zip((low, high), ends, chart, strict=True):
        assert given is None or shown == [given, given]


def test_lines_bands_and_names_are_the_same_in_both() -> None:
    axes = drawn(Figure("title", "", [[PANEL]])).axes[0]
    band, line = figure_plotly.chart(PANEL, "id").figure["data"]
    assert axes.lines[0].get_ydata().tolist() == line["y"] == [1.0, 2.0, 3.0]
    assert axes.get_legend().texts[0].get_text() == line["name"] == "a net"
    assert axes.get_ylabel() == "error, %"
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].max() == max(band["y"]) == 3.5
    assert corners[:, 1].min() == min(band["y"]) == 0.5


def test_rows_with_names_error_bars_and_notes() -> None:
    series = Series("measured", 0, [8.0, 9.0], [0, 1], low=[7.0, 8.5], high=[9.0, 9.5], bars="x")
    note = Note(2, "fail", 1)
    panel = Panel("", Axis("error"), names_axis(["one", "two", "three"]), [series], notes=[note])
    axes = drawn(Figure("title", "", [[panel]])).axes[0]
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two", "three"]
    assert "fail" in [text.get_text() for text in axes.texts]
    figure = figure_plotly.chart(panel, "id").figure
    assert figure["layout"]["yaxis"]["ticktext"] == ["one", "two", "three"]
    assert figure["layout"]["yaxis"]["range"] == [2.6, -0.6]
    assert figure["layout"]["annotations"][0]["text"] == "fail"
    assert figure["data"][0]["error_x"]["array"] == [1.0, 0.5]
    assert figure["data"][0]["error_x"]["arrayminus"] == [1.0, 0.5]


def test_a_loss_axis_has_round_ticks_in_both() -> None:
    panel = replace(PANEL, y=loss_axis("loss", [LOSSES]))
    axes = drawn(Figure("title", "", [[panel]])).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == figure_plotly.chart(panel, "id").figure["layout"]["yaxis"]["ticktext"]
    assert "10" in shown


def test_values_that_are_not_finite_stay_blank() -> None:
    values = LOSSES.copy()
    values[1, 3] = np.inf
    trace = grids_plotly.chart(replace(GRID, values=values), "id").figure["data"][0]
    assert trace["z"][3][1] is None  # rows are b, columns a
    assert trace["z"][0][1] == pytest.approx(np.log10(LOSSES[1, 0]), rel=1e-4)
    drawn(Figure("title", "", [[replace(GRID, values=values)]]))


def test_panels_of_one_scale_share_one_colour_bar() -> None:
    other = replace(SCALE, high=5.0)
    assert len(drawn(Figure("title", "", [[GRID, GRID]])).axes) == 3
    assert len(drawn(Figure("title", "", [[GRID, replace(GRID, scale=other)]])).axes) == 4


def test_a_track_and_the_centre_lie_on_the_grid() -> None:
    track = Track([0.5, 0.0], [0.5, 0.0], ["begin", "end"])
    panel = replace(GRID, track=track, centre=True)
    _, cross, path = grids_plotly.chart(panel, "id").figure["data"]
    assert (cross["x"], cross["y"]) == ([0], [0])
    assert path["hovertext"] == ["begin", "end"]
    lines = drawn(Figure("title", "", [[panel]])).axes[0].lines
    assert [line.get_xdata().tolist() for line in lines] == [[0], [0.5, 0.0], [0.0]]


def test_every_kind_of_grid_is_written_as_svg_png_and_film(tmp_path: Path) -> None:
    for kind in ("contour", "cells", "surface"):
        panel = replace(GRID, kind=kind)
        assert grids_plotly.chart(panel, "id").figure["data"]
        svg, png = figure_matplotlib.render(Figure("title", "note", [[panel]]), tmp_path / kind)
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        with Image.open(png) as picture:
            assert picture.convert("L").getextrema()[0] < 100  # something is drawn
    film = figure_matplotlib.film(tmp_path / "film.gif", [GRID, replace(GRID, title="b")], still=2)
    with Image.open(film) as frames:
        assert frames.n_frames >= 2


def test_round_values_of_a_log_scale() -> None:
    assert scales.log_ticks(0, 2) == [1, 2, 5, 10, 20, 50, 100]
    assert scales.log_ticks(-1, 5)[0] == 0.1
    assert len(scales.log_ticks(-3, 30)) <= 8
    assert scales.log_ticks(0.31, 0.32) == [2.0, 2.1]
    assert scales.log_range([np.array([np.nan, np.inf])]) == (-1, 1)
    assert np.isnan(scales.log10(np.array([np.inf]))[0])
