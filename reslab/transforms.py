"""Functions from network to network: `plain(net)`, `without_bn(net)`, `stochastic(net)`."""

from reslab.spec.transforms import (
    headless,
    plain,
    rewrite,
    stochastic,
    transform,
    with_classes,
    without_bn,
    without_skips,
)

__all__ = [
    "headless",
    "plain",
    "rewrite",
    "stochastic",
    "transform",
    "with_classes",
    "without_bn",
    "without_skips",
]
