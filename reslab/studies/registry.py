"""The kinds of studies, and what each has to show: without Keras, from the folder alone."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

from reslab.core.errors import DAMAGE, UserError, unknown
from reslab.report.sections import Section
from reslab.studies.folder import Study

SHOWING = {  # kind of study: the module whose `sections` shows one
    "degradation": "reslab.studies.degradation.page",
    "ablation": "reslab.studies.ablation.page",
    "signals": "reslab.studies.signals.page",
    "responses": "reslab.studies.responses.page",
    "lesions": "reslab.studies.lesions.page",
    "landscape": "reslab.studies.landscape.page",
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
