"""Every net that another library and the zoo both have."""

from __future__ import annotations

from tests.weights.parity import Case

ROWS = "conv2_x", "conv3_x", "conv4_x", "conv5_x"
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def resnet(library: str, theirs: str, ours: str, depth: int) -> Case:
    ends = list(zip(ROWS, UNITS[depth], strict=True))
    if library == "keras_hub":
        stages = {r: f"stack{i}_block{n - 1}_out" for i, (r, n) in enumerate(ends)}
    elif library == "keras":
        stages = {r: f"{r[:-2]}_block{n}_out" for r, n in ends}
    elif theirs.startswith("resnetv2"):
        stages = {r: f"stages.{i}" for i, r in enumerate(ROWS)}
    else:
        stages = {r: f"layer{i}" for i, r in enumerate(ROWS, 1)}
    return Case(library, theirs, ours, stages, slow=depth > 50)


CASES = [
    *(resnet("torchvision", f"resnet{d}", f"resnet{d}", d) for d in UNITS),
    *(resnet("timm", f"resnet{d}", f"resnet{d}", d) for d in UNITS),
    *(resnet("keras_hub", f"resnet_{d}", f"resnet{d}", d) for d in UNITS if d != 34),
]
