"""The description of the endpoints in OpenAPI, beside their docstrings."""

from __future__ import annotations

from typing import Any

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}}


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _TEXTS[status] for status in statuses}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _ERROR}}}


_TEXTS = {
    400: _error("The request is wrong; the error says what."),
    404: _error("There is no such address, model or version."),
    408: _error("The request did not arrive in time."),
    413: _error("The request or a picture is too large."),
    415: _error("The content type or encoding is not known."),
    503: _error("The server is busy, loads the model or stops: see Retry-After."),
}
OF_THE_MODEL: dict[str, Any] = {"responses": _answers(404, 503)}
READY: dict[str, Any] = {"responses": _answers(503)}
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_FILES = {
    "schema": {
        "type": "object",
        "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    }
}
_PREDICTIONS = [
    {"file": "photo.jpg", "predictions": [{"class": "cat", "probability": 0.98}]},
]
PREDICT: dict[str, Any] = {
    "responses": {
        200: {
            "description": "For each picture its classes, the most probable one first. Models of "
            "several labels give the labels above their thresholds.",
            "content": {"application/json": {"example": _PREDICTIONS}},
        },
        **_answers(400, 408, 413, 415, 503),
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "The number of classes of each picture.",
                "schema": {"type": "integer", "minimum": 1, "default": 3},
            }
        ],
        "requestBody": {
            "description": "One encoded picture (JPEG, PNG, ...), or several as files of a form.",
            "required": True,
            "content": {"image/*": _PICTURE, "multipart/form-data": _FILES},
        },
    },
}
_REQUEST = {
    "inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQSkZJ..."]}]
}
_ANSWER = {
    "model_name": "MODEL",
    "model_version": "1",
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.98, 0.02]}
    ],
}
INFER: dict[str, Any] = {
    "responses": {
        200: {
            "description": "The probabilities of each picture, as JSON or as bytes behind it.",
            "content": {"application/json": {"example": _ANSWER}},
        },
        **_answers(400, 404, 408, 413, 415, 503),
    },
    "openapi_extra": {
        "requestBody": {
            "description": 'The input "images": UINT8 [n, height, width, channels], decoded '
            "pictures of any size; or BYTES [n], encoded pictures (in JSON as base64). With the "
            "header Inference-Header-Content-Length the tensor follows the JSON as bytes.",
            "required": True,
            "content": {"application/json": {"example": _REQUEST}},
        },
    },
}
