"""Published weights: URL, checksum, network of the zoo, and preprocessing.

torchvision: URLs and image sizes are from torchvision 0.28.0, `models/*.py`; the name of a file
contains the first digits of its sha256. keras.applications: URLs and md5 are from Keras 3.15.1.
timm: the hub's `config.json` has the preprocessing, and the pointer to the file its sha256.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from reslab import zoo
from reslab.core import records
from reslab.core.errors import UserError, unknown
from reslab.core.paths import regular
from reslab.data.sources import download
from reslab.spec.catalogue import Remote
from reslab.weights import files
from reslab.weights.preprocessing import Preprocessing, decode

TORCH_URL = "https://download.pytorch.org/models/"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
HUB_URL = "https://huggingface.co"

_V1, _V2 = (
    "IMAGENET1K_V1",
    "IMAGENET1K_V2",
)  # V2: the newer recipe, with the shorter side resized to 232
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
    "resnext101_64x4d": {_V1: "resnext101_64x4d-173b62eb.pth"},  # also resized to 232
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
KERAS: dict[str, tuple[str, str, str]] = {  # folder/prefix of the file, md5, preprocessing
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
# keras.applications publishes no resize and crop: these are the usual ones
KERAS_PREPROCESSING = {
    "caffe": Preprocessing(mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), order="bgr"),
    "tf": Preprocessing(mean=(127.5,) * 3, std=(127.5,) * 3),
    "torch": Preprocessing(),
}


@dataclass(frozen=True)
class Published:
    """Weights that a library publishes."""

    source: str  # "torchvision/IMAGENET1K_V2"
    network: str  # the network of the zoo that they were trained for
    scheme: str
    file: Remote
    folder: str  # within the cache
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None


def find(network: str, source: str) -> Published | None:
    """The published weights named `source` for the network, or for the library's variant of it.

    None if `source` does not start with "torchvision/", "timm/" or "keras/". For timm the hub is
    read. Raises UserError if the library publishes no such weights.
    """
    library, _, version = source.partition("/")
    finders = {"torchvision": _torchvision, "timm": _timm, "keras": _keras}
    return finders[library](network, version) if library in finders and version else None


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes in the order of the logits."""
    text = (package_files("reslab.weights") / "imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def contents(published: Published) -> files.Contents:
    """The arrays of the file, which is downloaded if necessary; the checksum is verified."""
    return files.read(local_path(published))


def local_path(published: Published) -> Path:
    """The path of the file on this machine; it is downloaded if necessary.

    Raises UserError if it cannot be downloaded; the message says which file to put where.
    """
    folders = [*download.folders(published.folder, None), *_library_cache(published.source)]
    for folder in folders:
        if (path := folder / published.file.name).exists():
            return download.verify(path, published.file)
    return download.fetch(published.file, download.cache_dir() / published.folder)


def _library_cache(source: str) -> list[Path]:
    """The folder in which the library itself stores its downloads."""
    library = source.partition("/")[0]
    caches = {
        "torchvision": Path(os.environ.get("TORCH_HOME", "~/.cache/torch"), "hub/checkpoints"),
        "keras": Path(os.environ.get("KERAS_HOME", "~/.keras"), "models"),
    }
    return [download.home_expanded(caches[library])] if library in caches else []


def _torchvision(network: str, version: str) -> Published:
    if network not in TORCHVISION:
        raise UserError(f"torchvision publishes no weights for {network}")
    versions = TORCHVISION[network]
    if version not in versions:
        raise unknown(f"weights of torchvision's {network} called", version, versions)
    name = versions[version]
    checksum = name.removesuffix(".pth").rpartition("-")[2]  # its first digits
    new_recipe = version == _V2 or network == "resnext101_64x4d"
    preprocessing = Preprocessing(resize=232 if new_recipe else 256)
    if network == "googlenet":  # ported from TensorFlow; `transform_input` undoes torchvision's
        preprocessing = KERAS_PREPROCESSING["tf"]
    return Published(
        source=f"torchvision/{version}",
        network=network,
        scheme="torchvision",
        file=Remote(name, TORCH_URL + name, (checksum,)),
        folder="weights/torchvision",
        preprocessing=preprocessing,
        classes=imagenet_classes(),
    )


def _keras(network: str, version: str) -> Published:
    base = network.removeprefix("keras_")
    if base not in KERAS:
        raise UserError(f"keras.applications publishes no weights for {network}")
    if version != "imagenet":
        raise unknown(f"weights of keras.applications' {base} called", version, ["imagenet"])
    variant = f"keras_{base}"
    if variant not in zoo.NETWORKS and base.startswith("vgg"):
        variant = base  # the same function: no batch norm, and dense kernels are reordered
    if variant not in zoo.NETWORKS:
        raise UserError(f"keras/imagenet needs the network {variant}, which reslab does not have")
    path, md5, preprocessing = KERAS[base]
    folder, _, prefix = path.partition("/")
    name = f"{prefix}_weights_tf_dim_ordering_tf_kernels.h5"
    return Published(
        source="keras/imagenet",
        network=variant,
        scheme="keras",
        file=Remote(name, f"{KERAS_URL}{folder}/{name}", md5=md5),
        folder="weights/keras",
        preprocessing=KERAS_PREPROCESSING[preprocessing],
        classes=imagenet_classes(),
    )


# timm: the Hugging Face hub ---------------------------------------------------------------------

CONFIG, MODEL, POINTER = "config.json", "model.safetensors", "model.safetensors.pointer"


def _timm(network: str, version: str) -> Published:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise UserError(
            f"timm/{version} is not a model name of the hub, such as timm/resnet50.a1_in1k"
        )
    folder = f"weights/timm/{version}"
    _download_metadata(version, folder)
    cache = download.cache_dir() / folder
    try:
        config = records.parse(regular(cache / CONFIG).read_bytes())
        config = {**config, **config.get("pretrained_cfg", {})}
        architecture = str(config["architecture"])
        preprocessing = _timm_preprocessing(config)
        classes = int(config["num_classes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{cache / CONFIG} is damaged ({error}): delete it") from None
    if zoo_name(architecture) != network:
        raise UserError(f"timm/{version} is of {architecture}, not of {network}")
    pointer = cache / POINTER
    text = pointer.read_text(encoding="utf-8") if pointer.exists() else ""
    checksum = re.search(r"oid sha256:([0-9a-f]{64})", text)
    url = f"{_hub()}/timm/{version}/resolve/main/{MODEL}"
    names = imagenet_classes() if classes == 1000 else None
    file = Remote(MODEL, url, (checksum[1],) if checksum else ())
    return Published(f"timm/{version}", network, "auto", file, folder, preprocessing, names)


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")


def _download_metadata(version: str, folder: str) -> None:
    """Download, once, the two small files with the preprocessing and the checksum."""
    cache, base = download.cache_dir() / folder, f"{_hub()}/timm/{version}"
    urls = {CONFIG: f"{base}/resolve/main/{CONFIG}", POINTER: f"{base}/raw/main/{MODEL}"}
    if (cache / CONFIG).exists() and (cache / MODEL).exists():
        return
    for name, url in urls.items():
        if (cache / name).exists():
            continue
        try:
            download.fetch(Remote(name, url), cache, checked=False)
        except download.Unavailable as error:
            if name == POINTER and error.status == 404:  # the checksum is not known then
                continue
            raise UserError(
                f"timm/{version} cannot be downloaded ({error.reason}): put {CONFIG} and {MODEL} "
                f"from {base}/resolve/main/ into {cache}; the sha256 is at {urls[POINTER]}"
            ) from error


def _timm_preprocessing(config: dict) -> Preprocessing:
    """As timm does (`data/transforms_factory.py`): resize to size / crop_pct, rounded down."""
    size = int(config["input_size"][-1])
    squash = config.get("crop_mode", "center") == "squash"
    return decode(
        {
            "size": size,
            "resize": None if squash else math.floor(size / config.get("crop_pct", 0.875)),
            "interpolation": config.get("interpolation", "bicubic"),
            "mean": [255 * float(m) for m in config["mean"]],
            "std": [255 * float(s) for s in config["std"]],
        }
    )


def zoo_name(architecture: str) -> str:
    """The zoo's name for an architecture of timm: `resnet50d` is `resnet50_d`."""
    architecture = architecture.removeprefix("tv_")
    return re.sub(r"^((?:se)?resnet\d+)d$", r"\1_d", architecture)
