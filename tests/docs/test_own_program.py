"""The programs of docs/how-to/own-program.md answer like `reslab.predict`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import pytest
from PIL import Image

import reslab
from tests.helpers import pages
from tests.helpers.cli import output_of

PAGE = pages.ROOT / "docs" / "how-to" / "own-program.md"
TOLERANCE = 1e-4  # as the page says
OF_LARGE_JPEGS = 0.02


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of the page, its files, and some pictures."""
    folder = tmp_path_factory.mktemp("program")
    pages.make_data(folder)
    with contextlib.chdir(folder):
        for block in pages.blocks(PAGE):
            if block.language == "file":
                Path(block.name).write_text(block.text + "\n", encoding="utf-8")
            elif block.text.startswith("reslab train"):
                output_of(*block.text.split()[1:])
    with Image.open(folder / "photos" / "boat" / "001.jpg") as photo:
        photo.convert("L").save(folder / "grey.png")
        photo.resize((70, 41)).save(folder / "odd.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.save(folder / "rotated.jpg", exif=exif, quality=95)
        photo.resize((1200, 900)).save(folder / "large.jpg", quality=95)
    return folder


def expected(here: Path, file: str) -> dict[str, float]:
    (run,) = (here / "runs").iterdir()
    (result,) = reslab.predict(run, here / file, top=3, engine="backend")
    return {guess["class"]: guess["probability"] for guess in result["predictions"]}


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(pages.ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": keras.backend.backend()}


@pytest.fixture(scope="module")
def address(here: Path) -> Iterator[str]:
    """The address of the program, which `flask run` serves on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)]
    log = here / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=here, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:  # until it answers, or ends
                assert server.poll() is None, log.read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/predict"
        finally:
            server.terminate()
            server.wait()


def post(address: str, content: bytes) -> dict[str, float]:
    with urllib.request.urlopen(urllib.request.Request(address, content)) as answer:
        return dict(json.load(answer))


def test_the_web_program_answers_like_predict(here: Path, address: str) -> None:
    files = ["photo.jpg", "grey.png", "odd.png", "rotated.jpg", "large.jpg"]
    contents = [(here / file).read_bytes() for file in files]
    with ThreadPoolExecutor(4) as pool:  # requests may come at the same time
        answers = list(pool.map(post, [address] * 15, contents * 3))
    for file, answer in zip(files * 3, answers, strict=True):
        assert answer == pytest.approx(expected(here, file), abs=TOLERANCE), file


def test_an_upload_that_is_no_image_is_refused(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(address, b"no image")
    assert caught.value.code == 400
    assert "the image cannot be read" in json.load(caught.value)["error"]


def test_plain_keras_answers_like_predict(here: Path) -> None:
    """In one process, where reslab is not imported."""
    cases = {"photo.jpg": TOLERANCE, "grey.png": TOLERANCE, "odd.png": TOLERANCE}
    cases |= {"rotated.jpg": TOLERANCE, "large.jpg": OF_LARGE_JPEGS}
    code = (
        "import runpy, sys\n"
        "for file in sys.argv[1:]:\n"
        "    sys.argv[1] = file\n"
        "    runpy.run_path('plain.py')\n"
        "assert 'reslab' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *cases]
    done = subprocess.run(
        command, cwd=here, env=environment(), capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for (file, tolerance), answer in zip(cases.items(), answers, strict=True):
        reference = expected(here, file)
        assert answer == pytest.approx(reference, abs=tolerance), file
        assert max(answer, key=answer.__getitem__) == max(reference, key=reference.__getitem__)
