"""Every reader of files: which file it reads, how the file is damaged, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab import data as datasets
from reslab import spec
from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.evaluation.tasks.registry import task_of
from reslab.models import build
from reslab.report import page
from reslab.report.context import page_context
from reslab.runs import lineage, papers
from reslab.runs.recipe import Recipe, change
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.spec.serialize import decode_network
from reslab.studies.folder import Study
from reslab.studies.landscape.point_log import Points
from reslab.studies.registry import PAGES, sections
from reslab.studies.trained import normalization_of
from reslab.training.checkpoints import Checkpoints
from reslab.training.folds import Folds
from reslab.training.seeds import Seeds
from reslab.training.setup import compile_model, step_rates
from tests.helpers import tiny
from tests.helpers.fuzz import fixtures, of_inputs
from tests.helpers.fuzz import mutations as m
from tests.helpers.fuzz.reader import Reader


def readers() -> list[Reader]:
    """All readers, in a fixed order: the number of a mutant chooses one."""
    return [
        *_of_runs(),
        *_of_studies(),
        *_of_descriptions(),
        *of_inputs.weights(),
        *of_inputs.data(),
    ]


# Runs and studies ------------------------------------------------------------------------------


def _of_runs() -> Iterator[Reader]:
    for name, damage in (
        ("run.json", m.of_json),
        ("log.jsonl", m.of_json_lines),
        ("evaluation.json", m.of_json),
        ("suspects.json", m.of_json),
    ):
        yield Reader(name, f"run/{name}", damage, _report)
    for name, damage in (
        ("run.json", m.of_json),
        ("log.jsonl", m.of_json_lines),
        ("evaluation.json", m.of_json),
    ):
        yield Reader(
            f"{name} of several labels", f"tags/{name}", damage, partial(_report, name="tags")
        )
    yield Reader("data of a run", "run/run.json", m.of_json, _reload)
    for name, reads in (
        ("last", lambda checkpoints: checkpoints.restore()),
        ("best", lambda checkpoints: checkpoints.load_best()),
    ):
        file = f"interrupted/checkpoints/{name}.safetensors"
        yield Reader(f"{name} checkpoint", file, m.of_safetensors, partial(_checkpoint, reads))
    file = "run/training-images.safetensors"
    yield Reader("training images", file, m.of_safetensors, _lineage)
    file = "run/standardise.safetensors"
    yield Reader("normalisation", file, m.of_safetensors, _normalization)
    yield Reader(
        "arrays", file, m.of_safetensors, lambda at: of_inputs.digest(read_arrays(at / file)[0])
    )
    yield Reader("seeds.json", "seeds/seeds.json", m.of_json, partial(_several, Seeds, "seeds"))
    yield Reader("folds.json", "folds/folds.json", m.of_json, partial(_several, Folds, "folds"))


def _report(root: Path, name: str = "run") -> int:
    run = Run.open(root / name)
    return len(page.render("page.html", page_context([run])))


def _reload(root: Path) -> Any:
    info = Run.open(root / "run").info
    provenance = {**info["data"]["provenance"], "cache": str(root / "cache")}
    if provenance.get("source") == "thirds":
        provenance["source"] = str(root / "idx")
    provenance.pop("cache")
    loaded = datasets.from_provenance(provenance)
    return loaded.checksum


@cache
def _model() -> keras.Model:
    model = build.create(tiny.NETWORK)
    info = Run.open(fixtures.GOLDEN / "interrupted").info
    recipe = change(Recipe("run", epochs=1), info["recipe"])
    compile_model(model, recipe, task_of(info), step_rates(recipe, tiny.NETWORK, 10))
    return model


def _checkpoint(read: Callable[[Checkpoints], Any], root: Path) -> Any:
    return repr(read(Checkpoints(Run.open(root / "interrupted"), _model())))


def _lineage(root: Path) -> Any:
    stored = lineage.read(root / "run")
    return stored and (stored.all.tolist(), stored.unknown)


def _normalization(root: Path) -> Any:
    normalise = normalization_of(Run.open(root / "run"))
    return normalise(np.zeros((2, 8, 8, 1), np.uint8)).shape


def _several(kind: Any, name: str, root: Path) -> Any:
    return kind(root / name, None, None).members


def _of_studies() -> Iterator[Reader]:
    points = "studies/landscape/surface.jsonl"
    yield Reader("points", points, m.of_json_lines, lambda root: Points(root / points).values)
    for kind in sorted(PAGES):
        for path in sorted((fixtures.GOLDEN / "studies" / kind).iterdir()):
            damage = {".json": m.of_json, ".jsonl": m.of_json_lines}.get(path.suffix)
            if damage is not None:
                name = f"{kind} {path.name}"
                read = partial(_study, kind)
                yield Reader(name, f"studies/{kind}/{path.name}", damage, read)


def _study(kind: str, root: Path) -> Any:
    return len(sections(Study.open(root / "studies" / kind)))


# Descriptions ----------------------------------------------------------------------------------


def _of_descriptions() -> Iterator[Reader]:
    yield Reader("recipe", "recipe.toml", m.of_toml, _recipe)
    yield Reader("network", "net.json", m.of_json, _network)


def _recipe(root: Path) -> Any:
    recipe = papers.recipe(root / "recipe.toml")
    total = min(recipe.total_steps(100), 1000)
    return len(recipe.rates(total, 20)) and repr(recipe)


def _network(root: Path) -> Any:
    try:
        network = decode_network(records.read_json(root / "net.json", dict[str, Any]))
    except FileNotFoundError as error:  # callers of `read_json` say what to do
        raise UserError(error) from None
    table = summary.table(network), summary.counts(network), summary.depth(network)
    return len(spec.walk(network)), repr(table)
