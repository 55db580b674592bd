"""`reslab serve` as a process: signals, several workers, and models that cannot be read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import reslab
from reslab.core.paths import regular
from tests.helpers import serving as helper
from tests.helpers.serving import Reply, reply_of

pytest.importorskip("fastapi")
pytestmark = pytest.mark.slow
NICE = {"KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reslab", "serve", *map(str, arguments), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | NICE,
    )


@dataclass
class Child:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    def stop(self, sign: int) -> tuple[int, str]:
        """The exit status after a signal, and what was printed on standard error."""
        self.process.send_signal(sign)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextmanager
def child(*arguments: object) -> Iterator[Child]:
    process = start(*arguments)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Child(process, int(re.findall(r":(\d+)", line)[0]))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    paths = helper.pictures_at(tmp_path_factory.mktemp("pictures"), 6)
    return [regular(path).read_bytes() for path in paths]


def under_load(server: Child, files: Sequence[bytes], act: threading.Thread) -> list[int]:
    """The statuses of all requests of 8 clients until nobody listens; `act` starts meanwhile."""
    statuses: list[int] = []

    def client(i: int) -> None:
        while True:
            try:
                reply = server.request("POST", "/predict", files[i % len(files)])
            except ConnectionRefusedError:
                return
            statuses.append(reply.status)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, i) for i in range(8)]
        while len(statuses) < 60:
            time.sleep(0.01)
        act.start()
        assert not wait(clients, 60).not_done
        for each in clients:
            each.result()  # a reset connection is a lost request
    act.join()
    return statuses


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(sign, trained, files):
    with child(trained.path) as server:
        outcome: list[tuple[int, str]] = []
        ready: list[int] = []

        def act() -> None:
            server.process.send_signal(sign)
            time.sleep(0.3)
            ready.append(server.request("GET", "/v2/health/ready").status)

        statuses = under_load(server, files, threading.Thread(target=act))
        _, errors = server.process.communicate(timeout=60)
        outcome.append((server.process.returncode, errors))
    assert set(statuses) == {200}
    assert ready == [503]
    assert outcome[0][0] == 0
    assert "Traceback" not in outcome[0][1]


def test_several_workers(trained, files):
    with child(trained.path, "--workers", 2) as server:
        children = [int(pid) for pid in _children(server.process.pid)]
        assert len(children) == 2
        expected = reslab.predict(trained, files[:1])[0]["predictions"]
        for _ in range(20):
            reply = server.request("POST", "/predict", files[0])
            assert reply.json[0]["predictions"][0]["class"] == expected[0]["class"]
        metrics = server.request("GET", "/metrics").content.decode()
        assert 'reslab_requests_total{path="/predict",status="200"} 20.0' in metrics
        os.kill(children[0], signal.SIGKILL)
        for _ in range(600):  # another worker takes its place
            now = [int(pid) for pid in _children(server.process.pid)]
            if len(now) == 2 and now != children:
                break
            time.sleep(0.1)
        else:
            raise AssertionError
        assert server.request("POST", "/predict", files[0]).status == 200
        thread = threading.Thread(target=lambda: server.process.send_signal(signal.SIGTERM))
        statuses = under_load(server, files, thread)
        _, errors = server.process.communicate(timeout=60)
        assert set(statuses) == {200}
        assert server.process.returncode == 0
        assert "a worker ended (exit code -9); another one starts" not in errors  # it is on stdout


def _children(pid: int) -> list[str]:
    """The processes that run workers; multiprocessing has one more, a tracker of resources."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [
        child for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_cannot_be_read(workers, tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    process = start(tmp_path / "broken.keras", "--workers", workers)
    out, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if "absl" not in line and "port.cc" not in line]
    assert (process.returncode, out, len(lines)) == (2, "", 1)
    assert "is not a .keras file, or is damaged" in lines[0]


def test_an_exported_file_answers_as_the_run(trained, files, tmp_path):
    pytest.importorskip("onnxruntime")
    reslab.export(trained, out=tmp_path / "m.onnx")
    with child(tmp_path / "m.onnx") as server:
        for content, result in zip(files, reslab.predict(trained, files), strict=True):
            answer = server.request("POST", "/predict", content).json[0]["predictions"]
            for a, b in zip(answer, result["predictions"], strict=True):
                assert a["class"] == b["class"]
                assert a["probability"] == pytest.approx(b["probability"], abs=1e-5)
        assert server.stop(signal.SIGTERM)[0] == 0
