"""`ablation`: the variants of a residual unit, trained under one recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reslab.studies.ablation import page
from reslab.studies.ablation.results import KIND
from reslab.studies.ablation.variants import TABLES, check, network
from reslab.studies.folder import Study
from reslab.studies.sweep.nets import Case, widened
from reslab.studies.sweep.settings import Terms

if TYPE_CHECKING:
    from reslab.core.progress import Watch


def ablation(table: str, terms: Terms, depth: int = 110, watch: Watch | None = None) -> Study:
    """Train the variants of a table; write the verdicts, picture and page.

    Calling it again continues an interrupted study. With the recipe paper-cifar every network warms
    up, as in the paper (Sec. 3).

    Args:
        table: "shortcuts" (Identity Mappings, Table 1) or "activations" (Table 2).
        terms: Data, recipe, seeds and sizes of the trainings.
        depth: Number of layers, 6n + 2; for "activations" also 164, the paper's bottleneck network.
        watch: Callbacks for progress.

    Returns:
        The finished study, in `terms.out` or in studies/ablation-TABLE-DEPTH-DATA.

    Raises:
        UserError: The table, the depth, the recipe or the data cannot be used.
        reslab.core.interrupts.Interrupted: A signal stopped the study.
    """
    check(table, depth)
    from reslab.core.progress import Watch
    from reslab.studies.sweep.run import sweep

    if terms.recipe == "paper-cifar":
        terms = replace(terms, changes={"warmup_layers": 0, **terms.changes})

    def cases(width: float) -> list[Case]:
        nets = ((variant.name, network(table, variant, depth)) for variant in TABLES[table])
        return [Case(name, widened(net, width)) for name, net in nets]

    asked = {"what": table, "depth": depth}
    study = sweep(KIND, cases, asked, f"{KIND}-{table}-{depth}", terms, watch or Watch())
    page.publish(study)
    return study
