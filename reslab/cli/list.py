"""`reslab list`: networks, recipes, data sets."""

from __future__ import annotations

from typing import Any

import click

from reslab.cli.options import as_json, print_json
from reslab.cli.tables import _millions, _print, _table


@click.command("list")
@as_json
def list_(as_json: bool) -> None:
    """The networks, recipes and data sets that reslab knows by name."""
    from reslab.runs.papers import RECIPES
    from reslab.spec import summary as describe
    from reslab.spec.catalogue import sources
    from reslab.zoo import NETWORKS

    networks: list[dict[str, Any]] = [
        {
            "name": network.name,
            "title": network.title,
            "classes": network.classes,
            **describe.images(network),
            "trainable_params": (sums := describe.counts(network)).trainable_params,
            "multiply_adds": sums.multiply_adds,
        }
        for network in NETWORKS.values()
    ]
    if as_json:
        recipes = [{"name": r.name, "promise": r.promise} for r in RECIPES.values()]
        print_json(
            {
                "networks": networks,
                "recipes": recipes,
                "data": [{"name": n, "title": t} for n, t in sources()],
            }
        )
        return
    table = _table("network", "parameters", "multiply-adds", "input", "", whole=True)
    for row in networks:
        size = "x".join(map(str, row["input_shape"]))
        numbers = _millions(row["trainable_params"]), _millions(row["multiply_adds"])
        table.add_row(row["name"], *numbers, size, row["title"])
    _print(table)
    table = _table("recipe", "promise", numbers=0)
    for recipe in RECIPES.values():
        table.add_row(recipe.name, recipe.promise)
    _print(table)
    table = _table("data", "", numbers=0)
    for name, title in sources():
        table.add_row(name, title)
    _print(table)
