"""Damage to the content of a file: to its bytes, and to its values where the format is known."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 1.5, -0.0, 2**31, 2**63, 10**30, -(10**400), 1e308, 1e-320),
    *(float("nan"), float("inf"), -float("inf")),
    *("", "x", "a\nb", "\x1b[2J", "\x00", "../../etc/passwd", "\ud800", "é" * 200, "9" * 5000),
    *([], {}, [[]], [None], [0] * 1000, {"": {}}, {"type": "Conv"}, {"a": 1, "b": [2]}),
]
NUMBERS = b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"


def of_bytes(content: bytes, rng: Random) -> bytes:
    """Flip, cut, insert, repeat, remove or overwrite some bytes, once to three times."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = _once(content, rng)
    return content


def _once(content: bytes, rng: Random) -> bytes:
    data, n = bytearray(content), len(content)
    at = rng.randrange(n + 1)
    to = min(n, at + rng.choice((1, 2, 4, 8, 64, 1024)))
    kind = rng.randrange(8)
    if kind == 0 and n:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(n)] ^= 1 << rng.randrange(8)
    elif kind == 1 and n:  # the first bytes are a header in most formats
        data[rng.randrange(min(n, 64))] = rng.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
    elif kind == 4:
        data[at:at] = data[at:to] * rng.choice((1, 2, 50))
    elif kind == 5:
        del data[at:to]
    elif kind == 6:
        data[at : at + 4] = rng.choice(NUMBERS)
    else:
        data[at:to] = bytes([rng.randrange(256)]) * (to - at)
    return bytes(data)


def value(data: Any, rng: Random) -> Any:
    """Change one value, key or length somewhere in a JSON value."""
    data = copy.deepcopy(data)
    places = [(node, key) for node in _containers(data) for key in _keys(node)]
    if not places:
        return rng.choice(ODD)
    node, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind <= 2:
        node[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 3:
        del node[key]
    elif kind == 4:
        other, name = rng.choice(places)
        node[key] = copy.deepcopy(other[name])
    elif kind == 5:
        deep: Any = []
        for _ in range(rng.choice((5, 60, 150, 500))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        node[key] = deep
    elif isinstance(node, dict):
        node[rng.choice(("", "x", "\ud800", f"{key}2", "type", "__metadata__"))] = node.pop(key)
    else:
        node[:] = node * rng.choice((0, 2, 100))
    return data


def _containers(data: Any) -> list[Any]:
    found, open_nodes = [], [data]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, dict | list):
            found.append(node)
            open_nodes += node.values() if isinstance(node, dict) else node
    return found


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


def of_json(content: bytes, rng: Random) -> bytes:
    """Change a value in a JSON file, or its bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    head = b""
    if content[:1] not in b"{[":  # the index of a folder begins with a checksum of the rest
        head, _, content = content.partition(b"\n")
        head += b"\n"
    text = json.dumps(value(json.loads(content), rng)).encode()
    if rng.random() < 0.1:
        text = _odd_text(text, rng)
    return head + text


def _odd_text(text: bytes, rng: Random) -> bytes:
    """What no writer of JSON gives: keys that come twice, deep brackets, numbers without end."""
    keys = re.findall(rb'"\w+": ', text)
    kind = rng.randrange(4)
    if kind == 0 and keys:
        twice = rng.choice(keys) + rng.choice((b"null", b"1", b"[]", b'"x"'))
        return text.replace(b"{", b"{" + twice + b", ", 1)
    if kind == 1 and keys:
        deep = rng.choice((b"[", b'{"a":')) * rng.choice((500, 10**5))
        return text.replace(rng.choice(keys), rng.choice(keys) + deep, 1)
    if kind == 2:
        return re.sub(
            rb"(?<=: )[0-9.]+", lambda m: m[0] + b"0" * rng.choice((20, 5000)), text, count=1
        )
    return text.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))


def of_json_lines(content: bytes, rng: Random) -> bytes:
    """Change a value in a line of JSON, the order of the lines, or the bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    if rng.random() < 0.2:
        rng.shuffle(lines)
    else:
        lines[at] = json.dumps(value(json.loads(lines[at]), rng)).encode() + b"\n"
    return b"".join(lines)


def of_toml(content: bytes, rng: Random) -> bytes:
    """Change the value or the key of a line of TOML, or the bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    key, _, old = lines[at].partition(" = ")
    odd = ("nan", "-inf", "9" * 5000, "1e999", "[" * 3000, "{a = 1}", "[[1], [2]]", "1979-05-27")
    odd += ("true", "-1", "0", "''", "'''a\nb'''", '"\\u0000"', "[nan]", "1_000_000_000_000_000")
    if rng.random() < 0.8:
        lines[at] = f"{key} = {rng.choice((*odd, old + old))}"
    else:
        lines[at] = f"{rng.choice(('x', 'a.b', 'base', '[a]'))} = {old}"
    return "\n".join(lines).encode()


def of_safetensors(content: bytes, rng: Random) -> bytes:
    """Change the header of a safetensors file, or its bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    note = header.get("__metadata__", {}).get("reslab")
    if note and rng.random() < 0.4:
        header["__metadata__"]["reslab"] = of_json(note.encode(), rng).decode("latin-1")
    else:
        header = value(header, rng)
    text = json.dumps(header).encode()
    length = len(text) if rng.random() < 0.9 else rng.choice((0, 1, len(text) + 1, 2**40, 2**63))
    return length.to_bytes(8, "little") + text + content[8 + size :]


def of_zip(members: dict[str, Mutation]) -> Mutation:
    """Change a member of a zip file, each by its own mutation, or the bytes of the file."""

    def mutate(content: bytes, rng: Random) -> bytes:
        if rng.random() < 0.3:
            return of_bytes(content, rng)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(sorted(files))
        kind = rng.randrange(8)
        if kind == 0:
            del files[name]
        elif kind == 1:
            files[rng.choice(("x", "../x", name + "2", "a\nb"))] = files.pop(name)
        else:
            change = next((m for end, m in members.items() if name.endswith(end)), of_bytes)
            files[name] = change(files[name], rng)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, 8))) as archive:
            for name, member in files.items():
                archive.writestr(name, member)
        return packed.getvalue()

    return mutate


def of_gzip(content: bytes, rng: Random) -> bytes:
    """Change what a gzip file holds, or its bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    if rng.random() < 0.02:  # a bomb
        return gzip.compress(gzip.decompress(content) + bytes(2**28), 1)
    return gzip.compress(of_bytes(gzip.decompress(content), rng), 1)
