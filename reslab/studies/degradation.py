"""Does a deeper plain net train worse, and a deeper residual net not? He 2015, Fig. 1 and Fig. 6.

Plain and residual nets of the same layers and parameters are trained under one recipe. What counts
is the training error: were it overfitting, a deeper net's would be lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reslab.core.errors import UserError
from reslab.plots.format import NONE, count
from reslab.report import sections as page
from reslab.report.sections import Section, Table
from reslab.studies.folder import AGAIN, Study
from reslab.studies.sweep import charts, panels, pictures
from reslab.studies.sweep import page as showing
from reslab.studies.sweep import results as measured
from reslab.studies.sweep.nets import Case, twins, units, widened
from reslab.studies.sweep.results import Result, Spread
from reslab.studies.sweep.settings import Terms

if TYPE_CHECKING:
    from reslab.core.progress import Watch

KIND = "degradation"
KINDS = {"plain": "plain", "resnet": "residual"}  # how a case's name begins, and what it is
LABELS = {"plain": "plain", "resnet": "ResNet"}


def degradation(
    terms: Terms, depths: Sequence[int] = (20, 56), watch: Watch | None = None
) -> Study:
    """Train the twins of each depth, or go on with that; pictures, page and `answer` at the end.

    Depths are 6n + 2. The study goes to `terms.out`, else to studies/degradation-DATA-DEPTHS.
    Raises UserError for whatever does not fit, `session.Interrupted` after a signal.
    """
    depths = sorted(set(depths))
    for depth in depths:
        units(depth)
    if not depths:
        raise UserError("no depths: give one or more, such as 20 and 56")
    from reslab.core.progress import Watch
    from reslab.studies.sweep.run import sweep

    def cases(width: float) -> list[Case]:
        nets = [net for depth in depths for net in twins(depth)]
        return [Case(net.name, widened(net, width)) for net in nets]

    name = f"{KIND}-{'-'.join(map(str, depths))}"
    study = sweep(KIND, cases, {"depths": depths}, name, terms, watch or Watch())
    return finished(study)


def finished(study: Study) -> Study:
    """The study with its answer written down, its pictures and its page."""
    results = measured.read(study)
    rows = [measured.summary(result) for result in results.values()]
    study.done(found={"answer": answer(results).as_json(), "nets": rows})
    _draw(study, results)
    page.write(study.path / "page.html", TITLE, showing.lead(study), sections(study), AGAIN)
    return study


@dataclass(frozen=True)
class Change:
    """The training error of the last epoch, over the seeds, with the fewest and the most layers."""

    shallow: Spread | None
    deep: Spread | None
    failed: bool = False

    @property
    def verdict(self) -> str:
        """What becomes of it with depth: a key of `SAID`."""
        if self.shallow is None or self.deep is None:
            return "failed" if self.failed else "missing"
        return self.deep.against(self.shallow)

    @property
    def said(self) -> str:
        words = SAID[self.verdict]
        if self.shallow is None or self.deep is None:
            return words
        return f"{words} ({showing.spelt(self.shallow)}, then {showing.spelt(self.deep)})"


DEGRADE = {
    "higher": "degrade",
    "lower": "do not degrade",
    "not decided": "are not decided",
    "failed": "do not all train",
    "missing": "are not trained yet",
}
SAID = {
    "higher": "rises",
    "lower": "falls",
    "not decided": "changes by less than its spread",
    "failed": "cannot be told",
    "missing": "is not known",
}


@dataclass(frozen=True)
class Answer:
    """Of the deepest nets against the shallowest; `seeds` are the fewest that came to their end.

    An error is higher where mean - s is above the other's mean + s; s is the standard deviation
    over the seeds, 0 with one seed.
    """

    plain: Change
    residual: Change
    shallow: int
    deep: int
    seeds: int

    @property
    def said(self) -> str:
        """In words. One seed has no spread, so that it says nothing of the next."""
        if self.shallow == self.deep:
            return "One depth shows no degradation: give two or more."
        plain, residual = DEGRADE[self.plain.verdict], DEGRADE[self.residual.verdict]
        lead = f"Plain nets {plain}, residual nets {residual}"
        return (
            f"{'With one seed, so it may be chance' if self.seeds == 1 else lead}: from "
            f"{self.shallow} to {self.deep} layers the training error of the plain net "
            f"{self.plain.said}, that of the residual net {self.residual.said}."
        )

    def as_json(self) -> dict[str, Any]:
        several = self.shallow != self.deep
        return {
            "plain": self.plain.verdict if several else None,
            "residual": self.residual.verdict if several else None,
            "shallow": self.shallow,
            "deep": self.deep,
            "seeds": self.seeds,
            "said": self.said,
        }


def answer(results: Mapping[str, Result]) -> Answer:
    """Does the deeper plain net train worse, and does the deeper residual net?"""
    depths = _depths(results) or [0]
    shallow, deep = depths[0], depths[-1]
    plain, residual = (_change(results, f"{kind}{shallow}", f"{kind}{deep}") for kind in KINDS)
    seeds = min((len(r.rows) - r.failed for r in results.values()), default=0)
    return Answer(plain, residual, shallow, deep, seeds)


def _change(results: Mapping[str, Result], *cases: str) -> Change:
    found = [results.get(case) for case in cases]
    shallow, deep = (result.spread("train_error") if result else None for result in found)
    return Change(shallow, deep, any(result.failed for result in found if result))


def depth(case: str) -> int:
    """20 for "plain20"."""
    return int("".join(c for c in case if c.isdecimal()))


# What is shown ------------------------------------------------------------------------------------

TITLE = "Degradation: plain and residual nets of the same depth"


def sections(study: Study) -> list[Section]:
    """What the study shows, from its folder; raises UserError where that is damaged."""
    results = measured.read(study)
    drawn = _panels(results)
    top = panels.top(drawn)
    found = answer(results)
    return [
        Section(
            "Error by iteration",
            [*showing.status(study), found.said, HOW],
            charts=[
                (charts.errors(each, top, f"errors-{i}"), each.title)
                for i, each in enumerate(drawn)
                if each.curves
            ],
            measured=study.commands,
        ),
        Section(
            "Error against depth",
            ["A plain net and its residual twin have the same layers and the same parameters."],
            charts=[(charts.by_depth(_by_depth(results)), "Error at the end by depth")]
            if len(_depths(results)) > 1
            else [],
            tables=[table(study, results)],
            measured=study.commands,
            quoted=(PAPER,) if _quoted(study, results) else (),
        ),
        showing.trained(study, results),
    ]


HOW = (
    "Thin and dashed: the training error; bold: the test error. Were the deeper plain net "
    "overfitting, its training error would be the lower one. Shaded: the standard deviation over "
    "the seeds, where there are several."
)
PAPER = (
    "He et al. 2015, arXiv 1512.03385, Table 6, CIFAR-10 after 64,000 iterations; the plain nets' "
    "errors are only in its Fig. 6, plain-110's being above 60 %"
)
TABLE_6 = {20: "8.75 %", 32: "7.51 %", 44: "7.17 %", 56: "6.97 %", 110: "6.43 %"}


def table(study: Study, results: Mapping[str, Result]) -> Table:
    """The errors of each net, beside the paper's where it has them."""
    quoted = _quoted(study, results)
    rows = [
        (
            name,
            count(result.rows[0]["params"]),
            showing.spelt(result.spread("train_error"), result.failed),
            showing.spelt(result.spread("test_error"), result.failed),
            str(len(result.rows)),
            *([quoted.get(name, NONE)] if quoted else []),
        )
        for name, result in results.items()
    ]
    head = ["net", "parameters", "training error", "test error", "seeds"]
    head += ["paper, CIFAR-10 test"] if quoted else []
    return Table("Errors at the end, mean and standard deviation", head, rows)


def _quoted(study: Study, results: Mapping[str, Result]) -> dict[str, str]:
    """The paper's errors of these nets, where the study is of the paper's data."""
    if not str(study.info.get("data", "")).startswith("cifar10,"):
        return {}
    return {f"resnet{d}": error for d, error in TABLE_6.items() if f"resnet{d}" in results}


def lines(study: Study) -> list[str]:
    """The table and the answer, for a terminal."""
    results = measured.read(study)
    return [*showing.printed(table(study, results)), answer(results).said]


def _depths(results: Mapping[str, Result]) -> list[int]:
    return sorted({depth(name) for name in results})


def _panels(results: Mapping[str, Result]) -> list[panels.Panel]:
    return [
        panels.panel(
            f"{word} nets",
            results,
            {f"{kind}{d}": f"{LABELS[kind]}-{d}" for d in _depths(results)},
        )
        for kind, word in KINDS.items()
    ]


def _by_depth(results: Mapping[str, Result]) -> list[panels.Line]:
    found: list[panels.Line] = []
    for kind, number in (("plain", 1), ("resnet", 0)):
        for what, test in (("train_error", False), ("test_error", True)):
            points = [
                (d, spread)
                for d in _depths(results)
                if (result := results.get(f"{kind}{d}")) and (spread := result.spread(what))
            ]
            found.append((f"{KINDS[kind]}, {'test' if test else 'training'}", number, test, points))
    return found


def _draw(study: Study, results: Mapping[str, Result]) -> None:
    note = f"reslab, {study.info.get('data', '')}; thin and dashed training, bold test"
    drawn = _panels(results)
    title = "Plain and residual nets: error by iteration"
    pictures.errors(study.path / "errors", title, note, drawn, panels.top(drawn))
    if len(_depths(results)) > 1:
        title = "Plain and residual nets: error against depth"
        pictures.by_depth(study.path / "depth", title, note, _by_depth(results))
