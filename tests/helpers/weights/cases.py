"""Every network that both reslab and another library have, and the ends of its stages."""

from __future__ import annotations

from itertools import accumulate

from reslab.zoo import densenet as dense
from reslab.zoo import resnet as residual
from reslab.zoo.vgg import UNITS as VGG
from tests.helpers.weights.parity import Case

UNITS = {depth: units for depth, (_, *units) in residual.IMAGENET.items()}
DENSE = {depth: units for depth, (_, *units) in dense.IMAGENET.items() if depth != 264}

ROWS = "conv2_x", "conv3_x", "conv4_x", "conv5_x"
QUICK = {  # the other cases are slow, and differ only in depth or width
    "torchvision": "resnet18 resnet50 resnext50_32x4d densenet121 googlenet alexnet",
    "timm": "resnet34 resnet50 resnet50d resnetv2_50 seresnet50",
    "keras": "ResNet50 ResNet50V2 DenseNet121 VGG16",
    "keras_hub": "resnet_18 resnet_50 resnet_v2_50 resnet_vd_18 densenet_121 vgg_11",
}


def case(library: str, theirs: str, ours: str, stages: dict[str, str], size: int = 64) -> Case:
    """Return a case; it is slow unless QUICK lists it."""
    return Case(library, theirs, ours, stages, size, slow=theirs not in QUICK[library].split())


def resnet(library: str, theirs: str, ours: str, depth: int) -> Case:
    """Return the case of a residual network, with the last layer of each stage."""
    ends = list(zip(ROWS, UNITS[depth], strict=True))
    if library == "keras_hub":
        stages = {r: f"stack{i}_block{n - 1}_out" for i, (r, n) in enumerate(ends)}
    elif library == "keras":
        stages = {r: f"{r[:-2]}_block{n}_out" for r, n in ends}
    elif theirs.startswith("resnetv2"):
        stages = {r: f"stages.{i}" for i, r in enumerate(ROWS)}
    else:
        stages = {r: f"layer{i}" for i, r in enumerate(ROWS, 1)}
    return case(library, theirs, ours, stages)


def densenet(library: str, theirs: str, ours: str, depth: int) -> Case:
    """Return the case of a DenseNet, with the last layer of each dense block."""
    ends = enumerate(DENSE[depth], 1)
    if library == "keras_hub":
        stages = {f"dense{i}": f"stack{i}_block{n}_concat" for i, n in ends}
    elif library == "keras":
        stages = {f"dense{i}": f"conv{i + 1}_block{n}_concat" for i, n in ends}
    else:
        stages = {f"dense{i}": f"features.denseblock{i}" for i, _ in ends}
    return case(library, theirs, ours, stages)


def vgg(library: str, theirs: str, ours: str, depth: int) -> Case:
    """Return the case of a VGG network, with the pooling layer of each stage."""
    if library not in ("torchvision", "timm"):
        return case(library, theirs, ours, {f"conv{i}": f"block{i}_pool" for i in range(1, 6)})
    modules = 3 if theirs.endswith("_bn") else 2  # modules per convolution
    pools = [modules * n + i for i, n in enumerate(accumulate(VGG[depth]))]
    stages = {f"conv{i}": f"features.{pool}" for i, pool in enumerate(pools, 1)}
    return case(library, theirs, ours, stages, size=224)  # the dense layers need 7x7 maps


WIDE = {
    "resnext50_32x4d": 50,
    "resnext101_32x8d": 101,
    "resnext101_64x4d": 101,
    "wide_resnet50_2": 50,
    "wide_resnet101_2": 101,
}
ALEXNET = {f"conv{i}": f"features.{n}" for i, n in enumerate((2, 5, 7, 9, 12), 1)}
INCEPTIONS = [f"inception_{n}" for n in ("3a", "4a", "4d", "5a", "5b")]
CASES = [
    # torchvision
    *(resnet("torchvision", f"resnet{d}", f"resnet{d}", d) for d in UNITS),
    *(resnet("torchvision", name, name, d) for name, d in WIDE.items()),
    *(densenet("torchvision", f"densenet{d}", f"densenet{d}", d) for d in DENSE),
    *(
        vgg("torchvision", f"vgg{d}{bn}", f"vgg{d}{bn}", d)
        for d in (11, 13, 16, 19)
        for bn in ("", "_bn")
    ),
    case("torchvision", "googlenet", "googlenet", {r: r.replace("_", "") for r in INCEPTIONS}),
    case("torchvision", "alexnet", "alexnet", ALEXNET, 224),
    # timm
    *(resnet("timm", f"resnet{d}", f"resnet{d}", d) for d in UNITS),
    *(resnet("timm", f"resnet{d}d", f"resnet{d}_d", d) for d in UNITS),
    *(resnet("timm", f"resnetv2_{d}", f"timm_resnet{d}_v2", d) for d in (50, 101, 152)),
    *(resnet("timm", name, name, d) for name, d in WIDE.items()),
    *(resnet("timm", f"seresnet{d}", f"seresnet{d}", d) for d in (50, 101, 152)),
    *(densenet("timm", f"densenet{d}", f"densenet{d}", d) for d in DENSE),
    *(vgg("timm", f"vgg{d}{bn}", f"vgg{d}{bn}", d) for d in VGG for bn in ("", "_bn")),
    # keras.applications
    *(resnet("keras", f"ResNet{d}", f"keras_resnet{d}", d) for d in (50, 101, 152)),
    *(resnet("keras", f"ResNet{d}V2", f"keras_resnet{d}_v2", d) for d in (50, 101, 152)),
    *(densenet("keras", f"DenseNet{d}", f"keras_densenet{d}", d) for d in (121, 169, 201)),
    *(vgg("keras", f"VGG{d}", f"vgg{d}", d) for d in (16, 19)),
    # KerasHub
    *(resnet("keras_hub", f"resnet_{d}", f"resnet{d}", d) for d in (18, 50, 101, 152)),
    *(resnet("keras_hub", f"resnet_v2_{d}", f"timm_resnet{d}_v2", d) for d in (50, 101)),
    *(resnet("keras_hub", f"resnet_vd_{d}", f"keras_hub_resnet{d}_d", d) for d in (18, 34)),
    *(resnet("keras_hub", f"resnet_vd_{d}", f"resnet{d}_d", d) for d in (50, 101, 152)),
    *(densenet("keras_hub", f"densenet_{d}", f"keras_hub_densenet{d}", d) for d in (121, 169, 201)),
    *(vgg("keras_hub", f"vgg_{d}", f"vgg{d}", d) for d in VGG),
]
