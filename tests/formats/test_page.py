"""The page with a model inside, in Chromium, from a file and without a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import reslab
from reslab import weights, zoo
from reslab.core.errors import UserError
from reslab.engines import opening
from reslab.evaluation import recorded_data
from reslab.formats import exportable, page
from reslab.models import saved
from reslab.models.build import create
from reslab.runs.run import Run
from reslab.spec import BN, Conv, Dense, Flatten, GlobalAvgPool, Network, ReLU
from reslab.spec.serialize import encode_network
from tests.helpers import ort_web
from tests.helpers.browser import WIDTHS
from tests.helpers.chromium import Chromium
from tests.helpers.cli import error_of

pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.usefixtures("apart")]
CLASSES = ["<b>bold & 'quoted'", "boat", "自転車", '</script><script>document.title="x"', "e"]
CLASSES.append("Donaudampfschifffahrtsgesellschaftskapitän" * 3)
SHAPE = (24, 32, 3)
BODY = (Conv(8, 3, 2), BN(), ReLU, Conv(12, 3, 2), BN(), ReLU)
POOLED = Network("pooled", {"conv": BODY, "head": (GlobalAvgPool, Dense(6))}, SHAPE, "Pooled net")
HIDDEN = Network("hidden", {"conv": BODY, "head": (Flatten(), Dense(6))}, SHAPE)


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    """ONNX Runtime Web for all exports here, which are offline otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESLAB_ORT_WEB", str(ort_web.tarball()))
        yield


def model_file(path: Path, network: Network = POOLED, **card: object) -> Path:
    """A model with random weights, as a run saves it."""
    net, rng = create(network), np.random.default_rng(3)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape).astype("float32"))
    several = card.get("task") == "multilabel"
    model = saved.end_to_end(net, SHAPE, 120.0, 60.0, "sigmoid" if several else "softmax")
    facts = {"classes": CLASSES, "image_shape": list(SHAPE), "view": "centre", "data": "d" * 90}
    saved.save(model, path, {**facts, "network": encode_network(network), **card})
    return path


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model file and its page."""
    folder = tmp_path_factory.mktemp("colour")
    file = model_file(folder / "m.keras")
    reslab.export(file, "page", folder / "m.html")
    return file, folder / "m.html"


def photo(
    path: Path, width: int, height: int, mode: str = "RGB", seed: int = 0, **save: object
) -> Path:
    """A picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    picture.convert(mode).save(path, **save)
    return path


def give(browser: Chromium, file: Path) -> None:
    """Choose a file on the page, and wait for the answer."""
    browser.until("document.documentElement.dataset.state !== 'loading'")
    document = browser.send("DOM.getDocument")["root"]["nodeId"]
    node = browser.send("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    browser.run("document.documentElement.dataset.state = 'busy'")
    browser.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
    browser.until("['done', 'error'].includes(document.documentElement.dataset.state)")


def answers(browser: Chromium) -> list[str]:
    return list(browser.run("[...document.querySelectorAll('.name')].map(e => e.textContent)"))


def test_the_same_top_three_as_predict(colour, browser: Chromium, tmp_path):
    model, file = colour
    browser.open(file)
    pictures = [
        photo(tmp_path / "landscape.jpg", 320, 200, quality=95),
        photo(tmp_path / "portrait.png", 90, 400, seed=1),
        photo(tmp_path / "tiny.png", 5, 3, seed=2),
        photo(tmp_path / "grey.png", 60, 60, "L", seed=3),
        photo(tmp_path / "palette.gif", 70, 50, "P", seed=4),
        photo(tmp_path / "large.jpg", 1600, 1200, seed=5, quality=92),
        photo(tmp_path / "transparent.png", 64, 48, "RGBA", seed=6),
    ]
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright
    pictures.append(photo(tmp_path / "upright.jpg", 300, 180, seed=7, exif=exif, quality=95))
    for picture, result in zip(pictures, reslab.predict(model, pictures), strict=True):
        give(browser, picture)
        assert browser.run("document.documentElement.dataset.state") == "done"
        expected = [row["class"] for row in result["predictions"]]
        assert answers(browser)[:3] == expected, picture.name
    assert [r for r in browser.requests() if not r.startswith("blob:")] == [file.as_uri()]
    assert browser.errors() == []
    assert browser.run("document.title") == "Pooled net"  # no name became HTML


def in_page(browser: Chromium, picture: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels, the probabilities and the map of the first class that the page computes."""
    give(browser, picture)
    result = browser.run(
        """(async () => {
          const file = new Blob([Uint8Array.from(BYTES)]);
          const pixels = model.pixelsOf(await model.decoded(file));
          const out = await model.run(pixels);
          const map = out.mapOf(0);
          return {
            shape: [pixels.height, pixels.width, pixels.data.length / pixels.height / pixels.width],
            pixels: [...pixels.data], probabilities: out.probabilities,
            map: [...map.values], grid: [map.rows, map.columns],
          };
        })()""".replace("BYTES", str(list(picture.read_bytes())))
    )
    return (
        np.array(result["pixels"], np.uint8).reshape(result["shape"]),
        np.array(result["probabilities"]),
        np.array(result["map"]).reshape(result["grid"]),
    )


@pytest.mark.parametrize(("width", "height"), [(60, 45), (33, 200), (640, 400)])
def test_the_pixels_are_those_of_pillow(width, height, colour, browser, tmp_path):
    """Large pictures are reduced. In resizing, sums near a half differ between machines."""
    _, file = colour
    browser.open(file)
    picture = photo(tmp_path / "p.png", width, height)
    pixels, probabilities, first_map = in_page(browser, picture)
    expected = Image.open(picture).reduce(4 if width == 640 else 1)
    np.testing.assert_array_equal(pixels, np.asarray(expected))
    opened = opening.open_file(file)
    np.testing.assert_allclose(probabilities, opened.probabilities(pixels[None])[0], atol=1e-3)
    np.testing.assert_allclose(first_map, opened.maps(pixels[None])[0, ..., 0], atol=0.05)


def test_a_grey_model(trained: Run, browser, tmp_path):
    """Equal pixels give equal probabilities; the grey values are those of Pillow."""
    reslab.export(trained, "page", tmp_path / "m.html")
    browser.open(tmp_path / "m.html")
    opened = opening.open_file(tmp_path / "m.html")
    for size in ((8, 8), (30, 21)):
        picture = photo(tmp_path / "p.png", *size)
        pixels, probabilities, first_map = in_page(browser, picture)
        np.testing.assert_array_equal(pixels[..., 0], np.asarray(Image.open(picture).convert("L")))
        if size == (8, 8):  # nothing is resized
            expected = opened.probabilities(pixels[None])[0]
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)
            np.testing.assert_allclose(first_map, opened.maps(pixels[None])[0, ..., 0], atol=1e-4)
        result = reslab.predict(trained, picture)[0]["predictions"]
        by_class = dict(zip(trained.info["data"]["classes"], probabilities, strict=True))
        assert {r["class"]: by_class[r["class"]] for r in result} == pytest.approx(
            {r["class"]: r["probability"] for r in result}, abs=5e-3
        )
    text = browser.run("document.body.innerText")
    assert "test error" in text
    assert "95 % interval" in text
    assert "this page says that the picture looks like none of the classes" in text


def test_upright_photos(colour, browser, tmp_path):
    """The EXIF orientation is applied to the pixels, to the photo and to the map."""
    _, file = colour
    browser.open(file)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = photo(tmp_path / "p.jpg", 64, 40, exif=exif, quality=100, subsampling=0)
    pixels, _, _ = in_page(browser, picture)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(picture)), int)
    assert pixels.shape == (64, 40, 3)
    assert np.abs(pixels - expected).mean() < 1
    assert browser.run("[photo, map].map(c => c.height / c.width)") == pytest.approx([1.6] * 2)


def test_what_is_no_picture_gets_a_friendly_line(colour, browser, tmp_path):
    _, file = colour
    browser.open(file)
    good = photo(tmp_path / "good.png", 30, 30)
    for name, content in (
        ("text.jpg", b"no picture"),
        ("empty.png", b""),
        ("half.png", good.read_bytes()[:80]),
    ):
        (tmp_path / name).write_bytes(content)
        give(browser, tmp_path / name)
        assert browser.run("document.documentElement.dataset.state") == "error"
        assert f"“{name}” cannot be read as a picture" in browser.run(
            "document.getElementById('status').textContent"
        )
    give(browser, good)
    assert browser.run("document.documentElement.dataset.state") == "done"
    assert browser.errors() == []


MASK = """(() => { const c = document.getElementById("map");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  return [c.width, c.height, [...d].filter((_, i) => i % 4 === 3)]; })()"""


def test_the_map_lies_over_the_part_that_the_model_sees(colour, browser, tmp_path):
    _, file = colour
    browser.open(file)
    give(browser, photo(tmp_path / "p.png", 200, 100))
    width, height, opacity = browser.run(MASK)
    assert (width, height) == (512, 256)
    inside = np.array(opacity).reshape(height, width) == round(255 * 0.58)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    scale, part = 2.56, 24 / round(24 * 256 / 224)  # of the largest 4:3 box, without the margin
    down, across = 100 * part * scale, 100 * 4 / 3 * part * scale
    assert len(rows) == pytest.approx(down, abs=2)
    assert len(columns) == pytest.approx(across, abs=2)
    assert rows.mean() == pytest.approx(128, abs=1)
    assert columns.mean() == pytest.approx(256, abs=1)
    assert browser.run("document.getElementById('legend').offsetWidth > 0")
    browser.run("document.getElementById('show').click()")
    assert browser.run("document.getElementById('map').hidden")
    browser.run("document.querySelectorAll('button.row')[1].click()")
    pressed = "[...document.querySelectorAll('.row')].map(r => r.getAttribute('aria-pressed'))"
    assert browser.run(pressed) == ["false", "true", "false", "false", "false"]


def test_it_fits_on_a_phone(colour, tmp_path, browser):
    _, file = colour
    browser.resize(390, 844)
    for scheme in ("dark", "light"):
        browser.media(scheme=scheme)
        browser.open(file)
        empty = browser.run(WIDTHS)
        give(browser, photo(tmp_path / "p.png", 900, 90))
        assert [empty, browser.run(WIDTHS)] == [[390, 390], [390, 390]]
    browser.resize(1280)


def test_pasting_dropping_and_the_camera(colour, browser, tmp_path):
    _, file = colour
    browser.open(file)
    browser.until("document.documentElement.dataset.state === 'ready'")
    pixels = list(photo(tmp_path / "p.png", 40, 30).read_bytes())
    file_text = f"new File([Uint8Array.from({pixels})], 'p.png')"
    transfer = f"const t = new DataTransfer(); t.items.add({file_text});"
    for event in (
        "new DragEvent('drop', {dataTransfer: t, bubbles: true, cancelable: true})",
        "new ClipboardEvent('paste', {clipboardData: t, bubbles: true})",
    ):
        browser.run(f"(() => {{ {transfer} document.body.dispatchEvent({event}); }})()")
        browser.until("document.documentElement.dataset.state === 'done'")
        assert len(answers(browser)) == 5
        browser.run("document.documentElement.dataset.state = 'ready'")
    click = "document.getElementById('camera').click()"
    refuse = "async () => { throw new DOMException('', 'NotAllowedError'); }"
    browser.run(f"navigator.mediaDevices.getUserMedia = {refuse}; {click}")
    browser.until("document.documentElement.dataset.state === 'error'")
    assert "may not use it" in browser.run("document.getElementById('status').textContent")
    stream = (
        "async () => { const c = document.createElement('canvas'); c.width = 80; c.height = 60; "
    )
    stream += "c.getContext('2d').fillRect(9, 9, 50, 30); return c.captureStream(); }"
    browser.run(f"navigator.mediaDevices.getUserMedia = {stream}; {click}")
    browser.until("document.getElementById('video').videoWidth === 80")
    browser.until("!document.getElementById('viewer').hidden")
    browser.run("document.getElementById('take').click()")
    browser.until("document.documentElement.dataset.state === 'done'")
    assert browser.run("document.getElementById('viewer').hidden")
    assert browser.errors() == []


def test_published_weights_with_their_own_preprocessing(browser, tmp_path, monkeypatch):
    rows = {"c": (Conv(8, 7, 8), ReLU), "head": (GlobalAvgPool, Dense(6))}
    monkeypatch.setitem(zoo.NETWORKS, "strides", Network("strides", rows, (224, 224, 3)))
    file = tmp_path / "w.safetensors"
    weights.save(reslab.create("strides"), file)
    reslab.export("strides", "page", tmp_path / "m.html", file)
    browser.open(tmp_path / "m.html")
    picture = photo(tmp_path / "p.png", 400, 100)
    give(browser, picture)
    expected = reslab.predict("strides", picture, weights=file)[0]["predictions"]
    assert answers(browser)[:3] == [row["class"] for row in expected]
    width, height, opacity = browser.run(MASK)
    inside = np.array(opacity).reshape(height, width) == round(255 * 0.58)
    side = 224 / 256 * height  # the shorter side becomes 256, and 224 are cut out
    sizes = [len(np.flatnonzero(inside.any(axis))) for axis in (0, 1)]
    assert sizes == pytest.approx([side, side], abs=2)
    text = browser.run("document.body.innerText")
    assert "w.safetensors" in text
    assert str(tmp_path) not in text
    assert "has not been evaluated" in text


def test_several_labels_and_a_head_without_exact_maps(browser, tmp_path):
    thresholds = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    model = model_file(tmp_path / "m.keras", HIDDEN, task="multilabel", thresholds=thresholds)
    reslab.export(model, "page", tmp_path / "m.html")
    browser.open(tmp_path / "m.html")
    picture = photo(tmp_path / "p.png", 40, 30)
    give(browser, picture)
    expected = [row["class"] for row in reslab.predict(model, picture)[0]["predictions"]]
    assert sorted(expected) == sorted([CLASSES[0], CLASSES[2]])
    assert browser.run("document.getElementById('answer').textContent") == ", ".join(expected)
    assert browser.run("document.querySelectorAll('.mark').length") == 5
    assert browser.run("document.getElementById('switch').hidden")
    assert browser.run("document.querySelectorAll('button.row').length") == 0


def test_a_picture_that_looks_like_none_of_the_classes(browser, tmp_path, monkeypatch):
    rule = {"below": 1.1, "part": 0.05, "images": 500, "of": "validation images"}
    monkeypatch.setattr(page.page_facts, "unsure", lambda source: rule)
    reslab.export(model_file(tmp_path / "m.keras"), "page", tmp_path / "m.html")
    browser.open(tmp_path / "m.html")
    give(browser, photo(tmp_path / "p.png", 40, 30))
    text = browser.run("document.getElementById('unsure').innerText")
    assert text.startswith("This picture looks like none of the classes")


def test_the_threshold_is_a_quantile_of_the_validation_images(trained: Run):
    model = saved.load(trained.path)
    rule = page.page_facts.unsure(exportable.of(trained))
    images = recorded_data.reload(trained).validation.images(slice(None))
    assert rule["images"] == len(images)
    largest = np.asarray(model.predict_on_batch(images.astype("float32"))).max(-1)
    below = (largest < rule["below"]).mean()
    assert abs(below - 0.05) <= 1 / len(images)


class Answers(BaseHTTPRequestHandler):
    """A server with the page at / and fixed answers."""

    html = ""

    def do_GET(self) -> None:
        self.reply(200, "text/html; charset=utf-8", self.html)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not body.startswith(b"\x89PNG"):
            return self.reply(415, "application/json", '{"error": "that is no picture"}')
        row = {"class": CLASSES[1], "probability": 0.7, "map": [[0, 1], [0, 0.5]]}
        rest = {"class": CLASSES[0], "probability": 0.3}
        return self.reply(200, "application/json", json.dumps({"predictions": [row, rest]}))

    def reply(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_the_page_of_a_server(browser, tmp_path):
    card = {"classes": CLASSES, "image_shape": list(SHAPE), "view": "centre"}
    Answers.html = page.posting({**card, "network": encode_network(POOLED)}, None, "/predict")
    assert "wasm" not in Answers.html.split("<script")[0]
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/"
            browser.events.clear()
            browser.send("Page.navigate", url=address)
            browser.until("document.readyState === 'complete' && location.port")
            give(browser, photo(tmp_path / "p.png", 40, 30))
            assert answers(browser) == CLASSES[1::-1]
            assert not browser.run("document.getElementById('map').hidden")
            (tmp_path / "bad.tif").write_bytes(b"no picture")
            give(browser, tmp_path / "bad.tif")
            status = browser.run("document.getElementById('status').textContent")
            assert status == "that is no picture"
            assert set(browser.requests()) == {address, f"{address}predict"}
        finally:
            server.shutdown()
            thread.join()


def test_what_is_refused(colour, trained: Run, tmp_path, monkeypatch):
    model, file = colour
    refused = error_of(
        "export", model, "--to", "page", "--fixed-size", "--out", tmp_path / "m.html"
    )
    assert "a page takes pictures of any size" in refused
    picture = photo(tmp_path / "p.png", 40, 30)
    for name, content, message in (
        ("other.html", b"<html></html>", "is no page that reslab exported"),
        ("half.html", file.read_bytes()[:-200_000], "reslab exported"),
    ):
        (tmp_path / name).write_bytes(content)
        assert message in error_of("predict", tmp_path / name, picture)
    (tmp_path / "other.tgz").write_bytes(b"another file")
    monkeypatch.setenv("RESLAB_ORT_WEB", str(tmp_path / "other.tgz"))
    with pytest.raises(UserError, match="it is damaged or another file"):
        reslab.export(trained, "page", tmp_path / "m.html")
    monkeypatch.setenv("RESLAB_ORT_WEB", str(tmp_path / "nothing.tgz"))
    assert "there is no such file" in error_of("export", trained.path, "--to", "page")
    monkeypatch.delenv("RESLAB_ORT_WEB")
    error = error_of("export", trained.path, "--to", "page")
    assert "onnxruntime-web-1.30.0.tgz is missing and RESLAB_OFFLINE is set: put" in error
    assert not list(Path.cwd().glob("*.html"))


def test_predict_runs_a_page(colour, tmp_path):
    model, file = colour
    picture = photo(tmp_path / "p.png", 40, 30)
    expected, actual = (reslab.predict(m, picture)[0]["predictions"] for m in (model, file))
    assert [row["class"] for row in actual] == [row["class"] for row in expected]
