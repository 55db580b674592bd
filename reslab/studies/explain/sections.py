"""The sections of the page, in the order of the deck *ResNet Overview*."""

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
from reslab.studies.explain.collect import Collection
from reslab.studies.registry import sections as study_sections

TITLE = "Why residual networks work"
CLASSES = 1000  # of ILSVRC


def lead(collection: Collection) -> str:
    studies = sum(len(each) for each in collection.studies.values())
    counted = [
        f"{n} {singular if n == 1 else plural}"
        for n, singular, plural in (
            (len(collection.runs), "run", "runs"),
            (studies, "study", "studies"),
        )
        if n
    ]
    runs = f"with {listed(counted)} of your own" if counted else "without a run of your own yet"
    return f"From plain networks that degrade to a thousand layers that train, {runs}."


def sections(collection: Collection, folder: Path) -> list[Section]:
    """All sections; pictures are written to `folder`."""
    return [
        _winner(),
        _depth(collection, folder),
        _problem(collection),
        _signals(collection),
        _blocks(collection, folder),
        _surfaces(collection),
        architecture.three_nets(folder),
        _identity(collection, folder),
        architecture.table_1(),
        results.code(folder),
        results.results(collection),
        architecture.dense(folder),
        _references(collection),
    ]


def _winner() -> Section:
    return Section(
        "The winning model",
        (
            "An ensemble of six residual networks, two of them of 152 layers, won the ImageNet "
            "classification of 2015 with a top-5 error of 3.57 %.",
            "The features are useful for other tasks: with ResNet-101 instead of VGG-16, Faster "
            "R-CNN's mean average precision on COCO rose from 21.2 to 27.2, by 28 %.",
        ),
        tables=(published.WINNERS, published.DETECTION),
        quoted=(f"{published.HE15}, Tables 5 and 8",),
    )


def _depth(collection: Collection, folder: Path) -> Section:
    runs = [run for run in collection.runs if _comparable(run)]
    files = draw.depth(folder / "depth", runs)
    command = shlex.join(["reslab", "chart", "depth", *(str(run.path) for run in runs)])
    return Section(
        "A revolution of depth",
        (
            "Within three years the best networks on ImageNet grew from 8 layers to 152, and their "
            "top-5 error fell from 16.4 % to 3.57 %.",
        ),
        pictures=(
            drawn(files, "Top-5 errors of the best ILSVRC entries by year, with their layers"),
        ),
        measured=(command,) if runs else (),
        quoted=("the sources named below the bars",),
    )


def _comparable(run: Run) -> bool:
    """Whether its top-5 error can be compared with ILSVRC's, which has 1,000 classes."""
    evaluation = run.evaluation or {}
    return len(run.info["data"]["classes"]) >= CLASSES and bool(evaluation.get("top5_error"))


def _problem(collection: Collection) -> Section:
    return Section(
        "The problem: deeper plain nets are worse",
        (
            "A deeper net can represent everything that a shallower one can: its additional layers "
            "could be the identity. Yet beyond some depth, the training error of plain nets rises. "
            "This is degradation. It is not overfitting, which would lower the training error.",
            "On ImageNet the plain net of 34 layers is worse than that of 18 layers. With skip "
            "connections the net of 34 layers is better.",
        ),
        tables=(published.DEGRADATION, published.CIFAR),
        quoted=(f"{published.HE15}, Table 2 and Table 6",),
        sections=_studies(collection, "degradation", "reslab degradation --data fashion-mnist"),
    )


def _signals(collection: Collection) -> Section:
    return Section(
        "Do gradients vanish?",
        (
            "In a deep net without normalisation, signals grow or shrink by a factor at each "
            "layer, in the forward and in the backward pass. He et al. argue that this is not why "
            "their plain nets degrade: these are trained with batch norm, so forward signals have "
            "non-zero variances, and gradients have healthy norms.",
        ),
        quoted=(f"{published.HE15}, Sec. 4.1",),
        sections=[
            *_studies(
                collection, "signals", "reslab signals resnet56 --data fashion-mnist --steps 200"
            ),
            *_studies(collection, "responses", "reslab responses RUN RUN"),
        ],
    )


def _blocks(collection: Collection, folder: Path) -> Section:
    files = draw.blocks(["plain", "basic", "projection"], folder / "blocks")
    return Section(
        "The residual block",
        (
            "A plain block has to learn a mapping H(x). A residual block learns the residual "
            "F(x) = H(x) - x and adds its input: y = F(x, {W}) + x. To represent "
            "the identity, it only has to drive F to zero.",
            "Where the shape changes, the input is padded with zero channels (option A) or "
            "projected: y = F(x, {W}) + W_s x (option B).",
        ),
        pictures=(drawn(files, "A plain block, a residual block, and one with a projection"),),
        measured=("reslab draw --block plain --block basic --block projection",),
        quoted=(f"{published.HE15}, eq. 1 and 2",),
        sections=_studies(collection, "lesions", "reslab lesions RUN RUN"),
    )


def _surfaces(collection: Collection) -> Section:
    return Section(
        "The shape of the loss",
        (
            "Two random directions span a plane around the weights of a trained net, and the loss "
            "on it is a surface. Each filter of a direction is scaled to the norm of the net's "
            "filter. Without this, a net with larger weights would look flatter, even where it is "
            "the same function. Li et al. find a smooth bowl around a ResNet-56, and a rugged "
            "surface around the same net without skips.",
        ),
        quoted=(published.LI,),
        sections=_studies(collection, "landscape", "reslab landscape RUN RUN"),
    )


def _identity(collection: Collection, folder: Path) -> Section:
    files = draw.blocks(["bottleneck", "preact"], folder / "identity")
    return Section(
        "Identity mappings",
        (
            "In the original unit a ReLU follows the addition, so every signal passes it. With "
            "pre-activation (batch norm and ReLU before each convolution) the skip connections are "
            "identities: x_L = x_l + the sum of all F in between. The gradient of a later layer "
            "reaches every earlier layer unchanged, plus the gradients through the bodies.",
        ),
        pictures=(drawn(files, "The original bottleneck, and the one with pre-activation"),),
        tables=(published.PREACTIVATION,),
        measured=("reslab draw --block bottleneck --block preact",),
        quoted=(f"{published.HE16}, eq. 4 and Table 3",),
        sections=_studies(collection, "ablation", "reslab ablate activations --data cifar10"),
    )


def _references(collection: Collection) -> Section:
    paragraphs = list(published.REFERENCES)
    if collection.unread:
        paragraphs += [f"Left out of this page: {reason}." for reason in collection.unread]
    return Section("References", paragraphs)


def _studies(collection: Collection, kind: str, command: str) -> Sequence[Section]:
    """The sections of all studies of a kind, or the command that makes one."""
    studies = collection.of(kind)
    if not studies:
        return [Section(f"Not measured yet: {kind}", (f"`{command}` measures it.",))]
    shown: list[Section] = []
    for number, study in enumerate(studies, 1):
        name = study.name.removeprefix(f"{kind}-")
        suffix = f" ({name})" if len(studies) > 1 else ""  # so that headings differ
        try:
            for section in study_sections(study, f"{kind}-{number}-"):
                shown.append(replace(section, title=section.title + suffix))
        except UserError as error:  # the others are shown nevertheless
            shown.append(Section(f"Left out: {study.name}", (f"{error}.",)))
    return shown
