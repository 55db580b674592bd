"""The Open Inference Protocol, version 2: the tensors of requests and answers.

Triton, KServe, OpenVINO Model Server and their clients speak it. Tensors are JSON, or follow the
JSON as bytes ("binary tensor data"). Sources: the protocol's REST specification (kserve), and
Triton's extensions "binary_tensor_data" and "classification".
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import msgspec
import numpy as np
from msgspec import Meta

from reslab import __version__
from reslab.core import records
from reslab.core.errors import short
from reslab.serving.refused import Refused

if TYPE_CHECKING:
    from reslab.serving.model import ServedModel

INPUT, OUTPUT, VERSION = "images", "probabilities", "1"
HEADER_LENGTH = "inference-header-content-length"
SERVER = {
    "name": "reslab",
    "version": __version__,
    "extensions": ["binary_tensor_data", "classification", "model_configuration"],
}
Parameters = dict[str, Any]


class InputRecord(TypedDict):
    """An input in a request."""

    name: str
    datatype: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=2**31)]], Meta(max_length=8)]
    parameters: NotRequired[Parameters]
    data: NotRequired[list[Any]]


class OutputRecord(TypedDict):
    """An output that a request asks for."""

    name: str
    parameters: NotRequired[Parameters]


class RequestRecord(TypedDict):
    """A request for predictions."""

    id: NotRequired[str]
    parameters: NotRequired[Parameters]
    inputs: Annotated[list[InputRecord], Meta(min_length=1)]
    outputs: NotRequired[list[OutputRecord]]


@dataclass(frozen=True)
class OutputForm:
    """How an output is sent: as bytes or JSON, and of how many classes (0: all probabilities)."""

    binary: bool
    classes: int


@dataclass(frozen=True)
class InferenceRequest:
    """A request for predictions, checked.

    Attributes:
        id: Returned with the answer; None if there is none.
        images: uint8 (n, height, width, channels), or the bytes of n encoded pictures.
        outputs: The outputs that it asks for.
    """

    id: str | None
    images: np.ndarray | list[bytes]
    outputs: tuple[OutputForm, ...]


def metadata(model: ServedModel) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": f"reslab_{model.predictor.engine}",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": _input_shape(model)}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.classes)]}],
    }


def configuration(model: ServedModel) -> dict[str, Any]:
    """What tools of Triton read beside the metadata."""
    described = metadata(model)
    return {
        "name": model.name,
        "platform": described["platform"],
        "backend": "reslab",
        "max_batch_size": 0,  # the shapes include the batch
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [{"name": INPUT, "data_type": "TYPE_UINT8", "dims": _input_shape(model)}],
        "output": [
            {"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [-1, len(model.classes)]},
        ],
    }


def _input_shape(model: ServedModel) -> list[int]:
    return [-1, -1, -1, model.predictor.image_shape[2]]


def parse(content: bytes, header_length: str | None, model: ServedModel) -> InferenceRequest:
    """Read a request. Raises Refused."""
    header, tail = _split(content, header_length)
    try:
        record = records.parse(header)
        records.check(record, RequestRecord)
    except records.Damaged as error:
        raise Refused(400, f"the request is not one of the protocol: {error}") from None
    names = [each["name"] for each in record["inputs"]]
    if names != [INPUT]:
        raise Refused(400, f"the model has one input, {INPUT!r}, not {short(', '.join(names))}")
    parameters = record.get("parameters") or {}
    forms = [
        _form(each, bool(parameters.get("binary_data_output")), len(model.classes))
        for each in record.get("outputs") or [{"name": OUTPUT}]
    ]
    images = _images(record["inputs"][0], tail, model)
    return InferenceRequest(record.get("id"), images, tuple(forms))


def _split(content: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON, and the bytes behind it."""
    if header_length is None:
        return content, memoryview(b"")
    length = int(header_length) if header_length.isdecimal() and len(header_length) < 12 else -1
    if not 0 <= length <= len(content):
        raise Refused(
            400,
            f"{HEADER_LENGTH} is {short(header_length)}: it must be the bytes of the JSON, at most "
            f"{len(content):,}",
        )
    return content[:length], memoryview(content)[length:]


def _form(record: OutputRecord, binary: bool, classes: int) -> OutputForm:
    if record["name"] != OUTPUT:
        raise Refused(400, f"the model has one output, {OUTPUT!r}, not {short(record['name'])}")
    parameters = record.get("parameters") or {}
    count = parameters.get("classification", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise Refused(400, f"classification is {short(count)}: give a number of classes")
    return OutputForm(bool(parameters.get("binary_data", binary)), min(count, classes))


def _images(record: InputRecord, tail: memoryview, model: ServedModel) -> Any:
    size = (record.get("parameters") or {}).get("binary_data_size")
    if (size is None) == ("data" not in record):
        raise Refused(400, f"the input {INPUT!r} needs either data or binary_data_size")
    if size is not None and (size != len(tail) or isinstance(size, bool)):
        raise Refused(
            400, f"binary_data_size is {short(size)}, and {len(tail):,} bytes follow the JSON"
        )
    if size is None and len(tail):
        raise Refused(400, f"{len(tail):,} bytes follow the JSON, and no input has them")
    kind = record["datatype"]
    if kind == "BYTES":
        return _encoded(record, tail)
    if kind != "UINT8":
        raise Refused(
            400,
            f"{INPUT!r} has the datatype {short(kind)}: send UINT8 (decoded pictures, 0..255) or "
            "BYTES (encoded pictures)",
        )
    _check_shape(record["shape"], model)
    flat = np.frombuffer(tail, np.uint8) if size is not None else _from_json(record["data"])
    if flat.size != math.prod(record["shape"]):
        raise Refused(
            400,
            f"the shape {record['shape']} has {math.prod(record['shape']):,} values, and "
            f"{flat.size:,} were sent",
        )
    return flat.reshape(record["shape"])


def _check_shape(shape: list[int], model: ServedModel) -> None:
    channels = model.predictor.image_shape[2]
    if len(shape) != 4 or shape[3] != channels or min(shape) < 1:
        raise Refused(
            400,
            f"{INPUT!r} has the shape {shape}: send [n, height, width, {channels}], with at least "
            "one of each",
        )
    if shape[1] * shape[2] > model.most_pixels:
        raise Refused(413, f"{shape[2]}x{shape[1]} pixels are more than {model.most_pixels:,}")


def _from_json(data: list[Any]) -> np.ndarray:
    try:
        array = np.array(data)
    except (ValueError, OverflowError, TypeError, RecursionError):
        array = np.array(None)
    if array.dtype.kind not in "iu" or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        raise Refused(400, f"the data of {INPUT!r} are not whole numbers of 0 to 255")
    return array.astype(np.uint8).ravel()


def _encoded(record: InputRecord, tail: memoryview) -> list[bytes]:
    """Encoded pictures: with their lengths as bytes, or in base64 as JSON."""
    shape = record["shape"]
    contents = list(_elements(tail))
    if "data" in record:
        try:
            contents = [base64.b64decode(text, validate=True) for text in record["data"]]
        except (binascii.Error, TypeError, ValueError):
            raise Refused(400, "the data of BYTES in JSON are encoded pictures in base64") from None
    if not contents or len(shape) not in (1, 2) or math.prod(shape) != len(contents):
        raise Refused(
            400,
            f"{INPUT!r} has the shape {shape} and {len(contents)} elements: send [n] and n encoded "
            "pictures, at least one",
        )
    return contents


def _elements(tail: memoryview) -> Iterator[bytes]:
    """The elements of a BYTES tensor: each after its length in four bytes."""
    position = 0
    while position < len(tail):
        end = position + 4
        if end <= len(tail):
            end += struct.unpack_from("<I", tail, position)[0]
        if position + 4 > len(tail) or end > len(tail):
            raise Refused(400, "the bytes of a BYTES tensor end within an element")
        yield bytes(tail[position + 4 : end])
        position = end


def answer(
    model: ServedModel, request: InferenceRequest, rows: Sequence[np.ndarray]
) -> tuple[bytes, dict[str, str]]:
    """The body of the answer, and its headers."""
    probabilities = np.asarray(rows, "<f4")
    outputs, tails = [], []
    for form in request.outputs:
        record, tail = _output(model, form, probabilities)
        outputs.append(record)
        tails.append(tail)
    record = {"model_name": model.name, "model_version": VERSION, "outputs": outputs}
    if request.id is not None:
        record["id"] = request.id
    header = msgspec.json.encode(record)
    if not any(form.binary for form in request.outputs):
        return header, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join([header, *tails]), headers


def _output(
    model: ServedModel, form: OutputForm, probabilities: np.ndarray
) -> tuple[dict[str, Any], bytes]:
    record: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": probabilities.shape}
    if form.classes:
        labels = [_labels(model, row, form.classes) for row in probabilities]
        record |= {"datatype": "BYTES", "shape": [len(labels), form.classes]}
        data: list[Any] = [label for row in labels for label in row]
        encoded = [label.encode() for label in data] if form.binary else []
        tail = b"".join(struct.pack("<I", len(label)) + label for label in encoded)
    else:
        data = [] if form.binary else probabilities.ravel().tolist()
        tail = probabilities.tobytes() if form.binary else b""
    if form.binary:
        record["parameters"] = {"binary_data_size": len(tail)}
    else:
        record["data"] = data
    return record, tail


def _labels(model: ServedModel, row: np.ndarray, count: int) -> list[str]:
    """The most probable classes, in Triton's form "probability:index:name"."""
    best = np.argsort(-row, kind="stable")[:count]
    return [f"{row[i]:f}:{i}:{model.classes[i]}" for i in best]
