"""The kinds of studies, and the sections that each shows. Needs the study's folder, not Keras."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

from reslab.core.errors import DAMAGE, UserError, unknown
from reslab.report.sections import Section
from reslab.studies.folder import Study

PAGES = {  # kind of study: the module whose `sections` shows one
    "degradation": "reslab.studies.degradation.page",
    "ablation": "reslab.studies.ablation.page",
    "signals": "reslab.studies.signals.page",
    "responses": "reslab.studies.responses.page",
    "lesions": "reslab.studies.lesions.page",
    "landscape": "reslab.studies.landscape.page",
}


def sections(study: Study, prefix: str = "") -> list[Section]:
    """Return the sections that show a study.

    `prefix` is put before the ids of its charts, which must be unique in a page. Raises UserError
    for an unknown kind of study, or a damaged study.
    """
    if study.kind not in PAGES:
        raise unknown("kind of study", study.kind, PAGES)
    page = importlib.import_module(PAGES[study.kind])
    try:
        shown: Sequence[Section] = page.sections(study)
    except DAMAGE as error:  # a file does not contain what the study wrote
        raise UserError(f"{study.path} is damaged: {error!r}; measure it again") from error
    return [_prefixed(section, prefix) for section in shown]


def _prefixed(section: Section, prefix: str) -> Section:
    charts = [(replace(c, id=f"{prefix}{c.id}"), caption) for c, caption in section.charts]
    inner: Sequence[Section] = [_prefixed(each, prefix) for each in section.sections]
    return replace(section, charts=charts, sections=inner)
