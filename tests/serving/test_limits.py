"""Full queues, slow and broken clients, and the moment of stopping."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from reslab.serving import connection
from tests.helpers import serving as helper
from tests.helpers.serving import ThreadedServer, form, means, model_of, picture

pytest.importorskip("fastapi")


class Waiting:
    """A model that answers when it is told to."""

    def __init__(self) -> None:
        self.go, self.sizes = threading.Event(), []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        assert self.go.wait(20)
        return means(images)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def accepted(server: ThreadedServer, count: int) -> None:
    """Wait until the server has accepted so many pictures."""
    for _ in range(2000):
        if server.worker.batcher.accepted == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{server.worker.batcher.accepted} are accepted, not {count}")


def test_all_that_waits_is_one_batch(waiting):
    with helper.serving(model_of(waiting), queue=100) as server, ThreadPoolExecutor(50) as pool:
        replies = [pool.submit(server.post, "/predict", picture())]
        while not waiting.sizes:
            pass
        replies += [pool.submit(server.post, "/predict", picture()) for _ in range(40)]
        accepted(server, 41)
        while len(server.worker.batcher._waiting) < 40:
            pass
        waiting.go.set()
        assert {reply.result().status for reply in replies} == {200}
    assert waiting.sizes == [1, 32, 8]


def test_a_full_queue(waiting):
    with helper.serving(model_of(waiting), queue=4) as server, ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(server.post, "/predict", picture()) for _ in range(3)]
        accepted(server, 3)
        body, kind = form([("a.png", picture()), ("b.png", picture())])
        reply = server.post("/predict", body, kind)  # two do not fit
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "the queue is full" in reply.error
        replies.append(pool.submit(server.post, "/predict", picture()))  # one does
        accepted(server, 4)
        assert server.get("/v2/health/ready").status == 200
        waiting.go.set()
        assert [reply.result().status for reply in replies] == [200] * 4
        assert server.worker.batcher.accepted == server.worker.budget.taken == 0


def test_the_time_of_a_request(waiting):
    with helper.serving(model_of(waiting), request_seconds=0.2) as server:
        reply = server.post("/predict", picture())
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "no answer within 0.2 s" in reply.error
        waiting.go.set()
        assert server.post("/predict", picture()).status == 200
        assert server.worker.batcher.accepted == 0


def test_the_memory_of_all_requests(waiting):
    with helper.serving(model_of(waiting)) as server, ThreadPoolExecutor(2) as pool:
        server.worker.budget.most = 4000
        first = pool.submit(server.post, "/predict", picture())
        accepted(server, 1)
        reply = server.post("/predict", bytes(4000))
        assert reply.status == 503
        assert "too many large requests" in reply.error
        waiting.go.set()
        assert first.result().status == 200
        assert server.worker.budget.taken == 0


def answer_on(client: socket.socket) -> tuple[int, dict]:
    """The status and the JSON of the answer; the server closes the connection."""
    content = b""
    while part := client.recv(65536):
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


def ask(client: socket.socket) -> None:
    """One request on a connection that stays open."""
    client.sendall(LIVE)
    content = b""
    while not content.endswith(b'{"live":true}'):
        content += client.recv(65536)


@pytest.fixture
def quick() -> Iterator[ThreadedServer]:
    with helper.serving(model_of(means), body_seconds=0.3) as server:
        yield server


def test_a_slow_sender(quick):
    with quick.connect() as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nstart")
        status, answer = answer_on(client)
    assert status == 408
    assert "took more than 0.3 s to arrive" in answer["error"]


@pytest.mark.parametrize("begin", [b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nhost: x\r\na:"])
def test_slow_headers(begin, monkeypatch):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    with helper.serving(model_of(means)) as server, server.connect() as client:
        client.sendall(begin)
        status, answer = answer_on(client)
    assert (status, "the headers took more than" in answer["error"]) == (408, True)


def test_slow_headers_of_a_second_request(monkeypatch):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    with helper.serving(model_of(means)) as server, server.connect() as client:
        ask(client)
        client.sendall(b"GET /v2/he")
        assert answer_on(client)[0] == 408


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: minus\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no host
    ],
)
def test_what_is_not_http(quick, request_):
    with quick.connect() as client:
        client.sendall(request_)
        assert answer_on(client) == (400, {"error": "the request is not valid HTTP"})
    assert quick.post("/predict", picture()).status == 200


def test_a_client_that_leaves(quick):
    for begin in (b"", b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nabc"):
        with quick.connect() as client:
            client.sendall(begin)
    assert quick.post("/predict", picture()).status == 200
    accepted(quick, 0)
    while quick.worker.budget.taken:
        pass


def test_too_many_connections(monkeypatch):
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 3)
    with helper.serving(model_of(means)) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            ask(client)
        with server.connect() as client:
            status, answer = answer_on(client)
        for client in clients:
            client.close()
        assert (status, "too many connections" in answer["error"]) == (503, True)


def test_stopping_loses_no_accepted_request():
    """Clients send as fast as they can while the server stops. Each request that it takes ends."""

    def run(images: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        return means(images)

    with helper.serving(model_of(run), drain_seconds=0.3) as server, ThreadPoolExecutor(9) as pool:
        stopped, outcomes, ready = threading.Event(), [], []

        def client() -> None:
            while True:
                try:
                    outcomes.append(server.post("/predict", picture()).status)
                except ConnectionRefusedError:  # it listens no more
                    return

        clients = [pool.submit(client) for _ in range(8)]
        while len(outcomes) < 50:
            time.sleep(0.01)
        server.stop()
        ready = server.get("/v2/health/ready")
        assert (ready.status, ready.json) == (503, {"ready": False})
        assert ready.headers["connection"] == "close"
        assert server.get("/v2/health/live").status == 200
        assert not wait(clients, 20).not_done
        stopped.set()
        for each in clients:
            each.result()  # no connection was reset
    assert set(outcomes) == {200}


def test_stopping_answers_a_request_on_its_way():
    """An open connection gets its last answer, although the server listens no more."""
    with helper.serving(model_of(means)) as server, server.connect() as client:
        ask(client)
        server.stop()
        while server.server.servers[0].is_serving():
            time.sleep(0.01)
        client.sendall(LIVE)
        assert answer_on(client) == (200, {"live": True})


def test_stopping_waits_for_the_engine(waiting):
    with helper.serving(model_of(waiting)) as server, ThreadPoolExecutor(2) as pool:
        reply = pool.submit(server.post, "/predict", picture())
        accepted(server, 1)
        server.stop()
        time.sleep(0.3)
        assert not reply.done()
        waiting.go.set()
        assert reply.result().status == 200


def test_a_client_that_has_sent_all(quick):
    """It closes its side of the connection, and still reads the answers."""
    content = picture()
    right = (
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content) + content
    )
    for sent, answers in ((LIVE, 1), (LIVE + LIVE, 2), (right, 1), (right + LIVE, 2)):
        with quick.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while part := client.recv(65536):
                received += part
        assert received.count(b" 200 OK") == answers
    for sent in (right[:-5], LIVE[:-4]):
        with quick.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            assert answer_on(client) == (400, {"error": "the connection was closed too early"})
