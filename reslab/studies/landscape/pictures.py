"""Pictures of loss surfaces, by matplotlib: all runs on one scale, losses on a log axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reslab.plots import matplotlib
from reslab.plots.matplotlib import COLOURS, DASHED
from reslab.studies.landscape.results import (
    Curvature,
    Surface,
    Trajectory,
    log10,
    log_levels,
    log_range,
    round_losses,
)

COLOURMAP = "viridis"
MOST_RATIO = 0.5  # where the colours of |lambda_min / lambda_max| end, as in the paper
SMALL, MIDDLE = 8, 10  # points


def contours(stem: Path, found: Sequence[Surface]) -> tuple[Path, ...]:
    """Fig. 5 of Li et al.: a column a run, a row a seed."""
    runs, seeds = (len({getattr(s, what) for s in found}) for what in ("run", "seed"))
    levels = log_levels([s.loss for s in found])

    def fill(figure: Any) -> None:
        grid = figure.subplots(seeds, runs, sharex=True, sharey=True, squeeze=False)
        for axes, s in zip(grid.T.ravel(), found, strict=True):
            drawn = _contour(axes, s.a, s.a, s.loss, levels)
            axes.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.6)
            title = s.name if seeds == 1 else f"{s.name}, seed {s.seed}"
            axes.set_title(title, fontsize=MIDDLE, color=matplotlib.INK)
            axes.set_aspect("equal")
        for axes in grid[-1]:
            axes.set_xlabel("first direction", fontsize=SMALL)
        for axes in grid[:, 0]:
            axes.set_ylabel("second direction", fontsize=SMALL)
        _colourbar(figure, drawn, grid, levels)

    size = (1.4 + 3.6 * runs, 0.5 + 3.5 * seeds)
    return matplotlib.chart(stem, "Loss around the trained weights", size, fill)


def solids(stem: Path, found: Sequence[Surface]) -> tuple[Path, ...]:
    """Fig. 1 of Li et al.: the surfaces in three dimensions, of the first seed."""
    found = [s for s in found if s.seed == 0]
    low, high = log_range([s.loss for s in found])

    def fill(figure: Any) -> None:
        for n, s in enumerate(found):
            axes = figure.add_subplot(1, len(found), n + 1, projection="3d")
            x, y = np.meshgrid(s.a, s.a, indexing="ij")
            axes.plot_surface(
                x,
                y,
                log10(s.loss),
                cmap=COLOURMAP,
                vmin=low,
                vmax=high,
                rcount=len(s.a),
                ccount=len(s.a),
                linewidth=0.15,
                edgecolor="#00000050",
                antialiased=True,
            )
            axes.set_zlim(low, high)
            ticks = round_losses(low, high)
            reach = s.a[-1]
            axes.set_xticks([-reach, 0, reach])
            axes.set_yticks([-reach, 0, reach])
            axes.set_zticks([math.log10(t) for t in ticks], [f"{t:g}" for t in ticks])
            axes.view_init(elev=28, azim=-58)
            axes.set_box_aspect((1, 1, 0.75), zoom=1.0)
            axes.tick_params(labelsize=7, pad=0)
            axes.set_title(s.name, fontsize=MIDDLE, color=matplotlib.INK)
            axes.set_zlabel("loss", fontsize=SMALL, labelpad=1)
            for pane in (axes.xaxis, axes.yaxis, axes.zaxis):
                pane.set_pane_color((1, 1, 1, 0))

    return matplotlib.chart(stem, "Loss surfaces, log axis", (0.6 + 4.4 * len(found), 4.4), fill)


def lines(stem: Path, found: Sequence[Surface]) -> tuple[Path, ...]:
    """Fig. 2 of Li et al., filter-normalised: loss and error along each direction."""

    def fill(figure: Any) -> None:
        loss, error = figure.subplots(1, 2, sharex=True)
        for s in found:
            look = {"color": COLOURS[s.run % len(COLOURS)], "linewidth": 1.6}
            label = s.name if s.seed == 0 else None
            loss.plot(s.a, np.where(np.isfinite(s.loss), s.loss, np.nan), label=label, **look)
            error.plot(s.a, 100 * s.error, **look)
        _log(loss, [s.loss for s in found])
        loss.set_ylabel("loss (nats), log axis", fontsize=SMALL + 1)
        error.set_ylabel("training error, %", fontsize=SMALL + 1)
        error.set_ylim(bottom=0)
        loss.legend(fontsize=SMALL, frameon=False)
        for axes in (loss, error):
            axes.set_xlabel("step, in filters' norms", fontsize=SMALL + 1)
            _plain(axes)

    return matplotlib.chart(stem, "Loss along random directions", (9.0, 3.9), fill)


def ratios(stem: Path, found: Sequence[Curvature]) -> tuple[Path, ...]:
    """Fig. 7 of Li et al.: |lambda_min / lambda_max| of the Hessian over the same plane."""

    def fill(figure: Any) -> None:
        grid = figure.subplots(1, len(found), sharey=True, squeeze=False)
        for axes, c in zip(grid[0], found, strict=True):
            half = (c.a[1] - c.a[0]) / 2
            reach = (c.a[0] - half, c.a[-1] + half)
            shown = np.where(np.isfinite(c.ratio), c.ratio, np.nan).T
            look = {"cmap": "cividis", "vmin": 0, "vmax": MOST_RATIO}
            drawn = axes.imshow(shown, origin="lower", extent=(*reach, *reach), **look)
            axes.set_title(c.name, fontsize=MIDDLE, color=matplotlib.INK)
            axes.set_xlabel("first direction", fontsize=SMALL)
            axes.set_xticks(np.linspace(c.a[0], c.a[-1], 5))
            axes.set_yticks(np.linspace(c.a[0], c.a[-1], 5))
            axes.tick_params(labelsize=SMALL)
        grid[0, 0].set_ylabel("second direction", fontsize=SMALL)
        bar = figure.colorbar(drawn, ax=grid, shrink=0.85, extend="max")
        bar.set_label("|λ min / λ max|", fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)

    title = "Negative against positive curvature"
    return matplotlib.chart(stem, title, (1.4 + 3.6 * len(found), 4.0), fill)


def trajectory(stem: Path, t: Trajectory) -> tuple[Path, ...]:
    """Fig. 9 of Li et al.; beside it the checkpoints' own losses and the plane's below them."""

    def fill(figure: Any) -> None:
        way, loss = figure.subplots(1, 2, width_ratios=(1.25, 1))
        levels = log_levels([t.surface])
        _colourbar(figure, _way(way, t, len(t.at), levels), way, levels)
        epochs = np.arange(len(t.loss))
        loss.plot(epochs, t.loss, color=COLOURS[0], marker="o", markersize=3, label="its own")
        dashed = {"color": COLOURS[1], "linestyle": DASHED, "marker": "s", "markersize": 3}
        under = np.where(np.isfinite(t.on_plane), t.on_plane, np.nan)
        loss.plot(epochs, under, label="the plane's at its projection", **dashed)
        _log(loss, [t.loss, t.on_plane])
        loss.set_xlabel("checkpoint", fontsize=SMALL)
        loss.set_ylabel("loss (nats), log axis", fontsize=SMALL)
        loss.legend(fontsize=SMALL, frameon=False)
        _plain(loss)

    return matplotlib.chart(
        stem, f"The training of {t.name} on its principal plane", (10.2, 4.3), fill
    )


def film(path: Path, t: Trajectory) -> Path:
    """The way as a GIF: a frame a checkpoint, the last one held."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    from reslab.core.files import write as write_file

    levels = log_levels([t.surface])
    with matplotlib.style():
        figure = Figure(figsize=(5.6, 4.6), dpi=110, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        _colourbar(figure, _way(axes, t, 1, levels), axes, levels)

        def frame(n: int) -> list[Any]:
            axes.clear()
            _way(axes, t, min(n + 1, len(t.at)), levels)
            return []

        made = FuncAnimation(figure, frame, frames=len(t.at) + 8, interval=160)
        write_file(path, lambda temp: made.save(temp, writer=PillowWriter(fps=6)))
    return path


# What they are made of ---------------------------------------------------------------------------


def _contour(axes: Any, a: Any, b: Any, loss: np.ndarray, levels: np.ndarray) -> Any:
    """Filled, with lines at every third level; white where there is no finite loss."""
    logs = np.log10(levels)
    z = np.clip(log10(loss), logs[0], logs[-1]).T
    drawn = axes.contourf(a, b, z, logs, cmap=COLOURMAP)
    axes.contour(a, b, z, logs[::3], colors="white", linewidths=0.5, linestyles="solid", alpha=0.6)
    axes.tick_params(labelsize=SMALL)
    return drawn


def _way(axes: Any, t: Trajectory, n: int, levels: np.ndarray) -> Any:
    """The first n checkpoints on the plane."""
    drawn = _contour(axes, t.a, t.b, t.surface, levels)
    x, y = t.at[:n].T
    look = {"color": "white", "markeredgecolor": matplotlib.INK, "markersize": 4.5}
    axes.plot(x, y, "o-", linewidth=1.4, markeredgewidth=0.6, **look)
    axes.plot(x[-1], y[-1], "o", color=COLOURS[1], markeredgecolor="white", markersize=8)
    axes.set_title(t.names[n - 1], fontsize=MIDDLE, color=matplotlib.INK)
    for k, (name, label) in enumerate((("first", axes.set_xlabel), ("second", axes.set_ylabel))):
        words = f"{name} component, {100 * t.share[k]:.1f} % of the variance"
        label(words, fontsize=SMALL)
    return drawn


def _colourbar(figure: Any, drawn: Any, axes: Any, levels: np.ndarray) -> None:
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85)
    ticks = round_losses(math.log10(levels[0]), math.log10(levels[-1]))
    bar.set_ticks([math.log10(t) for t in ticks], labels=[f"{t:g}" for t in ticks])
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("loss (nats), log scale", fontsize=SMALL)


def _log(axes: Any, losses: Sequence[np.ndarray]) -> None:
    """A log axis with round losses on it."""
    ticks = round_losses(*log_range(losses))
    axes.set_yscale("log")
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)
