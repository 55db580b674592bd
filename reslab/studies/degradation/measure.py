"""`degradation`: plain and residual networks of the same layers, trained under one recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reslab.core.errors import UserError
from reslab.studies.degradation import page
from reslab.studies.degradation.results import KIND
from reslab.studies.folder import Study
from reslab.studies.sweep.nets import Case, twins, units, widened
from reslab.studies.sweep.settings import Terms

if TYPE_CHECKING:
    from reslab.core.progress import Watch


def degradation(
    terms: Terms, depths: Sequence[int] = (20, 56), watch: Watch | None = None
) -> Study:
    """Train the plain and the residual network of each depth; write the answer, pictures and page.

    The training error is what counts: if a deeper network overfitted, its training error would be
    lower. Calling it again continues an interrupted study.

    Args:
        terms: Data, recipe, seeds and sizes of the trainings.
        depths: Numbers of layers, 6n + 2 each.
        watch: Callbacks for progress.

    Returns:
        The finished study, in `terms.out` or in studies/degradation-DEPTHS-DATA.

    Raises:
        UserError: A depth, the recipe or the data cannot be used.
        reslab.core.interrupts.Interrupted: A signal stopped the study.
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
    page.publish(study)
    return study
