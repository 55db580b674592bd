"""Every reader of files: which file it reads, how the file is damaged, and what is done with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import reslab
from reslab import data as datasets
from reslab import spec
from reslab.core import records
from reslab.core.files import read_arrays
from reslab.data.sources import cifar, glyphs
from reslab.evaluation.tasks.registry import task_of
from reslab.models import build, saved
from reslab.report import page
from reslab.report.context import page_context
from reslab.runs import lineage, papers
from reslab.runs.recipe import Recipe, change
from reslab.runs.run import Run
from reslab.spec import summary
from reslab.spec.catalogue import CIFAR
from reslab.spec.serialize import decode_network
from reslab.studies.folder import Study
from reslab.studies.registry import PAGES, sections
from reslab.studies.trained import normalization_of
from reslab.training.checkpoints import Checkpoints
from reslab.training.folds import Folds
from reslab.training.seeds import Seeds
from reslab.training.setup import compile_model, step_rates
from reslab.weights import files as weight_files
from tests.helpers import tiny
from tests.helpers.fuzz import fixtures
from tests.helpers.fuzz import mutations as m


@dataclass(frozen=True)
class Reader:
    """A file that is damaged, and a function that reads it.

    `read` gets the folder of all files. It uses what it reads as the program does, and returns
    something that is equal for equal content.
    """

    name: str
    file: str
    damage: m.Mutation
    read: Callable[[Path], Any]


def readers() -> list[Reader]:
    """All readers, in a fixed order: the number of a mutant chooses one."""
    return [*_of_runs(), *_of_studies(), *_of_descriptions(), *_of_weights(), *_of_data()]


# Runs and studies ------------------------------------------------------------------------------


def _of_runs() -> Iterator[Reader]:
    for name, damage in (
        ("run.json", m.of_json),
        ("log.jsonl", m.of_json_lines),
        ("evaluation.json", m.of_json),
        ("suspects.json", m.of_json),
    ):
        yield Reader(name, f"run/{name}", damage, _report)
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
    yield Reader("arrays", file, m.of_safetensors, lambda at: _digest(read_arrays(at / file)[0]))
    yield Reader("seeds.json", "seeds/seeds.json", m.of_json, partial(_several, Seeds, "seeds"))
    yield Reader("folds.json", "folds/folds.json", m.of_json, partial(_several, Folds, "folds"))


def _report(root: Path) -> int:
    run = Run.open(root / "run")
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
    network = decode_network(records.read_json(root / "net.json", dict[str, Any]))
    table = summary.table(network), summary.counts(network), summary.depth(network)
    return len(spec.walk(network)), repr(table)


# Weights ---------------------------------------------------------------------------------------


def _of_weights() -> Iterator[Reader]:
    keras_file = m.of_zip({".json": m.of_json})
    torch_file = m.of_zip({})
    whole = "run/model.keras"
    for name, damage in (
        ("w.safetensors", m.of_safetensors),
        ("w.pth", torch_file),
        ("w.weights.h5", m.of_bytes),
        ("old.h5", m.of_bytes),
        ("flat.keras", keras_file),
    ):
        yield Reader(f"weights {name}", name, damage, partial(_weights, name))
    yield Reader("card", whole, keras_file, lambda root: _card(root / whole))
    yield Reader("model", whole, keras_file, lambda root: _load(root / whole))


def _weights(name: str, root: Path) -> Any:
    return _digest(weight_files.read(root / name).arrays)


def _card(path: Path) -> Any:
    return repr(saved.read_card(path))


def _load(path: Path) -> Any:
    return [tuple(v.shape) for v in reslab.load(path).variables]


# Data ------------------------------------------------------------------------------------------


def _of_data() -> Iterator[Reader]:
    for part in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        yield Reader(f"IDX {part}", f"idx/{part}", m.of_bytes, partial(_data, "idx"))
        yield Reader(f"IDX {part}.gz", f"gz/{part}.gz", m.of_gzip, partial(_data, "gz"))
    yield Reader("CIFAR", "cifar.bin", m.of_bytes, _cifar)
    yield Reader("table", "table.csv", m.of_bytes, partial(_data, "table.csv"))
    yield Reader("index", "index.json", m.of_json, _index)
    yield Reader("folder", "pictures/a/0.png", m.of_bytes, partial(_data, "pictures"))
    for suffix in fixtures.PICTURES:
        yield Reader(suffix, f"picture.{suffix}", m.of_bytes, partial(_picture, suffix))
    masks = m.of_zip({".npy": m.of_bytes})
    yield Reader("glyph masks", "masks.npz", masks, _masks)


def _data(name: str, root: Path) -> Any:
    loaded = datasets.load(root / name, size=8, validation=3, test=3)
    part = loaded.train
    return loaded.checksum, part.images(np.arange(min(4, len(part)))).shape


def _picture(suffix: str, root: Path) -> Any:
    folder = root / "one" / suffix
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            source = root / "pictures" / name / f"{i}.png"
            (folder / name / f"{i}.png").write_bytes(source.read_bytes())
    (folder / "a" / f"odd.{suffix}").write_bytes((root / f"picture.{suffix}").read_bytes())
    return datasets.load(folder, size=8, validation=2, test=0).checksum


def _cifar(root: Path) -> Any:
    split = cifar.parse((root / "cifar.bin").read_bytes(), "cifar.bin", CIFAR["cifar10"], 3)
    return _digest({"x": split.array, "y": split.labels})


def _index(root: Path) -> Any:
    """The index is a cache: whatever is in it, the data are the same or refused."""
    from reslab.data import scan

    index = root / "index.json"
    return len(scan._read_index(index))


def _masks(root: Path) -> Any:
    content = (root / "masks.npz").read_bytes()
    faces = glyphs.faces(content)
    first = next(iter(next(iter(faces.values()), {}).values()), [])
    return glyphs.families(content), len(first)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
