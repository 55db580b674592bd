"""The errors of a study's runs, collected from their folders (no Keras)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.plots.format import NONE
from reslab.runs.run import Run
from reslab.studies.folder import Study

FAIL = "fail"  # the paper's word for a training without a usable result


def write(study: Study) -> None:
    """Write results.json from the runs that exist."""
    tests = study.read("test.json") or {}
    rows = []
    for each in study.info.get("runs", []):
        path = study.path / "runs" / f"{each['case']}-seed{each['seed']}"
        if (path / RUN_FILE).exists():
            rows.append({**each, **_row(Run.open(path), tests.get(path.name, []))})
    study.write("results.json", {"runs": rows})


def _row(run: Run, tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    epochs, steps = run.log("epoch"), run.log("steps")
    curve = [[line["step"], line["error"]] for line in steps]
    # A line is a mean over 50 steps, or over fewer since the epoch began. Short epochs have many
    # lines of the second kind, so take the means of whole epochs there.
    if len(steps) < 2 * len(epochs):
        curve = [[line["step"], line["train_error"]] for line in epochs]
    done = run.info["status"] == "done"
    return {
        "run": run.name,
        "status": run.info["status"],
        "why": run.info.get("why"),
        "params": run.info["params"],
        "multiply_adds": run.info["multiply_adds"],
        "steps": epochs[-1]["step"] if epochs else 0,
        "seconds": round(sum(line["seconds"] for line in epochs), 1),
        "train_error": epochs[-1]["train_error"] if done else None,
        "test_error": tests[-1]["error"] if done and tests else None,
        "train": curve,
        "test": [[row["step"], row["error"]] for row in tests],
    }


@dataclass(frozen=True)
class Spread:
    """One number for each seed."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def sd(self) -> float:
        """The sample standard deviation; 0 for one number."""
        return stdev(self.values) if self.n > 1 else 0.0

    @property
    def low(self) -> float:
        return self.mean - self.sd

    @property
    def high(self) -> float:
        return self.mean + self.sd

    def against(self, other: Spread) -> str:
        """Return "higher" or "lower"; "not decided" where the ranges mean +- s overlap."""
        if self.low > other.high:
            return "higher"
        return "lower" if self.high < other.low else "not decided"


@dataclass(frozen=True)
class Result:
    """One case over its seeds. Errors are those of the finished runs."""

    case: str
    rows: tuple[dict[str, Any], ...]

    def spread(self, metric: str) -> Spread | None:
        """The "train_error" (mean over the last epoch's steps) or "test_error" of each seed."""
        values = tuple(row[metric] for row in self.rows if row[metric] is not None)
        return Spread(values) if values else None

    @property
    def failed(self) -> int:
        return sum(row["status"] == "failed" for row in self.rows)

    def curve(self, split: str) -> list[tuple[int, Spread]]:
        """The error of "train" or "test" by step, at the steps that all seeds have."""
        curves = [dict(map(tuple, row[split])) for row in self.rows if row["status"] != "failed"]
        if not curves:
            return []
        common = sorted(set.intersection(*(set(curve) for curve in curves)))
        return [(step, Spread(tuple(curve[step] for curve in curves))) for step in common]


def read(study: Study) -> dict[str, Result]:
    """The results by case, in the order of the study. UserError if results.json is damaged."""
    data = study.read("results.json") or {"runs": []}
    try:
        names = list(dict.fromkeys(row["case"] for row in data["runs"]))
        results = {
            name: Result(name, tuple(row for row in data["runs"] if row["case"] == name))
            for name in names
        }
        for result in results.values():
            for metric in ("train_error", "test_error"):
                spread = result.spread(metric)
                if spread is not None and not math.isfinite(spread.mean):
                    raise ValueError
            result.curve("train"), result.curve("test")
    except (KeyError, TypeError, ValueError):
        file = study.path / "results.json"
        raise UserError(
            f"{file} is damaged: run the command of the study again to write it"
        ) from None
    return results


def summary(result: Result) -> dict[str, Any]:
    """A case as JSON: errors from 0 to 1, over the seeds that did not fail."""
    entry: dict[str, Any] = {"case": result.case, "seeds": len(result.rows)}
    entry |= {"failed": result.failed, "params": result.rows[0]["params"]}
    for metric in ("train_error", "test_error"):
        spread = result.spread(metric)
        several = spread is not None and spread.n > 1
        entry[metric] = {
            "mean": spread and spread.mean,
            "sd": spread.sd if spread and several else None,
            "values": list(spread.values) if spread else [],
        }
    return entry


def error_text(spread: Spread | None, failed: int = 0) -> str:
    """`8.75 ± 0.16 %`, with the standard deviation if there are several seeds."""
    if spread is None:
        return FAIL if failed else NONE
    deviation = f" ± {100 * spread.sd:.2f}" if spread.n > 1 else ""
    return f"{100 * spread.mean:.2f}{deviation} %" + (f", {failed} failed" if failed else "")
