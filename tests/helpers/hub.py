"""A small Hugging Face hub on the loopback address, in memory.

It answers what `huggingface_hub` asks to create a repository and to upload a folder, and what
reslab asks to download one: repositories, branches, the list of files with checksums, LFS, files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"
LARGE = ".safetensors", ".keras", ".onnx"  # in LFS, as .gitattributes of the hub says


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, text: str, code: str = "") -> None:
        super().__init__(text)
        self.status, self.code = status, code


class Moved(Exception):
    """An answer that leads to another address."""


class Hub:
    """Commits by their name; branches name commits.

    Attributes:
        repositories: Branches by repository.
        commits: The files of each commit.
        private: Repositories that need the token.
        requests: The method and the path of each request; `tokens` has the token of each.
        elsewhere: The address of a server to which requests for files in LFS are redirected.
        tamper: Changes the content of a file before it is sent.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.elsewhere = ""
        self.tamper: Callable[[str, bytes], bytes] = lambda name, content: content
        self.address = ""

    def commit(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with these files; they replace those of the same name."""
        branches = self.repositories.setdefault(repository, {})
        before = branches.get(branch)
        content = {**(self.commits[before] if before else {}), **files}
        digests = {name: hashlib.sha256(c).hexdigest() for name, c in content.items()}
        text = json.dumps([before, sorted(digests.items())])
        number = hashlib.sha1(text.encode()).hexdigest()
        self.commits[number] = content
        branches[branch] = number
        return number

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> Any:
        """A JSON value, or bytes. Raises Refused."""
        self.requests.append(f"{method} {path}")
        self.tokens.append(token)
        for kinds, pattern, function in ROUTES:
            if method in kinds and (found := re.fullmatch(pattern, path)):
                named = {name: unquote(text) for name, text in found.groupdict().items()}
                if method != "GET" and token != TOKEN:
                    raise Refused(401, "Invalid username or password.")
                repository = named.get("repository")
                if repository is not None:
                    known = repository in self.repositories
                    if not known or (repository in self.private and token != TOKEN):
                        raise Refused(
                            401 if token is None else 404, "Repository Not Found", "RepoNotFound"
                        )
                return function(self, body, **named)
        raise Refused(404, f"no route for {method} {path}")

    def resolve(self, repository: str, revision: str) -> str:
        branches = self.repositories[repository]
        if revision in branches.values():
            return revision
        if revision not in branches:
            raise Refused(404, "Revision Not Found", "RevisionNotFound")
        return branches[revision]

    # Uploads --------------------------------------------------------------------------------------

    def create(self, body: bytes) -> Any:
        given = json.loads(body)
        name = f"{given.get('organization') or 'someone'}/{given['name']}"
        if name.startswith("other/"):
            raise Refused(403, "You don't have the rights to create a model under this namespace")
        if name in self.repositories:
            raise Refused(409, "You already created this model repo")
        self.repositories[name] = {}
        self.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
        if given.get("private") or given.get("visibility") == "private":
            self.private.add(name)
        return {"url": f"{self.address}/{name}", "name": name}

    def branch(self, body: bytes, repository: str, revision: str) -> Any:
        branches = self.repositories[repository]
        if revision in branches:
            raise Refused(409, "Reference already exists")
        branches[revision] = branches["main"]
        return {}

    def preupload(self, body: bytes, repository: str, revision: str) -> Any:
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def batch(self, body: bytes, repository: str) -> Any:
        return {
            "transfer": "basic",
            "objects": [
                {**each, "actions": {"upload": {"href": f"{self.address}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ],
        }

    def put(self, body: bytes, oid: str) -> Any:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "another checksum")
        self.objects[oid] = body
        return {}

    def add(self, body: bytes, repository: str, revision: str) -> Any:
        self.resolve(repository, revision)
        files = {}
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.objects[entry["value"]["oid"]]
        number = self.commit(repository, files, revision)
        url = f"{self.address}/{repository}/commit/{number}"
        return {"success": True, "commitOid": number, "commitUrl": url}

    def validate(self, body: bytes) -> Any:
        return {"errors": [], "warnings": []}

    # Downloads ------------------------------------------------------------------------------------

    def describe(self, body: bytes, repository: str, revision: str = "main") -> Any:
        number = self.resolve(repository, revision)
        siblings = []
        for name, content in self.commits[number].items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            file: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git}
            if name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                file["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(file)
        return {"id": repository, "sha": number, "siblings": siblings, "private": False}

    def file(self, body: bytes, repository: str, revision: str, name: str) -> Any:
        files = self.commits[self.resolve(repository, revision)]
        if name not in files:
            raise Refused(404, "Entry Not Found", "EntryNotFound")
        if self.elsewhere and name.endswith(LARGE):
            raise Moved(f"{self.elsewhere}/{repository}/resolve/{revision}/{name}")
        return self.tamper(name, files[name])


_REPOSITORY = r"(?P<repository>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES: tuple[tuple[tuple[str, ...], str, Callable[..., Any]], ...] = (
    (("POST",), "/api/repos/create", Hub.create),
    (("POST",), "/api/validate-yaml", Hub.validate),
    (("POST",), f"/api/models/{_REPOSITORY}/branch/{_REVISION}", Hub.branch),
    (("POST",), f"/api/models/{_REPOSITORY}/preupload/{_REVISION}", Hub.preupload),
    (("POST",), f"/{_REPOSITORY}.git/info/lfs/objects/batch", Hub.batch),
    (("PUT",), "/lfs/(?P<oid>[0-9a-f]{64})", Hub.put),
    (("POST",), f"/api/models/{_REPOSITORY}/commit/{_REVISION}", Hub.add),
    (("GET",), f"/api/models/{_REPOSITORY}", Hub.describe),
    (("GET",), f"/api/models/{_REPOSITORY}/revision/{_REVISION}", Hub.describe),
    (("GET", "HEAD"), f"/{_REPOSITORY}/resolve/{_REVISION}/(?P<name>.+)", Hub.file),
)


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers on 127.0.0.1, without TLS."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self._body()
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            path = urlsplit(self.path).path
            if path.startswith("/lfs/"):
                token = TOKEN  # the address itself is the permission
            status, code = 200, ""
            try:
                value = hub.answer(self.command, path, body, token)
            except Refused as error:
                status, code, value = error.status, error.code, {"error": str(error)}
            except Moved as address:
                self.send_response(302)
                self.send_header("Location", str(address))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            kind = "octet-stream" if isinstance(value, bytes) else "json"
            self.send_header("Content-Type", f"application/{kind}")
            self.send_header("Content-Length", str(len(content)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        do_GET = do_POST = do_PUT = do_HEAD = _answer

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
