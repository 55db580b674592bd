"""The Open Inference Protocol: what its clients send, and what they must not."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.helpers import serving as helper
from tests.helpers.serving import Reply, ThreadedServer, means, model_of, picture

pytest.importorskip("fastapi")
INFER = "/v2/models/colours/infer"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedServer]:
    with helper.serving(model_of(means), pixels=10_000, queue=8) as running:
        yield running


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def tensor(images: np.ndarray, **fields: Any) -> dict[str, Any]:
    return {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(images.shape),
        "data": images.tolist(),
    } | fields


def infer(server: ThreadedServer, record: Any, tail: bytes | None = None, **headers: str) -> Reply:
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    if tail is not None:
        headers = {"Inference_Header_Content_Length": str(len(content))} | headers
    return server.post(INFER, content + (tail or b""), "application/json", **headers)


def test_the_server_and_its_model(server):
    assert server.get("/v2").json["name"] == "reslab"
    assert "binary_tensor_data" in server.get("/v2").json["extensions"]
    assert server.get("/v2/health/live").json == {"live": True}
    assert server.get("/v2/health/ready").json == {"ready": True}
    assert server.get("/v2/models").json == {"models": ["colours"]}
    about = server.get("/v2/models/colours").json
    assert about == server.get("/v2/models/colours/versions/1").json
    assert about["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert about["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]
    assert server.get("/v2/models/colours/ready").json["ready"] is True
    assert server.get("/v2/models/colours/config").json["max_batch_size"] == 0


def test_json(server, images):
    reply = infer(server, {"id": "7", "inputs": [tensor(images)]})
    assert (reply.json["id"], reply.json["model_name"]) == ("7", "colours")
    (output,) = reply.json["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == (
        "probabilities",
        "FP32",
        [2, 3],
    )
    expected = means(images)
    np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected, rtol=1e-6)
    flat = tensor(images, data=images.ravel().tolist())
    assert infer(server, {"inputs": [flat]}).json["outputs"] == [output]
    path = "/v2/models/colours/versions/1/infer"
    assert server.post(path, {"inputs": [flat]}).json["outputs"] == [output]


def test_bytes(server, images):
    record = tensor(images, parameters={"binary_data_size": images.nbytes})
    del record["data"]
    reply = infer(server, {"inputs": [record]}, images.tobytes())
    data = reply.json["outputs"][0]["data"]
    binary = {"parameters": {"binary_data_output": True}, "inputs": [record]}
    reply = infer(server, binary, images.tobytes())
    length = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(reply.content[length:], "<f4").tolist() == pytest.approx(data)
    asked = {"name": "probabilities", "parameters": {"binary_data": False}}
    assert infer(server, binary | {"outputs": [asked]}, images.tobytes()).json["outputs"]


def test_pictures_of_any_size_are_resized_as_predict_does(server):
    large = np.asarray(np.random.default_rng(1).integers(0, 256, (1, 40, 70, 3)), np.uint8)
    expected = means(np.stack([server.worker.model.predictor.fit(large[0])]))
    output = infer(server, {"inputs": [tensor(large)]}).json["outputs"][0]
    assert output["data"] == pytest.approx(expected[0].tolist(), rel=1e-6)


def test_encoded_pictures(server):
    contents = [picture((200, 9, 9)), picture((9, 9, 200))]
    text = [base64.b64encode(content).decode() for content in contents]
    record = {"name": "images", "datatype": "BYTES", "shape": [2], "data": text}
    as_json = infer(server, {"inputs": [record]}).json["outputs"][0]["data"]
    assert [row.argmax() for row in np.reshape(as_json, (2, 3))] == [0, 2]
    tail = b"".join(struct.pack("<I", len(content)) + content for content in contents)
    record = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [2, 1],
        "parameters": {"binary_data_size": len(tail)},
    }
    assert infer(server, {"inputs": [record]}, tail).json["outputs"][0]["data"] == as_json


def test_classes_by_name(server, images):
    asked = {"name": "probabilities", "parameters": {"classification": 2}}
    reply = infer(server, {"inputs": [tensor(images)], "outputs": [asked]})
    (output,) = reply.json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    row, best = means(images)[0], int(means(images)[0].argmax())
    assert output["data"][0] == f"{row[best]:f}:{best}:{helper.CLASSES[best]}"
    asked["parameters"]["binary_data"] = True
    reply = infer(server, {"inputs": [tensor(images)], "outputs": [asked]})
    tail = reply.content[int(reply.headers["inference-header-content-length"]) :]
    assert tail[4:].startswith(output["data"][0].encode())


ONE = np.zeros((1, 8, 8, 3), np.uint8)
GOOD = tensor(ONE)
PROBABILITIES = {"name": "probabilities"}
WRONG_RECORDS: list[tuple[Any, str]] = [
    (b"no json", "the request is not one of the protocol"),
    (b"[" * 100_000, "nested in more than 100 levels"),
    (b'{"inputs": [{"name": "\\ud800"}]}', "is not Unicode"),
    (b"\xff", "is not UTF-8"),
    ([], "expected 'object'"),
    ({}, "it has no 'inputs'"),
    ({"inputs": []}, "in 'inputs'"),
    ({"inputs": [GOOD], "id": 7}, "in 'id'"),
    ({"inputs": [tensor(ONE, name="input_1")]}, "the model has one input, 'images'"),
    ({"inputs": [GOOD, GOOD]}, "the model has one input"),
    ({"inputs": [tensor(ONE, datatype="FP32")]}, "send UINT8"),
    ({"inputs": [tensor(ONE, datatype=8)]}, "in 'inputs[0].datatype'"),
    ({"inputs": [tensor(ONE, shape=[8, 8, 3])]}, "send [n, height, width, 3]"),
    ({"inputs": [tensor(ONE, shape=[1, 8, 8, 1], data=[0] * 64)]}, "send [n, height, width, 3]"),
    ({"inputs": [tensor(ONE, shape=[0, 8, 8, 3], data=[])]}, "at least one of each"),
    ({"inputs": [tensor(ONE, shape=[-1, 8, 8, 3])]}, "in 'inputs[0].shape["),
    ({"inputs": [tensor(ONE, shape=[1, 8, 8, 3.5])]}, "in 'inputs[0].shape["),
    ({"inputs": [tensor(ONE, shape=[1, 2**70, 8, 3])]}, "larger than"),
    ({"inputs": [tensor(ONE, shape=[1, 9, 8, 3])]}, "has 216 values, and 192 were sent"),
    ({"inputs": [tensor(ONE, shape=[10**6, 9, 9, 3])]}, "values, and 192 were sent"),
    ({"inputs": [tensor(ONE, data=[256] * 192)]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=[-1] * 192)]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=[0.5] * 192)]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=[True] * 192)]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=["0"] * 192)]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=[[1, 2], [3]])]}, "whole numbers of 0 to 255"),
    ({"inputs": [tensor(ONE, data=[2**62 * 4] * 192)]}, "larger than"),
    ({"inputs": [{k: v for k, v in GOOD.items() if k != "data"}]}, "needs either data or"),
    ({"inputs": [tensor(ONE, parameters={"binary_data_size": 192})]}, "needs either data or"),
    ({"inputs": [GOOD], "outputs": [{"name": "maps"}]}, "the model has one output"),
    (
        {
            "inputs": [GOOD],
            "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}],
        },
        "give a number of classes",
    ),
    ({"inputs": [tensor(ONE, datatype="BYTES", shape=[1], data=["%"])]}, "in base64"),
    ({"inputs": [tensor(ONE, datatype="BYTES", shape=[1], data=[1])]}, "in base64"),
    ({"inputs": [tensor(ONE, datatype="BYTES", shape=[2], data=[""])]}, "send [n] and n encoded"),
    (
        {"inputs": [tensor(ONE, datatype="BYTES", shape=[1], data=["AAAA"])]},
        "image 0 cannot be read",
    ),
]


@pytest.mark.parametrize(("record", "text"), WRONG_RECORDS, ids=range(len(WRONG_RECORDS)))
def test_what_is_refused(server, record, text):
    reply = infer(server, record)
    assert reply.status == 400
    assert text in reply.error


def test_too_large(server):
    wide = np.zeros((1, 2, 6000, 3), np.uint8)
    record = tensor(wide, parameters={"binary_data_size": wide.nbytes})
    del record["data"]
    reply = infer(server, {"inputs": [record]}, wide.tobytes())
    assert (reply.status, "6000x2 pixels" in reply.error) == (413, True)
    many = np.zeros((9, 2, 2, 3), np.uint8)
    assert infer(server, {"inputs": [tensor(many)]}).status == 413


@pytest.mark.parametrize(
    ("size", "tail", "text"),
    [
        (192, bytes(191), "binary_data_size is 192, and 191 bytes follow"),
        (191, bytes(191), "192 values, and 191 were sent"),
        (-1, b"", "binary_data_size is -1"),
        ("192", bytes(192), "binary_data_size is '192'"),
        (True, b"x", "binary_data_size is True"),
    ],
)
def test_wrong_sizes(server, size, tail, text):
    record = {k: v for k, v in GOOD.items() if k != "data"} | {
        "parameters": {"binary_data_size": size}
    }
    assert text in infer(server, {"inputs": [record]}, tail).error


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1" * 30, ""])
def test_wrong_lengths_of_the_json(server, length):
    reply = infer(server, {"inputs": [GOOD]}, b"", Inference_Header_Content_Length=length)
    assert reply.status == 400
    assert "inference-header-content-length" in reply.error


def test_bytes_that_nothing_owns(server):
    assert "no input has them" in infer(server, {"inputs": [GOOD]}, b"more").error


@pytest.mark.parametrize("tail", [b"\xff\xff\xff\xffab", b"ab", b"\2\0\0\0a"])
def test_elements_that_end_too_early(server, tail):
    record = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(tail)},
    }
    assert "end within an element" in infer(server, {"inputs": [record]}, tail).error


def test_unknown_models_and_versions(server):
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/..%2Fx"):
        reply = server.get(path)
        assert reply.status == 404
        assert reply.error
    assert "the model is colours" in server.post("/v2/models/other/infer", {}).error
    reply = server.post("/v2/models/colours/versions/2/infer", {})
    assert (reply.status, "it has version 1" in reply.error) == (404, True)
