"""Damage that keeps the format of a file: HDF5, PyTorch's files, Parquet and CSV."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from functools import wraps
from random import Random
from typing import Any

import h5py
import numpy as np
import torch

from tests.helpers.fuzz.mutations import ODD, Mutation, of_bytes, value

CELLS = (
    *("", " ", "a", "1e9", "-1", "nan", "|", "a|b", "a;b", "\x00", "\x1b[2J", '"', "a\nb"),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "pictures",
        "C:\\x.png",
        "\u202egnp.a",
        "x" * 5000,
        "9" * 50,
    ),
)


def or_bytes(mutation: Mutation) -> Mutation:
    """The mutation; one of the bytes four in ten times, and where a format forbids the damage."""

    @wraps(mutation)
    def mutate(content: bytes, rng: Random) -> bytes:
        if rng.random() >= 0.4:
            with suppress(Exception):  # of many libraries
                return mutation(content, rng)
        return of_bytes(content, rng)

    return mutate


@or_bytes
def of_h5(content: bytes, rng: Random) -> bytes:
    """Change a dataset, an attribute or a link in an HDF5 file."""
    packed = io.BytesIO(content)
    with h5py.File(packed, "r+") as root:
        names: list[str] = []
        root.visit(names.append)
        name = rng.choice(names)
        attributes = [(n, key) for n in ["/", *names] for key in root[n].attrs]
        if attributes and rng.random() < 0.4:
            _attribute(root, *rng.choice(attributes), rng)
        else:
            _item(root, name, rng)
    return packed.getvalue()


def _attribute(root: Any, name: str, key: str, rng: Random) -> None:
    attributes = root[name].attrs
    old = attributes[key]
    del attributes[key]
    kind = rng.randrange(6)
    if kind == 0:
        attributes[key] = rng.choice(
            [1, -1.5, np.zeros(3), np.nan, h5py.Empty("f"), np.bytes_(b"\xff")]
        )
    elif kind == 1:
        attributes[key] = rng.choice(["", "x", "é" * 200, "a\nb", "[" * 5000, "{}", "null", "[]"])
    elif kind == 2 and isinstance(old, str | bytes):
        text = old if isinstance(old, bytes) else old.encode()
        attributes[key] = np.bytes_(of_bytes(text, rng).replace(b"\0", b"") or b"x")
    elif kind == 3 and isinstance(old, np.ndarray):
        attributes[key] = old[: len(old) // 2] if old.ndim else old
    elif kind == 4:
        attributes[key + "2"] = old


def _item(root: Any, name: str, rng: Random) -> None:
    item = root[name]
    array = item[()] if isinstance(item, h5py.Dataset) else np.zeros(2)
    attributes = dict(item.attrs)
    del root[name]
    kind = rng.randrange(12)
    if kind == 0:
        root[name] = h5py.ExternalLink("/etc/hostname", "/x")
    elif kind == 1:
        root[name] = h5py.SoftLink(rng.choice(["/", name, "/x", "/layers"]))
    elif kind == 2:
        root.create_dataset(name, (10,), "i1", external=[("/etc/hostname", 0, 10)])
    elif kind == 3:
        root.create_dataset(
            name, (2 ** rng.choice((20, 28, 31, 40)),), "f8", chunks=(2**16,), compression=1
        )
    elif kind == 4:
        root.create_group(name)
    elif kind == 5:
        odd = array.astype(rng.choice(["f2", "f8", "c8", "i8", "u1", "S3"]))
        root.create_dataset(name, data=odd)
    elif kind == 6:
        root.create_dataset(name, data=rng.choice(["text", b"bytes", 3, np.zeros((0, 3))]))
    elif kind == 7:
        root.create_dataset(name, (3,), h5py.vlen_dtype(np.dtype("i4")))
    elif kind == 8:
        root.create_dataset(name, (3,), h5py.ref_dtype)
    elif kind == 9:
        root.create_dataset(
            name, data=np.full_like(array, np.nan) if array.dtype.kind == "f" else array
        )
    elif kind == 10:
        root.create_dataset(name, data=array.reshape(-1)[:1] if array.size else array)
    if name in root and isinstance(root.get(name, getlink=True), h5py.HardLink):
        for key, old in attributes.items():
            root[name].attrs[key] = old


@or_bytes
def of_torch(content: bytes, rng: Random) -> bytes:
    """Change what a file of PyTorch holds."""
    tree = torch.load(io.BytesIO(content), weights_only=True)
    places: list[tuple[dict[str, Any], str]] = []
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        places += [(node, key) for key in node]
        nodes += [child for child in node.values() if isinstance(child, dict)]
    node, key = rng.choice(places)
    old, kind = node[key], rng.randrange(4)
    if kind == 0:
        node.pop(key)
        node[rng.choice(["", "x\n", "module", 3, None, "é" * 300])] = old
    elif kind == 1:
        node[key] = rng.choice(ODD)
    else:
        node[key] = _tensor(old if isinstance(old, torch.Tensor) else torch.zeros(2), rng)
    packed = io.BytesIO()
    torch.save(tree, packed)
    return packed.getvalue()


def _tensor(old: torch.Tensor, rng: Random) -> Any:
    odd = [
        lambda: torch.zeros(1).expand(2**rng.choice((20, 34, 50))),
        lambda: torch.zeros(2**16, 0),
        lambda: torch.tensor(float("nan")),
        lambda: old.to(torch.complex64),
        lambda: old.to(torch.bfloat16),
        lambda: old.to(torch.float8_e4m3fn),
        lambda: old.to_sparse() if old.ndim else old,
        lambda: torch.quantize_per_tensor(old.float(), 0.1, 0, torch.qint8),
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (2**40,)),
        lambda: torch.zeros(2, device="meta"),
        lambda: torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]),
        lambda: old.reshape(-1)[:1],
        lambda: old[None],
        lambda: old.bool(),
        lambda: torch.nn.Parameter(old.float()),
        lambda: [old, old],
        lambda: {"x": {"y": old}},
    ]  # fmt: skip
    return rng.choice(odd)()


@or_bytes
def of_parquet(content: bytes, rng: Random) -> bytes:
    """Change a column of a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content))
    at, n = rng.randrange(table.num_columns), table.num_rows
    name, column = table.column_names[at], table.column(at)
    kind = rng.randrange(10)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.append_column(name, column)
    elif kind == 2:
        table = table.rename_columns(
            [rng.choice(["", "x", "\x1b", "\n", "label", "file"]), *table.column_names[1:]]
        )
    elif kind == 3:
        table = table.slice(0, rng.choice([0, 1]))
    elif kind == 4:
        cells = column.to_pylist()
        cells[rng.randrange(n)] = rng.choice((*CELLS, None))
        table = table.set_column(at, name, pa.array(cells))
    else:
        odd = [
            lambda: pa.nulls(n),
            lambda: pa.array(range(n)),
            lambda: pa.array([float("nan")] * n),
            lambda: pa.array([[rng.choice(CELLS)]] * n),
            lambda: pa.array([{"bytes": b"x", "path": None}] * n),
            lambda: pa.array([b"\xff"] * n),
            lambda: pa.array(["x"] * n).dictionary_encode(),
            lambda: pa.array([0] * n, pa.timestamp("s")),
            lambda: pa.array([-(2**62)] * n, pa.timestamp("us")),
            lambda: pa.array([0] * n, pa.date64()),
            lambda: pa.array([None] * n, pa.decimal128(20, 3)),
            lambda: pa.array([[("k", "v")]] * n, pa.map_(pa.string(), pa.string())),
            lambda: pa.array([[[[1]]]] * n),
            lambda: pa.array([True] * n),
            lambda: pa.array(["y" * 2**16] * n).dictionary_encode(),
        ]  # fmt: skip
        table = table.set_column(at, name, rng.choice(odd)())
    packed = io.BytesIO()
    parquet.write_table(table, packed)
    return packed.getvalue()


@or_bytes
def of_csv(content: bytes, rng: Random) -> bytes:
    """Change a cell, the rows, the separator or the encoding of a table."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    kind = rng.randrange(7)
    row = rng.choice(rows)
    if kind <= 2:
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    elif kind == 3:
        rows.insert(rng.randrange(len(rows)), rng.choice([[], [""], row, [*row, "x"], row[:1]]))
    elif kind == 4:
        at = rng.randrange(len(row))
        for each in rows[1:]:
            if at < len(each):
                each[at] = rng.choice(CELLS)
    elif kind == 5:
        rows = [each[:1] for each in rows]
    text = io.StringIO()
    mark = rng.choice((",", ",", ",", ";", "\t", "|", " "))
    csv.writer(text, delimiter=mark, quoting=rng.choice((0, 1))).writerows(rows)
    codec = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"))
    return text.getvalue().encode(codec, "surrogatepass")


def of_sharded_index(content: bytes, rng: Random) -> bytes:
    """Change the index of sharded weights: also to files elsewhere."""
    import json

    index = json.loads(content)
    if rng.random() < 0.4:
        name = rng.choice(sorted(index["weight_map"]))
        odd = ("../w.safetensors", "/etc/passwd", "w.pth", "", ".", "a/b", "\x00", "x" * 300)
        index["weight_map"][name] = rng.choice((*odd, *ODD))
        return json.dumps(index).encode()
    return json.dumps(value(index, rng)).encode() if rng.random() < 0.6 else of_bytes(content, rng)
