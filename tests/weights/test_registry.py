"""Published weights: downloaded from a server with the publishers' layout, and used to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import weights, zoo
from reslab.core.errors import UserError
from reslab.data.sources import web
from reslab.models.build import create
from reslab.weights import registry
from reslab.weights.preprocessing import Preprocessing
from tests.helpers.cli import error_of, invoke, output_of
from tests.helpers.reference import randomise
from tests.helpers.web import Server, served
from tests.helpers.weights.libraries import library

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="downloads do not depend on the backend"
)
V2 = "IMAGENET1K_V2"


@pytest.fixture
def publishers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server in place of all three publishers, with an empty cache; it has no TLS."""
    with served() as server:
        monkeypatch.setattr(registry, "TORCH_URL", f"{server.address}/models/")
        monkeypatch.setattr(registry, "KERAS_URL", f"{server.address}/keras-applications/")
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.delenv("RESLAB_OFFLINE", raising=False)
        monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
        for name in ("TORCH_HOME", "KERAS_HOME"):
            monkeypatch.setenv(name, str(tmp_path / "homes"))
        yield server


@pytest.fixture
def server(publishers: Server) -> Iterator[Server]:
    """The same, and what has no TLS is accepted."""
    with web.insecure():
        yield publishers


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A model with random weights and moderate logits, and a folder with its weight files."""
    model = create("resnet18", data_format="channels_last")
    randomise(model)
    folder = tmp_path_factory.mktemp("files")
    weights.save(model, folder / "a.pth", "torchvision")
    weights.save(model, folder / "a.safetensors", "timm")
    return model, folder


def photograph(path: Path, size: tuple[int, int] = (300, 260)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1] // 20, size[0] // 20, 3))
    Image.fromarray(pixels.astype("uint8")).resize(size).save(path)
    return path


def torchvision_publishes(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes, network: str = "resnet18"
) -> str:
    name = f"{network}-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    monkeypatch.setitem(registry.TORCHVISION, network, {V2: name})
    server.files[f"/models/{name}"] = body
    return name


def hub_publishes(server: Server, name: str, body: bytes, **config: Any) -> None:
    """In the layout of the hub: the pointer is under raw/, the file itself under resolve/."""
    sha = hashlib.sha256(body).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(body)}\n"
    cfg = {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    fields = {"architecture": name.partition(".")[0], "num_classes": 1000, "pretrained_cfg": cfg}
    server.files |= {
        f"/timm/{name}/resolve/main/config.json": json.dumps({**fields, **config}).encode(),
        f"/timm/{name}/raw/main/model.safetensors": pointer.encode(),
        f"/timm/{name}/resolve/main/model.safetensors": body,
    }


def same(a: keras.Model, b: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_torchvision_weights_are_downloaded_once_with_their_preprocessing(
    server: Server, resnet18: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    original, folder = resnet18
    name = torchvision_publishes(server, monkeypatch, (folder / "a.pth").read_bytes())
    model = reslab.create("resnet18", weights=f"torchvision/{V2}")
    assert same(model, original)
    assert (tmp_path / "cache" / "weights" / "torchvision" / name).exists()
    assert name in capsys.readouterr().err  # the progress bar
    assert weights.about(model).preprocessing == Preprocessing(resize=232)
    assert len(weights.about(model).classes or ()) == 1000
    reslab.create("resnet18", weights=f"torchvision/{V2}")
    assert server.requests == [f"/models/{name}"]


def test_timm_weights_have_their_own_preprocessing(
    server: Server, resnet18: Any, tmp_path: Path
) -> None:
    original, folder = resnet18
    hub_publishes(server, "resnet18.a9_in1k", (folder / "a.safetensors").read_bytes())
    model = reslab.create("resnet18", weights="timm/resnet18.a9_in1k")
    assert same(model, original)
    preprocessing = weights.about(model).preprocessing
    assert preprocessing is not None
    assert (preprocessing.size, preprocessing.resize, preprocessing.interpolation) == (
        224,
        235,
        "bicubic",
    )
    requests = len(server.requests)
    weights.load(create("resnet18"), "timm/resnet18.a9_in1k")
    assert len(server.requests) == requests == 3


def test_the_input_size_defaults_to_that_of_the_weights(server: Server, resnet18: Any) -> None:
    body = (resnet18[1] / "a.safetensors").read_bytes()
    hub_publishes(server, "resnet18.small", body, pretrained_cfg=small_cfg())
    assert reslab.create("resnet18", weights="timm/resnet18.small").input_shape[1:] == (64, 64, 3)


def small_cfg() -> dict[str, Any]:
    return {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}


def test_keras_applications_weights_build_their_variant(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """resnet18 stands in for a network of keras.applications, whose ResNets are variants."""
    variant = replace(zoo.network("resnet18"), name="keras_resnet18")
    monkeypatch.setitem(zoo.NETWORKS, "keras_resnet18", variant)  # type: ignore[index]
    model = create(variant, data_format="channels_last")
    randomise(model)
    weights.save(model, tmp_path / "a.h5", "keras")
    body = (tmp_path / "a.h5").read_bytes()
    md5 = hashlib.md5(body).hexdigest()
    monkeypatch.setitem(registry.KERAS, "resnet18", ("resnet/resnet18", md5, "caffe"))
    name = "resnet18_weights_tf_dim_ordering_tf_kernels.h5"
    server.files[f"/keras-applications/resnet/{name}"] = body
    loaded = reslab.create("resnet18", weights="keras/imagenet")
    assert loaded.name == "keras_resnet18"
    assert same(loaded, model)
    preprocessing = weights.about(loaded).preprocessing
    assert preprocessing is not None
    assert (preprocessing.order, preprocessing.mean[0], preprocessing.std[0]) == (
        "bgr",
        103.939,
        1.0,
    )


def test_a_damaged_download_is_rejected(
    server: Server, resnet18: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = (resnet18[1] / "a.pth").read_bytes()
    name = torchvision_publishes(server, monkeypatch, body)
    server.files[f"/models/{name}"] = body[:-1]
    sha = name.removesuffix(".pth").rpartition("-")[2]
    with pytest.raises(UserError, match=rf"cannot download {name} .*sha256 {sha}"):
        reslab.create("resnet18", weights=f"torchvision/{V2}")
    here = tmp_path / "cache" / "weights" / "torchvision"
    assert list(here.iterdir()) == []
    (here / name).write_bytes(body[:-1])
    with pytest.raises(UserError, match=rf"has sha256 .* not {sha}: it is damaged"):
        reslab.create("resnet18", weights=f"torchvision/{V2}")


def test_weights_without_a_published_checksum_need_insecure(
    publishers: Server, resnet18: Any, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "resnet18.a9_in1k"
    hub_publishes(publishers, name, (resnet18[1] / "a.safetensors").read_bytes())
    del publishers.files[f"/timm/{name}/raw/main/model.safetensors"]
    monkeypatch.setattr(web, "check_address", lambda address: None)  # as if it had TLS
    cache = tmp_path / "cache" / "weights" / "timm" / name
    photo = photograph(tmp_path / "a.png")
    command = "predict", "resnet18", "--weights", f"timm/{name}", photo
    answer = invoke(*command)
    assert answer.code == 2
    message = answer.err.splitlines()[-1]
    assert f"the checksum of model.safetensors from {publishers.address}/timm/{name}" in message
    assert "add --insecure" in message
    assert not (cache / "model.safetensors").exists()
    output_of(*command, "--insecure")
    assert "is not verified" in caplog.text
    assert "was downloaded with --insecure" in error_of(*command)
    with pytest.raises(UserError, match="was downloaded with --insecure"):
        reslab.create("resnet18", weights=f"timm/{name}")
    assert same(
        reslab.create("resnet18", weights=f"timm/{name}", insecure=True),
        resnet18[0],
    )


def test_a_hub_without_tls_needs_insecure(publishers: Server, resnet18: Any) -> None:
    name = "resnet18.a9_in1k"
    hub_publishes(publishers, name, (resnet18[1] / "a.safetensors").read_bytes())
    for make in (
        lambda: reslab.create("resnet18", weights=f"timm/{name}"),
        lambda: weights.load(create("resnet18"), f"timm/{name}"),
    ):
        with pytest.raises(UserError, match=r"is not encrypted: .*--insecure"):
            make()
    assert publishers.requests == []
    weights.load(create("resnet18"), f"timm/{name}", insecure=True)


def test_the_cache_of_the_library_is_used(
    server: Server, resnet18: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = (resnet18[1] / "a.pth").read_bytes()
    name = torchvision_publishes(server, monkeypatch, body)
    hub = tmp_path / "homes" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / name).write_bytes(body)
    reslab.create("resnet18", weights=f"torchvision/{V2}")
    assert server.requests == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "torchvision/IMAGENET1K_V1",
            ["resnet50-0676ba61.pth", "sha256 0676ba61", "download.pytorch.org"],
        ),
        (
            "timm/resnet50.a1_in1k",
            ["config.json and model.safetensors", "huggingface.co/timm/resnet50.a1_in1k", "sha256"],
        ),
    ],
)
def test_the_error_when_offline_is_one_line(
    source: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESLAB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    photograph(tmp_path / "a.png")
    message = error_of("predict", "resnet50", "--weights", source, "a.png")
    for text in (*expected, "RESLAB_OFFLINE is set", str(tmp_path / "cache" / "weights")):
        assert text in message


def test_errors_for_names_that_are_not_published(server: Server) -> None:
    for network, source, message in [
        ("resnet50", "torchvision/IMAGENET1K_V3", "did you mean 'IMAGENET1K_V2'?"),
        ("resnet20", "torchvision/IMAGENET1K_V1", "publishes no weights for resnet20"),
        ("resnet20", "keras/imagenet", "publishes no weights for resnet20"),
        ("resnet50", "timm/../../etc", "is not a model name of the hub"),
        ("resnet50", "timm/resnet50.nothing", "cannot be downloaded"),
        ("resnet50", "tim/resnet50.nothing", "a weight file ends in"),
    ]:
        with pytest.raises(UserError, match=message):
            reslab.create(network, weights=source)
    hub_publishes(server, "resnet34.a1_in1k", b"", architecture="resnet34")
    with pytest.raises(UserError, match=r"timm/resnet34.a1_in1k is of resnet34, not of resnet50"):
        reslab.create("resnet50", weights="timm/resnet34.a1_in1k")


def test_urls_and_preprocessing_are_those_of_torchvision() -> None:
    models = library("torchvision").models
    for network, versions in registry.TORCHVISION.items():
        theirs = models.get_model_weights(network)
        for version, name in versions.items():
            assert theirs[version].url == registry.TORCH_URL + name
            published = registry.find(network, f"torchvision/{version}")
            assert published is not None
            preset, preprocessing = theirs[version].transforms(), published.preprocessing
            assert (preset.crop_size, preset.resize_size) == (
                [preprocessing.size],
                [preprocessing.resize],
            )
            assert preset.interpolation.value == preprocessing.interpolation
            if network != "googlenet":  # which normalises again inside the network
                assert preprocessing.mean == pytest.approx([255 * m for m in preset.mean])
                assert preprocessing.std == pytest.approx([255 * s for s in preset.std])
            assert published.classes == tuple(theirs[version].meta["categories"])
    for network, (path, md5, _) in registry.KERAS.items():
        assert len(md5) == 32, network
        assert "/" in path


@pytest.mark.parametrize("size", [(300, 260), (224, 400), (1000, 231), (97, 61)])
def test_preprocessing_equals_torchvisions(size: tuple[int, int], tmp_path: Path) -> None:
    presets = library("torchvision").transforms._presets
    file = photograph(tmp_path / "a.png", size)
    preprocessing = Preprocessing(resize=232)
    ours = preprocessing.normalise(preprocessing.picture(file)[None])
    with Image.open(file) as opened:
        theirs = presets.ImageClassification(crop_size=224, resize_size=232)(opened.convert("RGB"))
    np.testing.assert_allclose(ours[0], theirs.numpy().transpose(1, 2, 0), atol=2e-6)


@pytest.mark.parametrize("size", [(300, 260), (97, 61)])
def test_preprocessing_equals_timms(size: tuple[int, int], tmp_path: Path) -> None:
    config = {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.4),
    }
    make = library("timm").data.create_transform
    preprocessing = registry._timm_preprocessing(config)
    file = photograph(tmp_path / "a.png", size)
    with Image.open(file) as opened:
        theirs = make(**config)(opened.convert("RGB")).numpy()
    ours = preprocessing.normalise(preprocessing.picture(file)[None])[0]
    np.testing.assert_allclose(ours, theirs.transpose(1, 2, 0), atol=2e-6)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_normalisation_equals_that_of_keras_applications(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    from keras.src.applications import imagenet_utils

    theirs = imagenet_utils.preprocess_input(pixels.copy(), data_format="channels_last", mode=mode)
    np.testing.assert_allclose(
        registry.KERAS_PREPROCESSING[mode].normalise(pixels), theirs, atol=2e-5
    )


def test_predict_with_published_weights_equals_torchvision(
    server: Server, resnet18: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """torchvision's transform, network, softmax and class names give the same predictions."""
    import torch

    _, folder = resnet18
    torchvision_publishes(server, monkeypatch, (folder / "a.pth").read_bytes())
    file = photograph(tmp_path / "photo.png")
    command = "predict", "resnet18", "--weights", f"torchvision/{V2}", file, "--json"
    predictions = json.loads(output_of(*command))[0]["predictions"]

    models = library("torchvision").models
    net = models.resnet18().eval()
    net.load_state_dict(torch.load(folder / "a.pth", weights_only=True))
    prepare = library("torchvision").transforms._presets.ImageClassification
    with Image.open(file) as opened, torch.no_grad():
        batch = prepare(crop_size=224, resize_size=232)(opened.convert("RGB"))[None]
        expected = net(batch).softmax(-1)[0]
    names = models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    for i, best in enumerate(expected.topk(3).indices.tolist()):
        assert predictions[i]["class"] == names[best]
        assert predictions[i]["probability"] == pytest.approx(expected[best].item(), rel=1e-3)


def test_a_file_without_preprocessing_gets_torchvisions(
    resnet18: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = photograph(tmp_path / "photo.png")
    output_of("predict", "resnet18", "--weights", resnet18[1] / "a.pth", file)
    assert "does not say how images are preprocessed" in caplog.text


def test_convert_and_compare(resnet18: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = resnet18[1] / "a.pth"
    output = output_of("weights", "convert", source, "a.weights.h5", "--to", "keras_hub")
    assert "resnet18, 102 tensors, torchvision to keras_hub" in output
    output = output_of("weights", "compare", source, "a.weights.h5")
    assert "41 of 41 layers are equal" in output
    model = create("resnet18")
    weights.load(model, "a.weights.h5")
    kernel = next(v for v in model.get_layer("conv4_x_1_body_conv1").weights)
    kernel.assign(np.asarray(kernel) + 1)
    weights.save(model, "b.safetensors", "timm")
    rows = json.loads(output_of("weights", "compare", source, "b.safetensors", "--json"))
    unequal = [row for row in rows if row["difference"]]
    assert [row["layer"] for row in unequal] == ["conv4_x_1_body_conv1"]
    assert unequal[0]["difference"] == pytest.approx(1, abs=1e-5)
    for arguments, message in [
        ((source, "c.h5", "--to", "torch"), "did you mean 'torchvision'?"),
        ((source, "c.txt", "--to", "timm"), "a weight file ends in"),
        ((source, "c.h5", "--to", "keras", "--network", "resnet34"), "does not fit resnet34"),
        ((source, "c.keras", "--to", "reslab"), "would be a whole model"),
        (("nowhere.pth", "c.h5", "--to", "keras"), "there is no file nowhere.pth"),
    ]:
        assert message in error_of("weights", "convert", *arguments)


def test_a_file_that_fits_no_network(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    from safetensors.numpy import save_file

    save_file({"a.weight": np.zeros((2, 2), "float32")}, "a.safetensors")
    message = error_of("weights", "convert", "a.safetensors", "b.pth", "--to", "timm")
    assert "does not fit any network that reslab knows: name it with --network NAME" in message
