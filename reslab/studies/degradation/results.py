"""The answer of a study of degradation, from the errors of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reslab.studies.sweep.results import Result, Spread, error_text

KIND = "degradation"
KINDS = {"plain": "plain", "resnet": "residual"}  # the beginning of a case's name: what it is

NETWORKS = {  # a sentence about the networks, by verdict
    "higher": "degrade",
    "lower": "do not degrade",
    "not decided": "show no clear change",
    "failed": "did not all train",
    "missing": "are not trained yet",
}
ERROR = {  # a sentence about the training error, by verdict
    "higher": "rises",
    "lower": "falls",
    "not decided": "changes by less than its spread",
    "failed": "cannot be compared, because a training failed",
    "missing": "is not measured yet",
}


@dataclass(frozen=True)
class Change:
    """The training errors of the last epoch with the fewest and with the most layers."""

    shallow: Spread | None
    deep: Spread | None
    failed: bool = False

    @property
    def verdict(self) -> str:
        """How the error changes with depth: a key of `NETWORKS` and `ERROR`."""
        if self.shallow is None or self.deep is None:
            return "failed" if self.failed else "missing"
        return self.deep.against(self.shallow)

    @property
    def sentence(self) -> str:
        verb = ERROR[self.verdict]
        if self.shallow is None or self.deep is None:
            return verb
        return f"{verb} (from {error_text(self.shallow)} to {error_text(self.deep)})"


@dataclass(frozen=True)
class Answer:
    """The deepest networks against the shallowest.

    An error is higher where mean - s is above the other's mean + s; s is the standard deviation
    over the seeds, 0 with one seed. `seeds` is the smallest number of finished trainings.
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
        if self.seeds == 1:  # no spread, so no verdict
            lead = "With one seed, a difference may be chance"
        return (
            f"{lead}: from {self.shallow} to {self.deep} layers, the training error of the plain "
            f"net {self.plain.sentence}, and that of the residual net {self.residual.sentence}."
        )

    def as_json(self) -> dict[str, Any]:
        several = self.shallow != self.deep
        return {
            "plain": self.plain.verdict if several else None,
            "residual": self.residual.verdict if several else None,
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
    shallow, deep = (result.spread("train_error") if result else None for result in both)
    return Change(shallow, deep, any(result.failed for result in both if result))


def depths(results: Mapping[str, Result]) -> list[int]:
    """The numbers of layers, ascending: 20 for "plain20"."""
    return sorted({int("".join(c for c in name if c.isdecimal())) for name in results})
