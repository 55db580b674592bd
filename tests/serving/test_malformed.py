"""Malformed requests: an error that says what is wrong; `scripts/fuzz-server` sends many more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers import serving as helper
from tests.helpers.fuzz import requests
from tests.helpers.fuzz.server import Child, ServerFuzzer, fault

pytest.importorskip("fastapi")


def test_some_requests(caplog):
    model = helper.model_of(helper.means, requests.NAME)
    with helper.serving(model, body=2**20, pixels=4_000_000, body_seconds=1.0) as server:
        fuzzer = ServerFuzzer(1, Child(None, server.port, []))  # type: ignore[arg-type]
        assert [text for text in map(fuzzer.run, range(250)) if text] == []
        assert fuzzer.outcomes["400"] > 50
        assert fuzzer.outcomes["200"] > 0
        assert server.worker.batcher.accepted == server.worker.budget.taken == 0
    assert caplog.records == []


def test_what_is_a_fault():
    good = (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n"
    )
    assert fault(good + b'{"error":"x"}') == ("400", "")
    assert fault(good.replace(b"400", b"503") + b'{"error":"x"}') == ("503", "")
    assert "status 500" in fault(good.replace(b"400", b"500") + b'{"error":"x"}')[1]
    assert "without a text" in fault(good + b'{"error":123}')[1]
    assert "not JSON" in fault(good.replace(b"application/json", b"text/plain") + b"x")[1]
    assert fault(b"HTTP/1.1 100 Continue\r\n\r\n" + good + b'{"error":"x"}')[0] == "400"


def test_a_request_is_replayed_by_its_number():
    once = [requests.malformed(random.Random(f"1 {i}")) for i in range(40)]
    assert once == [requests.malformed(random.Random(f"1 {i}")) for i in range(40)]
    assert len({kind for kind, _ in once}) > 6


@pytest.mark.slow
def test_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from tests.helpers.fuzz import server

    monkeypatch.setattr("sys.argv", ["fuzz-server", "2", "100"])
    assert server.main() == 0
    assert "100 requests, seed 2" in capsys.readouterr().out
