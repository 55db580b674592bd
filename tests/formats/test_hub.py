"""A run as a repository of models: written, pushed to a hub on this machine, and loaded again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

import reslab
from reslab.core.errors import UserError
from reslab.formats.export import export
from reslab.runs.run import Run
from reslab.training.finetune import start
from reslab.weights import files
from reslab.weights.repository import open_repository
from tests.helpers import hub as hubs
from tests.helpers import tiny
from tests.helpers.cli import error_of, output_of, pictures
from tests.helpers.hub import Hub

NAME = "hf://someone/tiny"
# huggingface_hub uploads in a way that httpx is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("export") / "hub"
    export(trained, "hub", path)
    return path


@pytest.fixture
def hub(apart: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and the variables that lead there."""
    monkeypatch.delenv("RESLAB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", hubs.TOKEN)
    if find_spec("huggingface_hub"):  # this hub stores files by LFS alone
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with hubs.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def filled(hub: Hub, folder: Path) -> Hub:
    """A hub that has the run."""
    hub.commit("someone/tiny", {path.name: path.read_bytes() for path in folder.iterdir()})
    return hub


def whole(model: keras.Model) -> np.ndarray:
    """What a whole model answers for some images."""
    images, _ = tiny.images(5, seed=4)
    return np.asarray(model.predict(images[..., None].astype("float32"), verbose=0))


# The folder ---------------------------------------------------------------------------------------


def test_the_folder_holds_the_model_in_three_forms(folder: Path, trained: Run) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.json", "model.keras", "model.onnx", "model.safetensors")
    }
    assert (folder / "model.keras").read_bytes() == trained.model_path.read_bytes()
    contents = files.read(folder / "model.safetensors")
    own = files.read(trained.model_path).arrays
    for name, array in contents.arrays.items():
        assert np.array_equal(array, own[name]), name
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["classes"] == ["0", "1", "2"]
    assert config["network"] == trained.info["network"]
    assert config["image_shape"] == [8, 8, 1]


def test_the_front_matter_says_how_good_it_is(folder: Path, trained: Run) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "keras"
    assert front["pipeline_tag"] == "image-classification"
    assert {"reslab", "tiny"} <= set(front["tags"])
    evaluation = trained.evaluation
    assert evaluation is not None
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert result["dataset"]["split"] == "test"
    error = result["metrics"][0]
    assert error["value"] == evaluation["top1_error"]["value"]
    assert "95 % interval" in error["name"]
    assert f"of {evaluation['n']} images" in text.replace("\\", "")


def test_the_hub_s_own_library_reads_the_card(folder: Path) -> None:
    cards = pytest.importorskip("huggingface_hub")
    card = cards.ModelCard.load(folder / "README.md")
    metrics = {result.metric_type for result in card.data.eval_results}
    assert {"error", "accuracy"} <= metrics


def test_names_of_strangers_stay_text(trained: Run, tmp_path: Path) -> None:
    from dataclasses import replace

    from reslab.formats import exportable, hub_card

    source = exportable.of(trained)
    names = ["a\n---\n# x", "<script>", "| `b` |"]
    card = {**source.card, "classes": names, "data": 'x"\n- y: [1'}
    text = hub_card.readme(replace(source, card=card))
    front = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == card["data"]
    assert "<script>" not in text
    assert "\n# x" not in text


def test_the_card_names_no_place_of_the_machine(trained: Run) -> None:
    """A repository may be public: the command, and paths of data and weights, are not in it."""
    from dataclasses import replace

    from reslab.formats import exportable, hub_card

    source = exportable.of(trained)
    assert str(trained.path.parent) not in hub_card.readme(source)
    for given, named in (("/home/me/secret/w.pth", "a file"), ("timm/resnet18.a1_in1k",) * 2):
        info = {**trained.info, "command": "reslab train /home/me/secret"}
        run = Run(trained.path, {**info, "weights": {"source": given}})
        text = hub_card.readme(replace(source, run=run))
        assert "secret" not in text
        assert f"weights at the start: {named}".replace("_", "\\_") in text


# Pushed and loaded --------------------------------------------------------------------------------


def test_pushed_and_loaded_again_gives_equal_logits(hub: Hub, trained: Run, thirds: Path) -> None:
    pytest.importorskip("huggingface_hub")
    pinned = reslab.push(trained, NAME, insecure=True)
    commit = hub.repositories["someone/tiny"]["main"]
    assert pinned == f"{NAME}@{commit}"
    assert set(hub.commits[commit]) >= {"config.json", "model.safetensors", "README.md"}
    model = reslab.create(tiny.NETWORK, weights=NAME, insecure=True)
    own = reslab.create(tiny.NETWORK, weights=trained.model_path)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    assert np.array_equal(model.predict(images, verbose=0), own.predict(images, verbose=0))
    assert reslab.weights.about(model).classes == ("0", "1", "2")


def test_load_and_predict_take_an_address(filled: Hub, trained: Run, tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos")
    first = output_of("predict", NAME, photos, "--insecure", "--json")
    assert first == output_of("predict", trained.path, photos, "--json")
    assert first == output_of("predict", "tiny", photos, "--weights", NAME, "--insecure", "--json")
    before = len(filled.requests)
    commit = filled.repositories["someone/tiny"]["main"]
    model = reslab.load(f"{NAME}@{commit}")  # in the cache: no request, and no --insecure
    assert len(filled.requests) == before
    assert np.array_equal(whole(model), whole(reslab.load(trained.path)))
    assert model.classes == ("0", "1", "2")


def test_a_model_of_the_hub_is_exported(filled: Hub) -> None:
    pytest.importorskip("onnxruntime")
    output_of("export", NAME, "--insecure")
    assert Path("tiny.onnx").exists()


def test_a_training_pins_the_commit(
    filled: Hub, folder: Path, thirds: Path, tmp_path: Path
) -> None:
    commit = filled.repositories["someone/tiny"]["main"]
    run = reslab.train(
        tiny.NETWORK, thirds, weights=NAME, epochs=1, batch=64, insecure=True, out=tmp_path / "run"
    )
    assert run.info["weights"]["source"] == f"{NAME}@{commit}"
    assert run.info["weights"]["classes"] == ["0", "1", "2"]
    notes = [line["text"] for line in run.log("note")]
    assert "images are normalised with the mean and std of the pretrained weights" in notes
    assert any(f"the training images of {NAME}@{commit} are not known" in note for note in notes)
    filled.commit("someone/tiny", {"config.json": b"{}"})
    opened = start(run.info["weights"]["source"], tiny.NETWORK)
    assert opened.mean is not None
    ours = open_repository(f"{NAME}@{commit}")
    assert np.array_equal(opened.mean, ours.mean)


def test_a_branch_and_a_private_repository(
    hub: Hub, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    words = "push", trained.path, NAME, "--private", "--revision", "second", "--insecure"
    line = output_of(*words)
    branches = hub.repositories["someone/tiny"]
    assert f"this version is {NAME}@{branches['second']}" in line
    assert "model.keras" not in hub.commits[branches["main"]]
    assert open_with_insecure(f"{NAME}@second").classes == ("0", "1", "2")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    monkeypatch.setenv("RESLAB_CACHE", "elsewhere")
    with pytest.raises(UserError, match="has no model someone/tiny"):
        open_with_insecure(NAME)


def open_with_insecure(name: str) -> Any:
    from reslab.data.sources import web

    with web.insecure():
        return open_repository(name)


def test_without_a_connection_the_cache_is_used(
    filled: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_with_insecure(NAME)
    monkeypatch.setenv("RESLAB_OFFLINE", "1")
    assert open_repository(NAME).classes == ("0", "1", "2")
    assert "is in the cache" in caplog.text
    with pytest.raises(UserError, match="RESLAB_OFFLINE is set"):
        open_repository(f"{NAME}@other")


def test_the_token_stays_with_the_hub(filled: Hub, folder: Path) -> None:
    """Large files come from other servers, which get no token."""
    with hubs.running() as storage:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        commit = storage.commit("someone/tiny", files)
        assert commit == filled.repositories["someone/tiny"]["main"]
        filled.elsewhere = storage.address
        reslab.create(tiny.NETWORK, weights=NAME, insecure=True)
        assert len(storage.requests) == 1
        assert storage.tokens == [None]
        assert set(filled.tokens) == {hubs.TOKEN}


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["hf://", "hf://a", "hf://a/b/c", "hf://../b", "hf://a/b@", "hf://a/b@../x", "hf://a b/c"],
)
def test_what_is_no_address(name: str, apart: None) -> None:
    assert "is not an address of the hub" in error_of("predict", name, "x.png")
    assert "is not an address of the hub" in error_of("push", "run", name)


def test_what_the_hub_does_not_have(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    text = error_of("predict", "hf://someone/nothing", "x.png", "--insecure")
    assert f"{hub.address} has no model someone/nothing" in text
    monkeypatch.setenv("HF_TOKEN", "")
    text = error_of("predict", "hf://someone/nothing", "x.png", "--insecure")
    assert "or it is private: set HF_TOKEN" in text
    assert "is not encrypted" in error_of("predict", NAME, "x.png")
    hub.commit("someone/empty", {"README.md": b""})
    text = error_of("predict", "hf://someone/empty", "x.png", "--insecure")
    assert "has no model.keras: it was not made by `reslab push`" in text
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(UserError, match=f"has no {name}"):
            reslab.create(tiny.NETWORK, weights="hf://someone/empty", insecure=True)
        hub.commit("someone/empty", {"config.json": b"{}"})


def test_downloads_are_verified(filled: Hub) -> None:
    for changed in ("config.json", "model.safetensors"):
        filled.tamper = lambda name, content, changed=changed: (
            content.replace(b"0", b"1") if name == changed else content
        )
        with pytest.raises(UserError, match=r"SHA-1|sha256"):
            reslab.create(tiny.NETWORK, weights=NAME, insecure=True)
    filled.tamper = lambda name, content: content
    reslab.create(tiny.NETWORK, weights=NAME, insecure=True)


CONFIGS = {
    "no JSON": (b"[", "is damaged"),
    "of timm": (b'{"architecture": "resnet50"}', "was not written by reslab"),
    "newer": ({"reslab": 2}, "is damaged"),
    "no network": ({"network": {"rows": 3}}, "not the description of a network"),
    "a hostile network": (
        {"network": {"name": "x", "rows": {"a": ["os.system", ["ls"]]}, "input_shape": [8, 8, 1]}},
        "network",
    ),
    "other classes": ({"classes": ["a"]}, "1 classes, and the network has 3"),
    "classes that are numbers": ({"classes": [1, 2, 3]}, "is damaged"),
    "a huge image": ({"image_shape": [10**9, 8, 1]}, "is damaged"),
    "no mean": ({"normalization": {"mean": [[[]]], "std": [[[1.0]]]}}, "its mean does not fit"),
    "std of zero": ({"normalization": {"mean": [[[0.0]]], "std": [[[0.0]]]}}, "its std does not"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_configuration_that_is_not_ours(kind: str, filled: Hub, folder: Path) -> None:
    content, expected = CONFIGS[kind]
    if isinstance(content, dict):
        whole = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        content = json.dumps(whole | content).encode()
    filled.commit("someone/tiny", {"config.json": content})
    with pytest.raises(UserError) as error:
        reslab.create(tiny.NETWORK, weights=NAME, insecure=True)
    assert expected in str(error.value)


def test_another_network(filled: Hub, tmp_path: Path) -> None:
    photo = pictures(tmp_path / "photos") / "left" / "000.png"
    text = error_of("predict", "resnet20", photo, "--weights", NAME, "--insecure")
    assert "is of tiny, not of resnet20" in text
    with pytest.raises(UserError, match="belongs to tiny, not to resnet20"):
        reslab.create("resnet20", weights=NAME, insecure=True)


def test_what_cannot_be_pushed(
    hub: Hub, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    from tests.helpers.runs import make_run

    unfinished = make_run(tmp_path / "unfinished", status="running")
    text = error_of("push", unfinished.path, NAME, "--insecure")
    assert "has no model yet" in text
    assert "is not encrypted" in error_of("push", trained.path, NAME)
    text = error_of("push", trained.path, "hf://other/tiny", "--insecure")
    assert "refuses other/tiny: 403" in text
    assert "name two branches" in error_of("push", "run", f"{NAME}@a", "--revision", "b")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refuses someone/tiny: 401" in error_of("push", trained.path, NAME, "--insecure")
    monkeypatch.setattr("reslab.data.sources.hub.token", lambda: None)
    assert "there is no token" in error_of("push", trained.path, NAME, "--insecure")
    monkeypatch.setattr("reslab.formats.pushing.find_spec", lambda name: None)
    assert 'pip install "reslab[hub]"' in error_of("push", trained.path, NAME, "--insecure")
    assert hub.repositories == {}


def test_weights_that_are_not_finite_are_not_pushed(hub: Hub, trained: Run, tmp_path: Path) -> None:
    import zipfile

    import h5py

    def fill(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 4:
            item[...] = np.nan

    broken = tmp_path / "broken.keras"
    with zipfile.ZipFile(trained.model_path) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            file = Path(source.extract(name, tmp_path))
            if name.endswith(".h5"):
                with h5py.File(file, "r+") as root:
                    root.visititems(fill)
            target.write(file, name)
    assert "not finite" in error_of("push", broken, NAME, "--insecure")
    assert hub.repositories == {}


def test_published_weights_are_not_pushed(tmp_path: Path, trained: Run) -> None:
    from dataclasses import replace

    from reslab.formats import exportable, hub
    from reslab.formats.content import Content, Form

    source = replace(exportable.of(trained), file=None)
    with pytest.raises(UserError, match="has these published weights already"):
        hub.write_folder(Content(source, Form()), tmp_path / "x")
