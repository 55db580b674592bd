"""The pictures and the page of a study of signals: gradients and activations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from reslab.plots.figure import Figure, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import NONE, count, listed
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.signals import norms
from reslab.studies.signals.panels import SHOWN, by_bn, grid, panel
from reslab.studies.signals.results import MeasuredNetwork, not_positive, read, unit_of

TITLE = "Signals by depth"
HE = (
    "He et al. 2015, arXiv 1512.03385, Sec. 4.1, on their plain networks of 18 and 34 layers: "
    "“these plain networks are trained with BN, which ensures forward propagated signals to have "
    "non-zero variances. We also verify that the backward propagated gradients exhibit healthy "
    "norms with BN.”"
)
YANG = (
    "Yang et al. 2019, arXiv 1902.08129, abstract: in wide plain networks with batch norm, "
    "gradients grow exponentially with depth at initialisation; after a single step of training "
    "their range is much smaller."
)
LOST = "zero or not finite"
VANISHING = 0.1  # the ratio of first to last gradient below which gradients vanish
SAME_SIZE = 10  # the ratio of largest to smallest gradient up to which all have one size


def figures(study: Study) -> dict[str, Figure]:
    """Return the pictures by the stem of their files."""
    networks, unit = read(study), unit_of(study)
    if not networks:
        return {}
    name, note, groups = _subject(study), _note(networks), by_bn(networks)
    first = 0 if unit == "step" else None
    when = "at initialisation" if unit == "step" else "after training"

    def at_first(quantities: Sequence[str], title: str) -> Figure:
        rows = [[panel(group, q, first, head) for head, group in groups] for q in quantities]
        size = (4.6, 3.0) if len(groups) > 1 else (7.4, 2.9)
        return Figure(title, note, rows, "row", size)

    pictures = {
        "gradients": at_first(SHOWN[:2], f"{name}: gradients by layer, {when}"),
        "activations": at_first(("output_rms",), f"{name}: activations by layer, {when}"),
    }
    if any(len(network.moments) > 1 for network in networks):
        for quantity, stem, label in (
            ("kernel_gradient", "gradients-in-training", "gradient norms"),
            ("output_rms", "activations-in-training", "activations"),
        ):
            title = f"{name}: {label} by layer, during training"
            rows = grid(networks, quantity, unit)
            pictures[stem] = Figure(title, note, rows, _shared_axis(unit))
    return pictures


def sections(study: Study) -> list[Section]:
    """Return what the study shows. Raises UserError if its folder is damaged."""
    networks, unit = read(study), unit_of(study)
    if not networks:
        return [Section(TITLE, ["Nothing is measured yet."], measured=study.commands)]
    first = 0 if unit == "step" else None
    start = "At initialisation" if unit == "step" else "After training"
    quantities = ("kernel_gradient", "image_gradient", "relative_gradient")
    shown = [
        Section(
            f"{start}: backward pass",
            [_method(study, networks), *_claim(networks, first)],
            charts=_charts(networks, quantities, first),
            tables=[*_gradient_norms(networks, first), *_healthy_norms(networks, first)],
            tables_first=True,
            measured=study.commands,
            quoted=(HE, YANG),
        ),
        Section(
            f"{start}: forward pass",
            charts=_charts(networks, ("output_rms", "output_std"), first),
            tables=_output_sizes(networks, first),
            tables_first=True,
            measured=study.commands,
        ),
    ]
    if any(len(network.moments) > 1 for network in networks):
        shown.append(_during_training(networks, unit, study))
    return shown


def _charts(
    networks: Sequence[MeasuredNetwork], quantities: Sequence[str], at: int | None
) -> list[tuple[Any, str]]:
    charts = []
    for quantity in quantities:
        panels = [panel(group, quantity, at, head) for head, group in by_bn(networks)]
        ends = y_ends(panels)
        for i, each in enumerate(panels):
            caption = norms.QUANTITIES[quantity] + (f", {each.title}" if each.title else "")
            charts.append((chart(each, f"{quantity}-{i}", ends), _capitalised(caption)))
    return charts


def _during_training(networks: Sequence[MeasuredNetwork], unit: str, study: Study) -> Section:
    charts = []
    for quantity in SHOWN:
        rows = grid(networks, quantity, unit)
        panels = [each for row in rows for each in row]
        for i, each in enumerate(panels):
            row = rows[i // len(rows[0])]
            ends = y_ends(row if _shared_axis(unit) == "row" else panels)
            caption = _capitalised(f"{norms.QUANTITIES[quantity]}: {each.title}")
            charts.append((chart(each, f"course-{quantity}-{i}", ends), caption))
    paragraphs = [
        *_claim(networks, None),
        *(
            f"{_name(network)}: the training ended early, {'; '.join(network.stopped)}. The charts "
            "show the moments that every seed reached."
            for network in networks
            if network.stopped
        ),
    ]
    tables = [
        *_gradient_norms(networks, None),
        *_healthy_norms(networks, None),
        *gradient_ratios(networks),
        _table(networks, unit),
    ]
    return Section(
        "During training",
        paragraphs,
        charts=charts,
        tables=tables,
        tables_first=True,
        measured=study.commands,
    )


def _shared_axis(unit: str) -> Literal["all", "row"]:
    """Twins without batch norm are a row; on a common axis they would flatten the others."""
    return "row" if unit == "step" else "all"


# Sentences ----------------------------------------------------------------------------------------


def _method(study: Study, networks: Sequence[MeasuredNetwork]) -> str:
    settings, seeds = study.settings, len(networks[0].entries)
    start = "One batch"
    if "network" in settings:
        start = f"{settings['network']} and its twins on {settings['data']}: one batch"
    over_seeds = (
        f" Lines and tables are medians of {seeds} seeds, bands the range." if seeds > 1 else ""
    )
    return (
        f"{start}, {_images(networks)}, without augmentation. The loss is the mean cross-entropy. "
        "Batch norm uses the statistics of the batch, as in training. A layer is a convolution or "
        "a dense layer, and its output is taken before batch norm. The gradient with respect to an "
        "output is that of one image's loss; its L2 norm is over all positions and channels."
        + over_seeds
    )


def _images(networks: Sequence[MeasuredNetwork]) -> str:
    return samples(entry for network in networks for entry in network.entries)


def _claim(networks: Sequence[MeasuredNetwork], at: int | None) -> list[str]:
    """What He et al. say about plain networks with batch norm, if some were measured."""
    plain = _plain(networks)
    if not plain:
        return []
    text = "He et al. say that their plain networks' gradients have healthy norms with BN."
    if at is not None and plain[0].unit == "step":
        text += " Their statement is about trained networks; the numbers are before the first step."
    return [text]


# Tables -------------------------------------------------------------------------------------------


def _gradient_norms(networks: Sequence[MeasuredNetwork], at: int | None) -> list[Table]:
    """A row per network: the gradient norms of the first layer and of the last convolution."""
    rows = []
    for network in networks:
        moment, values, lost = _moment(network, at, "kernel_gradient")
        cells = [_median(values[:, 0]), _median(values[:, -1])]
        ratio = norms.short(network.ratio(moment, "kernel_gradient"))
        cells = [NONE, NONE, NONE] if lost else [*cells, ratio]
        rows.append((network.label, str(moment), *cells, _lost(lost, values)))
    head = (*_place(networks), "first layer", "last convolution", "first / last")
    return [_without_empty("L2 norm of the kernels' gradients", (*head, LOST), rows)]


def _healthy_norms(networks: Sequence[MeasuredNetwork], at: int | None) -> list[Table]:
    """A row for each plain network with batch norm: how its gradients change with depth."""
    rows = []
    for network in _plain(networks):
        moment, values, lost = _moment(network, at, "image_gradient")
        ratio = network.ratio(moment, "image_gradient")
        if lost or not np.isfinite(ratio):
            conclusion = "not healthy: some gradients are zero or not finite"
            rows.append((network.label, conclusion, str(moment), NONE, NONE, NONE))
            continue
        per_layer = ratio ** (1 / max(1, values.shape[1] - 1))
        medians = np.median(values, 0)
        spread = float(medians.max() / medians.min())
        cells = norms.short(ratio), f"{per_layer:.3g}", norms.short(spread)
        rows.append((network.label, _conclusion(ratio, spread), str(moment), *cells))
    if not rows:
        return []
    name, unit = _place(networks)
    head = (name, "conclusion", unit, "first / last", "per layer", "largest / smallest")
    caption = (
        "L2 norm of the gradient with respect to the outputs, first layer over last convolution"
    )
    return [Table(caption, head, rows, names=2)]


def _conclusion(ratio: float, spread: float) -> str:
    if ratio < VANISHING:
        return "the gradient vanishes with depth"
    if spread <= SAME_SIZE:
        return "the gradient has the same order of magnitude in all layers"
    return "the gradient does not vanish, but its size differs between layers"


def gradient_ratios(networks: Sequence[MeasuredNetwork]) -> list[Table]:
    """The gradient ratio by moment, a column for each plain network with batch norm."""
    plain = _plain(networks)
    moments = sorted({at for network in plain for at in network.moments})
    rows = [
        (
            count(at),
            *(
                norms.short(network.ratio(at, "image_gradient")) if at in network.moments else NONE
                for network in plain
            ),
        )
        for at in moments
    ]
    caption = (
        "Norm of the gradient with respect to the first layer's output, divided by that of the "
        "last convolution"
    )
    head = (plain[0].unit, *(network.label for network in plain)) if plain else ()
    return [Table(caption, head, rows, names=0)] if plain else []


def _output_sizes(networks: Sequence[MeasuredNetwork], at: int | None) -> list[Table]:
    """A row per network: the RMS of the outputs."""
    rows = []
    for network in networks:
        moment, values, lost = _moment(network, at, "output_rms")
        ends = [_median(values[:, 0]), _median(values[:, -1])]
        cells = [*ends, norms.short(values.min()), norms.short(values.max())]
        if lost:
            cells = [NONE] * 4
        rows.append((network.label, str(moment), *cells, _lost(lost, values)))
    head = (*_place(networks), "first layer", "last convolution", "smallest", "largest", LOST)
    return [_without_empty("RMS of the outputs; extremes over all layers and seeds", head, rows)]


def _moment(network: MeasuredNetwork, at: int | None, quantity: str) -> tuple[int, np.ndarray, int]:
    """The moment (None is the last one), its values (seeds, convolutions), and how many of them
    are zero or not finite."""
    moment = network.moments[-1] if at is None else at
    values = network.values(moment, quantity)[:, network.main]
    return moment, values, not_positive(values)


def _place(networks: Sequence[MeasuredNetwork]) -> tuple[str, str]:
    return "network", networks[0].unit


def _lost(lost: int, values: np.ndarray) -> str:
    return f"{count(lost)} of {count(values.size)}" if lost else ""


def _without_empty(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without its last column, if that is empty."""
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Table(caption, head, rows)


def _plain(networks: Sequence[MeasuredNetwork]) -> list[MeasuredNetwork]:
    return [network for network in networks if network.kind == "plain" and network.bn]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(network: MeasuredNetwork) -> str:
    """The label at the start of a sentence; the name of a run is not changed."""
    return network.label if network.unit == "epoch" else _capitalised(network.label)


def _median(values: np.ndarray) -> str:
    return norms.short(float(np.median(values)))


def _table(networks: Sequence[MeasuredNetwork], unit: str) -> Table:
    head = (
        "network",
        unit,
        "first layer",
        "last convolution",
        "last layer",
        "first / last convolution",
    )
    rows = []
    for network in networks:
        for at in network.moments:
            values = network.values(at, "kernel_gradient")
            main, ratio = values[:, network.main], network.ratio(at, "kernel_gradient")
            cells = [_cell(main[:, 0]), _cell(main[:, -1]), _cell(values[:, -1])]
            rows.append((network.label, count(at), *cells, f"{ratio:.3g}"))
    return Table("L2 norm of the kernels' gradients at each moment", head, rows, folded=True)


def _cell(values: np.ndarray) -> str:
    with np.errstate(invalid="ignore"):
        return f"{np.median(values):.3g}"


def _subject(study: Study) -> str:
    settings = study.settings
    return str(settings.get("network") or listed(run["run"] for run in settings.get("runs", [])))


def _note(networks: Sequence[MeasuredNetwork]) -> str:
    seeds = len(networks[0].entries)
    over_seeds = f"; median and range of {seeds} seeds" if seeds > 1 else ""
    return f"{_images(networks)}, batch statistics{over_seeds}. Circles: classifier, projections."
