"""The rules for everything that comes from the internet.

The connection is encrypted, at every redirect too, and the checksum of the file is known before.
A person can waive this for addresses that begin with http://, for certificates that are not valid,
and for files whose checksum is not known. A file with a wrong checksum is refused in any case.
"""

from __future__ import annotations

import http.client
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

from reslab.core.errors import UserError, one_line

TIMEOUT = 20.0  # seconds without an answer
WAIVE = "add --insecure (insecure=True in Python)"
_CHUNK = 2**16
_waived: ContextVar[bool] = ContextVar("insecure", default=False)


class NotRead(UserError):
    """An address that cannot be read.

    Attributes:
        reason: Why, in a few words.
        status: The status of the server's answer; None without an answer.
    """

    def __init__(self, text: str, reason: str, status: int | None = None) -> None:
        super().__init__(text)
        self.reason, self.status = reason, status


@contextmanager
def insecure(waived: bool = True) -> Iterator[None]:
    """Accept insecure downloads inside of the block, if `waived`."""
    token = _waived.set(waived or _waived.get())
    try:
        yield
    finally:
        _waived.reset(token)


def is_waived() -> bool:
    """Whether insecure downloads are accepted."""
    return _waived.get()


def check_address(address: str) -> None:
    """Raise UserError for an address that is not encrypted, unless that is accepted."""
    scheme = urlsplit(address).scheme.lower()
    if scheme != "https" and not (scheme == "http" and is_waived()):
        raise UserError(
            f"{address} is not encrypted: give an address that begins with https://, or {WAIVE}"
        )


def arguments(headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of `requests.get` by which it follows the rules."""
    return {
        "headers": dict(headers or {}),
        "timeout": TIMEOUT,
        "hooks": {"response": _check_redirect},
        "verify": not is_waived(),
    }


def _check_redirect(answer: Any, *_: object, **__: object) -> None:
    """Raise UserError before a redirect is followed to an address that is not encrypted."""
    if not answer.is_redirect:
        return
    target = urljoin(answer.url, answer.headers["location"])
    if urlsplit(target).scheme.lower() != "https" and not is_waived():
        raise UserError(
            f"{answer.url} leads to {one_line(target)}, which is not encrypted: give another "
            f"address, or {WAIVE}"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the warning of urllib3 about a certificate that is not checked, as the person wants."""
    from urllib3.exceptions import InsecureRequestWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureRequestWarning)
        yield


def read(address: str, most_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
    """The content at an address, which is encrypted.

    Raises:
        NotRead: The server does not give it.
        UserError: The address is not encrypted, or has more than `most_bytes`.
    """
    import requests

    check_address(address)
    content = bytearray()
    try:
        with quiet(), requests.get(address, stream=True, **arguments(headers)) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                content += chunk
                if len(content) > most_bytes:
                    raise UserError(
                        f"{address} has more than {most_bytes // 2**20} MiB: download it first"
                    )
    except (OSError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        text = f"cannot read {address}: {reason(error)}"
        raise NotRead(text, reason(error), status) from None
    return bytes(content)


def reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        code = error.response.status_code
        return f"{code} {error.response.reason or http.client.responses.get(code, '')}".strip()
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of the server is not valid: {WAIVE}"
    if isinstance(error, requests.Timeout):
        return "no answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended too early"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return one_line(getattr(error, "strerror", None) or error)
