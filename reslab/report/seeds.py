"""Runs that differ by their seed alone: which they are, and their errors as mean and deviation.

The seed of a training decides the first weights, the order of the images and the augmentation. It
does not decide the split: all runs of a group are tested on the same images. The standard deviation
therefore covers the training, and not the sampling of the test images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from reslab.evaluation import intervals
from reslab.evaluation.tasks.registry import result_module
from reslab.plots.format import digits
from reslab.runs.options import RECORDED

if TYPE_CHECKING:
    from reslab.report.context import RunLike

# Recorded options that do not change the result.
INCIDENTAL = "seed", "workers", "keep_checkpoints", "checkpoint_seconds"
PICTURE_SIZE = "size", "folder_size", "margin"
COVERS = (
    "The seed decides the first weights, the order of the images and the augmentation; the split "
    "and the test images are the same. So ± covers the training, not the sampling of the images."
)


@dataclass(frozen=True)
class SeedErrors:
    """One error for each seed, all measured on the same images."""

    values: tuple[float, ...]
    images: int

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; None with one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def text(self) -> str:
        """`8.75 ± 0.16 %`; without the deviation for one seed."""
        decimals, sd = digits(self.images), self.sd
        deviation = "" if sd is None else f" ± {100 * sd:.{decimals}f}"
        return f"{100 * self.mean:.{decimals}f}{deviation} %"

    @property
    def interval(self) -> str:
        """The 95 % t-interval of the mean over the seeds; "" for one seed."""
        if len(self.values) < 2:
            return ""
        decimals, (low, high) = digits(self.images), intervals.t_interval(self.values)
        low, high = max(0.0, low), min(1.0, high)
        return f"{100 * low:.{decimals}f} to {100 * high:.{decimals}f} %"


@dataclass(frozen=True)
class SeedGroup:
    """Two or more runs that differ by their seed alone.

    Attributes:
        numbers: The positions of the runs. If two runs have the same seed, the first one counts.
        seeds: Their seeds.
        failed: The runs whose training failed.
        unfinished: The runs that are not finished or not evaluated.
        split: The part of the data that was evaluated: "test", or "validation" without a test set.
        errors: The main results of the evaluated runs; None if there are none.
        measure: What they measure, such as "error".
        higher_is_better: Whether a higher result is better.
    """

    numbers: tuple[int, ...]
    seeds: tuple[int, ...]
    failed: int
    unfinished: int
    split: str
    errors: SeedErrors | None
    measure: str = "error"
    higher_is_better: bool = False

    @property
    def sentence(self) -> str:
        """`test error 8.75 ± 0.16 % (mean ± sd, n = 3 seeds)`."""
        notes = [f"{self.failed} failed"] if self.failed else []
        notes += [f"{self.unfinished} not finished"] if self.unfinished else []
        if self.errors is None:
            return f"no {self.measure} to average: {', '.join(notes)}"
        n = len(self.errors.values)
        basis = f"mean ± sd, n = {n} seeds" if n > 1 else "n = 1 seed"
        return f"{self.split} {self.measure} {self.errors.text} ({', '.join([basis, *notes])})"


def identity(run: RunLike) -> str:
    """What two runs that differ by their seed alone have in common, as JSON."""
    info = run.info
    data = info.get("data", {})
    options = [name for name in RECORDED if name not in INCIDENTAL]
    return json.dumps(
        [
            *(info.get(name) for name in ("network", "recipe", "backend", "task")),
            *(data.get(name) for name in ("checksum", "provenance", "counts", "classes")),
            *(info.get(name) for name in options),
        ],
        sort_keys=True,
    )


def groups(runs: Sequence[RunLike]) -> list[SeedGroup]:
    """The groups among these runs, in their order; runs without a partner are in none."""
    members: dict[str, dict[int, int]] = {}
    for number, run in enumerate(runs):
        if isinstance(seed := run.info.get("seed"), int):
            members.setdefault(identity(run), {}).setdefault(seed, number)
    return [_group(runs, by_seed) for by_seed in members.values() if len(by_seed) > 1]


def _group(runs: Sequence[RunLike], by_seed: Mapping[int, int]) -> SeedGroup:
    seeds = sorted(by_seed)
    chosen = [runs[by_seed[seed]] for seed in seeds]
    failed = sum(run.info.get("status") == "failed" for run in chosen)
    evaluations = [
        evaluation
        for run in chosen
        if run.info.get("status") != "failed" and (evaluation := run.evaluation)
    ]
    measured = {_measured_on(evaluation) for evaluation in evaluations}
    module, errors = result_module(chosen[0].info), None
    if len(measured) == 1:  # else they are of different images, whose errors have no mean
        results = [module.main(e)["value"] for e in evaluations]
        if all(isinstance(value, int | float) for value in results):
            errors = SeedErrors(tuple(map(float, results)), int(evaluations[0]["n"]))
    return SeedGroup(
        numbers=tuple(by_seed[seed] for seed in seeds),
        seeds=tuple(seeds),
        failed=failed,
        unfinished=len(chosen) - failed - len(evaluations),
        split=str(evaluations[0]["split"]) if errors else "test",
        errors=errors,
        measure=module.MEASURE,
        higher_is_better=module.HIGHER_IS_BETTER,
    )


def _measured_on(evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(evaluation.get(name) for name in ("split", "data", "checksum", "n"))


# The table of a comparison ------------------------------------------------------------------------


def table(runs: Sequence[RunLike], sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The variables of the template's block about seeds: a row for each group, and sentences."""
    seed_groups = groups(runs)
    rows = [
        {
            "name": sections[group.numbers[0]]["network"]["name"],
            "recipe": sections[group.numbers[0]]["recipe"]["name"],
            "data": sections[group.numbers[0]]["data"]["name"],
            "members": [sections[number] for number in group.numbers],
            "seeds": ", ".join(map(str, group.seeds)),
            "validation": _validation([sections[number] for number in group.numbers]),
            "group": group,
        }
        for group in seed_groups
    ]
    grouped = {number for group in seed_groups for number in group.numbers}
    title = f"{sections[0]['headline']}, {len(grouped)} seeds" if sections else ""
    return {
        "rows": rows,
        "title": title if len(seed_groups) == 1 and len(grouped) == len(runs) else "",
        "all": len(grouped) == len(runs),
        "covers": COVERS,
        "differences": _differences(runs, rows),
    }


def _validation(sections: Sequence[Mapping[str, Any]]) -> SeedErrors | None:
    """The main results of the chosen epochs on the validation images."""
    chosen = [s["chosen"] for s in sections if s["chosen"] and s["chosen"]["result"] is not None]
    sizes = {c["n"] for c in chosen}
    if not chosen or len(sizes) > 1:
        return None
    return SeedErrors(tuple(float(c["result"]) for c in chosen), int(sizes.pop() or 0))


def _differences(runs: Sequence[RunLike], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each group against the first one, where both were tested on the same images.

    Each interval has 95 %, or 1 - 0.05 / m for m comparisons, so that all of them hold together.
    """
    evaluated = [row for row in rows if row["group"].errors and row["group"].split == "test"]
    pairs = [(evaluated[0], row) for row in evaluated[1:] if _same_images(runs, evaluated[0], row)]
    sentences = []
    for first, other in pairs:
        mine, theirs = other["group"].errors, first["group"].errors
        level = 1 - (1 - intervals.LEVEL) / len(pairs)
        result = intervals.compare(mine.values, theirs.values, mine.images, theirs.images, level)
        mean, low, high = (100 * value for value in (result.mean, result.low, result.high))
        points = f"{mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
        text = {
            "higher": "The test {m} of {a} is higher than that of {b}",
            "lower": "The test {m} of {a} is lower than that of {b}",
            "not decided": "Whether {a} or {b} has the {better} test {m} is not decided",
        }[result.verdict].format(
            a=_label(other, rows),
            b=_label(first, rows),
            m=first["group"].measure,
            better="higher" if first["group"].higher_is_better else "lower",
        )
        sentences.append(f"{text} (difference {points}).")
    return sentences


def _same_images(
    runs: Sequence[RunLike], first: Mapping[str, Any], other: Mapping[str, Any]
) -> bool:
    """Whether the runs of two groups were tested on the same images."""
    one, two = (runs[row["group"].numbers[0]].info.get("data", {}) for row in (first, other))
    return (
        one.get("checksum") == two.get("checksum")
        and _split_options(one) == _split_options(two)
        and first["group"].errors.images == other["group"].errors.images
        and first["group"].measure == other["group"].measure
    )


def _split_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """How the data were loaded, without what changes only the size of the pictures."""
    return {k: v for k, v in data.get("provenance", {}).items() if k not in PICTURE_SIZE}


def _label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The network, with the seeds' first run where the network does not distinguish the groups."""
    name = str(row["name"])
    if sum(other["name"] == row["name"] for other in rows) > 1:
        name += f" ({row['members'][0]['name']} and its other seeds)"
    return name
