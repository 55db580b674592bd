"""Stock clients of Triton and KServe work unchanged, and the page does in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from tests.helpers import serving as helper
from tests.helpers.serving import CLASSES, ThreadedServer, means, model_of, picture

pytest.importorskip("fastapi")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedServer]:
    with helper.serving(model_of(means)) as running:
        yield running


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore")
class TestTriton:
    """`tritonclient.http`."""

    @pytest.fixture
    def triton(self):
        return pytest.importorskip("tritonclient.http")

    @pytest.fixture
    def client(self, triton, server):
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            yield client

    def test_health_and_metadata(self, client):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("colours")
        assert client.is_model_ready("colours", "1")
        assert client.get_server_metadata()["name"] == "reslab"
        assert client.get_model_metadata("colours")["inputs"][0]["datatype"] == "UINT8"
        assert client.get_model_config("colours")["name"] == "colours"

    @pytest.mark.parametrize("binary_input", [False, True])
    @pytest.mark.parametrize("binary_output", [False, True])
    @pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
    def test_tensors(self, triton, client, images, binary_input, binary_output, compression):
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images, binary_data=binary_input)
        asked = [triton.InferRequestedOutput("probabilities", binary_data=binary_output)]
        result = client.infer(
            "colours",
            [given],
            outputs=asked,
            request_id="a",
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        assert result.get_response()["id"] == "a"
        np.testing.assert_allclose(result.as_numpy("probabilities"), means(images), rtol=1e-6)

    def test_without_a_list_of_outputs(self, triton, client, images):
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        result = client.infer("colours", [given], model_version="1")
        np.testing.assert_allclose(result.as_numpy("probabilities"), means(images), rtol=1e-6)

    @pytest.mark.parametrize("binary", [False, True])
    def test_classes(self, triton, client, images, binary):
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        asked = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
        labels = client.infer("colours", [given], outputs=[asked]).as_numpy("probabilities")
        assert labels.shape == (3, 2)
        first = labels[0, 0].decode() if isinstance(labels[0, 0], bytes) else labels[0, 0]
        assert first.split(":")[2] == CLASSES[means(images)[0].argmax()]

    def test_encoded_pictures(self, triton, client):
        contents = np.array([picture((9, 9, 200)), picture((200, 9, 9))], dtype=np.object_)
        given = triton.InferInput("images", [2], "BYTES")
        given.set_data_from_numpy(contents)
        result = client.infer("colours", [given]).as_numpy("probabilities")
        assert result.argmax(axis=1).tolist() == [2, 0]

    def test_errors(self, triton, client, images):
        from tritonclient.utils import InferenceServerException

        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        with pytest.raises(InferenceServerException, match="there is no model 'other'"):
            client.infer("other", [given])

    def test_many_at_once(self, triton, server, images):
        url = f"127.0.0.1:{server.port}"
        with triton.InferenceServerClient(url, concurrency=8) as client:
            given = triton.InferInput("images", list(images.shape), "UINT8")
            given.set_data_from_numpy(images)
            for each in [client.async_infer("colours", [given]) for _ in range(40)]:
                assert each.get_result().as_numpy("probabilities").shape == (3, 3)


@pytest.mark.filterwarnings("ignore")
def test_kserve(server, images):
    kserve = pytest.importorskip("kserve")
    url = f"http://127.0.0.1:{server.port}"

    async def talk() -> None:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, "colours")
        for binary in (False, True):
            given = kserve.InferInput("images", list(images.shape), "UINT8")
            given.set_data_from_numpy(images, binary_data=binary)
            request = kserve.InferRequest("colours", [given], request_id="7")
            response = await client.infer(url, request, model_name="colours")
            result = response.outputs[0].as_numpy()
            np.testing.assert_allclose(result, means(images), rtol=1e-6)
        await client.close()

    asyncio.run(talk())
