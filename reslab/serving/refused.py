"""A request that is answered with an error."""

from __future__ import annotations

from reslab.core.errors import UserError
from reslab.serving.settings import RETRY_SECONDS


class Refused(UserError):
    """A request that the server does not answer as asked. The message says why.

    Attributes:
        status: The HTTP status: 4xx if the request is wrong, 503 if the server is busy.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def busy(message: str) -> Refused:
    """503: the request may be repeated as it is."""
    return Refused(503, message, Retry_After=str(RETRY_SECONDS))
