"""What a shortcut must not do, and where activations stand best, trained again under one recipe.

He et al. 2016, *Identity Mappings*, Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from reslab.core.errors import unknown
from reslab.plots.format import NONE, listed
from reslab.report import sections as page
from reslab.report.sections import Section, Table
from reslab.spec import Block, Network, Part, ReLU
from reslab.spec.transforms import without_skips
from reslab.studies.folder import AGAIN, Study
from reslab.studies.sweep import charts, pictures
from reslab.studies.sweep import page as showing
from reslab.studies.sweep import results as measured
from reslab.studies.sweep.nets import Case, units, widened
from reslab.studies.sweep.results import Result
from reslab.studies.sweep.settings import Terms
from reslab.zoo import identity_mappings as paper
from reslab.zoo.resnet import bottleneck_v1, option_a
from reslab.zoo.resnet import cifar as he2015

if TYPE_CHECKING:
    from reslab.core.progress import Watch

KIND = "ablation"
FAIL = "fail"  # the paper's word for a test error above 20 %
BOTTLENECK = 164  # Table 2's second depth, of 9n + 2 layers; all others here are 6n + 2
Rows = dict[str, Part]


@dataclass(frozen=True)
class Variant:
    """A line of a table: its words, its net of n blocks a stage, the errors in percent by depth."""

    name: str
    words: tuple[str, ...]
    rows: Callable[[Block, int], Rows]
    published: Mapping[int, float | str]

    @property
    def label(self) -> str:
        """`constant scaling 0.5 / 1`, for there are three of them; else the case alone."""
        case, *on = self.words
        return f"{case} {' / '.join(on)}" if case == "constant scaling" else case


def _units(change: Callable[..., Any], *values: float, last: Part = ()) -> Callable[..., Rows]:
    """The net of He 2015 with every unit changed."""
    return lambda block, n: paper.original(paper.varied(block, change, *values), n, last)


def _conv(block: Block, n: int) -> Rows:
    return paper.original(paper.conv_shortcut, n)


def _preactivated(block: Block, n: int) -> Rows:
    return paper.cifar(paper.preact_basic if block is option_a else paper.preact_released, n)


# what is on the shortcut, and what on the residual function F
SHORTCUTS = (
    Variant("original", ("original", "1", "1"), he2015, {110: 6.61}),
    Variant("plain", ("constant scaling", "0", "1"), _units(without_skips), {110: FAIL}),
    Variant(
        "shortcut_scaling",
        ("constant scaling", "0.5", "1"),
        _units(paper.constant_scaling, 0.5, 1),
        {110: FAIL},
    ),
    Variant(
        "constant_scaling",
        ("constant scaling", "0.5", "0.5"),
        _units(paper.constant_scaling),
        {110: 12.35},
    ),
    Variant(
        "exclusive_gating_0",
        ("exclusive gating (b = 0)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating, 0.0),
        {110: FAIL},  # with b from 0 to -5
    ),
    Variant(
        "exclusive_gating",
        ("exclusive gating (b = -6)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating),
        {110: 8.70},
    ),
    Variant(
        "exclusive_gating_7",
        ("exclusive gating (b = -7)", "1 - g(x)", "g(x)"),
        _units(paper.exclusive_gating, -7.0),
        {110: 9.81},
    ),
    Variant(
        "shortcut_gating_0",
        ("shortcut-only gating (b = 0)", "1 - g(x)", "1"),
        _units(paper.shortcut_only_gating, 0.0),
        {110: 12.86},
    ),
    Variant(
        "shortcut_gating",
        ("shortcut-only gating (b = -6)", "1 - g(x)", "1"),
        _units(paper.shortcut_only_gating),
        {110: 6.91},
    ),
    Variant("conv_shortcut", ("1x1 conv shortcut", "1x1 conv", "1"), _conv, {110: 12.22}),
    Variant(
        "dropout_shortcut",
        ("dropout shortcut", "dropout 0.5", "1"),
        _units(paper.dropout_shortcut),
        {110: FAIL},
    ),
)
ACTIVATIONS = (
    Variant("original", ("original",), he2015, {110: 6.61, 164: 5.93}),
    Variant(
        "bn_after_addition",
        ("BN after addition",),
        _units(paper.bn_after_addition),
        {110: 8.17, 164: 6.50},
    ),
    Variant(
        "relu_before_addition",
        ("ReLU before addition",),
        _units(paper.relu_before_addition),
        {110: 7.84, 164: 6.14},
    ),
    Variant(
        "relu_only_preactivation",
        ("ReLU-only pre-activation",),
        _units(paper.relu_only_preactivation, last=ReLU),
        {110: 6.71, 164: 5.91},
    ),
    Variant("full_preactivation", ("full pre-activation",), _preactivated, {110: 6.37, 164: 5.46}),
)
TABLES = {"shortcuts": SHORTCUTS, "activations": ACTIVATIONS}
HEADS = {"shortcuts": ("case", "on shortcut", "on F"), "activations": ("case",)}
SOURCES = {"shortcuts": "Table 1", "activations": "Table 2"}


def ablation(what: str, terms: Terms, depth: int = 110, watch: Watch | None = None) -> Study:
    """Train the variants of "shortcuts" or "activations", or go on with that.

    `depth` is 6n + 2; for "activations" 164 is the paper's bottleneck net. With recipe paper-cifar
    every net warms up, as in the paper (Sec. 3). The study goes to `terms.out`, else to
    studies/ablation-WHAT-DEPTH-DATA. Raises UserError for whatever does not fit,
    `session.Interrupted` after a signal.
    """
    check(what, depth)
    from reslab.core.progress import Watch
    from reslab.studies.sweep.run import sweep

    if terms.recipe == "paper-cifar":
        terms = replace(terms, changes={"warmup_layers": 0, **terms.changes})

    def cases(width: float) -> list[Case]:
        made = ((each.name, network(what, each, depth)) for each in TABLES[what])
        return [Case(name, widened(net, width)) for name, net in made]

    own = {"what": what, "depth": depth}
    study = sweep(KIND, cases, own, f"{KIND}-{what}-{depth}", terms, watch or Watch())
    return finished(study)


def check(what: str, depth: int) -> None:
    """Raises UserError where there is no such table, or no such depth."""
    if what not in TABLES:
        raise unknown("ablation", what, TABLES)
    _structure(what, depth)


def network(what: str, variant: Variant, depth: int) -> Network:
    block, n = _structure(what, depth)
    return Network(
        f"resnet{depth}_{variant.name}",
        variant.rows(block, n),
        (32, 32, 3),
        f"ResNet-{depth} for CIFAR, {variant.label}",
        f"{paper.PAPER}, {SOURCES[what]}",
    )


def _structure(what: str, depth: int) -> tuple[Block, int]:
    if what == "activations" and depth == BOTTLENECK:
        return bottleneck_v1, (depth - 2) // 9
    return option_a, units(depth)


def finished(study: Study) -> Study:
    """The study with what it found written down, its picture and its page."""
    results = measured.read(study)
    rows = [
        {**measured.summary(results[each.name]), "published": _published(study, each)}
        for each in _variants(study)
        if each.name in results
    ]
    study.done(found={"against_original": verdicts(results), "said": said(study), "cases": rows})
    _draw(study, results)
    page.write(study.path / "page.html", TITLE, showing.lead(study), sections(study), AGAIN)
    return study


def verdicts(results: Mapping[str, Result]) -> dict[str, str]:
    """The test error of each case against the original's: "higher", "lower", "not decided" where
    mean +- s overlap, "failed" where it did not train."""
    first = results["original"].spread("test_error") if "original" in results else None
    found = {}
    for name, result in results.items():
        own = result.spread("test_error")
        if name != "original" and first is not None:
            found[name] = "failed" if own is None else own.against(first)
    return found


# What is shown ------------------------------------------------------------------------------------

TITLE = "Ablation: identity mappings"
SAID = {
    "higher": "higher with {}",
    "lower": "lower with {}",
    "not decided": "not decided, by its spread, with {}",
    "failed": "no number with {}",
}


def said(study: Study) -> str:
    """The verdicts in a sentence."""
    results = measured.read(study)
    found = verdicts(results)
    names = {each.name: each.label for each in _variants(study)}
    parts = []
    for verdict, words in SAID.items():
        if of := [names[name] for name in found if found[name] == verdict]:
            parts.append(words.format(listed(of)))
    if not parts:
        return "Nothing is measured yet."
    once = " One seed has no spread, so this may be chance." if _seeds(results) < 2 else ""
    return f"Against the original unit, the test error is {'; '.join(parts)}.{once}"


def sections(study: Study) -> list[Section]:
    """What the study shows, from its folder; raises UserError where that is damaged."""
    results = measured.read(study)
    shown = [each for each in _variants(study) if each.name in results]
    chart = charts.beside(
        [each.label for each in shown],
        [results[each.name].spread("test_error") for each in shown],
        [p if isinstance(p := _published(study, each), float) else None for each in shown],
    )
    return [
        Section(
            _title(study),
            [*showing.status(study), said(study), DIFFER],
            charts=[(chart, "Test error of each case; a published fail has no mark")],
            tables=[table(study, results)],
            measured=study.commands,
            quoted=(f"{paper.PAPER}, {SOURCES[_what(study)]}: medians of five runs",),
        ),
        showing.trained(study, results),
    ]


DIFFER = (
    "The published errors are those of CIFAR-10 after 64,000 iterations; `fail` is a test error "
    "above 20 %. Those of another training are compared by their order, not by their size."
)


def table(study: Study, results: Mapping[str, Result]) -> Table:
    """Each case as it was measured, beside the published error."""
    several = _seeds(results) > 1
    rows = []
    for each in _variants(study):
        result, theirs = results.get(each.name), _published(study, each)
        own = result.spread("test_error") if result else None
        rows.append(
            (
                *each.words,
                showing.spelt(result.spread("train_error"), result.failed) if result else NONE,
                showing.spelt(own, result.failed) if result else NONE,
                *([f"{100 * median(own.values):.2f} %" if own else NONE] if several else []),
                f"{theirs:.2f} %" if isinstance(theirs, float) else theirs,
            )
        )
    middle = ("its median",) if several else ()
    head = (*_head(study), "training error", "test error", *middle, f"paper, {_paper(study)}")
    return Table("Errors at the end", head, rows, names=len(_head(study)))


def lines(study: Study) -> list[str]:
    """The table and the verdicts, for a terminal."""
    return [*showing.printed(table(study, measured.read(study))), said(study)]


def _what(study: Study) -> str:
    what = str(study.asked.get("what"))
    if what not in TABLES:
        raise unknown("ablation", what, TABLES)
    return what


def _variants(study: Study) -> tuple[Variant, ...]:
    return TABLES[_what(study)]


def _head(study: Study) -> tuple[str, ...]:
    return HEADS[_what(study)]


def _title(study: Study) -> str:
    kind = {"shortcuts": "What is on the shortcut", "activations": "Where the activations stand"}
    return f"{kind[_what(study)]}: ResNet-{study.asked.get('depth')}"


def _compared(study: Study) -> int:
    """The published depth that stands beside the measured ones."""
    bottleneck = _what(study) == "activations" and study.asked.get("depth") == BOTTLENECK
    return BOTTLENECK if bottleneck else 110


def _published(study: Study, variant: Variant) -> float | str:
    return variant.published[_compared(study)]


def _paper(study: Study) -> str:
    return f"ResNet-{_compared(study)}"


def _seeds(results: Mapping[str, Result]) -> int:
    return max((len(result.rows) for result in results.values()), default=0)


def _draw(study: Study, results: Mapping[str, Result]) -> None:
    shown = _variants(study)
    spreads = [results[e.name].spread("test_error") if e.name in results else None for e in shown]
    note = f"measured: reslab, {study.info.get('data', '')}\n"
    pictures.beside(
        study.path / "cases",
        _title(study),
        f"{note}published: {_paper(study)}, CIFAR-10, 64,000 iterations "
        f"({paper.PAPER}, {SOURCES[_what(study)]})",
        [each.label for each in shown],
        spreads,
        [_published(study, each) for each in shown],
    )
