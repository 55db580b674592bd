"""ONNX Runtime Web, which runs a model inside of a page: downloaded once, pinned and verified."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from reslab.core.errors import UserError
from reslab.data.sources import download
from reslab.spec.catalogue import Remote

VERSION = "1.30.0"
TARBALL = Remote(
    f"onnxruntime-web-{VERSION}.tgz",
    f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    ("d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",),
)
FOLDER = "onnxruntime-web"  # in the cache
MIRROR = "RESLAB_ORT_WEB"  # the environment variable with the path of the file


@dataclass(frozen=True)
class Bundle:
    """The module in JavaScript, and the WebAssembly that it starts."""

    script: bytes
    wasm: bytes


def bundle() -> Bundle:
    """The two files of the package that a page needs.

    Raises:
        UserError: It is neither on this machine nor can it be downloaded, or it is damaged.
    """
    with tarfile.open(tarball()) as file:

        def read(name: str) -> bytes:
            member = file.extractfile(f"package/dist/{name}")
            assert member is not None
            return member.read()

        script = read("ort.wasm.bundle.min.mjs")
        wasm = read("ort-wasm-simd-threaded.wasm")
    source, _, _ = script.partition(b"\n//# sourceMappingURL")  # the map is not part of a page
    return Bundle(source, wasm)


def tarball() -> Path:
    """The path of the npm package: $RESLAB_ORT_WEB, or in the cache, to which it is downloaded.

    Raises UserError if there is none; the message says which file to put where.
    """
    if mirror := os.environ.get(MIRROR):
        path = download.home_expanded(mirror)
        if not path.is_file():
            raise UserError(f"{MIRROR} is {path}, but there is no such file")
        return download.verify(path, TARBALL)
    for folder in download.folders(FOLDER, None):
        if (path := folder / TARBALL.name).exists():
            return download.verify(path, TARBALL)
    return download.fetch(TARBALL, download.cache_dir() / FOLDER)
