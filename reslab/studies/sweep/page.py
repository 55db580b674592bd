"""What every such study shows: how it was trained, and errors in words."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.plots.format import NONE, count, duration, percent, value
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.sweep.results import Result, Spread


def spelt(spread: Spread | None, failed: int = 0) -> str:
    """`8.75 ± 0.16 %`; the standard deviation where there are several seeds."""
    if spread is None:
        return "fail" if failed else NONE
    several = f" ± {100 * spread.sd:.2f}" if spread.n > 1 else ""
    return f"{100 * spread.mean:.2f}{several} %" + (f", {failed} failed" if failed else "")


def trained(study: Study, results: Mapping[str, Result]) -> Section:
    """The terms, the plan, and every run."""
    recipe, plan = study.info.get("recipe") or {}, study.info.get("plan") or {}
    rows = [
        (
            row["run"],
            count(row["params"]),
            row["status"],
            count(row["steps"]),
            percent(row["train_error"], 10_000),
            percent(row["test_error"], 10_000),
            duration(row["seconds"]),
        )
        for result in results.values()
        for row in result.rows
    ]
    head = ("run", "parameters", "status", "steps", "training error", "test error", "time")
    tables = [Table("Every run", head, rows, folded=True)]
    if recipe:
        facts = [(name.replace("_", " "), value(what)) for name, what in recipe.items()]
        tables.append(Table("The recipe", ("field", "value"), facts, names=2, folded=True))
    place = study.info.get("machine") or {}
    where = ", ".join(str(place[key]) for key in ("cpu", "gpu") if place.get(key))
    words = [
        f"Recipe `{recipe.get('name', study.asked.get('recipe'))}`, {study.asked.get('seeds')} seed"
        f"{'s' if study.asked.get('seeds') != 1 else ''}, on {study.info.get('data', 'the data')}. "
        + ". ".join(_sentence(line) for line in plan.get("said", []))
        + ".",
        "All training images that are used are trained on: no epoch is chosen, so none are set "
        "apart to choose by. Training errors are those of the augmented images as the steps saw "
        "them, test errors of the images as they are; the last ones count.",
    ]
    if where:
        words.append(f"Trained on {where}, backend {study.info.get('backend')}.")
    return Section("How it was trained", words, tables=tables, measured=study.commands)


def lead(study: Study) -> str:
    """What was trained, in a line."""
    runs = len(study.info.get("runs", []))
    return f"{runs} runs under one recipe, on {study.info.get('data', 'the same data')}."


def status(study: Study) -> list[str]:
    if study.info["status"] == "done":
        return []
    return ["This study is not finished: the same command goes on with it."]


def printed(table: Table) -> list[str]:
    """A table as lines of a terminal."""
    rows = [list(map(str, row)) for row in (table.head, *table.rows)]
    wide = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    return [
        "  ".join(
            cell.ljust(n) if i < table.names else cell.rjust(n)
            for i, (cell, n) in enumerate(zip(row, wide, strict=True))
        ).rstrip()
        for row in rows
    ]


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]
