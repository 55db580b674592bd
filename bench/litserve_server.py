"""LitServe with the model, the decoding and the engine of `bench/serving.py`."""

from __future__ import annotations

import base64
import socket
import sys
from pathlib import Path
from typing import Any

import litserve
from serving import BATCH, load

WAIT_SECONDS = 0.002  # for more requests, before a batch runs


class Classify(litserve.LitAPI):
    """Pictures in base64 to the three most probable classes."""

    def setup(self, device: str) -> None:
        self.model = load(Path(sys.argv[1]))

    def decode_request(self, request: dict[str, str]) -> Any:
        return self.model.read(base64.b64decode(request["picture"]), "picture")

    def predict(self, images: list[Any]) -> Any:
        return self.model.run(images)

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> Any:
        return [{"file": "picture", "predictions": self.model.predictions(output, 3)}]


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    api = Classify(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    served = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    served.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
    )
