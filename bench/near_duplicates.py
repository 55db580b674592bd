"""The bits of a perceptual hash that a copy of a picture changes, and that other pictures do.

    python bench/near_duplicates.py OUT.json

300 crops of photographs that scikit-image ships are saved again as JPEG of quality 60, halved,
made 5 % brighter, and cropped by 2 % on each side. Pairs of different crops, and pairs of 600 test
images of Fashion-MNIST, show how far other pictures are. The last numbers are the seconds that the
search takes.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance
from small_sets import PHOTOGRAPHS, photographs

from reslab.core.environment import machine, versions
from reslab.data import duplicates, load

CROPS, IMAGES = 300, 600
SEARCHED = (1000, 5000, 20_000)  # random hashes
BITS = duplicates.SIDE**2


def bits(picture: Image.Image) -> np.ndarray:
    raw = bytes.fromhex(duplicates.perceptual_hash(picture))[: BITS // 8]
    return np.unpackbits(np.frombuffer(raw, np.uint8))


def crops() -> list[Image.Image]:
    rng, pictures = np.random.default_rng(0), []
    for _, name in zip(range(CROPS), itertools.cycle(PHOTOGRAPHS), strict=False):
        with Image.open(photographs() / name) as file:
            picture = file.convert("RGB")
        side = int(rng.integers(120, min(290, *picture.size)))
        x, y = (int(rng.integers(0, length - side + 1)) for length in picture.size)
        pictures.append(picture.crop((x, y, x + side, y + side)))
    return pictures


def saved(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file)


def copies(picture: Image.Image) -> dict[str, Image.Image]:
    edge = round(0.02 * picture.width)
    return {
        "saved as JPEG": saved(picture),
        "halved": picture.resize((picture.width // 2, picture.height // 2)),
        "5 % brighter": ImageEnhance.Brightness(picture).enhance(1.05),
        "cropped by 2 %": picture.crop((edge, edge, picture.width - edge, picture.height - edge)),
    }


def between(pictures: list[Image.Image]) -> np.ndarray:
    """The differing bits of every pair."""
    hashes = np.array([bits(picture) for picture in pictures], np.int32)
    ones = hashes.sum(1)
    differing = ones[:, None] + ones[None, :] - 2 * hashes @ hashes.T
    return np.asarray(differing[np.triu_indices(len(pictures), 1)])


def seconds(n: int) -> float:
    raw = np.random.default_rng(0).bytes(n * (BITS // 8 + 3 * duplicates.CELLS**2))
    size = len(raw) // n
    hashes = [raw[i * size : (i + 1) * size].hex() for i in range(n)]
    began = time.perf_counter()
    duplicates.near_pairs(hashes)
    return round(time.perf_counter() - began, 2)


def main(out: Path) -> None:
    pictures = crops()
    changed: dict[str, list[int]] = {}
    for picture in pictures:
        for name, copy in copies(picture).items():
            changed.setdefault(name, []).append(int((bits(picture) != bits(copy)).sum()))
    images = load("fashion-mnist").test.images(slice(0, IMAGES))[..., 0]
    others = {
        "crops": between(pictures),
        "fashion-mnist": between([Image.fromarray(image) for image in images]),
    }
    result: dict[str, Any] = {
        "versions": versions(),
        "machine": machine("torch"),
        "copies": {name: percentiles(values, (50, 95, 99)) for name, values in changed.items()},
        "others": {name: percentiles(v, (0.01, 0.1, 1, 50)) for name, v in others.items()},
        "seconds": {str(n): seconds(n) for n in SEARCHED},
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: result[k] for k in ("copies", "others", "seconds")}, indent=1))


def percentiles(values: Any, at: tuple[float, ...]) -> dict[str, float]:
    return {f"{p:g} %": round(float(np.percentile(values, p)), 1) for p in at}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
