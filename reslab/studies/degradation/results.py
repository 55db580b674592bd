"""The answer of a study of degradation, from the errors of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from reslab.evaluation.intervals import ErrorDifference
from reslab.studies.sweep.results import ONE_SEED, Result, Spread, difference_text, error_text

KIND = "degradation"
KINDS = {"plain": "plain", "resnet": "residual"}  # the beginning of a case's name: what it is

NETWORKS = {  # a sentence about the networks, by verdict
    "higher": "degrade",
    "lower": "do not degrade",
    "not decided": "show no decided change",
    "failed": "did not all train",
    "missing": "are not trained yet",
}
ERROR = {  # a sentence about the training error, by verdict
    "higher": "rises from {} to {}",
    "lower": "falls from {} to {}",
    "not decided": "goes from {} to {}, which is no decided change",
    "failed": "cannot be compared, because a training failed",
    "missing": "is not measured yet",
}


@dataclass(frozen=True)
class Change:
    """The training errors of the last epoch with the fewest and with the most layers.

    `difference` is the deep network's error minus that of the shallow one; None if a network has
    no finished training.
    """

    shallow: Spread | None
    deep: Spread | None
    difference: ErrorDifference | None = None
    failed: bool = False

    @property
    def verdict(self) -> str:
        """How the error changes with depth: a key of `NETWORKS` and `ERROR`."""
        if self.difference is None:
            return "failed" if self.failed else "missing"
        return self.difference.verdict

    @property
    def sentence(self) -> str:
        text = ERROR[self.verdict].format(error_text(self.shallow), error_text(self.deep))
        return text if self.difference is None else f"{text} ({difference_text(self.difference)})"

    def as_json(self) -> dict[str, Any] | None:
        """The difference as fractions, with its 95 % interval; None if there is none."""
        return None if self.difference is None else asdict(self.difference)


@dataclass(frozen=True)
class Answer:
    """The deepest networks against the shallowest.

    A change is decided if the 95 % interval of the difference excludes zero; see
    `reslab.evaluation.intervals.compare`. With one seed the interval covers only the images, which
    the sentence says. `seeds` is the smallest number of finished trainings.
    """

    plain: Change
    residual: Change
    shallow: int
    deep: int
    seeds: int

    @property
    def sentence(self) -> str:
        if self.shallow == self.deep:
            return "One depth cannot show degradation: give two or more."
        lead = (
            f"Plain nets {NETWORKS[self.plain.verdict]}, "
            f"residual nets {NETWORKS[self.residual.verdict]}"
        )
        if self.seeds == 1:  # two trainings say nothing about all others of these networks
            lead = ONE_SEED
        return (
            f"{lead}: from {self.shallow} to {self.deep} layers, the training error of the plain "
            f"net {self.plain.sentence}, and that of the residual net {self.residual.sentence}."
        )

    def as_json(self) -> dict[str, Any]:
        several = self.shallow != self.deep
        return {
            "plain": self.plain.verdict if several else None,
            "residual": self.residual.verdict if several else None,
            "plain_difference": self.plain.as_json() if several else None,
            "residual_difference": self.residual.as_json() if several else None,
            "shallow": self.shallow,
            "deep": self.deep,
            "seeds": self.seeds,
            "said": self.sentence,
        }


def answer(results: Mapping[str, Result]) -> Answer:
    """Compare the deepest networks with the shallowest."""
    layers = depths(results) or [0]
    shallow, deep = layers[0], layers[-1]
    plain, residual = (_change(results, f"{kind}{shallow}", f"{kind}{deep}") for kind in KINDS)
    seeds = min((len(r.rows) - r.failed for r in results.values()), default=0)
    return Answer(plain, residual, shallow, deep, seeds)


def _change(results: Mapping[str, Result], *cases: str) -> Change:
    both = [results.get(case) for case in cases]
    failed = any(result.failed for result in both if result)
    shallow, deep = both
    difference = deep.against(shallow, "train_error") if shallow and deep else None
    before, after = (result.spread("train_error") if result else None for result in both)
    return Change(before, after, difference, failed)


def depths(results: Mapping[str, Result]) -> list[int]:
    """The numbers of layers, ascending: 20 for "plain20"."""
    return sorted({int("".join(c for c in name if c.isdecimal())) for name in results})
