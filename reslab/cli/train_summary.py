"""What `reslab train` prints at the end: the errors, cautions, and where the report is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reslab.cli.output import echo

if TYPE_CHECKING:
    from reslab.runs.run import Run
    from reslab.training.folds import FoldRuns
    from reslab.training.seeds import SeedRuns

    Result = Run | SeedRuns | FoldRuns


def summary(result: Result) -> None:
    """Print the summary of one run, or of several."""
    from reslab.training.folds import FoldRuns
    from reslab.training.seeds import SeedRuns

    if isinstance(result, SeedRuns):
        summary_of_seeds(result)
    elif isinstance(result, FoldRuns):
        summary_of_folds(result)
    else:
        summary_of_run(result)


def summary_of_run(run: Run) -> None:
    from reslab.evaluation import suspects
    from reslab.evaluation.cautions import cautions
    from reslab.evaluation.tasks.registry import task_of
    from reslab.plots.format import percent

    task = task_of(run.info)
    if result := run.info.get("recalibration"):
        before, after = (result[f"val_{task.metric}_{when}"] for when in ("before", "after"))
        change = "" if after is None else f": validation {percent(before)}, then {percent(after)}"
        images = f"{result['images']:,} training images"
        echo(f"batch norm's statistics measured again on {images}{change}")
    if run.evaluation:
        chosen = f"epoch {run.info['chosen_epoch']} chosen"
        echo(f"{chosen}; {task.sentence(run.evaluation)}")
    else:
        echo("done")
    for caution in cautions(run.info, run.evaluation, run.log()):
        echo(f"caution: {caution}")
    if run.suspects and (line := suspects.sentence(run.suspects)):
        echo(line)
    echo(f"report: {run.path / 'report.html'}")


def summary_of_seeds(result: SeedRuns) -> None:
    from reslab.evaluation.cautions import cautions
    from reslab.evaluation.tasks.registry import task_of
    from reslab.plots.format import listed
    from reslab.report.seeds import COVERS

    by_caution: dict[str, list[str]] = {}
    for run in result.runs:
        failed = run.info["status"] == "failed"
        text = f"failed: {run.info['why']}" if failed else "not evaluated"
        if run.evaluation and not failed:
            text = task_of(run.info).sentence(run.evaluation)
        echo(f"seed {run.info['seed']}: {text}")
        for caution in cautions(run.info, run.evaluation, run.log()):
            by_caution.setdefault(caution, []).append(str(run.info["seed"]))
    for caution, seeds in by_caution.items():
        echo(f"caution, seed {listed(seeds)}: {caution}")
    echo(result.sentence)
    echo(COVERS)
    echo(f"report: {result.path / 'report.html'}")


def summary_of_folds(result: FoldRuns) -> None:
    from reslab.evaluation.tasks.registry import task_of

    for number, run in enumerate(result.runs, 1):
        if run.evaluation:
            echo(f"fold {number}: {task_of(run.info).sentence(run.evaluation)}")
    for sentence in result.sentences:
        echo(sentence)
    echo(f"report: {result.path / 'report.html'}")
