"""The page of docs/results/small-sets.md: how `quick` and `fine-tune` fit small data sets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import table

RESULTS = Path(__file__).parents[1] / "bench" / "results"
Key = tuple[str, str, int]  # the recipe, the kind of images, their number
LABELS = {"fashion-mnist": "Fashion-MNIST", "glyphs": "glyphs", "photographs": "photographs"}


def read(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]]
    rows = json.loads((RESULTS / name).read_text(encoding="utf-8"))["trainings"]
    return rows


def trainings(phase: str) -> list[dict[str, Any]]:
    return [row for row in read("small-sets.json") if row["phase"] == phase]


def before_and_after() -> str:
    """Test errors by recipe and number of images: the recipe as it is written, and by the rule."""
    cells: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    recipes: dict[Key, dict[str, Any]] = {}
    for row in trainings("test"):
        key = row["method"], row["kind"], row["images"]
        cells[key][row["candidate"]["rule"]].append(row.get("error", 1.0))
        if row["candidate"]["rule"] == "new":
            recipes[key] = row["recipe"] | {"steps": row["steps"]}
    lines = []
    for key in sorted(cells, key=lambda key: (key[0] != "quick", *key[1:])):
        errors = cells[key]
        method, kind, images = key
        values = recipes.get(key, {})
        lines.append(
            [
                f"`{method}`",
                LABELS[kind],
                f"{images:,}",
                *(_percent(errors.get(rule, [])) for rule in ("old", "new")),
                f"{values['batch']}, {values['rate']:g}, {values['steps']:,}" if values else "",
            ]
        )
    head = ["recipe", "images of", "number", "as written", "fitted", "batch, rate, steps"]
    return table(head, lines)


def candidates() -> str:
    """Every candidate of the tuning, in the order of its error."""
    groups: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for row in trainings("tune"):
        groups[row["method"], row["kind"], row["images"]].append(row)
    return table(
        ["recipe", "images of", "number", "batch, rate, steps: error on tuning images"],
        [
            [f"`{method}`", LABELS[kind], f"{images:,}", "; ".join(map(_candidate, _sorted(rows)))]
            for (method, kind, images), rows in sorted(groups.items())
        ],
    )


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row.get("error", 1.0))


def _candidate(row: dict[str, Any]) -> str:
    candidate = row["candidate"]
    fields = "batch", "rate", "steps"
    label = "as written" if "rule" in candidate else ", ".join(f"{candidate[k]:g}" for k in fields)
    return f"{label}: {_percent([row['error']])}" if "error" in row else f"{label}: stopped"


def _percent(errors: list[float]) -> str:
    if not errors:
        return ""
    spread = f" ({', '.join(f'{100 * e:.1f}' for e in errors)})" if errors[1:] else ""
    return f"{100 * mean(errors):.1f} %{spread}"


def photographs() -> str:
    """The trainings on folders of photographs."""
    lines = []
    for row in read("own-photos.json"):
        rate = row.get("error")
        error = interval = "stopped: not finite"
        if rate:
            error = f"{100 * rate['value']:.1f} %"
            interval = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %"
        values = [f"{row['recipe'][k]:g}" for k in ("batch", "rate")] if rate else []
        sizes = ", ".join([*values, f"{row['steps']:,}"]) if rate else ""
        options = f"`{row['options']}`" if row["options"] else "the defaults"
        cautions = str(len(row.get("cautions", ()))) if rate else ""
        lines.append([f"`{row['folder']}`", options, sizes, error, interval, cautions])
    head = ["folder", "options", "batch, rate, steps", "test error", "95 % interval", "cautions"]
    return table(head, lines)


TABLES: dict[str, Callable[[], str]] = {
    "tested": before_and_after,
    "candidates": candidates,
    "photographs": photographs,
}
