"""A run as a few lines of HTML, for a notebook."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reslab.plots.format import percent

if TYPE_CHECKING:
    from reslab.runs.run import Run

WIDTH, HEIGHT = 360, 120  # of the chart, in pixels
CURVES = ("train", "training", "#1f77b4"), ("val", "validation", "#d62728")


def run_html(run: Run) -> str:
    """The result of a run, its curves, and its report in a frame that opens on a click."""
    info = run.info
    counts = ", ".join(f"{count:,} {part}" for part, count in info["data"]["counts"].items())
    rows = [
        ("network", f"{run.network.name}, {info['params']:,} parameters"),
        ("data", f"{info['data']['name']}: {counts}"),
        ("recipe", info["recipe"]["name"]),
        *_results(run),
        ("folder", str(run.path)),
    ]
    table = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{table}</table>{curves_html(run.log('epoch'))}{_report(run)}"


def curves_html(epochs: Sequence[Mapping[str, Any]]) -> str:
    """The metric of the training by epoch, as an SVG; nothing for fewer than two epochs.

    Args:
        epochs: Lines of the log of the kind "epoch".
    """
    if len(epochs) < 2:
        return ""
    metric = next(
        name.removeprefix("train_")
        for name in epochs[0]
        if name.startswith("train_") and name != "train_loss"
    )
    curves = [
        (f"{label} {metric}", colour, [epoch.get(f"{part}_{metric}") for epoch in epochs])
        for part, label, colour in CURVES
    ]
    highest = max((value for _, _, values in curves for value in values if value), default=1.0)
    lines, legend = "", []
    for label, colour, values in curves:
        points = [
            f"{WIDTH * i / (len(epochs) - 1):.1f},{HEIGHT * (1 - value / highest):.1f}"
            for i, value in enumerate(values)
            if value is not None
        ]
        if points:
            style = f"fill='none' stroke='{colour}' stroke-width='2'"
            lines += f"<polyline points='{' '.join(points)}' {style}/>"
            legend.append(f"<span style='color:{colour}'>{label}</span>")
    return (
        f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='-2 -2 {WIDTH + 4} {HEIGHT + 4}' "
        f"style='border-left:1px solid #888;border-bottom:1px solid #888'>{lines}</svg>"
        f"<div>{', '.join(legend)}: 0 to {percent(highest)} over {len(epochs)} epochs</div>"
    )


def _results(run: Run) -> Iterator[tuple[str, str]]:
    """Every metric of the evaluation that has an interval."""
    evaluation = run.evaluation
    if evaluation is None:
        yield "result", f"none yet: the run is {run.info['status']}"
        return
    images = evaluation["n"]
    for name, metric in evaluation.items():
        if isinstance(metric, dict) and {"value", "low", "high"} <= set(metric):
            value, low, high = (percent(metric[key], images) for key in ("value", "low", "high"))
            yield name.replace("_", " "), f"{value} ({low} to {high}, {images:,} images)"


def _report(run: Run) -> str:
    """A notebook server serves files below its folder, so the address is relative."""
    file = run.path / "report.html"
    if not file.exists():
        return ""
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive on Windows
        relative = str(file)
    address = html.escape(relative.replace(os.sep, "/"), quote=True)
    return (
        f"<details><summary>Report (<a href='{address}' target='_blank'>open it</a>)</summary>"
        f"<iframe src='{address}' width='100%' height='600' loading='lazy'></iframe></details>"
    )
