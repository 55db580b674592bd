"""`push`: a finished run as a repository of models on the Hugging Face hub."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError, one_line
from reslab.data.sources import hub, web
from reslab.formats.export import export
from reslab.runs.run import Run


def push(
    model: str | os.PathLike[str] | Run,
    address: str,
    private: bool = False,
    insecure: bool = False,
) -> str:
    """Upload a trained model to the Hugging Face hub.

    The repository gets what `reslab export --to hub` writes: `model.keras`, `model.safetensors`,
    `config.json` (the network by value, classes, preprocessing), `model.onnx`, and a README.md with
    the test error. It is created if there is none. The environment variables HF_TOKEN and
    HF_ENDPOINT name the token and another hub.

    Args:
        model: A run, the path of its folder, or a model file that reslab wrote.
        address: "hf://USER/NAME", or "hf://USER/NAME@BRANCH" for another branch than main.
        private: Create a private repository. A repository that exists stays as it is.
        insecure: Accept a hub without TLS.

    Returns:
        The address with the commit, "hf://USER/NAME@COMMIT", which `reslab.create`, `reslab.train`,
        `reslab.predict` and `reslab.load` take.

    Raises:
        UserError: The model is not finished or not finite, huggingface_hub is not installed, there
            is no token, or the hub refuses.
    """
    where = hub.parse(address)
    if find_spec("huggingface_hub") is None:
        raise UserError('uploading needs huggingface_hub: pip install "reslab[hub]"')
    token = hub.token()
    if token is None:
        raise UserError(
            "there is no token for the hub: set HF_TOKEN, or log in with `hf auth login`"
        )
    with web.insecure(insecure), tempfile.TemporaryDirectory() as folder:
        web.check_address(hub.endpoint())
        path = Path(folder, "hub")
        export(model, "hub", path)
        commit = _upload(path, where, token, private)
    return f"hf://{where.repository}@{commit}"


def _upload(folder: Path, where: hub.Address, token: str, private: bool) -> str:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api: Any = HfApi(endpoint=hub.endpoint(), token=token)
    name, branch = where
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if branch != "main":
            api.create_branch(name, branch=branch, exist_ok=True)
        message = "Upload by reslab push"
        done = api.upload_folder(
            repo_id=name, folder_path=folder, revision=branch, commit_message=message
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        then = "; is the token for this user, and may it write?" if status in (401, 403) else ""
        text = one_line(error.server_message or error)
        raise UserError(f"{hub.endpoint()} refuses {name}: {status} {text}{then}") from None
    except Exception as error:  # httpx, the hub's library and its engines raise many kinds
        cause = error.__cause__ or error
        raise UserError(
            f"cannot upload to {hub.endpoint()}/{name}: {type(cause).__name__}: {one_line(cause)}"
        ) from None
    return str(done.oid)
