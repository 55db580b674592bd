"""What the libraries publish: where it is, its checksum, which of our networks it is for, and how
its pictures are prepared.

torchvision: URLs and sizes read in torchvision 0.28.0, `models/*.py`; a file's name carries the
first letters of its sha256. keras.applications: URLs and md5 read in Keras 3.15.1. timm: the hub's
`config.json` says how pictures are prepared, and the pointer of a large file its sha256.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from reslab import zoo
from reslab.core.errors import UserError, unknown
from reslab.data.sources import download
from reslab.spec.catalogue import Remote
from reslab.weights import files
from reslab.weights.preprocessing import Preprocessing, decode

log = logging.getLogger("reslab.weights")
TORCH_URL = "https://download.pytorch.org/models/"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
HUB_URL = "https://huggingface.co"

_V1, _V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"  # V2: the newer recipe, with the shorter side at 232
TORCHVISION: dict[str, dict[str, str]] = {
    "alexnet": {_V1: "alexnet-owt-7be5be79.pth"},
    "vgg11": {_V1: "vgg11-8a719046.pth"},
    "vgg11_bn": {_V1: "vgg11_bn-6002323d.pth"},
    "vgg13": {_V1: "vgg13-19584684.pth"},
    "vgg13_bn": {_V1: "vgg13_bn-abd245e5.pth"},
    "vgg16": {_V1: "vgg16-397923af.pth"},
    "vgg16_bn": {_V1: "vgg16_bn-6c64b313.pth"},
    "vgg19": {_V1: "vgg19-dcbb9e9d.pth"},
    "vgg19_bn": {_V1: "vgg19_bn-c79401a0.pth"},
    "googlenet": {_V1: "googlenet-1378be20.pth"},
    "resnet18": {_V1: "resnet18-f37072fd.pth"},
    "resnet34": {_V1: "resnet34-b627a593.pth"},
    "resnet50": {_V1: "resnet50-0676ba61.pth", _V2: "resnet50-11ad3fa6.pth"},
    "resnet101": {_V1: "resnet101-63fe2227.pth", _V2: "resnet101-cd907fc2.pth"},
    "resnet152": {_V1: "resnet152-394f9c45.pth", _V2: "resnet152-f82ba261.pth"},
    "resnext50_32x4d": {_V1: "resnext50_32x4d-7cdf4587.pth", _V2: "resnext50_32x4d-1a0047aa.pth"},
    "resnext101_32x8d": {
        _V1: "resnext101_32x8d-8ba56ff5.pth",
        _V2: "resnext101_32x8d-110c445d.pth",
    },
    "resnext101_64x4d": {_V1: "resnext101_64x4d-173b62eb.pth"},  # resized to 232 all the same
    "wide_resnet50_2": {_V1: "wide_resnet50_2-95faca4d.pth", _V2: "wide_resnet50_2-9ba9bcbe.pth"},
    "wide_resnet101_2": {
        _V1: "wide_resnet101_2-32ee1156.pth",
        _V2: "wide_resnet101_2-d733dc28.pth",
    },
    "densenet121": {_V1: "densenet121-a639ec97.pth"},
    "densenet161": {_V1: "densenet161-8d451a50.pth"},
    "densenet169": {_V1: "densenet169-b2777c0a.pth"},
    "densenet201": {_V1: "densenet201-c1103571.pth"},
}
KERAS: dict[str, tuple[str, str, str]] = {  # folder and file's first word, md5, preprocessing
    "resnet50": ("resnet/resnet50", "2cb95161c43110f7111970584f804107", "caffe"),
    "resnet101": ("resnet/resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "caffe"),
    "resnet152": ("resnet/resnet152", "100835be76be38e30d865e96f2aaae62", "caffe"),
    "resnet50_v2": ("resnet/resnet50v2", "3ef43a0b657b3be2300d5770ece849e0", "tf"),
    "resnet101_v2": ("resnet/resnet101v2", "6343647c601c52e1368623803854d971", "tf"),
    "resnet152_v2": ("resnet/resnet152v2", "a49b44d1979771252814e80f8ec446f9", "tf"),
    "densenet121": ("densenet/densenet121", "9d60b8095a5708f2dcce2bca79d332c7", "torch"),
    "densenet169": ("densenet/densenet169", "d699b8f76981ab1b30698df4c175e90b", "torch"),
    "densenet201": ("densenet/densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", "torch"),
    "vgg16": ("vgg16/vgg16", "64373286793e3c8b2b4e3219cbf3544b", "caffe"),
    "vgg19": ("vgg19/vgg19", "cbe5617147190e668d6c5d5026f83318", "caffe"),
}
# keras.applications says nothing of size and crop: ours are the usual ones
MODES = {
    "caffe": Preprocessing(mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), order="bgr"),
    "tf": Preprocessing(mean=(127.5,) * 3, std=(127.5,) * 3),
    "torch": Preprocessing(),
}


@dataclass(frozen=True)
class Published:
    """`network` is the zoo's that the weights were trained for."""

    source: str
    network: str
    scheme: str
    file: Remote
    folder: str  # in the cache
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None


def find(network: str, source: str) -> Published | None:
    """The weights called `source`, for the network or its twin in that library.

    None where `source` is not of the form "torchvision/...", "timm/..." or "keras/...". Raises
    UserError where the library publishes none like this. For timm it reads the hub.
    """
    library, _, version = source.partition("/")
    finders = {"torchvision": _torchvision, "timm": _timm, "keras": _keras}
    return finders[library](network, version) if library in finders and version else None


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the classifiers' order."""
    text = (package_files("reslab.weights") / "imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def contents(published: Published) -> files.Contents:
    """The file's arrays, from the cache or the library's server; the checksum is verified."""
    return files.read(local(published))


def local(published: Published) -> Path:
    """Where the file lies on this machine; fetched if need be.

    Raises UserError, in a line that says which file goes where, where it cannot be fetched.
    """
    places = [*download.folders(published.folder, None), *_theirs(published.source)]
    for place in places:
        if (found := place / published.file.name).exists():
            return download.verify(found, published.file)
    return download.fetch(published.file, download.cache_dir() / published.folder)


def _theirs(source: str) -> list[Path]:
    """Where the library itself keeps what it has downloaded."""
    library = source.partition("/")[0]
    homes = {
        "torchvision": Path(os.environ.get("TORCH_HOME", "~/.cache/torch"), "hub/checkpoints"),
        "keras": Path(os.environ.get("KERAS_HOME", "~/.keras"), "models"),
    }
    return [homes[library].expanduser()] if library in homes else []


def _torchvision(network: str, version: str) -> Published:
    if network not in TORCHVISION:
        raise UserError(f"torchvision publishes no weights for {network}")
    versions = TORCHVISION[network]
    if version not in versions:
        raise unknown(f"weights of torchvision's {network} called", version, versions)
    name = versions[version]
    prefix = name.removesuffix(".pth").rpartition("-")[2]
    new = version == _V2 or network == "resnext101_64x4d"
    how = Preprocessing(resize=232 if new else 256)
    if network == "googlenet":  # its weights are TensorFlow's: `transform_input` undoes the rest
        how = MODES["tf"]
    return Published(
        source=f"torchvision/{version}",
        network=network,
        scheme="torchvision",
        file=Remote(name, TORCH_URL + name, sha256=prefix),
        folder="weights/torchvision",
        preprocessing=how,
        classes=imagenet_classes(),
    )


def _keras(network: str, version: str) -> Published:
    own = network.removeprefix("keras_")
    if own not in KERAS:
        raise UserError(f"keras.applications publishes no weights for {network}")
    if version != "imagenet":
        raise unknown(f"weights of keras.applications' {own} called", version, ["imagenet"])
    twin = f"keras_{own}"
    if twin not in zoo.NETWORKS and own.startswith("vgg"):
        twin = own  # the same function: nothing to normalise, and flattened maps are put in order
    if twin not in zoo.NETWORKS:
        raise UserError(f"keras/imagenet needs the network {twin}, which reslab lacks")
    stem, md5, mode = KERAS[own]
    name = f"{stem.partition('/')[2]}_weights_tf_dim_ordering_tf_kernels.h5"
    return Published(
        source="keras/imagenet",
        network=twin,
        scheme="keras",
        file=Remote(name, f"{KERAS_URL}{stem.partition('/')[0]}/{name}", (md5,)),
        folder="weights/keras",
        preprocessing=MODES[mode],
        classes=imagenet_classes(),
    )


# timm: the Hugging Face hub ---------------------------------------------------------------------

CONFIG, MODEL, POINTER = "config.json", "model.safetensors", "model.safetensors.pointer"


def _timm(network: str, version: str) -> Published:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise UserError(f"timm/{version} is not a name of the hub: timm/resnet50.a1_in1k is one")
    folder = f"weights/timm/{version}"
    _from_hub(version, folder)
    here = download.cache_dir() / folder
    try:
        config = json.loads((here / CONFIG).read_text(encoding="utf-8"))
        said = {**config, **config.get("pretrained_cfg", {})}
        architecture = str(said["architecture"])
        how = _prepared(said)
        classes = int(said["num_classes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{here / CONFIG} is damaged ({error}): delete it") from None
    if zoo_name(architecture) != network:
        raise UserError(f"timm/{version} is of {architecture}, not of {network}")
    pointer = here / POINTER
    sums = (
        re.search(r"oid sha256:([0-9a-f]{64})", pointer.read_text()) if pointer.exists() else None
    )
    if not sums:
        log.warning("%s: its checksum is not known, so it is not verified", here / MODEL)
    url = f"{_hub()}/timm/{version}/resolve/main/{MODEL}"
    names = imagenet_classes() if classes == 1000 else None
    file = Remote(MODEL, url, sha256=sums[1] if sums else "")
    return Published(f"timm/{version}", network, "auto", file, folder, how, names)


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")


def _from_hub(version: str, folder: str) -> None:
    """The two small files about the weights, once: how to prepare pictures, and the checksum."""
    here, base = download.cache_dir() / folder, f"{_hub()}/timm/{version}"
    small = {CONFIG: f"{base}/resolve/main/{CONFIG}", POINTER: f"{base}/raw/main/{MODEL}"}
    if (here / CONFIG).exists() and (here / MODEL).exists():
        return
    for name, url in small.items():
        if (here / name).exists():
            continue
        try:
            download.fetch(Remote(name, url), here)
        except UserError as error:
            why = "RESLAB_OFFLINE is set" if os.environ.get("RESLAB_OFFLINE") else "no connection"
            raise UserError(
                f"timm/{version} is not here, and cannot be fetched ({why}): put {CONFIG} and "
                f"{MODEL} from {base}/resolve/main/ into {here}; the sha256 is at {small[POINTER]}"
            ) from error


def _prepared(said: dict) -> Preprocessing:
    """timm's own rule (`data/transforms_factory.py`): size / crop_pct, rounded down."""
    size = int(said["input_size"][-1])
    squeezed = said.get("crop_mode", "center") == "squash"
    return decode(
        {
            "size": size,
            "resize": None if squeezed else math.floor(size / said.get("crop_pct", 0.875)),
            "interpolation": said.get("interpolation", "bicubic"),
            "mean": [255 * float(m) for m in said["mean"]],
            "std": [255 * float(s) for s in said["std"]],
        }
    )


def zoo_name(architecture: str) -> str:
    """Our name for timm's architecture: `resnet50d` is `resnet50_d`."""
    architecture = architecture.removeprefix("tv_")
    return re.sub(r"^((?:se)?resnet\d+)d$", r"\1_d", architecture)
