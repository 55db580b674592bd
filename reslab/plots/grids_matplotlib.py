"""Panels of numbers on a grid by matplotlib: contours, cells and surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.plots.figure import GridPanel, Track
from reslab.plots.matplotlib import COLOURS, INK

LEVELS = 24  # of a contour
TEXT = 8  # points


def draw(axes: Any, panel: GridPanel) -> Any:
    """Draw a panel. Returns what a colour bar describes."""
    kinds = {"contour": _contour, "cells": _cells, "surface": _surface}
    drawn = kinds[panel.kind](axes, panel)
    axes.set_title(panel.title, fontsize=10, color=INK)
    if panel.kind != "surface":
        axes.tick_params(labelsize=TEXT)
    if panel.centre:
        axes.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.6)
        axes.set_aspect("equal")
    if panel.track is not None:
        _track(axes, panel.track)
    return drawn


def colour_bars(figure: Any, drawn: Sequence[tuple[Any, Any, GridPanel]]) -> None:
    """One colour bar for all panels of a scale: (axes, what `draw` returned, panel)."""
    for scale in dict.fromkeys(panel.scale for *_, panel in drawn):
        same = [(axes, artist) for axes, artist, panel in drawn if panel.scale == scale]
        axes = list(dict.fromkeys(each for each, _ in same))
        extend = "max" if scale.clipped else "neither"
        bar = figure.colorbar(same[-1][1], ax=axes, shrink=0.85, extend=extend)
        if scale.ticks:
            bar.set_ticks([at for at, _ in scale.ticks], labels=[text for _, text in scale.ticks])
        bar.ax.tick_params(labelsize=TEXT)
        bar.set_label(scale.label, fontsize=TEXT)


def _contour(axes: Any, panel: GridPanel) -> Any:
    """Filled, with lines at every third level."""
    scale = panel.scale
    levels = np.linspace(scale.low, scale.high, LEVELS)
    z = np.clip(scale.position(panel.values), scale.low, scale.high).T
    drawn = axes.contourf(panel.a, panel.b, z, levels, cmap=scale.colours)
    look = {"colors": "white", "linewidths": 0.5, "linestyles": "solid", "alpha": 0.6}
    axes.contour(panel.a, panel.b, z, levels[::3], **look)
    return drawn


def _cells(axes: Any, panel: GridPanel) -> Any:
    scale = panel.scale
    look = {"cmap": scale.colours, "vmin": scale.low, "vmax": scale.high, "origin": "lower"}
    extent = (*panel.ends(panel.a), *panel.ends(panel.b))
    axes.locator_params(nbins=6)
    return axes.imshow(scale.position(panel.values).T, extent=extent, **look)


def _surface(axes: Any, panel: GridPanel) -> Any:
    scale = panel.scale
    x, y = np.meshgrid(panel.a, panel.b, indexing="ij")
    drawn = axes.plot_surface(
        x,
        y,
        scale.position(panel.values),
        cmap=scale.colours,
        vmin=scale.low,
        vmax=scale.high,
        rcount=len(panel.a),
        ccount=len(panel.b),
        linewidth=0.15,
        edgecolor="#00000050",
        antialiased=True,
    )
    axes.set_xticks([panel.a[0], panel.a[len(panel.a) // 2], panel.a[-1]])
    axes.set_yticks([panel.b[0], panel.b[len(panel.b) // 2], panel.b[-1]])
    axes.set_zlim(scale.low, scale.high)
    if scale.ticks:
        axes.set_zticks([at for at, _ in scale.ticks], [text for _, text in scale.ticks])
    axes.view_init(elev=28, azim=-58)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.0)
    axes.tick_params(labelsize=7, pad=0)
    axes.set_zlabel(scale.quantity, fontsize=TEXT, labelpad=1)
    for pane in (axes.xaxis, axes.yaxis, axes.zaxis):
        pane.set_pane_color((1, 1, 1, 0))
    return drawn


def _track(axes: Any, track: Track) -> None:
    look = {"color": "white", "markeredgecolor": INK, "markersize": 4.5}
    axes.plot(track.x, track.y, "o-", linewidth=1.4, markeredgewidth=0.6, **look)
    last = {"color": COLOURS[1], "markeredgecolor": "white", "markersize": 8}
    axes.plot(track.x[-1], track.y[-1], "o", **last)
