"""The page's sections, in the order of the deck *ResNet Overview*."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reslab import draw
from reslab.core.errors import UserError
from reslab.plots.format import listed
from reslab.report.sections import Section, drawn
from reslab.runs.run import Run
from reslab.studies.explain import architecture, published, results
from reslab.studies.explain.collect import Gathered
from reslab.studies.registry import sections as shown

TITLE = "Why residual networks work"
CLASSES = 1000  # of ILSVRC


def lead(found: Gathered) -> str:
    studies = sum(len(each) for each in found.studies.values())
    counted = [
        f"{n} {word if n == 1 else words}"
        for n, word, words in ((len(found.runs), "run", "runs"), (studies, "study", "studies"))
        if n
    ]
    own = f"with {listed(counted)} of your own" if counted else "without a run of your own yet"
    return f"From the plain net that degrades to the thousand layers that train, {own}."


def sections(found: Gathered, folder: Path) -> list[Section]:
    """All of the page; pictures are drawn into `folder`."""
    return [
        _winner(),
        _depth(found, folder),
        _problem(found),
        _signals(found),
        _blocks(found, folder),
        _surfaces(found),
        architecture.three_nets(folder),
        _identity(found, folder),
        architecture.table_1(),
        results.code(folder),
        results.results(found),
        architecture.dense(folder),
        _references(found),
    ]


def _winner() -> Section:
    return Section(
        "The winning model",
        (
            "An ensemble of six residual networks, two of them of 152 layers, won the ImageNet "
            "classification of 2015 with a top-5 error of 3.57 %.",
            "The same features serve other tasks: ResNet-101 in the place of VGG-16 raised Faster "
            "R-CNN's mean average precision on COCO from 21.2 to 27.2, by 28 %.",
        ),
        tables=(published.WINNERS, published.DETECTION),
        quoted=(f"{published.HE15}, Tables 5 and 8",),
    )


def _depth(found: Gathered, folder: Path) -> Section:
    judged = [run for run in found.runs if _comparable(run)]
    made = draw.depth(folder / "depth", judged)
    command = shlex.join(["reslab", "chart", "depth", *(str(run.path) for run in judged)])
    return Section(
        "A revolution of depth",
        (
            "Within three years the best networks of ImageNet grew from 8 layers to 152, and their "
            "top-5 error fell from 16.4 % to 3.57 %.",
        ),
        pictures=(drawn(made, "Top-5 errors of ILSVRC's best entries by year, with their layers"),),
        measured=(command,) if judged else (),
        quoted=("the sources named below the bars",),
    )


def _comparable(run: Run) -> bool:
    """Whether its top-5 error may stand beside ILSVRC's: of ten classes it would say nothing."""
    judged = run.evaluation or {}
    return len(run.info["data"]["classes"]) >= CLASSES and bool(judged.get("top5_error"))


def _problem(found: Gathered) -> Section:
    return Section(
        "The problem: deeper plain nets are worse",
        (
            "A deeper net can do all that a shallower one does: its added layers need only be the "
            "identity. And yet, from some depth on, plain nets end with the higher training error. "
            "This is degradation, and no overfitting, which would lower the training error.",
            "On ImageNet the plain net of 34 layers is worse than that of 18; with skips the order "
            "turns.",
        ),
        tables=(published.DEGRADATION, published.CIFAR),
        quoted=(f"{published.HE15}, Table 2 and Table 6",),
        sections=_studies(found, "degradation", "reslab degradation --data fashion-mnist"),
    )


def _signals(found: Gathered) -> Section:
    return Section(
        "Do gradients vanish?",
        (
            "In a deep net without normalisation, signals grow or shrink by a factor at each "
            "layer, forwards and backwards. He et al. say that this is not what makes their plain "
            "nets degrade: trained with batch norm, their forward signals have non-zero variances, "
            "and their backward gradients healthy norms.",
        ),
        quoted=(f"{published.HE15}, Sec. 4.1",),
        sections=[
            *_studies(found, "signals", "reslab signals resnet56 --data fashion-mnist --steps 200"),
            *_studies(found, "responses", "reslab responses RUN RUN"),
        ],
    )


def _blocks(found: Gathered, folder: Path) -> Section:
    made = draw.blocks(["plain", "basic", "projection"], folder / "blocks")
    return Section(
        "The residual block",
        (
            "A plain block has to learn a mapping H(x). A residual block learns what is missing, "
            "F(x) = H(x) - x, and adds its input: y = F(x, {W}) + x. To be the identity it has "
            "only to let F go to zero.",
            "Where the shape changes, the input is padded with zero channels (option A), or "
            "projected: y = F(x, {W}) + W_s x (option B).",
        ),
        pictures=(drawn(made, "A plain block, a residual block, and one with a projection"),),
        measured=("reslab draw --block plain --block basic --block projection",),
        quoted=(f"{published.HE15}, eq. 1 and 2",),
        sections=_studies(found, "lesions", "reslab lesions RUN RUN"),
    )


def _surfaces(found: Gathered) -> Section:
    return Section(
        "What the loss looks like from above",
        (
            "Around the weights of a trained net, two random directions span a plane, and the loss "
            "on it is a surface. Each filter of a direction is scaled to the norm of the net's own "
            "filter, or else a net with larger weights would look flatter though it is the same "
            "function. Li et al. see a smooth bowl around a ResNet-56, and a rugged ground around "
            "the same net without skips.",
        ),
        quoted=(published.LI,),
        sections=_studies(found, "landscape", "reslab landscape RUN RUN"),
    )


def _identity(found: Gathered, folder: Path) -> Section:
    made = draw.blocks(["bottleneck", "preact"], folder / "identity")
    return Section(
        "Identity mappings",
        (
            "In the original unit a ReLU stands behind the sum, on the way of every signal. With "
            "pre-activation, batch norm and ReLU before each convolution, nothing is left on that "
            "way: x_L = x_l + the sum of all F between, and the gradient of any later layer "
            "reaches any earlier one unchanged, plus what the bodies add.",
        ),
        pictures=(drawn(made, "The original bottleneck, and the one with pre-activation"),),
        tables=(published.PREACTIVATION,),
        measured=("reslab draw --block bottleneck --block preact",),
        quoted=(f"{published.HE16}, eq. 4 and Table 3",),
        sections=_studies(found, "ablation", "reslab ablate activations --data cifar10"),
    )


def _references(found: Gathered) -> Section:
    words = list(published.REFERENCES)
    if found.unread:
        words += [f"Left out of this page: {reason}." for reason in found.unread]
    return Section("References", words)


def _studies(found: Gathered, kind: str, command: str) -> Sequence[Section]:
    """What the studies of a kind show; where there is none, how to make one."""
    made = found.of(kind)
    if not made:
        return [Section(f"Not measured yet: {kind}", (f"`{command}` does it.",))]
    told: list[Section] = []
    for number, study in enumerate(made, 1):
        own = study.name.removeprefix(f"{kind}-")
        about = f" ({own})" if len(made) > 1 else ""  # else two would have one heading
        try:
            for section in shown(study, f"{kind}-{number}-"):
                told.append(replace(section, title=section.title + about))
        except UserError as error:  # the others are told all the same
            told.append(Section(f"Left out: {study.name}", (f"{error}.",)))
    return told
