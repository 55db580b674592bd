"""Sections about architectures: three networks side by side, Table 1, and DenseNet."""

from __future__ import annotations

from pathlib import Path

from reslab import draw
from reslab.plots.format import count, large
from reslab.report.sections import Section, Table, drawn
from reslab.spec import summary
from reslab.studies.explain import published
from reslab.zoo import network
from reslab.zoo.resnet import TABLE_1

THREE = "vgg19", "plain34", "resnet34"
DENSE = "densenet121", "densenet169", "densenet201", "densenet264"


def three_nets(folder: Path) -> Section:
    files = draw.networks(THREE, folder / "three")
    nets = [network(name) for name in THREE]
    counts = [summary.counts(net) for net in nets]
    adds = [c.multiply_adds or 0 for c in counts]
    share = 100 * adds[-1] / adds[0]
    rows = [
        (net.name, str(summary.depth(net)), count(c.trainable_params), large(c.multiply_adds))
        for net, c in zip(nets, counts, strict=True)
    ]
    return Section(
        "Three nets",
        (
            "VGG-19, a plain net of 34 layers, and the same net with skips. The residual net needs "
            f"{share:.0f} % of VGG-19's multiply-adds. It has the parameters of the plain net, "
            "plus those of the projections where the shape changes.",
        ),
        pictures=[drawn(files, "VGG-19, plain-34, ResNet-34, side by side")],
        tables=[Table("Counted", ("network", "layers", "parameters", "multiply-adds"), rows)],
        measured=(f"reslab draw {' '.join(THREE)}", "reslab show resnet34"),
        quoted=(f"{published.HE15}, Fig. 3: the arrangement",),
    )


def table_1() -> Section:
    table = summary.side_by_side([network(name) for name in TABLE_1])
    nets = table["networks"]
    rows = [
        (row["row"], row["output"], *(", ".join(row["layers"][net["name"]]) for net in nets))
        for row in table["rows"]
    ]
    rows += [
        ("parameters", "", *(count(net["params"]) for net in nets)),
        ("multiply-adds", "", *(count(net["multiply_adds"]) for net in nets)),
        ("published FLOPs", "", *(published.FLOPS[net["depth"]] for net in nets)),
    ]
    head = ("row", "output", *(f"{net['depth']} layers" for net in nets))
    return Section(
        "The architecture",
        (
            "Five networks for ImageNet: a stem, four stages of repeated blocks, and a classifier. "
            "The paper's FLOPs are multiply-adds.",
        ),
        tables=[Table("Table 1, counted from the descriptions", head, rows, names=len(head))],
        measured=("reslab show --table",),
        quoted=(f"{published.HE15}, Table 1: the line of published FLOPs",),
    )


def dense(folder: Path) -> Section:
    files = draw.blocks(["dense"], folder / "dense")
    counts = {name: summary.counts(network(name)) for name in DENSE}
    rows = [
        (network(name).title, count(c.trainable_params), large(c.multiply_adds))
        for name, c in counts.items()
    ]
    return Section(
        "DenseNet: from sums to concatenations",
        (
            "A dense layer concatenates k new feature maps, its growth rate, to its input. Every "
            "layer receives the feature maps of all earlier layers of its block.",
        ),
        pictures=[drawn(files, "Five dense layers of growth rate 4")],
        tables=[
            Table("Counted", ("network", "parameters", "multiply-adds"), rows),
            published.DENSENETS,
        ],
        measured=("reslab draw --block dense", "reslab show densenet121"),
        quoted=(f"{published.HUANG}, Table 3",),
    )
