"""Pictures from descriptions: networks side by side, building blocks, the depth chart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reslab.core.errors import UserError
from reslab.draw.depth_chart import depth
from reslab.draw.layout import picture
from reslab.plots import matplotlib
from reslab.spec import Network

__all__ = ["blocks", "depth", "networks", "picture"]


def networks(
    nets: Iterable[Network | str], stem: str | Path, size: int | None = None
) -> tuple[Path, ...]:
    """Draws networks, or names of them, side by side: STEM.svg and STEM.png.

    `size` is the side of the images in pixels; by default each network's own. Raises UserError
    for an unknown name, images that are too small, or where the files cannot be written.
    """
    from reslab import zoo
    from reslab.draw import render

    found = [zoo.network(net) for net in nets]
    if not found:
        raise UserError("name a network to draw, such as resnet34")
    return matplotlib.write(render.files(picture(found, size)), stem)


def blocks(names: Iterable[str], stem: str | Path) -> tuple[Path, ...]:
    """Draws building blocks (names of `reslab.draw.gallery.BLOCKS`) side by side, with every layer.

    Raises UserError as `networks` does.
    """
    from reslab.draw import render
    from reslab.draw.gallery import picture

    return matplotlib.write(render.files(picture(list(names))), stem)
