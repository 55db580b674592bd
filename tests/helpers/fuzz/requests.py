"""Requests that a server may get from strangers: mostly right, and damaged in one place."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import tiny
from tests.helpers.fuzz.mutations import of_bytes, value

NAME = "fuzzed"
FORMATS = "JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"
METHODS = "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"
INFER = f"/v2/models/{NAME}/infer"
PATHS = (
    *("/", "/predict", "/metrics", "/docs", "/openapi.json", "/v2", "/v2/models", INFER),
    *("/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}", "/v2/models/../../etc/passwd"),
    *(f"/v2/models/{NAME}/versions/9", "/%00", "/predict/", "//", "/v2/models/%2e%2e/infer", "*"),
)
KINDS = "image/jpeg", "text/html", "application/json", "multipart/form-data", "a/b; charset=\xff"


def model_file(folder: Path) -> Path:
    """A model with random weights, of colour images."""
    from reslab.models import saved
    from reslab.models.build import create
    from reslab.spec.serialize import encode_network

    network = replace(tiny.NETWORK, input_shape=(8, 8, 3))
    model = create(network, data_format="channels_last")
    whole = saved.end_to_end(model, (8, 8, 3), np.full(3, 120.0), np.full(3, 60.0))
    card = {
        "classes": ["red", "green", "blue"],
        "image_shape": [8, 8, 3],
        "view": "centre",
        "data": "made",
        "network": encode_network(network),
    }
    saved.save(whole, folder / f"{NAME}.keras", card)
    return folder / f"{NAME}.keras"


def malformed(rng: random.Random) -> tuple[str, bytes]:
    """The kind of a request, and its bytes."""
    kinds: list[Callable[[random.Random], bytes]] = [
        damaged_picture,
        damaged_form,
        damaged_json,
        damaged_tensor,
        damaged_http,
        odd_headers,
        damaged_encoding,
        bomb,
        noise,
    ]
    make = rng.choice(kinds)
    return make.__name__, make(rng)


def http(
    method: str, path: str, body: bytes, *headers: tuple[str, str], length: str | None = None
) -> bytes:
    """A request with its length."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {text}" for name, text in headers]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def picture(rng: random.Random) -> bytes:
    """An encoded picture in any format."""
    sides = rng.randint(1, 60), rng.randint(1, 60)
    mode = rng.choice(["L", "RGB"])
    pixels = rng.randbytes(sides[0] * sides[1] * len(mode))
    out = io.BytesIO()
    Image.frombytes(mode, sides, pixels).save(out, rng.choice(FORMATS))
    return out.getvalue()


def damaged_picture(rng: random.Random) -> bytes:
    return http(
        "POST", "/predict", of_bytes(picture(rng), rng), ("content-type", rng.choice(KINDS[:1]))
    )


def damaged_form(rng: random.Random) -> bytes:
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="f%d"; filename="%d.jpg"\r\n\r\n%s\r\n'
        % (i, i, picture(rng))
        for i in range(rng.randint(0, 4))
    ]
    body = of_bytes(b"".join(parts) + b"--xyz--\r\n", rng)
    boundary = rng.choice(["; boundary=xyz", "; boundary=", "", "; boundary=" + "x" * 300])
    return http("POST", "/predict", body, ("content-type", f"multipart/form-data{boundary}"))


def _record(rng: random.Random) -> dict[str, object]:
    count = rng.randint(1, 3)
    one = {"name": "images", "datatype": "UINT8", "shape": [count, 8, 8, 3]}
    one["data"] = [rng.randrange(256) for _ in range(count * 192)]
    if rng.random() < 0.3:
        text = base64.b64encode(picture(rng)).decode()
        one |= {"datatype": "BYTES", "shape": [1], "data": [text]}
    outputs = [{"name": "probabilities", "parameters": {"classification": 2, "binary_data": True}}]
    return {"id": "1", "inputs": [one], "outputs": outputs, "parameters": {}}


def damaged_json(rng: random.Random) -> bytes:
    record = value(_record(rng), rng)
    body = json.dumps(record).encode()
    if rng.random() < 0.3:
        body = of_bytes(body, rng)
    if rng.random() < 0.02:
        body = b"[" * 200_000
    return http("POST", INFER, body, ("content-type", "application/json"))


def damaged_tensor(rng: random.Random) -> bytes:
    """Bytes behind the JSON, of a tensor or of encoded pictures."""
    if rng.random() < 0.5:
        tail, kind, shape = rng.randbytes(192), "UINT8", [1, 8, 8, 3]
    else:
        content = picture(rng)
        tail, kind, shape = struct.pack("<I", len(content)) + content, "BYTES", [1]
    one = {"name": "images", "datatype": kind, "shape": shape}
    one["parameters"] = {"binary_data_size": len(tail)}
    header = json.dumps(value({"inputs": [one]}, rng) if rng.random() < 0.5 else {"inputs": [one]})
    tail = of_bytes(tail, rng) if rng.random() < 0.5 else tail
    length = rng.choice([str(len(header)), str(len(header) - 1), "-1", "9" * 30, "x", ""])
    body = header.encode() + tail
    return http("POST", INFER, body, ("inference-header-content-length", length))


def damaged_http(rng: random.Random) -> bytes:
    """A right request with damage anywhere, the headers included."""
    right = http("POST", "/predict?top=2", picture(rng), ("content-type", "image/png"))
    head, _, body = right.partition(b"\r\n\r\n")
    damaged = of_bytes(head, rng) + b"\r\n\r\n" + body
    return damaged if rng.random() < 0.7 else damaged[: rng.randrange(len(damaged))]


def odd_headers(rng: random.Random) -> bytes:
    """Any method, address, type and length."""
    path = rng.choice(PATHS)
    path += rng.choice(["", "?top=-1", "?top=99999999999999999999", "?top=%00", "?a&&&=", "#x"])
    headers = [("content-type", rng.choice(KINDS))]
    names = "accept", "cookie", "range", "upgrade", "expect", "connection", "x-forwarded-for"
    texts = "websocket", "100-continue", "upgrade", "bytes=0-", "a" * 5000, "\xe9", "close"
    headers += [(rng.choice(names), rng.choice(texts)) for _ in range(rng.randint(0, 4))]
    length = rng.choice([None, None, "0", "-1", "5", "99999999999", "1e3", "+3"])
    body = rng.choice([b"", picture(rng), b"{}"])
    return http(rng.choice(METHODS), path, body, *headers, length=length)


def damaged_encoding(rng: random.Random) -> bytes:
    """Compressed or chunked bodies."""
    content = picture(rng)
    if rng.random() < 0.6:
        packed = rng.choice([gzip.compress, zlib.compress])(content)
        encoding = rng.choice(["gzip", "deflate", "br", "gzip, gzip", "identity"])
        return http("POST", "/predict", of_bytes(packed, rng), ("content-encoding", encoding))
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + of_bytes(chunks, rng)


def bomb(rng: random.Random) -> bytes:
    """Few bytes that stand for many: of a picture, of a compressed body, of JSON."""
    kind = rng.randrange(4)
    if kind == 0:
        sides = rng.choice([(60_000, 60_000), (2**31 - 1, 1), (3000, 3000), (1, 65_000)])
        header = struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + header
        chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
        return http("POST", "/predict", b"\x89PNG\r\n\x1a\n" + chunk + bytes(40))
    if kind == 1:
        packed = gzip.compress(bytes(rng.choice([900_000, 20_000_000])))
        return http("POST", "/predict", packed, ("content-encoding", "gzip"))
    if kind == 2:
        out = io.BytesIO()
        Image.new("L", (rng.randint(1500, 2200), 1800)).save(out, "PNG")
        return http("POST", "/predict", out.getvalue())
    return http("POST", INFER, b'{"inputs": [' + b"{}," * 300_000 + b"{}]}")


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 3000))
