"""The same charts as pictures, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reslab.plots import matplotlib
from reslab.plots.matplotlib import COLOURS, DASHED
from reslab.studies.sweep import panels
from reslab.studies.sweep.panels import Curve, Line, Panel
from reslab.studies.sweep.results import Spread


def errors(
    stem: Path, title: str, note: str, drawn: Sequence[Panel], top: float
) -> tuple[Path, ...]:
    """Fig. 6 of He 2015, panel beside panel: training thin and dashed, test bold."""

    def fill(figure: Any) -> None:
        grid = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, panel in zip(grid, drawn, strict=True):
            for curve in panel.curves:
                _curve(axes, curve)
            axes.set_title(panel.title, fontsize=10, color=matplotlib.INK)
            axes.set_ylim(0, top)
            axes.set_xlim(left=0)
            axes.set_xlabel("iterations", fontsize=9)
            if panel.curves:
                axes.legend(fontsize=8, frameon=False, loc="upper right")
        grid[0].set_ylabel("error, %", fontsize=9)

    return _picture(stem, title, note, (1.2 + 4.4 * len(drawn), 4.3), fill)


def _curve(axes: Any, curve: Curve) -> None:
    colour = COLOURS[curve.number % len(COLOURS)]
    looks = (
        ("training", curve.train, {"linewidth": 0.9, "linestyle": DASHED}),
        ("test", curve.test, {"linewidth": 2.2}),
    )
    for what, points, look in looks:
        steps = [step for step, _ in points]
        spreads = [spread for _, spread in points]
        marker = "o" if len(points) < 3 else None
        means = [100 * spread.mean for spread in spreads]
        name = f"{curve.label}, {what}"
        axes.plot(steps, means, color=colour, label=name, marker=marker, markersize=4, **look)
        if any(spread.n > 1 for spread in spreads):
            low, high = ([100 * getattr(s, end) for s in spreads] for end in ("low", "high"))
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def by_depth(stem: Path, title: str, note: str, lines: Sequence[Line]) -> tuple[Path, ...]:
    """Final error against depth: (name, colour, whether of the test, points)."""

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for (name, number, test, points), aside in zip(lines, panels.aside(lines), strict=True):
            look = {"linewidth": 2.2} if test else {"linewidth": 0.9, "linestyle": DASHED}
            spreads = [spread for _, spread in points]
            several = any(spread.n > 1 for spread in spreads)
            axes.errorbar(
                [depth + aside for depth, _ in points],
                [100 * spread.mean for spread in spreads],
                yerr=[100 * spread.sd for spread in spreads] if several else None,
                color=COLOURS[number],
                marker="o",
                markersize=5,
                markerfacecolor=COLOURS[number] if test else "white",
                capsize=2.5,
                elinewidth=1,
                label=name,
                **look,
            )
        axes.set_xticks(sorted({depth for *_, points in lines for depth, _ in points}))
        axes.margins(x=0.1, y=0.1)
        axes.set_xlabel("layers", fontsize=9)
        axes.set_ylabel("error at the end, %", fontsize=9)
        axes.legend(fontsize=8, frameon=False)

    return _picture(stem, title, note, (5.6, 4.3), fill)


def beside(
    stem: Path,
    title: str,
    note: str,
    names: Sequence[str],
    measured: Sequence[Spread | None],
    published: Sequence[float | str],
) -> tuple[Path, ...]:
    """A row a case: the measured test error (mean, s) and the published one, in percent."""

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for row, (own, theirs) in enumerate(zip(measured, published, strict=True)):
            if own is not None:
                bar = 100 * own.sd if own.n > 1 else None
                axes.errorbar(
                    100 * own.mean, row, xerr=bar, fmt="o", color=COLOURS[0], capsize=3, zorder=3
                )
            if not isinstance(theirs, str):
                axes.plot(theirs, row, "D", color=COLOURS[1], fillstyle="none", zorder=3)
        right = axes.get_xlim()[1] * 1.12
        for row, (own, theirs) in enumerate(zip(measured, published, strict=True)):
            failed = [("fail", COLOURS[1])] * isinstance(theirs, str)
            failed += [("fail", COLOURS[0])] * (own is None)
            for place, (word, colour) in enumerate(failed):
                x = right * (0.99 - 0.08 * place)
                axes.text(x, row, word, color=colour, fontsize=8, ha="right", va="center")
        axes.plot([], [], "o", color=COLOURS[0], label="measured here")
        axes.plot([], [], "D", color=COLOURS[1], fillstyle="none", label="published")
        axes.set_xlim(0, right)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        axes.grid(axis="y", color="#eceef1", linewidth=0.7)
        axes.set_xlabel("test error, %", fontsize=9)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2)

    return _picture(stem, title, note, (7.6, 1.9 + 0.34 * len(names)), fill)


def _picture(
    stem: Path, title: str, note: str, size: tuple[float, float], fill: Callable[[Any], None]
) -> tuple[Path, ...]:
    def plain(figure: Any) -> None:
        fill(figure)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
            axes.set_axisbelow(True)
            if not axes.yaxis_inverted():
                axes.grid(axis="y", color="#eceef1", linewidth=0.7)

    return matplotlib.chart(stem, title, size, plain, note)
