"""What a study of signals shows: gradients and activations by layer."""

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
from reslab.studies.signals.panels import SHOWN, Net, by_bn, grid, panel, read, unit_of

HE = (
    "He et al. 2015, arXiv 1512.03385, Sec. 4.1, of its plain nets of 18 and 34 layers: “these "
    "plain networks are trained with BN, which ensures forward propagated signals to have non-zero "
    "variances. We also verify that the backward propagated gradients exhibit healthy norms with "
    "BN.”"
)
YANG = (
    "Yang et al. 2019, arXiv 1902.08129, abstract: in wide plain nets with batch norm, gradients "
    "grow exponentially with depth at initialisation; after a single step of training their range "
    "is dramatically smaller."
)


def figures(study: Study) -> dict[str, Figure]:
    """The pictures by their files' stems."""
    nets, unit = read(study), unit_of(study)
    if not nets:
        return {}
    name, note, groups = _subject(study), _note(study, nets), by_bn(nets)
    first = 0 if unit == "step" else None
    when = "at initialisation" if unit == "step" else "after training"

    def at_first(what: Sequence[str], title: str) -> Figure:
        rows = [[panel(some, w, first, head) for head, some in groups] for w in what]
        size = (4.6, 3.0) if len(groups) > 1 else (7.4, 2.9)
        return Figure(title, note, rows, "row", size)

    found = {
        "gradients": at_first(SHOWN[:2], f"{name}: gradients by layer, {when}"),
        "activations": at_first(("output_rms",), f"{name}: activations by layer, {when}"),
    }
    if any(len(net.moments) > 1 for net in nets):
        for what, stem, word in (
            ("kernel_gradient", "gradients-in-training", "gradient norms"),
            ("output_rms", "activations-in-training", "activations"),
        ):
            title = f"{name}: {word} by layer, in training"
            found[stem] = Figure(title, note, grid(nets, what, unit), _shared(unit))
    return found


def sections(study: Study) -> list[Section]:
    """What the study shows, from its folder; raises UserError where that is damaged."""
    nets, unit = read(study), unit_of(study)
    if not nets:
        return [Section("Signals by depth", ["Nothing is measured yet."], measured=study.commands)]
    first = 0 if unit == "step" else None
    start = "At initialisation" if unit == "step" else "After training"
    found = [
        Section(
            f"{start}: the way back",
            [_how(study, nets), *_said(nets, first), *_verdict(nets, first)],
            charts=_charts(nets, ("kernel_gradient", "image_gradient", "relative_gradient"), first),
            tables=[_table(nets, unit)],
            measured=study.commands,
            quoted=(HE, YANG),
        ),
        Section(
            f"{start}: the way there",
            _forward(nets, first),
            charts=_charts(nets, ("output_rms", "output_std"), first),
            measured=study.commands,
        ),
    ]
    if any(len(net.moments) > 1 for net in nets):
        found.append(_training(nets, unit, study))
    return found


def _charts(nets: Sequence[Net], what: Sequence[str], at: int | None) -> list[tuple[Any, str]]:
    charts = []
    for name in what:
        panels = [panel(some, name, at, head) for head, some in by_bn(nets)]
        ends = y_ends(panels)
        for i, each in enumerate(panels):
            caption = norms.QUANTITIES[name] + (f", {each.title}" if each.title else "")
            charts.append((chart(each, f"{name}-{i}", ends), _caption(caption)))
    return charts


def _caption(words: str) -> str:
    return words[:1].upper() + words[1:]


def _named(net: Net) -> str:
    """The net at the head of a sentence; a run keeps its name."""
    return net.label if net.unit == "epoch" else _caption(net.label)


def _training(nets: Sequence[Net], unit: str, study: Study) -> Section:
    charts = []
    for what in SHOWN:
        rows = grid(nets, what, unit)
        panels = [each for row in rows for each in row]
        for i, each in enumerate(panels):
            ends = y_ends(rows[i // len(rows[0])] if _shared(unit) == "row" else panels)
            caption = _caption(f"{norms.QUANTITIES[what]}: {each.title}")
            charts.append((chart(each, f"course-{what}-{i}", ends), caption))
    words = [*_said(nets, None), *_verdict(nets, None), *course(nets)] + [
        f"{_named(net)}: the training ended early, {'; '.join(net.stopped)}. Shown are the moments "
        "that every seed came to."
        for net in nets
        if net.stopped
    ]
    return Section("In training", words, charts=charts, measured=study.commands)


def _shared(unit: str) -> Literal["all", "row"]:
    """Twins without batch norm, a row of their own, go to where the others could not be seen."""
    return "row" if unit == "step" else "all"


def _how(study: Study, nets: Sequence[Net]) -> str:
    asked, seeds = study.asked, len(nets[0].entries)
    what = f"{asked['network']} and its twins on {asked['data']}" if "network" in asked else ""
    where = f"{what}, on one batch" if what else "On one batch"
    many = f" Lines are medians of {seeds} seeds, bands their range." if seeds > 1 else ""
    return (
        f"{where}, {_images(nets)}, un-augmented: the mean cross-entropy, with batch norm on the "
        "batch's own statistics, as in training. A layer is a convolution or a full connection, "
        "its output what it computes before batch norm. The gradient by an output is that of one "
        "image's loss; its L2 norm is over all positions and channels." + many
    )


def _images(nets: Sequence[Net]) -> str:
    return samples(entry for net in nets for entry in net.entries)


def factor(net: Net, at: int, what: str) -> float:
    """The first layer's value over the last convolution's, of medians over the seeds."""
    values = net.values(at, what)[:, net.main]
    with np.errstate(all="ignore"):
        return float(np.median(values[:, 0]) / np.median(values[:, -1]))


def _said(nets: Sequence[Net], at: int | None) -> list[str]:
    """A sentence a net: the gradient's norm from the last convolution to the first."""
    found = []
    for net in nets:
        moment = net.moments[-1] if at is None else at
        values = net.values(moment, "kernel_gradient")[:, net.main]
        ratio, lost = factor(net, moment, "kernel_gradient"), _lost(values)
        if lost:
            words = f"{count(lost)} of {count(values.size)} norms are no number above zero"
        else:
            words = (
                f"from {_median(values[:, -1])} in the last convolution to {_median(values[:, 0])} "
                f"in the first, {_times(ratio)}"
            )
        found.append(f"{_named(net)}, {net.unit} {moment}: the gradient's norm, {words}.")
    return found


def _lost(values: np.ndarray) -> int:
    return int((~np.isfinite(values) | (values <= 0)).sum())


def _median(values: np.ndarray) -> str:
    return norms.spelt(float(np.median(values)))


def _times(ratio: float) -> str:
    if ratio >= 1:
        return f"{norms.spelt(ratio)} times as large"
    return f"{norms.spelt(1 / ratio)} times smaller"


def _verdict(nets: Sequence[Net], at: int | None) -> list[str]:
    """He et al.'s statement, held against the plain nets with batch norm."""
    plain = _plain(nets)
    if not plain:
        return []
    said = ["He et al. say that their plain nets' gradients have healthy norms with BN."]
    untrained = at is not None and plain[0].unit == "step"
    lead = "They say it of nets that are trained; before the first step:"
    said.append(lead if untrained else "Here:")
    for net in plain:
        moment = net.moments[-1] if at is None else at
        values = net.values(moment, "image_gradient")[:, net.main]
        ratio = factor(net, moment, "image_gradient")
        head = f"{net.label}, {net.unit} {moment}:"
        if _lost(values) or not np.isfinite(ratio):
            said.append(f"{head} some gradients are zero or no number, which is not healthy.")
            continue
        each = ratio ** (1 / max(1, values.shape[1] - 1))
        middle = np.median(values, 0)
        spread = float(middle.max() / middle.min())
        said.append(
            f"{head} from the last convolution to the first the gradient by the output becomes "
            f"{_times(ratio)}, {each:.3g} times a layer, and the largest of all layers' is "
            f"{norms.spelt(spread)} times the smallest: {_way(ratio, spread)}."
        )
    return [" ".join(said)]


def _plain(nets: Sequence[Net]) -> list[Net]:
    return [net for net in nets if net.kind == "plain" and net.bn]


def course(nets: Sequence[Net]) -> list[str]:
    """A sentence for each plain net with batch norm: at every moment that was measured, how many
    times the gradient by the first layer's output is that by the last convolution's (`factor`)."""
    found = []
    for net in _plain(nets):
        factors = [(at, factor(net, at, "image_gradient")) for at in net.moments]
        steps = listed(f"{norms.spelt(value)} ({net.unit} {at})" for at, value in factors)
        found.append(
            f"{_named(net)}: the norm of the gradient by the first layer's output over that by "
            f"the last convolution's: {steps}."
        )
    return found


def _way(ratio: float, spread: float) -> str:
    if ratio < 0.1:
        return "it vanishes with depth"
    one_size = spread <= 10
    return "it is of one size" if one_size else "it does not vanish, nor is it of one size"


def _forward(nets: Sequence[Net], at: int | None) -> list[str]:
    found = []
    for net in nets:
        moment = net.moments[-1] if at is None else at
        values = net.values(moment, "output_rms")[:, net.main]
        if lost := _lost(values):
            words = f"{count(lost)} of {count(values.size)} are no number above zero"
        else:
            least, most = norms.spelt(values.min()), norms.spelt(values.max())
            words = (
                f"{_median(values[:, 0])} in the first layer, {_median(values[:, -1])} in the last "
                f"convolution; between {least} and {most}"
            )
        found.append(f"{_named(net)}: the RMS of the outputs, {words}.")
    return found


def _table(nets: Sequence[Net], unit: str) -> Table:
    head = (
        "net",
        unit,
        "first layer",
        "last convolution",
        "last layer",
        "first / last convolution",
    )
    rows = []
    for net in nets:
        for at in net.moments:
            values = net.values(at, "kernel_gradient")
            main = values[:, net.main]
            cells = [_cell(main[:, 0]), _cell(main[:, -1]), _cell(values[:, -1])]
            rows.append((net.label, count(at), *cells, f"{factor(net, at, 'kernel_gradient'):.3g}"))
    return Table("L2 norm of the kernels' gradients, medians", head, rows, folded=True)


def _cell(values: np.ndarray) -> str:
    with np.errstate(invalid="ignore"):
        return f"{np.median(values):.3g}"


def found(study: Study) -> dict[str, Any]:
    """The study in numbers: for each net and moment, first and last gradient and their ratio."""
    rows = []
    for net in read(study):
        for at in net.moments:
            values = net.values(at, "kernel_gradient")[:, net.main]
            rows.append(
                {
                    "net": net.label,
                    unit_of(study): at,
                    "first": norms.number(float(np.median(values[:, 0]))),
                    "last": norms.number(float(np.median(values[:, -1]))),
                    "outputs_first_over_last": norms.number(factor(net, at, "image_gradient")),
                    "not_positive": _lost(values),
                }
            )
    return {"nets": rows}


def _subject(study: Study) -> str:
    asked = study.asked
    return str(asked.get("network") or listed(run["run"] for run in asked.get("runs", [])))


def _note(study: Study, nets: Sequence[Net]) -> str:
    seeds = len(nets[0].entries)
    many = f"; median and range of {seeds} seeds" if seeds > 1 else ""
    return f"{_images(nets)}, batch statistics{many}. Circles: classifier, projections."
