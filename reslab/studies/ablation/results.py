"""The results of an ablation: each variant against the original unit."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.core.errors import unknown
from reslab.plots.format import listed
from reslab.studies.ablation.variants import BOTTLENECK, TABLES, Variant
from reslab.studies.folder import Study
from reslab.studies.sweep import results
from reslab.studies.sweep.results import Result

KIND = "ablation"
VERDICTS = {  # in the order of the sentence
    "higher": "higher with {}",
    "lower": "lower with {}",
    "not decided": "different by less than its spread with {}",
    "failed": "not available for {}",
}


def table_of(study: Study) -> str:
    """ "shortcuts" or "activations". UserError for any other."""
    table = str(study.settings.get("what"))
    if table not in TABLES:
        raise unknown("ablation", table, TABLES)
    return table


def variants(study: Study) -> tuple[Variant, ...]:
    return TABLES[table_of(study)]


def compared_depth(study: Study) -> int:
    """The depth whose published errors stand beside the measured ones."""
    bottleneck = table_of(study) == "activations" and study.settings.get("depth") == BOTTLENECK
    return BOTTLENECK if bottleneck else 110


def published(study: Study, variant: Variant) -> float | str:
    """The paper's test error in percent, or "fail"."""
    return variant.published[compared_depth(study)]


def verdicts(errors: Mapping[str, Result]) -> dict[str, str]:
    """The test error of each case against that of the original: a key of `VERDICTS`.

    "not decided" is where mean +- s overlap, "failed" where no training of the case finished.
    """
    original = errors["original"].spread("test_error") if "original" in errors else None
    verdicts_by_case = {}
    for name, result in errors.items():
        spread = result.spread("test_error")
        if name != "original" and original is not None:
            verdicts_by_case[name] = "failed" if spread is None else spread.against(original)
    return verdicts_by_case


def answer(study: Study) -> str:
    """The verdicts in one sentence."""
    errors = results.read(study)
    by_case = verdicts(errors)
    labels = {variant.name: variant.label for variant in variants(study)}
    parts = []
    for verdict, text in VERDICTS.items():
        if names := [labels[name] for name in by_case if by_case[name] == verdict]:
            parts.append(text.format(listed(names)))
    if not parts:
        return "Nothing is measured yet."
    one = " With one seed, a difference may be chance." if most_seeds(errors) < 2 else ""
    return f"Compared with the original unit, the test error is {'; '.join(parts)}.{one}"


def most_seeds(errors: Mapping[str, Result]) -> int:
    return max((len(result.rows) for result in errors.values()), default=0)
