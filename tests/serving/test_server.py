"""The other addresses of a server, and what the command refuses before it loads a model."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reslab.core.errors import UserError
from reslab.serving import settings as settings_module
from reslab.serving.settings import ServerSettings
from tests.helpers import serving as helper
from tests.helpers.cli import error_of, output_of
from tests.helpers.serving import ThreadedServer, means, model_of, picture

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedServer]:
    with helper.serving(model_of(means)) as running:
        yield running


def test_metrics(server):
    server.post("/predict", picture())
    server.post("/predict", b"no picture")
    reply = server.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.content.decode()
    assert 'reslab_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'reslab_requests_total{path="/predict",status="400"} 1.0' in text
    assert "reslab_batch_size_sum 1.0" in text
    assert "reslab_ready_workers 1.0" in text
    assert 'reslab_info{model="colours"' in text
    for path in ("/a", "/b", "/v2/models/x", "/v2/models/y"):  # addresses make no new series
        server.get(path)
    assert server.get("/metrics").content.count(b'status="404"') == 2 * 2  # and when created


def test_pages_load_nothing_from_elsewhere(server):
    for path in ("/", "/docs"):
        reply = server.get(path)
        text = reply.content.decode()
        assert reply.headers["content-type"].startswith("text/html")
        assert not re.findall(r"""(?:src|href)=["'](?!/)[^"']*""", text)
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "colours" in text
    for path in ("/predict", "/v2/models/{name}/infer", "/v2/health/ready", "/metrics"):
        assert path in text


def test_the_description_is_openapi(server):
    about = server.get("/openapi.json").json
    predict = about["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert {"200", "400", "408", "413", "415", "503"} <= set(predict["responses"])


def test_another_page():
    with helper.serving(model_of(means), page="<!doctype html><p>mine") as server:
        assert server.get("/").content == b"<!doctype html><p>mine"


def test_unknown_addresses_and_methods(server):
    assert (server.get("/nothing").status, server.get("/nothing").error) == (
        404,
        "there is no '/nothing'",
    )
    reply = server.get("/predict")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.error == "'/predict' does not take GET"


def test_cors_only_if_asked(server):
    origin = "https://example.com"
    assert not any("access-control" in h for h in server.get("/v2", Origin=origin).headers)
    with helper.serving(model_of(means), cors=[origin]) as other:
        assert other.get("/v2", Origin=origin).headers["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in other.get("/v2", Origin="https://a.b").headers
        wrong = other.post("/predict", b"no", Origin=origin)
        assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (400, origin)


def test_while_the_model_is_loaded():
    with helper.serving(model_of(means)) as server:
        model, server.worker.model = server.worker.model, None
        assert server.get("/v2/health/live").status == 200
        for reply in (
            server.post("/predict", picture()),
            server.post("/v2/models/colours/infer", {}),
            server.get("/v2/models/colours"),
        ):
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert "is being loaded" in reply.error
        assert server.get("/v2/health/ready").status == 503
        server.worker.model = model
        assert server.get("/v2/health/ready").status == 200


@pytest.mark.parametrize(
    ("model", "options", "name"),
    [
        ("runs/a", {}, "a"),
        ("runs/a/model.onnx", {}, "a"),
        ("cats.onnx", {}, "cats"),
        ("resnet50", {"weights": "w"}, "resnet50"),
        ("runs/a", {"name": "b"}, "b"),
        ("hf://user/cats-1.5@main", {}, "cats-1.5"),
    ],
)
def test_the_name_of_the_model(model, options, name):
    assert ServerSettings(model, **options).model_name == name


@pytest.mark.usefixtures("apart")
class TestCommand:
    """`reslab serve`: one line before a model is loaded."""

    @pytest.fixture(autouse=True)
    def no_model_is_loaded(self, monkeypatch) -> None:
        from reslab.serving.worker import ServerWorker

        def load(self: ServerWorker) -> None:
            raise AssertionError

        monkeypatch.setattr(ServerWorker, "load", load)

    def test_a_port_in_use(self, tmp_path):
        (tmp_path / "m.onnx").touch()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            error = error_of("serve", tmp_path / "m.onnx", "--port", port)
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in error

    def test_addresses_that_are_not_ours(self, tmp_path):
        (tmp_path / "m.onnx").touch()
        for host in ("192.0.2.1", "no.such.host.invalid", "a" * 300):
            assert "cannot listen on" in error_of("serve", tmp_path / "m.onnx", "--host", host)

    def test_no_model(self, tmp_path):
        assert "there is no run and no model file" in error_of("serve", tmp_path / "a")
        (tmp_path / "empty").mkdir()
        assert "there is no run.json in it" in error_of("serve", tmp_path / "empty")
        assert "no network 'resnt50'" in error_of("serve", "resnt50", "--weights", "w")

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (("--port", 70_000), "from 0 to 65535"),
            (("--workers", 0), "at least 1"),
            (("--name", "a/b"), "cannot be a name"),
            (("--max-body", 0), "the limit body"),
            (("--max-queue", 0), "--max-queue"),
            (("--engine", "tensorrt"), "tensorrt"),
        ],
    )
    def test_options(self, options, text, tmp_path):
        (tmp_path / "m.onnx").touch()
        assert text in error_of("serve", tmp_path / "m.onnx", *options)

    def test_without_the_packages(self, monkeypatch):
        monkeypatch.setattr(settings_module, "find_spec", lambda name: None)
        assert 'pip install "reslab[serve]"' in error_of("serve", "runs/a")

    def test_help(self):
        assert "POST /predict takes pictures" in output_of("serve", "--help")


def test_a_model_that_gives_nan_is_not_served():
    model = model_of(lambda images: means(images) * float("nan"))
    with pytest.raises(UserError, match="colours cannot be served: the model gives NaN"):
        model.warm()


def test_a_run_that_is_not_finished(trained, tmp_path):
    import shutil

    from reslab.serving.serve import serve

    copy = tmp_path / "run"
    shutil.copytree(trained.path, copy)
    (copy / "model.keras").unlink()
    with pytest.raises(UserError, match="has no model yet"):
        serve(copy)
    assert Path(copy).exists()
