"""The content of a report, read from the run folders: plain values for the page's template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from reslab.core.errors import DAMAGE, UserError
from reslab.data.dataset import MULTILABEL
from reslab.evaluation.cautions import cautions
from reslab.evaluation.tasks import registry
from reslab.plots import format, plotly, run_charts
from reslab.plots.run_charts import Curves
from reslab.report import details, schedule, seeds, suspects, tasks
from reslab.report.reproduce import training_command
from reslab.spec import Network, summary

# Defaults of the keys that the page needs, so that a run without one still gets a report.
INFO: Mapping[str, Any] = {
    **dict.fromkeys(("command", "commit", "seed", "precision", "backend", "started", "finished")),
    "chosen_epoch": None,
    "why": None,
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


LONGEST_TITLE = 80  # letters; above, the runs are counted, and named below the title


class RunLike(Protocol):
    """The attributes of a run that a report reads; `reslab.runs.run.Run` has them."""

    @property
    def path(self) -> Path: ...
    @property
    def info(self) -> Mapping[str, Any]: ...
    @property
    def evaluation(self) -> Mapping[str, Any] | None: ...
    @property
    def suspects(self) -> Mapping[str, Any] | None: ...
    @property
    def network(self) -> Network: ...
    def log(self) -> Sequence[Mapping[str, Any]]: ...


def page_context(runs: Sequence[RunLike], folds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the variables of templates/page.html.

    Raises UserError if the files of a run do not contain what they should.
    """
    names = _names(runs)
    alone = len(runs) == 1
    sections = [_section(run, number, names[number], alone) for number, run in enumerate(runs)]
    over_seeds = seeds.table(runs, sections)
    return {
        "title": (folds or {}).get("title") or over_seeds["title"] or _title(sections),
        "tested": _tested(sections),
        "readings": max(
            (s["evaluation"]["readings"] for s in sections if s["evaluation"]), default=1
        ),
        "sections": sections,
        "measure": _measure(sections),
        "rates": _rates(sections),
        "charts": _shared_charts(sections),
        "seeds": over_seeds,
        "folds": folds,
        "different_data": len({s["data"].get("checksum") for s in sections}) > 1,
        "version": format.value(runs[0].info.get("versions", {}).get("reslab")),
    }


def _names(runs: Sequence[RunLike]) -> list[str]:
    """A name for each run; runs of the same name get their folder added."""
    names = [str(run.info.get("name") or run.path.name) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.path})"
        for name, run in zip(names, runs, strict=True)
    ]


def _title(sections: Sequence[Mapping[str, Any]]) -> str:
    """The networks and data where they distinguish the runs, else the names of the runs."""
    headlines = [section["headline"] for section in sections]
    if len(sections) > 4:
        return f"{len(sections)} runs"
    if len(set(headlines)) < len(headlines):
        names = format.listed(section["name"] for section in sections)
        return names if len(names) <= LONGEST_TITLE else f"{len(sections)} runs"
    if len({section["data"].get("name") for section in sections}) > 1:
        return format.listed(headlines)
    nets = format.listed(section["network"]["name"] for section in sections)
    return f"{nets} on {sections[0]['data'].get('name', 'unknown data')}"


def _tested(sections: Sequence[Mapping[str, Any]]) -> str:
    """Which epochs have test errors: "chosen" if all were chosen, else "last"; "" for none."""
    tested = [s for s in sections if s["evaluation"] and s["evaluation"]["split"] == "test"]
    return ("chosen" if all(s["chosen"] for s in tested) else "last") if tested else ""


def _rates(sections: Sequence[Mapping[str, Any]]) -> str:
    """Where the rates of the chart are from."""
    exact = [section["rates_exact"] for section in sections if section["curves"].rates]
    if all(exact):
        return "of every step, by the recipe"
    return "by the recipe, or as logged" if any(exact) else "as logged"


def _section(run: RunLike, number: int, name: str, alone: bool) -> dict[str, Any]:
    try:
        return _content(run, number, name, alone)
    except DAMAGE as error:
        raise UserError(f"{run.path} is damaged: {error!r}") from error


def _content(run: RunLike, number: int, name: str, alone: bool) -> dict[str, Any]:
    """Everything that the report shows about one run; `alone` if the page has no other."""
    info, evaluation = {**INFO, **run.info}, run.evaluation
    rows = run.log()
    log = _Log(rows)
    data = {**DATA, **info.get("data", {})}
    data["facts"] = _facts(data["facts"])
    data["counts"] = dict.fromkeys(("train", "validation", "test")) | data["counts"]
    rates = schedule.rates(info, run.network, log.epochs, log.steps)
    points = list(zip(rates.epochs, rates.values, strict=True))
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
        "rates_exact": rates.exact,
        "curves": Curves(name, number, log.epochs, log.steps, info["chosen_epoch"], points),
        "notes": log.notes,
        "status": info["status"],
        "epochs": _epochs(len(log.epochs), info["recipe"].get("epochs") or None),
        "measure": registry.result_module(info).MEASURE,
        "chosen": _chosen(info, log, data["counts"]["validation"]),
        "seconds": log.seconds or format.seconds_between(info["started"], info["finished"]),
        "evaluation": _evaluation(run, evaluation, data, f"run-{number}", alone)
        if evaluation
        else None,
        "suspects": _suspects(run, evaluation, data),
        "train": training_command(run.path, info, run.network),
        "evaluate": f"reslab evaluate {shlex.quote(str(run.path))}",
        "report": f"reslab report {shlex.quote(str(run.path))}",
        "export": f"reslab export {shlex.quote(str(run.path))} --temperature",
        "resume": f"reslab train --resume {shlex.quote(str(run.path))}",
        "recipe": _recipe(info["recipe"]),
        "cautions": cautions({**info, "data": data}, evaluation, rows),
    }


def _epochs(done: int, of: float | None) -> dict[str, Any]:
    """A training of half an epoch logs one epoch; it has done 0.5 of 0.5."""
    return {"done": of if of and of < done else done, "of": of}


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts about the data, without empty ones, and with a sentence about duplicates."""
    shown = {k: v for k, v in facts.items() if k not in ("skipped", "identical_in_train_and_test")}
    if facts.get("skipped"):
        shown["skipped"] = facts["skipped"]
    if "identical_in_train_and_test" in facts:
        n = facts["identical_in_train_and_test"]
        files = "1 test file is" if n == 1 else f"{n} test files are" if n else "no test file is"
        shown["duplicates"] = f"{files} identical to a training file"
    return shown


class _Log:
    """The rows of the log by kind. If a resumed run logged a step twice, the later row counts."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self.epochs = self._by(rows, "epoch", "epoch")
        self.steps = self._by(rows, "steps", "step")
        self.notes = [str(row["text"]) for row in rows if row.get("kind") == "note"]
        seconds = [row["seconds"] for row in self.epochs if row.get("seconds") is not None]
        self.seconds = sum(seconds) if seconds else None

    @staticmethod
    def _by(rows: Sequence[Mapping[str, Any]], kind: str, key: str) -> list[Mapping[str, Any]]:
        latest = {row[key]: row for row in rows if row.get("kind") == kind}
        return [latest[number] for number in sorted(latest)]


def _network(run: RunLike) -> dict[str, Any]:
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


def _chosen(info: Mapping[str, Any], log: _Log, n: int | None) -> dict[str, Any] | None:
    """The chosen epoch with its main result on the n validation images."""
    epoch = info["chosen_epoch"]
    if epoch is None:
        return None
    name = f"val_{registry.result_module(info).LOGGED}"
    result = next((row.get(name) for row in log.epochs if row["epoch"] == epoch), None)
    return {"epoch": epoch, "result": result, "n": n}


def _recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are set, and the names of those that are zero or empty."""
    description = ("name", "promise", "source")
    fields = {key: value for key, value in recipe.items() if key not in description}
    return {
        **{key: recipe.get(key) for key in description},
        "fields": {key: value for key, value in fields.items() if value},
        "unused": [format.heading(key) for key, value in fields.items() if not value],
    }


def _evaluation(
    run: RunLike, evaluation: Mapping[str, Any], data: Mapping[str, Any], id: str, alone: bool
) -> dict[str, Any]:
    """The evaluation as the task of the run shows it, and the template that does."""
    module = tasks.module(run.info)
    shown = module.evaluation(run.path / "evaluation.json", evaluation, data, id)
    main = registry.result_module(run.info).main(shown)
    images = details.details(shown, id) if alone else details.NOTHING
    results = {"main": main, "tiles": module.tiles(shown), "template": module.TEMPLATE}
    return {**shown, **images, **results}


def _suspects(
    run: RunLike, evaluation: Mapping[str, Any] | None, data: Mapping[str, Any]
) -> dict[str, Any] | None:
    likely = (evaluation or {}).get("suspects")
    several = registry.task_name(run.info) == MULTILABEL
    return suspects.shown(run.path / "suspects.json", run.suspects, likely, data, several)


def _measure(sections: Sequence[Mapping[str, Any]]) -> str:
    """What the main results of all runs measure; "" if they measure different things."""
    measures = {section["measure"] for section in sections}
    return measures.pop() if len(measures) == 1 else ""


# ------------------------------------------------------------------------------------- charts


def _shared_charts(sections: Sequence[Mapping[str, Any]]) -> dict[str, plotly.Chart]:
    """The charts that show all runs. Charts without data are left out."""
    curves = [section["curves"] for section in sections if section["curves"].epochs]
    curves += [s["curves"] for s in sections if not s["curves"].epochs and s["curves"].steps]
    charts = {}
    if any(len(each.epochs) > 1 or len(each.steps) > 1 for each in curves):
        charts["error"] = run_charts.curves(curves, "error", "curves-error")
        charts["loss"] = run_charts.curves(curves, "loss", "curves-loss")
    if any(len(each.rates) > 1 for each in curves):
        charts["rate"] = run_charts.rate(curves, "curves-rate")
    nets = [section["network"]["name"] for section in sections]
    by_net = len(set(nets)) == len(nets)  # shorter than the runs' names, if it distinguishes them
    test_results = [
        (s["network"]["name"] if by_net else s["name"], s["number"], s["evaluation"]["main"])
        for s in sections
        if s["evaluation"]
        and s["evaluation"]["split"] == "test"
        and s["evaluation"]["main"]["low"] is not None
    ]
    if len(test_results) > 1 and (measure := _measure(sections)):
        charts["tests"] = run_charts.result_dots(test_results, measure, "test-errors")
    return charts
