"""What every study that trains several networks shows: how they were trained, and the errors."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.plots.format import count, duration, percent, value
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.sweep.results import Result


def trained(study: Study, results: Mapping[str, Result]) -> Section:
    """The recipe, the plan, and every run."""
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
        fields = [(name.replace("_", " "), value(content)) for name, content in recipe.items()]
        tables.append(Table("The recipe", ("field", "value"), fields, names=2, folded=True))
    machine = study.info.get("machine") or {}
    devices = ", ".join(str(machine[key]) for key in ("cpu", "gpu") if machine.get(key))
    seeds = study.settings.get("seeds")
    paragraphs = [
        f"Recipe `{recipe.get('name', study.settings.get('recipe'))}`, {seeds} "
        f"seed{'s' if seeds != 1 else ''}, on {study.info.get('data', 'the data')}. "
        + ". ".join(_sentence(line) for line in plan.get("said", []))
        + ".",
        "All training images are used for training: no epoch is selected, so no validation images "
        "are needed. The training error is measured during the epoch, on augmented images; the "
        "test error on the images without augmentation. The last epoch counts.",
    ]
    if devices:
        paragraphs.append(f"Trained on {devices}, backend {study.info.get('backend')}.")
    return Section("How it was trained", paragraphs, tables=tables, measured=study.commands)


def lead(study: Study) -> str:
    """One line about what was trained."""
    runs = len(study.info.get("runs", []))
    return f"{runs} runs with one recipe, on {study.info.get('data', 'the same data')}."


def status(study: Study) -> list[str]:
    if study.info["status"] == "done":
        return []
    return ["This study is not finished: run the same command again to continue it."]


def printed(table: Table) -> list[str]:
    """A table as lines of a terminal."""
    rows = [list(map(str, row)) for row in (table.head, *table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    return [
        "  ".join(
            cell.ljust(n) if i < table.names else cell.rjust(n)
            for i, (cell, n) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]
