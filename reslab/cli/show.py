"""`reslab list` and `reslab show`: what there is, without Keras."""

from __future__ import annotations

import click

from reslab.cli.options import as_json, print_json
from reslab.cli.tables import _n, _print, _table


@click.command()
@click.argument("name", required=False)
@click.option("--table", "table_1", is_flag=True, help="He 2015, Table 1: 18 to 152 layers.")
@click.option("--classes", type=click.IntRange(min=1), help="Number of classes; default: its own.")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Side of the images.")
@as_json
def show(
    name: str | None, table_1: bool, classes: int | None, size: int | None, as_json: bool
) -> None:
    """A network as a column of Table 1, or with --table the whole of it.

    With parameters and multiply-adds.
    """
    from reslab.spec import summary as describe
    from reslab.spec.transforms import with_classes
    from reslab.zoo import network

    if table_1:
        if name or classes or size:
            raise click.UsageError("--table stands alone")
        _show_table_1(as_json)
        return
    if name is None:
        raise click.UsageError("name a network, or ask for --table")
    net = network(name)
    net = net if classes is None else with_classes(net, classes)
    shape = net.input_shape if size is None else (size, size, net.input_shape[2])
    summary = describe.summary(net, shape)
    if as_json:
        print_json(summary)
        return
    click.echo(f"{net.title}: {summary['depth']} layers deep, {summary['classes']} classes")
    order = f" ({summary['data_format']})" if net.data_format else ""
    size_of = "x".join(map(str, summary["input_shape"]))
    click.echo(f"images of {size_of}{order}; {net.source}\n")
    table = _table("row", "output", "layers", "parameters", "multiply-adds", numbers=2, first=3)
    for row in summary["rows"]:
        table.add_row(
            row["row"], row["output"], row["layers"], _n(row["params"]), _n(row["multiply_adds"])
        )
    table.add_section()
    table.add_row("total", "", "", _n(summary["trainable_params"]), _n(summary["multiply_adds"]))
    _print(table)
    click.echo(
        f"{summary['total_params'] - summary['trainable_params']:,} more numbers are batch norm's "
        "running statistics"
    )
    if net.aux:
        whole = summary["trainable_params_with_aux"]
        where = " and ".join(net.aux)
        click.echo(f"in training, with auxiliary heads behind {where}: {whole:,} parameters")


def _show_table_1(as_json: bool) -> None:
    from rich.text import Text

    from reslab.spec import summary as describe
    from reslab.zoo import network
    from reslab.zoo.resnet import TABLE_1

    whole = describe.side_by_side([network(name) for name in TABLE_1])
    nets = whole["networks"]
    if as_json:
        print_json(whole)
        return
    table = _table("row", "output", *(f"{n['depth']}-layer\n{n['name']}" for n in nets), numbers=0)
    for row in whole["rows"]:
        cells = ("\n".join(map(_stacked, row["layers"][net["name"]])) for net in nets)
        table.add_row(row["row"], row["output"], *map(Text, cells), end_section=True)
    table.add_row("parameters", "", *(_n(net["params"]) for net in nets))
    table.add_row("multiply-adds", "", *(_n(net["multiply_adds"]) for net in nets))
    click.echo("He et al. 2015, arXiv 1512.03385, Table 1; its FLOPs are multiply-adds\n")
    _print(table)


def _stacked(words: str) -> str:
    """A cell's layers as the paper sets them: those of a unit one below the other."""
    if not words.startswith("["):
        return words.replace(", stride", ",\nstride")
    unit, times = words[1:].split("] x ")
    lines = unit.split("; ")
    wide = max(map(len, lines))
    middle = (len(lines) - 1) // 2
    return "\n".join(
        f"[{line:<{wide}}]" + (f" x {times}" if i == middle else "") for i, line in enumerate(lines)
    )
