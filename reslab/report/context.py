"""What a report says, gathered from the run folders: plain values for the page's template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from reslab.core.errors import DAMAGE, UserError
from reslab.plots import format, plotly, run_charts
from reslab.plots.run_charts import Curves
from reslab.report import tasks
from reslab.report.reproduce import again
from reslab.spec import Network, summary

# Keys that the page asks for: one that a run lacks must not cost it its report.
INFO: Mapping[str, Any] = {
    **dict.fromkeys(("command", "commit", "seed", "precision", "backend", "started", "finished")),
    "chosen_epoch": None,
    "status": "running",
    "recipe": {},
    "machine": {},
    "versions": {},
}
DATA: Mapping[str, Any] = {
    **dict.fromkeys(("name", "source", "checksum"), "unknown"),
    "classes": (),
    "image_shape": (),
    "counts": {},
    "facts": {},
}


class Run(Protocol):
    """What a report reads of a run; `reslab.runs.run.Run` is one."""

    @property
    def path(self) -> Path: ...
    @property
    def info(self) -> Mapping[str, Any]: ...
    @property
    def evaluation(self) -> Mapping[str, Any] | None: ...
    @property
    def network(self) -> Network: ...
    def log(self) -> Sequence[Mapping[str, Any]]: ...


def page(runs: Sequence[Run]) -> dict[str, Any]:
    """The variables of templates/page.html."""
    names = _names(runs)
    sections = [_section(run, number, names[number]) for number, run in enumerate(runs)]
    return {
        "title": _title(sections),
        "judged": _judged(sections),
        "readings": max(
            (s["evaluation"]["readings"] for s in sections if s["evaluation"]), default=1
        ),
        "sections": sections,
        "charts": _shared_charts(sections),
        "different_data": len({s["data"].get("checksum") for s in sections}) > 1,
        "version": format.value(runs[0].info.get("versions", {}).get("reslab")),
    }


def _names(runs: Sequence[Run]) -> list[str]:
    """A name for each run; where two are called the same, the folder tells them apart."""
    names = [str(run.info.get("name") or run.path.name) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.path})"
        for name, run in zip(names, runs, strict=True)
    ]


def _title(sections: Sequence[Mapping[str, Any]]) -> str:
    """By network and data as far as these tell the runs apart, else by the runs' names."""
    headlines = [section["headline"] for section in sections]
    if len(sections) > 4:
        return f"{len(sections)} runs"
    if len(set(headlines)) < len(headlines):
        return format.listed(section["name"] for section in sections)
    if len({section["data"].get("name") for section in sections}) > 1:
        return format.listed(headlines)
    nets = format.listed(section["network"]["name"] for section in sections)
    return f"{nets} on {sections[0]['data'].get('name', 'unknown data')}"


def _judged(sections: Sequence[Mapping[str, Any]]) -> str:
    """ "chosen" if every test error is of a chosen epoch, "last" if not, "" without any."""
    tested = [s for s in sections if s["evaluation"] and s["evaluation"]["split"] == "test"]
    return ("chosen" if all(s["chosen"] for s in tested) else "last") if tested else ""


def _section(run: Run, number: int, name: str) -> dict[str, Any]:
    """All of a run. Raises UserError where its files do not hold what is written there."""
    try:
        return _told(run, number, name)
    except DAMAGE as error:
        raise UserError(f"{run.path} is damaged: {error!r}") from error


def _told(run: Run, number: int, name: str) -> dict[str, Any]:
    info, evaluation = {**INFO, **run.info}, run.evaluation
    log = _Log(run.log())
    data = {**DATA, **info.get("data", {})}
    data["facts"] = _facts(data["facts"])
    data["counts"] = dict.fromkeys(("train", "validation", "test")) | data["counts"]
    return {
        "id": f"run-{number}",
        "number": number,
        "colour": number % plotly.RUN_COLOURS,
        "dash": plotly.dash(number),
        "name": name,
        "headline": f"{info['network']['name']} on {data['name']}",
        "info": info,
        "data": data,
        "network": _network(run),
        "curves": Curves(name, number, log.epochs, log.steps, info["chosen_epoch"]),
        "notes": log.notes,
        "status": info["status"],
        "epochs": _epochs(len(log.epochs), info["recipe"].get("epochs") or None),
        "chosen": _chosen(info["chosen_epoch"], log, data["counts"]["validation"]),
        "seconds": log.seconds or format.seconds_between(info["started"], info["finished"]),
        "evaluation": _evaluation(run, evaluation, data, f"run-{number}") if evaluation else None,
        "again": again(run.path, info, run.network),
        "evaluate": f"reslab evaluate {shlex.quote(str(run.path))}",
        "resume": f"reslab train --resume {shlex.quote(str(run.path))}",
        "recipe": _recipe(info["recipe"]),
    }


def _epochs(done: int, of: float | None) -> dict[str, Any]:
    """A training of half an epoch logs one: it has done 0.5 of 0.5."""
    return {"done": of if of and of < done else done, "of": of}


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that tell of nothing, and with a sentence for what a number would not tell."""
    told = {k: v for k, v in facts.items() if k not in ("skipped", "identical_in_train_and_test")}
    if facts.get("skipped"):
        told["skipped"] = facts["skipped"]
    if "identical_in_train_and_test" in facts:
        n = facts["identical_in_train_and_test"]
        told["copies"] = (
            f"{n} test file{'' if n == 1 else 's'} byte for byte in the training part too"
            if n
            else "no test file is byte for byte in the training part"
        )
    return told


class _Log:
    """The log's rows by kind. A resumed run may have logged a step twice: the later row counts."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self.epochs = self._by(rows, "epoch", "epoch")
        self.steps = self._by(rows, "steps", "step")
        self.notes = [str(row["text"]) for row in rows if row.get("kind") == "note"]
        spent = [row["seconds"] for row in self.epochs if row.get("seconds") is not None]
        self.seconds = sum(spent) if spent else None

    @staticmethod
    def _by(rows: Sequence[Mapping[str, Any]], kind: str, key: str) -> list[Mapping[str, Any]]:
        found = {row[key]: row for row in rows if row.get("kind") == kind}
        return [found[place] for place in sorted(found)]


def _network(run: Run) -> dict[str, Any]:
    rows = summary.table(run.network)
    adds = [row["multiply_adds"] for row in rows]
    info = run.info
    return {
        "name": run.network.name,
        "title": run.network.title,
        "source": run.network.source,
        "rows": rows,
        "params": info.get("params") or sum(row["params"] for row in rows),
        "multiply_adds": info.get("multiply_adds") or (None if None in adds else sum(adds)),
    }


def _chosen(epoch: int | None, log: _Log, n: int | None) -> dict[str, Any] | None:
    """The epoch that was chosen, with its error on the n validation images."""
    if epoch is None:
        return None
    error = next((row.get("val_error") for row in log.epochs if row["epoch"] == epoch), None)
    return {"epoch": epoch, "error": error, "n": n}


def _recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Its choices, and by name those that it does without: zeros and empty ones."""
    told = ("name", "promise", "source")
    fields = {key: value for key, value in recipe.items() if key not in told}
    return {
        **{key: recipe.get(key) for key in told},
        "fields": {key: value for key, value in fields.items() if value},
        "unused": [format.heading(key) for key, value in fields.items() if not value],
    }


def _evaluation(
    run: Run, evaluation: Mapping[str, Any], data: Mapping[str, Any], at: str
) -> dict[str, Any]:
    """The evaluation as the task of the run shows it, and the template that does."""
    module = tasks.module(run.info)
    shown = module.evaluation(run.path / "evaluation.json", evaluation, data, at)
    return {**shown, "template": module.TEMPLATE}


# ------------------------------------------------------------------------------------- charts


def _shared_charts(sections: Sequence[Mapping[str, Any]]) -> dict[str, plotly.Chart]:
    """The charts in which all runs are drawn; those without a point are left out."""
    curves = [section["curves"] for section in sections if section["curves"].epochs]
    curves += [s["curves"] for s in sections if not s["curves"].epochs and s["curves"].steps]
    charts = {}
    if curves:
        charts["error"] = run_charts.curves(curves, "error", "curves-error")
        charts["loss"] = run_charts.curves(curves, "loss", "curves-loss")
        charts["rate"] = run_charts.rate(curves, "curves-rate")
    nets = [section["network"]["name"] for section in sections]
    by_net = len(set(nets)) == len(nets)  # shorter than the runs' names, where it tells them apart
    judged = [
        (s["network"]["name"] if by_net else s["name"], s["number"], s["evaluation"]["top1_error"])
        for s in sections
        if s["evaluation"] and s["evaluation"]["split"] == "test"
    ]
    if len(judged) > 1:
        charts["tests"] = run_charts.error_dots(judged, "test-errors")
    return charts
