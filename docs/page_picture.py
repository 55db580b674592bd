"""Draw docs/images/page.png, the page of an exported run on a wide screen and on a phone, and
heatmap.jpg, of another image.

    reslab train resnet20 --data fashion-mnist --epochs 2 --out runs/fashion
    python docs/page_picture.py runs/fashion

Needs Chromium. The picture on the page is a test image.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import reslab
from reslab.evaluation import recorded_data
from reslab.runs.run import Run

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tests.helpers.chromium import Chromium  # noqa: E402

IMAGE, BOOT = 12, 23  # of the test set
WIDE, PHONE = (1180, 860), (390, 860)
GAP = 40


def main(folder: str) -> None:
    run = Run.open(folder)
    test = recorded_data.reload(run).test
    assert test is not None
    pixels = test.images(np.array([IMAGE]))[0]
    with tempfile.TemporaryDirectory() as temporary:
        picture, page = Path(temporary, "picture.png"), Path(temporary, "page.html")
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(picture)
        reslab.export(run, "page", page)
        with Chromium(Path(temporary, "profile")) as browser:
            parts = [
                shot(browser, page, picture, size, scheme)
                for size, scheme in ((WIDE, "light"), (PHONE, "dark"))
            ]
        boot = test.images(np.array([BOOT]))[0]
        (result,) = reslab.predict(run, boot, heatmap=temporary)
        shutil.copy(result["heatmap"], HERE / "images" / "heatmap.jpg")
    canvas = Image.new("RGB", (WIDE[0] + GAP + PHONE[0], WIDE[1]), "white")
    canvas.paste(parts[0], (0, 0))
    canvas.paste(parts[1], (WIDE[0] + GAP, 0))
    canvas.save(HERE / "images" / "page.png", optimize=True)


def shot(
    browser: Chromium, page: Path, picture: Path, size: tuple[int, int], scheme: str
) -> Image.Image:
    """The page with the answer for a picture."""
    browser.resize(*size)
    browser.media(scheme=scheme)
    browser.open(page)
    browser.until("document.documentElement.dataset.state === 'ready'")
    document = browser.send("DOM.getDocument")["root"]["nodeId"]
    node = browser.send("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    browser.send("DOM.setFileInputFiles", nodeId=node, files=[str(picture)])
    browser.until("document.documentElement.dataset.state === 'done'")
    browser.run("scrollTo(0, 0)")
    file = picture.with_name(f"{scheme}.png")
    browser.screenshot(file, whole=False)
    with Image.open(file) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    main(sys.argv[1])
