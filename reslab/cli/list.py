"""`reslab list`: the networks, recipes and data sets that have a name."""

from __future__ import annotations

from typing import Any

import click

from reslab.cli.options import as_json
from reslab.cli.output import print_json
from reslab.cli.tables import make_table, millions, print_table


@click.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the networks, recipes and data sets that have a name."""
    from reslab.runs.papers import RECIPES
    from reslab.spec.catalogue import sources

    networks = _networks()
    if as_json:
        recipes = [{"name": r.name, "promise": r.promise} for r in RECIPES.values()]
        data = [{"name": name, "title": title} for name, title in sources()]
        print_json({"networks": networks, "recipes": recipes, "data": data})
        return
    table = make_table("network", "parameters", "multiply-adds", "input", "", keep_rows=True)
    for row in networks:
        size = "x".join(map(str, row["input_shape"]))
        counts = millions(row["trainable_params"]), millions(row["multiply_adds"])
        table.add_row(row["name"], *counts, size, row["title"])
    print_table(table)
    table = make_table("recipe", "promise", numbers=0)
    for recipe in RECIPES.values():
        table.add_row(recipe.name, recipe.promise)
    print_table(table)
    table = make_table("data", "", numbers=0)
    for name, title in sources():
        table.add_row(name, title)
    print_table(table)


def _networks() -> list[dict[str, Any]]:
    from reslab.spec import summary
    from reslab.zoo import NETWORKS

    rows = []
    for network in NETWORKS.values():
        counts = summary.counts(network)
        rows.append(
            {
                "name": network.name,
                "title": network.title,
                "classes": network.classes,
                **summary.images(network),
                "trainable_params": counts.trainable_params,
                "multiply_adds": counts.multiply_adds,
            }
        )
    return rows
