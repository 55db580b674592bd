"""What the runs of a study measured, gathered from their folders (no Keras)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from reslab.core.errors import UserError
from reslab.runs.run import Run
from reslab.studies.folder import Study


def write(study: Study) -> None:
    """results.json, from what is there of each run."""
    tests = study.read("test.json") or {}
    rows = []
    for each in study.info.get("runs", []):
        path = study.path / "runs" / f"{each['case']}-seed{each['seed']}"
        if (path / "run.json").exists():
            rows.append({**each, **_row(Run.open(path), tests.get(path.name, []))})
    study.write("results.json", {"runs": rows})


def _row(run: Run, tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    epochs, steps = run.log("epoch"), run.log("steps")
    curve = [[line["step"], line["error"]] for line in steps]
    # Lines are of 50 steps, or of the few since the epoch began: of those, short epochs have many
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
    """Numbers of several seeds."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def sd(self) -> float:
        """The sample's standard deviation; 0 of one number."""
        return stdev(self.values) if self.n > 1 else 0.0

    @property
    def low(self) -> float:
        return self.mean - self.sd

    @property
    def high(self) -> float:
        return self.mean + self.sd

    def against(self, other: Spread) -> str:
        """Whether this is "higher" or "lower" than the other; "not decided" where they overlap."""
        if self.low > other.high:
            return "higher"
        return "lower" if self.high < other.low else "not decided"


@dataclass(frozen=True)
class Result:
    """One case over its seeds. Errors are of the runs that came to their end."""

    case: str
    rows: tuple[dict[str, Any], ...]

    def spread(self, what: str) -> Spread | None:
        """Of "train_error" (the last epoch's, as the steps saw it) or "test_error"."""
        values = tuple(row[what] for row in self.rows if row[what] is not None)
        return Spread(values) if values else None

    @property
    def failed(self) -> int:
        return sum(row["status"] == "failed" for row in self.rows)

    def curve(self, what: str) -> list[tuple[int, Spread]]:
        """The error of "train" or "test" by step, where all the seeds have it."""
        curves = [dict(map(tuple, row[what])) for row in self.rows if row["status"] != "failed"]
        if not curves:
            return []
        common = sorted(set.intersection(*(set(curve) for curve in curves)))
        return [(step, Spread(tuple(curve[step] for curve in curves))) for step in common]


def read(study: Study) -> dict[str, Result]:
    """The results by case, in the order in which they were asked. UserError where damaged."""
    data = study.read("results.json") or {"runs": []}
    try:
        names = list(dict.fromkeys(row["case"] for row in data["runs"]))
        found = {
            name: Result(name, tuple(row for row in data["runs"] if row["case"] == name))
            for name in names
        }
        for result in found.values():
            for what in ("train_error", "test_error"):
                spread = result.spread(what)
                if spread is not None and not math.isfinite(spread.mean):
                    raise ValueError
            result.curve("train"), result.curve("test")
    except (KeyError, TypeError, ValueError):
        file = study.path / "results.json"
        raise UserError(f"{file} is damaged: the command of the study writes it again") from None
    return found


def summary(result: Result) -> dict[str, Any]:
    """A case in numbers, as JSON: errors are parts of one, over the seeds that did not fail."""
    found: dict[str, Any] = {"case": result.case, "seeds": len(result.rows)}
    found |= {"failed": result.failed, "params": result.rows[0]["params"]}
    for what in ("train_error", "test_error"):
        spread = result.spread(what)
        several = spread is not None and spread.n > 1
        found[what] = {
            "mean": spread and spread.mean,
            "sd": spread.sd if spread and several else None,
            "values": list(spread.values) if spread else [],
        }
    return found
