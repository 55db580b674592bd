"""The errors of a study's runs, collected from their folders (no Keras)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, stdev
from typing import Any

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.evaluation import intervals
from reslab.evaluation.intervals import LEVEL, ErrorDifference
from reslab.plots.format import NONE
from reslab.runs.run import Run
from reslab.studies.folder import Study

FAIL = "fail"  # the paper's word for a training without a usable result
MOST_IMAGES = 10**6  # an error is a whole number of at most this many images
ONE_SEED = "With one seed, the intervals cover the images but not the variation between seeds"


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
        "images": {"train": _last_epoch(run, epochs), "test": run.info["data"]["counts"]["test"]},
        "steps": epochs[-1]["step"] if epochs else 0,
        "seconds": round(sum(line["seconds"] for line in epochs), 1),
        "train_error": epochs[-1]["train_error"] if done else None,
        "test_error": tests[-1]["error"] if done and tests else None,
        "train": curve,
        "test": [[row["step"], row["error"]] for row in tests],
    }


def _last_epoch(run: Run, epochs: Sequence[Mapping[str, Any]]) -> int:
    """The images of the last epoch, over which its training error is a mean.

    They are fewer than all training images if the batch does not divide them, or if the training
    ends within the epoch.
    """
    ends = [0, *(line["step"] for line in epochs)]
    return int(run.info["recipe"]["batch"]) * (ends[-1] - ends[-2]) if epochs else 0


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


@dataclass(frozen=True)
class Result:
    """One case over its seeds. Errors are those of the finished runs."""

    case: str
    rows: tuple[dict[str, Any], ...]

    def spread(self, metric: str) -> Spread | None:
        """The "train_error" (mean over the last epoch's steps) or "test_error" of each seed."""
        values = tuple(row[metric] for row in self.rows if row[metric] is not None)
        return Spread(values) if values else None

    def images(self, metric: str) -> int:
        """The number of images that the metric is a mean over; the smallest of the runs."""
        return min(int(row["images"][metric.removesuffix("_error")]) for row in self.rows)

    def against(self, other: Result, metric: str, level: float = LEVEL) -> ErrorDifference | None:
        """The error of this case minus that of another; None if one of them has no finished run.

        See `reslab.evaluation.intervals.compare`.
        """
        mine, theirs = self.spread(metric), other.spread(metric)
        if mine is None or theirs is None:
            return None
        images = self.images(metric), other.images(metric)
        return intervals.compare(mine.values, theirs.values, *images, level)

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
        rows = _with_images(study, data["runs"])
        names = list(dict.fromkeys(row["case"] for row in rows))
        results = {
            name: Result(name, tuple(row for row in rows if row["case"] == name)) for name in names
        }
        for result in results.values():
            for metric in ("train_error", "test_error"):
                spread = result.spread(metric)
                if spread is not None and not math.isfinite(spread.mean):
                    raise ValueError
            result.curve("train"), result.curve("test"), result.images("test_error")
    except (KeyError, TypeError, ValueError):
        file = study.path / "results.json"
        raise UserError(
            f"{file} is damaged: run the command of the study again to write it"
        ) from None
    return results


def _with_images(study: Study, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the number of images of each error, which older studies did not record.

    The last epoch's images follow from the steps. All test errors of a study are whole numbers of
    the same images: the smallest number that fits gives the widest intervals.
    """
    if all("images" in row for row in rows):
        return list(rows)
    errors = [error for row in rows for _, error in row["test"]]
    parts = (Fraction(error).limit_denominator(MOST_IMAGES) for error in errors)
    test = math.lcm(*(part.denominator for part in parts))
    recipe, images = study.info.get("recipe") or {}, (study.info.get("plan") or {}).get("images")
    batch = min(recipe.get("batch", 1), images or 1)
    steps = (images or 1) // batch  # of an epoch
    return [
        {"images": {"train": batch * ((row["steps"] - 1) % steps + 1), "test": test}, **row}
        for row in rows
    ]


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


def difference_text(difference: ErrorDifference, level: str = "95 % interval") -> str:
    """`difference 1.52 points, 95 % interval 0.44 to 2.60`."""
    mean, low, high = (100 * v for v in (difference.mean, difference.low, difference.high))
    return f"difference {mean:.2f} points, {level} {low:.2f} to {high:.2f}"
