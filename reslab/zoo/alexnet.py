"""Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep CNNs".

Two networks have this name: that of the paper, with convolutions in two groups (one per GPU) and
local response normalisation, and the network with one tower of Krizhevsky 2014 (arXiv 1404.5997) in
torchvision's version, which is the usual one today.
"""

from __future__ import annotations

from reslab.spec import LRN, Conv, Dense, Dropout, Flatten, MaxPool, Network, Part, ReLU

PAPER = "Krizhevsky et al. 2012, NIPS 25"
POOL = MaxPool(3, 2, pad=0)


def head(classes: int = 1000) -> Part:
    hidden = Dropout(0.5), Dense(4096), ReLU
    return Flatten("chw"), hidden, hidden, Dense(classes)


def conv(width: int, kernel: int, groups: int = 1) -> Part:
    return Conv(width, kernel, groups=groups, bias=True), ReLU


ALEXNET_2012 = {  # the paper says 224, but its maps of 55 need images of 227
    "conv1": (Conv(96, 11, 4, pad=0, bias=True), ReLU, LRN(), POOL),
    "conv2": (conv(256, 5, groups=2), LRN(), POOL),
    "conv3": conv(384, 3),
    "conv4": conv(384, 3, groups=2),
    "conv5": (conv(256, 3, groups=2), POOL),
    "head": head(),
}
ALEXNET = {
    "conv1": (Conv(64, 11, 4, pad=2, bias=True), ReLU, POOL),
    "conv2": (conv(192, 5), POOL),
    "conv3": conv(384, 3),
    "conv4": conv(256, 3),
    "conv5": (conv(256, 3), POOL),
    "head": head(),
}

NETWORKS = {
    "alexnet": Network(
        "alexnet",
        ALEXNET,
        (224, 224, 3),
        "AlexNet, one tower",
        "Krizhevsky 2014, arXiv 1404.5997, as in torchvision",
    ),
    "alexnet_2012": Network(
        "alexnet_2012", ALEXNET_2012, (227, 227, 3), "AlexNet, two groups", PAPER
    ),
}
