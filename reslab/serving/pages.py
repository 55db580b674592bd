"""The pages of a server: one to try the model, and the reference of the endpoints.

They load nothing from elsewhere, so they work without a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def upload(name: str) -> str:
    """The page that sends pictures to `/predict` and shows the answers."""
    return str(_templates().get_template("upload.html").render(name=name))


def reference(openapi: Mapping[str, Any], name: str, address: str) -> str:
    """The page that describes all endpoints of the server at an address."""
    template = _templates().get_template("reference.html")
    endpoints = list(_endpoints(openapi))
    return str(template.render(name=name, address=address, endpoints=endpoints))


def _endpoints(openapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in openapi["paths"].items():
        if "/versions/" in path:  # the same as without a version
            continue
        for method, about in methods.items():
            body = about.get("requestBody", {})
            contents = body.get("content", {})
            answer = about["responses"].get("200", {})
            yield {
                "path": path,
                "method": method.upper(),
                "text": about.get("description", ""),
                "parameters": [p for p in about.get("parameters", []) if p["in"] == "query"],
                "body": body.get("description", ""),
                "types": ", ".join(contents),
                "request": _example(contents),
                "answer": answer.get("description", ""),
                "example": _example(answer.get("content", {})),
                "errors": {
                    status: each["description"]
                    for status, each in about["responses"].items()
                    if not status.startswith("2")
                },
            }


def _example(contents: Mapping[str, Any]) -> str:
    for content in contents.values():
        if "example" in content:
            return json.dumps(content["example"], indent=2, ensure_ascii=False)
    return ""


@cache
def _templates() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("reslab.serving"), autoescape=True, trim_blocks=True
    )
