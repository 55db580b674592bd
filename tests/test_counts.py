"""Parameters and multiply-adds against the published integers, and against sums done by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reslab import describe
from reslab.transforms import with_classes
from reslab.zoo import NETWORKS, network

GOLDEN = json.loads((Path(__file__).parent / "golden" / "counts.json").read_text())
BY_HAND = {"characters", "characters_printed"}
V2 = {
    "resnet50_v2": (3, 4, 6, 3),
    "resnet101_v2": (3, 4, 23, 3),
    "resnet152_v2": (3, 8, 36, 3),
    "resnet200_v2": (3, 24, 36, 3),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_counts(name: str) -> None:
    found, golden = describe.counts(network(name)), GOLDEN[name]
    assert found.trainable_params == golden["trainable_params"]
    if golden["multiply_adds"] is not None:
        assert found.multiply_adds == golden["multiply_adds"]


def test_every_network_has_a_count_from_elsewhere() -> None:
    assert set(NETWORKS) == set(GOLDEN) | BY_HAND | set(V2)


@pytest.mark.parametrize(
    ("depth", "published"),
    [(20, 40.55), (32, 68.86), (44, 97.17), (56, 125.49), (110, 252.89), (1202, 2829.24)],
)
def test_cifar_multiply_adds(depth: int, published: float) -> None:
    """Millions, to the digits that are published."""
    for name in (f"resnet{depth}", f"plain{depth}"):
        found = describe.counts(network(name)).multiply_adds
        assert found is not None
        assert round(found / 1e6, 2) == published


@pytest.mark.parametrize("name", V2)
def test_preactivated_imagenet_by_hand(name: str) -> None:
    """Sums over He 2016's description: convolutions of v1.5, BN before every one but the first."""
    units = V2[name]
    weights, bn, channels = 7 * 7 * 3 * 64, 64, 64
    for i, n in enumerate(units):
        width = 64 * 2**i
        for unit in range(n):
            first_of_all = i == unit == 0
            bn += (0 if first_of_all else channels) + 2 * width
            weights += channels * width + 9 * width**2 + 4 * width**2
            weights += channels * 4 * width if unit == 0 else 0  # the projection
            channels = 4 * width
    weights += 2048 * 1000 + 1000
    bn += 2048
    found = describe.counts(network(name))
    assert found.trainable_params == weights + 2 * bn
    assert found.total_params == weights + 4 * bn


def test_hundred_classes_add_what_the_paper_s_head_adds() -> None:
    for depth, hundred in ((164, 1_726_388), (1001, 10_350_836)):
        net = with_classes(network(f"resnet{depth}_v2"), 100)
        assert describe.counts(net).trainable_params == hundred
    twenty = [describe.counts(with_classes(network("resnet20"), n)) for n in (10, 100)]
    assert twenty[1].trainable_params - twenty[0].trainable_params == 5_850


def test_running_statistics() -> None:
    """BN channels of torchvision's ResNets; two statistics each."""
    channels = {18: 4_800, 34: 8_512, 50: 26_560, 101: 52_672, 152: 75_712}
    for depth, n in channels.items():
        found = describe.counts(network(f"resnet{depth}"))
        assert found.total_params - found.trainable_params == 2 * n


def test_depths_are_the_names() -> None:
    for name in NETWORKS:
        digits = "".join(c for c in name.split("_")[0] if c.isdigit())
        if digits:
            assert describe.depth(network(name)) == int(digits), name


def test_characters_printed_by_hand() -> None:
    """The slide, weight by weight. BN runs over the width of the maps: 28, 14, 7, 4, 2."""
    widths, sizes = (64, 128, 256, 512), (28, 14, 7, 4, 2)
    count, adds, channels = 0, 0, 1
    for i, w in enumerate(widths):
        big, small = sizes[i], sizes[i + 1]
        count += 2 * big + 2 * small  # gamma and beta of two BNs
        count += 9 * channels * w + w  # 3x3, stride 2
        count += 9 * w * w + w  # 3x3, stride 1
        count += w * 1 + 1  # 1x1 to one channel
        count += 9 * channels * w + w  # the shortcut's 3x3, stride 2
        adds += small**2 * (2 * 9 * channels * w + 9 * w * w + w)
        channels = w
    count += (512 * 2 * 2) * 512 + 512 + 512 * 62 + 62
    adds += (512 * 2 * 2) * 512 + 512 * 62
    found = describe.counts(network("characters_printed"))
    assert (found.trainable_params, found.multiply_adds) == (count, adds)


def test_characters_by_hand() -> None:
    """He 2016's block: BN over channels, no biases, a 1x1 projection; maps of 28, 14, 7, 4, 2."""
    sizes = (14, 7, 4, 2)
    count, adds, channels = 0, 0, 1
    for w, size in zip((64, 128, 256, 512), sizes, strict=True):
        count += 2 * channels + 2 * w
        convolutions = 9 * channels * w + 9 * w * w + channels * w
        count += convolutions
        adds += size**2 * convolutions
        channels = w
    count += 2 * 512 + (512 * 2 * 2) * 512 + 512 + 512 * 62 + 62
    adds += (512 * 2 * 2) * 512 + 512 * 62
    found = describe.counts(network("characters"))
    assert (found.trainable_params, found.multiply_adds) == (count, adds)
