"""The kinds of studies, and what each has to show: without Keras, from the folder alone."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

from reslab.analysis.page import Section
from reslab.analysis.study import Study
from reslab.errors import DAMAGE, UserError, unknown

SHOWING = {  # kind of study: the module whose `sections` shows one
    "degradation": "reslab.analysis.degradation",
    "ablation": "reslab.analysis.ablation",
    "signals": "reslab.analysis.signals.show_signals",
    "responses": "reslab.analysis.signals.show_responses",
    "lesions": "reslab.analysis.signals.show_lesions",
    "landscape": "reslab.analysis.landscape.showing",
}


def sections(study: Study, prefix: str = "") -> list[Section]:
    """What a study shows; `prefix` keeps its charts apart from those of others on a page.

    Raises UserError for a kind that there is not, or a damaged study.
    """
    if study.kind not in SHOWING:
        raise unknown("kind of study", study.kind, SHOWING)
    show = importlib.import_module(SHOWING[study.kind]).sections
    try:
        found = show(study)
    except DAMAGE as error:  # what it reads is not what was written
        raise UserError(f"{study.path} is damaged: {error!r}; measure it again") from error
    return [_prefixed(section, prefix) for section in found]


def _prefixed(section: Section, prefix: str) -> Section:
    charts = [(replace(c, id=f"{prefix}{c.id}"), caption) for c, caption in section.charts]
    inner: Sequence[Section] = [_prefixed(each, prefix) for each in section.sections]
    return replace(section, charts=charts, sections=inner)
