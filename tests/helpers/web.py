"""A server on this machine that answers as servers of data sets do, or as they should not."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Server:
    """Serves `files` by path, redirects `redirects`, and records the requests.

    Files in `cut` announce their length, but the connection ends in their middle.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut: set[str] = set()
        self.requests: list[str] = []
        self.address = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        if handler.path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[handler.path])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.files.get(handler.path)
        handler.send_response(404 if body is None else 200)
        handler.send_header("Content-Length", str(len(body or b"")))
        handler.end_headers()
        body = body or b""
        handler.wfile.write(body[: len(body) // 2] if handler.path in self.cut else body)


@contextmanager
def served(certificate: Path | None = None) -> Iterator[Server]:
    """A running server on the loopback address: http, or https with this certificate and key."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None: ...

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that refuses the certificate is no error here."""

    with Quiet(("127.0.0.1", 0), Handler) as running:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        scheme = "https" if certificate else "http"
        server.address = f"{scheme}://127.0.0.1:{running.server_port}"
        try:
            yield server
        finally:
            running.shutdown()
            thread.join()


def certificate(folder: Path) -> Path:
    """A new certificate for the loopback address, with its key in the same file."""
    path = folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    parts = [folder / "certificate.pem", folder / "key.pem"]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
