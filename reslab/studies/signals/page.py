"""The pictures and the page of a study of signals: gradients and activations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from reslab.plots.figure import Figure, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import count, listed
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
            [
                _method(study, networks),
                *_gradient_norms(networks, first),
                *_healthy_norms(networks, first),
            ],
            charts=_charts(networks, quantities, first),
            tables=[_table(networks, unit)],
            measured=study.commands,
            quoted=(HE, YANG),
        ),
        Section(
            f"{start}: forward pass",
            _output_sizes(networks, first),
            charts=_charts(networks, ("output_rms", "output_std"), first),
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
        *_gradient_norms(networks, None),
        *_healthy_norms(networks, None),
        *gradient_ratios(networks),
        *(
            f"{_name(network)}: the training ended early, {'; '.join(network.stopped)}. The charts "
            "show the moments that every seed reached."
            for network in networks
            if network.stopped
        ),
    ]
    return Section("During training", paragraphs, charts=charts, measured=study.commands)


def _shared_axis(unit: str) -> Literal["all", "row"]:
    """Twins without batch norm are a row; on a common axis they would flatten the others."""
    return "row" if unit == "step" else "all"


# Sentences ----------------------------------------------------------------------------------------


def _method(study: Study, networks: Sequence[MeasuredNetwork]) -> str:
    settings, seeds = study.settings, len(networks[0].entries)
    start = "One batch"
    if "network" in settings:
        start = f"{settings['network']} and its twins on {settings['data']}: one batch"
    over_seeds = f" Lines are medians of {seeds} seeds, bands their range." if seeds > 1 else ""
    return (
        f"{start}, {_images(networks)}, without augmentation. The loss is the mean cross-entropy. "
        "Batch norm uses the statistics of the batch, as in training. A layer is a convolution or "
        "a dense layer, and its output is taken before batch norm. The gradient with respect to an "
        "output is that of one image's loss; its L2 norm is over all positions and channels."
        + over_seeds
    )


def _images(networks: Sequence[MeasuredNetwork]) -> str:
    return samples(entry for network in networks for entry in network.entries)


def _gradient_norms(networks: Sequence[MeasuredNetwork], at: int | None) -> list[str]:
    """One sentence per network: the gradient norms of the last and the first convolution."""
    sentences = []
    for network in networks:
        moment = network.moments[-1] if at is None else at
        values = network.values(moment, "kernel_gradient")[:, network.main]
        ratio, lost = network.ratio(moment, "kernel_gradient"), not_positive(values)
        if lost:
            text = f"{count(lost)} of {count(values.size)} norms are zero or not finite"
        else:
            text = (
                f"from {_median(values[:, -1])} in the last convolution to {_median(values[:, 0])} "
                f"in the first, {_times(ratio)}"
            )
        sentences.append(f"{_name(network)}, {network.unit} {moment}: gradient norm {text}.")
    return sentences


def _healthy_norms(networks: Sequence[MeasuredNetwork], at: int | None) -> list[str]:
    """Compare He et al.'s statement with the plain networks with batch norm."""
    plain = _plain(networks)
    if not plain:
        return []
    sentences = ["He et al. say that their plain networks' gradients have healthy norms with BN."]
    untrained = at is not None and plain[0].unit == "step"
    lead = "Their statement is about trained networks; before the first step:"
    sentences.append(lead if untrained else "Here:")
    for network in plain:
        moment = network.moments[-1] if at is None else at
        values = network.values(moment, "image_gradient")[:, network.main]
        ratio = network.ratio(moment, "image_gradient")
        start = f"{network.label}, {network.unit} {moment}:"
        if not_positive(values) or not np.isfinite(ratio):
            sentences.append(
                f"{start} some gradients are zero or not finite, which is not healthy."
            )
            continue
        per_layer = ratio ** (1 / max(1, values.shape[1] - 1))
        medians = np.median(values, 0)
        spread = float(medians.max() / medians.min())
        sentences.append(
            f"{start} from the last convolution to the first the gradient with respect to the "
            f"output becomes {_times(ratio)}, {per_layer:.3g} times per layer, and the largest of "
            f"all layers' gradients is {norms.short(spread)} times the smallest: "
            f"{_conclusion(ratio, spread)}."
        )
    return [" ".join(sentences)]


def _conclusion(ratio: float, spread: float) -> str:
    if ratio < VANISHING:
        return "the gradient vanishes with depth"
    if spread <= SAME_SIZE:
        return "the gradient has the same order of magnitude in all layers"
    return "the gradient does not vanish, but its size differs between layers"


def gradient_ratios(networks: Sequence[MeasuredNetwork]) -> list[str]:
    """Return a sentence for each plain network with batch norm: the gradient ratio by moment."""
    sentences = []
    for network in _plain(networks):
        ratios = [(at, network.ratio(at, "image_gradient")) for at in network.moments]
        steps = listed(f"{norms.short(value)} ({network.unit} {at})" for at, value in ratios)
        sentences.append(
            f"{_name(network)}: norm of the gradient with respect to the first layer's output, "
            f"divided by that of the last convolution: {steps}."
        )
    return sentences


def _output_sizes(networks: Sequence[MeasuredNetwork], at: int | None) -> list[str]:
    """One sentence per network: the RMS of the outputs."""
    sentences = []
    for network in networks:
        moment = network.moments[-1] if at is None else at
        values = network.values(moment, "output_rms")[:, network.main]
        if lost := not_positive(values):
            text = f"{count(lost)} of {count(values.size)} values are zero or not finite"
        else:
            least, most = norms.short(values.min()), norms.short(values.max())
            text = (
                f"{_median(values[:, 0])} in the first layer, {_median(values[:, -1])} in the last "
                f"convolution; between {least} and {most}"
            )
        sentences.append(f"{_name(network)}: RMS of the outputs {text}.")
    return sentences


def _plain(networks: Sequence[MeasuredNetwork]) -> list[MeasuredNetwork]:
    return [network for network in networks if network.kind == "plain" and network.bn]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(network: MeasuredNetwork) -> str:
    """The label at the start of a sentence; the name of a run is not changed."""
    return network.label if network.unit == "epoch" else _capitalised(network.label)


def _median(values: np.ndarray) -> str:
    return norms.short(float(np.median(values)))


def _times(ratio: float) -> str:
    if ratio >= 1:
        return f"{norms.short(ratio)} times as large"
    return f"{norms.short(1 / ratio)} times smaller"


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
    return Table("L2 norm of the kernels' gradients, medians", head, rows, folded=True)


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
