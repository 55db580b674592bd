"""`reslab recipes`: the recipes, and the fields of one with their meaning and unit."""

from __future__ import annotations

from typing import Any

import click

from reslab.cli.options import as_json
from reslab.cli.output import echo, print_json
from reslab.cli.tables import make_table, print_table

DESCRIPTION = "name", "promise", "source"  # shown above the table of the fields


@click.command()
@click.argument("name", required=False)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the recipe as it fits N training images.",
)
@as_json
def recipes(name: str | None, images: int | None, as_json: bool) -> None:
    """List the recipes, or every field of one with its value, unit and meaning.

    NAME is a recipe or a .toml file. `reslab train --set FIELD=VALUE` changes a field.

    \b
      reslab recipes quick
    """
    from reslab.runs.fields import describe
    from reslab.runs.papers import RECIPES, recipe
    from reslab.runs.sizing import LARGE, RULES

    if name is None:
        rows = [{key: getattr(r, key) for key in DESCRIPTION} for r in RECIPES.values()]
        print_json(rows) if as_json else _print_list(rows)
        return
    chosen = recipe(name, images=images)
    fields = describe(chosen)
    if as_json:
        print_json(
            {**{key: getattr(chosen, key) for key in DESCRIPTION}, "fields": _without(fields)}
        )
        return
    for key in ("promise", "source"):
        if text := getattr(chosen, key):
            echo(f"{key}: {text}")
    echo()
    _print_fields(_without(fields))
    if name in RULES and images is None:
        echo(
            f"For fewer than {LARGE:,} training images, batch, rate and epochs are others: "
            f"reslab recipes {name} --images N"
        )
    echo("--set FIELD=VALUE changes a field, such as --set rate=0.05; lists have commas.")


def _without(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [field for field in fields if field["field"] not in DESCRIPTION]


def _print_list(rows: list[dict[str, Any]]) -> None:
    table = make_table("recipe", "promise", "source", numbers=0)
    for row in rows:
        table.add_row(*(row[key] for key in DESCRIPTION))
    print_table(table)
    echo("`reslab recipes NAME` lists the fields of one, with their meaning and unit.")


def _print_fields(fields: list[dict[str, Any]]) -> None:
    table = make_table("field", "value", "unit", "meaning", numbers=0)
    for field in fields:
        unread = f" Not read: {field['unread']}." if field["unread"] else ""
        value = _text(field["value"])
        table.add_row(field["field"], value, field["unit"], f"{field['meaning']}{unread}")
    print_table(table)


def _text(value: Any) -> str:
    """The value as `--set` takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
