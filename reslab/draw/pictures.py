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
    """Draw networks side by side, as in He 2015, Fig. 3.

    Args:
        nets: Networks, or names of `reslab list`.
        stem: Path of the files without a suffix.
        size: Side of the images in pixels. Defaults to each network's own size.

    Returns:
        The paths of STEM.svg and STEM.png.

    Raises:
        UserError: A name is unknown, the images are too small, or a file cannot be written.
    """
    from reslab import zoo
    from reslab.draw import render

    chosen = [zoo.network(net) for net in nets]
    if not chosen:
        raise UserError("name a network to draw, such as resnet34")
    return matplotlib.write(render.files(picture(chosen, size)), stem)


def blocks(names: Iterable[str], stem: str | Path) -> tuple[Path, ...]:
    """Draw building blocks side by side, with every layer.

    Args:
        names: Names of blocks: plain, basic, projection, option_a, bottleneck, preact, dense,
            inception, resnext, se, gated, characters, characters_printed.
        stem: Path of the files without a suffix.

    Returns:
        The paths of STEM.svg and STEM.png.

    Raises:
        UserError: A name is unknown, or a file cannot be written.
    """
    from reslab.draw import render
    from reslab.draw.gallery import picture

    return matplotlib.write(render.files(picture(list(names))), stem)
