"""The readers of weights and of data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import reslab
from reslab import data as datasets
from reslab.core.errors import UserError
from reslab.core.paths import regular
from reslab.data.sources import cifar, glyphs
from reslab.models import saved
from reslab.spec.catalogue import CIFAR
from reslab.weights import files as weight_files
from tests.helpers.fuzz import fixtures
from tests.helpers.fuzz import mutations as m
from tests.helpers.fuzz import structured as st
from tests.helpers.fuzz.reader import Reader

# Weights ---------------------------------------------------------------------------------------


def weights() -> Iterator[Reader]:
    keras_file = m.of_zip({".json": m.of_json})
    torch_file = m.of_zip({})
    for name, damage in (
        ("w.safetensors", m.of_safetensors),
        ("w.pth", torch_file),
        ("w.weights.h5", st.of_h5),
        ("w.h5", st.of_h5),
        ("old.h5", st.of_h5),
        ("flat.keras", keras_file),
        ("w.ckpt", st.of_torch),
        ("w.pth.tar", st.of_torch),
        ("old.pth", m.of_bytes),
    ):
        yield Reader(f"weights {name}", name, damage, partial(_weights, name))
    index = "sharded/model.safetensors.index.json"
    yield Reader("index of shards", index, st.of_sharded_index, partial(_weights, index))
    part = "sharded/model-00002-of-00002.safetensors"
    yield Reader("shard", part, m.of_safetensors, partial(_weights, "sharded"))
    for name in ("run", "tags"):
        whole = f"{name}/model.keras"
        yield Reader(f"card of {name}", whole, keras_file, partial(_card, whole))
        yield Reader(f"model of {name}", whole, keras_file, partial(_load, whole))
        yield Reader(f"predict {name}", whole, keras_file, partial(_predict, name))
    yield Reader("model old.h5", "old.h5", st.of_h5, partial(_load, "old.h5"))


def _weights(name: str, root: Path) -> Any:
    return digest(weight_files.read(root / name).arrays)


def _card(name: str, root: Path) -> Any:
    return repr(saved.read_card(root / name))


def _load(name: str, root: Path) -> Any:
    return [tuple(v.shape) for v in reslab.load(root / name).variables]


def _predict(name: str, root: Path) -> Any:
    return reslab.predict(root / name, root / "pictures" / "a" / "1.png")


# Data ------------------------------------------------------------------------------------------


def data() -> Iterator[Reader]:
    for part in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        yield Reader(f"IDX {part}", f"idx/{part}", m.of_bytes, partial(_data, "idx"))
        yield Reader(f"IDX {part}.gz", f"gz/{part}.gz", m.of_gzip, partial(_data, "gz"))
    yield Reader("CIFAR", "cifar.bin", m.of_bytes, _cifar)
    for name in ("table", "tags"):
        yield Reader(f"{name}.csv", f"{name}.csv", st.of_csv, partial(_data, f"{name}.csv"))
        if fixtures.PARQUET:
            file = f"{name}.parquet"
            yield Reader(file, file, st.of_parquet, partial(_data, file))
    columns = {"label_columns": ",".join(fixtures.LABELS)}
    yield Reader("columns", "columns.csv", st.of_csv, partial(_loaded, "columns.csv", columns))
    split = {"split": "part"}
    yield Reader("parts of a table", "table.csv", st.of_csv, partial(_loaded, "table.csv", split))
    yield Reader("index", "index.json", m.of_json, _index)
    yield Reader("folder", "pictures/a/0.png", m.of_bytes, partial(_data, "pictures"))
    for suffix in fixtures.PICTURES:
        yield Reader(suffix, f"picture.{suffix}", m.of_bytes, partial(_picture, suffix))
        yield Reader(f"predict {suffix}", f"picture.{suffix}", m.of_bytes, partial(_answer, suffix))
    masks = m.of_zip({".npy": m.of_bytes})
    yield Reader("glyph masks", "masks.npz", masks, _masks)


def _data(name: str, root: Path) -> Any:
    return _loaded(name, None, root)


def _loaded(name: str, columns: dict[str, str] | None, root: Path) -> Any:
    loaded = datasets.load(root / name, size=8, validation=3, test=3, columns=columns)
    part = loaded.train
    return loaded.checksum, part.images(np.arange(min(4, len(part)))).shape


def _picture(suffix: str, root: Path) -> Any:
    folder = root / "one" / suffix
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            source = root / "pictures" / name / f"{i}.png"
            (folder / name / f"{i}.png").write_bytes(source.read_bytes())
    link = folder / "a" / f"odd.{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(root / f"picture.{suffix}")
    return datasets.load(folder, size=8, validation=2, test=0).checksum


def _answer(suffix: str, root: Path) -> Any:
    return reslab.predict(root / "run", root / f"picture.{suffix}")


def _cifar(root: Path) -> Any:
    split = cifar.parse(_content(root / "cifar.bin"), "cifar.bin", CIFAR["cifar10"], 3)
    return digest({"x": split.array, "y": split.labels})


def _content(path: Path) -> bytes:
    """For readers that get bytes."""
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _index(root: Path) -> Any:
    """The index is a cache: whatever is in it, the data are the same or refused."""
    from reslab.data import scan

    index = root / "index.json"
    return len(scan._read_index(index))


def _masks(root: Path) -> Any:
    content = _content(root / "masks.npz")
    faces = glyphs.faces(content)
    first = next(iter(next(iter(faces.values()), {}).values()), [])
    return glyphs.families(content), len(first)


def digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
