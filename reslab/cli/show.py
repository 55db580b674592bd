"""`reslab show`: the layers and counts of a network, without Keras."""

from __future__ import annotations

from typing import Any

import click

from reslab.cli.options import as_json
from reslab.cli.output import echo, print_json
from reslab.cli.tables import integer, make_table, print_table


@click.command()
@click.argument("name", required=False)
@click.option("--table", "table_1", is_flag=True, help="He et al. 2015, Table 1: 18 to 152 layers.")
@click.option("--classes", type=click.IntRange(min=1), help="Classes.  [default: the network's]")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Side of the images.")
@as_json
def show(
    name: str | None, table_1: bool, classes: int | None, size: int | None, as_json: bool
) -> None:
    """Show a network as a column of Table 1, with parameters and multiply-adds.

    With --table, show the whole of Table 1 instead.
    """
    from reslab.spec import summary
    from reslab.spec.transforms import with_classes
    from reslab.zoo import network

    if table_1:
        if name or classes or size:
            raise click.UsageError("--table takes no network, --classes or --size")
        _show_table_1(as_json)
        return
    if name is None:
        raise click.UsageError("name a network, or use --table")
    net = network(name)
    net = net if classes is None else with_classes(net, classes)
    shape = net.input_shape if size is None else (size, size, net.input_shape[2])
    facts = summary.summary(net, shape)
    if as_json:
        print_json(facts)
        return
    echo(f"{net.title}: {facts['depth']} layers deep, {facts['classes']} classes")
    order = f" ({facts['data_format']})" if net.data_format else ""
    image_size = "x".join(map(str, facts["input_shape"]))
    echo(f"images of {image_size}{order}; {net.source}\n")
    _print_rows(facts)
    buffers = facts["total_params"] - facts["trainable_params"]
    echo(f"{buffers:,} more numbers are running means and variances of batch norm")
    if net.aux:
        params = facts["trainable_params_with_aux"]
        rows = " and ".join(net.aux)
        echo(f"in training, with auxiliary heads behind {rows}: {params:,} parameters")


def _print_rows(facts: dict[str, Any]) -> None:
    table = make_table("row", "output", "layers", "parameters", "multiply-adds", first_number=3)
    for row in facts["rows"]:
        counts = integer(row["params"]), integer(row["multiply_adds"])
        table.add_row(row["row"], row["output"], row["layers"], *counts)
    table.add_section()
    totals = integer(facts["trainable_params"]), integer(facts["multiply_adds"])
    table.add_row("total", "", "", *totals)
    print_table(table)


def _show_table_1(as_json: bool) -> None:
    from rich.text import Text

    from reslab.spec import summary
    from reslab.zoo import network
    from reslab.zoo.resnet import TABLE_1

    table_1 = summary.side_by_side([network(name) for name in TABLE_1])
    nets = table_1["networks"]
    if as_json:
        print_json(table_1)
        return
    headings = (f"{net['depth']}-layer\n{net['name']}" for net in nets)
    table = make_table("row", "output", *headings, numbers=0)
    for row in table_1["rows"]:
        cells = ("\n".join(map(_multiline, row["layers"][net["name"]])) for net in nets)
        table.add_row(row["row"], row["output"], *map(Text, cells), end_section=True)
    table.add_row("parameters", "", *(integer(net["params"]) for net in nets))
    table.add_row("multiply-adds", "", *(integer(net["multiply_adds"]) for net in nets))
    echo("He et al. 2015, arXiv 1512.03385, Table 1; its FLOPs are multiply-adds\n")
    print_table(table)


def _multiline(layers: str) -> str:
    """The layers of a cell as the paper prints them: a unit has one line for each layer."""
    if not layers.startswith("["):
        return layers.replace(", stride", ",\nstride")
    unit, times = layers[1:].split("] x ")
    lines = unit.split("; ")
    width = max(map(len, lines))
    middle = (len(lines) - 1) // 2
    return "\n".join(
        f"[{line:<{width}}]" + (f" x {times}" if i == middle else "")
        for i, line in enumerate(lines)
    )
