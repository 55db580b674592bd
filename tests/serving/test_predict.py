"""`POST /predict`: the same answers as `reslab predict`, and one line for what is wrong."""

from __future__ import annotations

import gzip
import http.client
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.runs.run import Run
from reslab.serving.model import ServedModel
from reslab.serving.settings import ServerSettings
from tests.helpers import serving as helper
from tests.helpers.serving import ThreadedServer, form, means, model_of, picture

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def server(trained: Run) -> Iterator[ThreadedServer]:
    """A server of the trained run."""
    model = ServedModel.load(ServerSettings(str(trained.path), name="tiny"), 1)
    model.warm()
    with helper.serving(model) as running:
        yield running


@pytest.fixture(scope="module")
def colours() -> Iterator[ThreadedServer]:
    """A server of a function, with small limits."""
    with helper.serving(model_of(means), body=50_000, pixels=1_000_000, queue=8) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return helper.pictures_at(tmp_path_factory.mktemp("pictures"), 8)


def same(results: list, expected: list) -> None:
    """Equal but for the rounding of another batch size."""
    assert [r["file"] for r in results] == [r["file"] for r in expected]
    for a, b in zip(results, expected, strict=True):
        assert [p["class"] for p in a["predictions"]] == [p["class"] for p in b["predictions"]]
        for p, q in zip(a["predictions"], b["predictions"], strict=True):
            assert p["probability"] == pytest.approx(q["probability"], abs=2e-6)


def test_one_picture_and_several(server, trained, files):
    expected = reslab.predict(trained, files, top=2, engine="onnxruntime")
    for file, result in zip(files, expected, strict=True):
        reply = server.post("/predict?top=2", file.read_bytes(), "image/jpeg")
        assert reply.status == 200
        same(reply.json, [result | {"file": "image 0"}])
    body, kind = form([(file.name, file.read_bytes()) for file in files])
    reply = server.post("/predict?top=2", body, kind)
    same(reply.json, [r | {"file": Path(r["file"]).name} for r in expected])


def test_batched_answers_equal_single_ones(server, files):
    """Requests that come together run in one batch. They differ by rounding at most."""
    contents = [file.read_bytes() for file in files] * 5
    single = [server.post("/predict?top=3", content).json for content in contents[: len(files)]]
    before = server.worker.metrics.batch_size._sum.get()
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda c: server.post("/predict?top=3", c).json, contents))
    assert server.worker.metrics.batch_size._sum.get() == before + len(contents)
    for i, results in enumerate(together):
        same(results, single[i % len(files)])


@pytest.mark.parametrize("kind", ["", "image/png", "application/octet-stream", "IMAGE/x; a=b"])
def test_content_types_that_are_taken(colours, kind):
    reply = colours.post("/predict", picture(), kind)
    assert reply.json[0]["predictions"][0]["class"] == "red"


def test_what_curl_sends(colours):
    kind = "application/x-www-form-urlencoded"
    assert colours.post("/predict", picture(), kind).status == 200


def test_compressed_and_chunked(colours):
    content = picture((10, 20, 200))
    expected = colours.post("/predict", content).json
    for encoding, packed in (("gzip", gzip.compress(content)), ("deflate", zlib.compress(content))):
        assert colours.post("/predict", packed, content_encoding=encoding).json == expected
    pieces = iter([content[:100], content[100:101], content[101:]])
    assert colours.post("/predict", pieces).json == expected


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


WRONG = [
    (400, b"no picture", "", "image 0 cannot be read: not an image"),
    (400, picture()[:80], "", "image 0 cannot be read"),
    (400, b"", "", "image 0 is empty"),
    (413, bomb(1200, 1000), "", "a decompression bomb: 1200x1000"),
    (413, bomb(60_000, 60_000), "", "a decompression bomb"),
    (413, bytes(50_001), "", "more than 50,000 bytes"),
    (415, picture(), "application/json", "the content type is 'application/json'"),
    (415, picture(), "text/plain", "send a picture"),
    (400, picture(), "multipart/form-data", "the form cannot be read"),
    (400, b"--x\r\nnonsense", "multipart/form-data; boundary=x", "the form"),
    (400, b"", "multipart/form-data; boundary=x", "the form is not complete"),
    (400, form([("a", picture())])[0][:-9], form([])[1], "the form is not complete"),
    (400, form([("a" * 9000, picture())])[0], form([])[1], "eader"),
    (400, picture(), "multipart/form-data; boundary=" + "x" * 300, "the form"),
    (400, b"--x--\r\n", "multipart/form-data; boundary=x", "the form"),
    (400, form([("a.png", picture()), ("b.png", b"no")])[0], form([])[1], "b.png cannot be read"),
    (413, form([("a.png", picture())] * 9)[0], form([])[1], "the form has more than 8 files"),
]


@pytest.mark.parametrize(("status", "body", "kind", "text"), WRONG)
def test_what_is_refused(colours, status, body, kind, text):
    reply = colours.post("/predict", body, kind)
    assert (reply.status, text in reply.error) == (status, True), reply.error
    assert colours.post("/predict", picture()).status == 200  # the server goes on


def test_a_field_that_is_no_file(colours):
    body = b'--x\r\nContent-Disposition: form-data; name="top"\r\n\r\n5\r\n--x--\r\n'
    reply = colours.post("/predict", body, "multipart/form-data; boundary=x")
    assert "the field 'top' of the form is not a file" in reply.error


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "1e3", "9" * 40, "٣"])
def test_a_wrong_top(colours, top):
    from urllib.parse import quote

    reply = colours.post(f"/predict?top={quote(top)}", picture())
    assert reply.status == 400
    assert "give a number of classes" in reply.error


def test_a_body_that_unpacks_too_far(colours):
    packed = gzip.compress(bytes(10_000_000))
    assert len(packed) < 50_000
    assert colours.post("/predict", packed, content_encoding="gzip").status == 413
    assert colours.post("/predict", packed[:-9], content_encoding="gzip").status == 413
    short = gzip.compress(picture())[:-9]
    assert "not complete gzip" in colours.post("/predict", short, content_encoding="gzip").error
    assert "is not gzip" in colours.post("/predict", b"xx", content_encoding="gzip").error
    assert colours.post("/predict", b"x", content_encoding="br").status == 415


def test_a_body_without_a_length_is_counted(colours):
    reply = colours.post("/predict", iter([bytes(30_000)] * 3))
    assert (reply.status, "50,000 bytes" in reply.error) == (413, True)


def test_a_large_body_is_refused_before_it_is_sent(colours):
    """A client that waits for "100 Continue" gets the answer instead."""
    connection = http.client.HTTPConnection("127.0.0.1", colours.port, timeout=20)
    connection.putrequest("POST", "/predict")
    for name, value in (("content-length", "900000000"), ("expect", "100-continue")):
        connection.putheader(name, value)
    connection.endheaders()
    reply = helper.reply_of(connection.getresponse())
    connection.close()
    assert reply.status == 413
    assert "50,000" in reply.error


def test_several_labels_have_thresholds():
    """Models of several labels answer as `reslab predict` does: those above their thresholds."""
    from dataclasses import replace

    from reslab.evaluation.tasks.registry import task

    model = model_of(lambda images: np.array([[0.3, 0.9, 0.6]] * len(images), "float32"))
    card = {"classes": ["a", "b", "c"], "task": "multilabel", "thresholds": [0.2, 0.5, 0.7]}
    model.predictor = replace(model.predictor, task=task("multilabel"), card=card)
    with helper.serving(model) as server:
        predictions = server.post("/predict", picture()).json[0]["predictions"]
        assert [(p["class"], p["threshold"]) for p in predictions] == [("b", 0.5), ("a", 0.2)]
        assert len(server.post("/predict?top=3", picture()).json[0]["predictions"]) == 3


def test_one_bad_picture_does_not_spoil_a_batch():
    """The engine fails on one picture of a batch, or gives NaN: only that request fails."""
    begin = threading.Event()

    def run(images: np.ndarray) -> np.ndarray:
        begin.wait(20)
        outputs = means(images)
        best = outputs.argmax(axis=1)
        if (best == 1).any():
            raise RuntimeError("green")
        outputs[best == 2] = np.nan
        return outputs

    with helper.serving(model_of(run)) as server, ThreadPoolExecutor(9) as pool:
        colours = [(220, 9, 9), (9, 220, 9), (9, 9, 220)] * 3
        replies = [pool.submit(server.post, "/predict", picture(colour)) for colour in colours]
        while server.worker.batcher.accepted < 9:
            pass
        begin.set()
        statuses = [reply.result().status for reply in replies]
    assert statuses == [200, 503, 503] * 3


def test_exif_orientation_and_grey(colours):
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10, 1] = 250  # the left half is green
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(out, "JPEG", exif=exif, quality=95)
    model = model_of(lambda images: images[:, 0, :, :].mean(axis=1) / 255)
    with helper.serving(model) as server:  # turned by 90 degrees, the left half is at the top
        best = server.post("/predict", out.getvalue()).json[0]["predictions"][0]
    assert best["class"] == "green"
    assert colours.post("/predict", picture((90, 90, 90))).status == 200
