"""The results of an ablation: each variant against the original unit."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.core.errors import unknown
from reslab.evaluation.intervals import LEVEL, ErrorDifference
from reslab.plots.format import listed
from reslab.studies.ablation.variants import BOTTLENECK, TABLES, Variant
from reslab.studies.folder import Study
from reslab.studies.sweep import results
from reslab.studies.sweep.results import Result

KIND = "ablation"
VERDICTS = {  # in the order of the sentence
    "higher": "higher with {}",
    "lower": "lower with {}",
    "not decided": "not decidedly different with {}",
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


def differences(errors: Mapping[str, Result]) -> dict[str, ErrorDifference | None]:
    """The test error of each case minus that of the original; None without a finished training.

    All cases are compared in one sentence, so their intervals hold together: each of m has the
    level 1 - 0.05 / m (Bonferroni's correction). See `reslab.evaluation.intervals.compare`.
    """
    original = errors.get("original")
    if original is None or original.spread("test_error") is None:
        return {}
    others = {name: result for name, result in errors.items() if name != "original"}
    level = 1 - (1 - LEVEL) / max(1, len(others))
    return {name: case.against(original, "test_error", level) for name, case in others.items()}


def verdicts(errors: Mapping[str, Result]) -> dict[str, str]:
    """The test error of each case against that of the original: a key of `VERDICTS`.

    "not decided" is where the interval of `differences` includes zero, "failed" where no training
    of the case finished.
    """
    return {
        name: "failed" if difference is None else difference.verdict
        for name, difference in differences(errors).items()
    }


def answer(study: Study) -> str:
    """The verdicts in one sentence, and what they rest on."""
    errors = results.read(study)
    by_case = verdicts(errors)
    labels = {variant.name: variant.label for variant in variants(study)}
    parts = []
    for verdict, text in VERDICTS.items():
        if names := [labels[name] for name in by_case if by_case[name] == verdict]:
            parts.append(text.format(listed(names)))
    if not parts:
        return "Nothing is measured yet."
    one = f" {results.ONE_SEED}." if most_seeds(errors) < 2 else ""
    return f"Compared with the original unit, the test error is {'; '.join(parts)}.{one}"


def most_seeds(errors: Mapping[str, Result]) -> int:
    return max((len(result.rows) for result in errors.values()), default=0)
