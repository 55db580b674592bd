"""Parameters and multiply-adds against published integers and against sums by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reslab.spec import summary
from reslab.spec.transforms import with_classes
from reslab.zoo import NETWORKS, network

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "counts.json").read_text())
BY_HAND = {"characters", "characters_printed"}
V2 = {
    "resnet50_v2": (3, 4, 6, 3),
    "resnet101_v2": (3, 4, 23, 3),
    "resnet152_v2": (3, 8, 36, 3),
    "resnet200_v2": (3, 24, 36, 3),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_counts(name: str) -> None:
    counts, golden = summary.counts(network(name)), GOLDEN[name]
    assert "trainable_params" in golden or "total_params" in golden
    for what in ("trainable_params", "total_params", "multiply_adds"):
        if golden.get(what) is not None:
            assert getattr(counts, what) == golden[what]
    if "giga_multiply_adds" in golden:
        assert counts.multiply_adds is not None
        digits = len(str(golden["giga_multiply_adds"]).split(".")[1])
        assert round(counts.multiply_adds / 1e9, digits) == golden["giga_multiply_adds"]
    if "with_aux" in golden:
        whole = summary.counts(network(name), aux=True)
        assert whole.trainable_params == golden["with_aux"]


def test_every_network_has_a_count_from_elsewhere() -> None:
    by_hand = BY_HAND | set(V2) | set(WIDE) | set(AS_OTHERS) | set(GATED) | OTHERS
    assert set(NETWORKS) == set(GOLDEN) | by_hand


AS_OTHERS = {  # networks with as many parameters as others, and why
    # positions of activations, constants and dropout have no parameters
    "resnet110_relu_before_addition": "resnet110",
    "resnet110_relu_only_v2": "resnet110",
    "resnet110_bn_after_addition": "resnet110",
    "resnet164_relu_before_addition": "resnet164",
    "resnet164_relu_only_v2": "resnet164",
    "resnet164_bn_after_addition": "resnet164",
    "resnet110_constant_scaling": "resnet110",
    "resnet110_shortcut_scaling": "resnet110",
    "resnet110_dropout_shortcut": "resnet110",
    "resnet110_stochastic": "resnet110",
    # padding and epsilon have no parameters either
    "keras_hub_densenet121": "keras_densenet121",
    "keras_hub_densenet169": "keras_densenet169",
    "keras_hub_densenet201": "keras_densenet201",
    "timm_resnet50_v2": "resnet50_v2",
    "timm_resnet101_v2": "resnet101_v2",
    "timm_resnet152_v2": "resnet152_v2",
}
GATED = {  # a 1x1 convolution in each of 18 units of 16, 32 and 64 channels, with or without a bias
    "resnet110_exclusive_gating": (1, 1),
    "resnet110_shortcut_gating": (1, 1),
    "resnet110_shortcut_gating_0": (1, 1),
    "resnet110_conv_shortcut": (1, 0),
}
OTHERS = {"resnet18_d", "resnet34_d", *(f"seresnet{depth}" for depth in (18, 34, 50, 101, 152))}
WIDE = {"wrn16_8": (2, 8), "wrn28_10": (4, 10), "wrn40_4": (6, 4)}


@pytest.mark.parametrize("name", AS_OTHERS)
def test_layers_without_parameters_change_no_count(name: str) -> None:
    counts, other = (summary.counts(network(n)) for n in (name, AS_OTHERS[name]))
    assert counts.trainable_params == other.trainable_params


@pytest.mark.parametrize("name", GATED)
def test_gates_and_convolutions_on_shortcuts(name: str) -> None:
    more = 18 * sum(w * w + GATED[name][1] * w for w in (16, 32, 64))
    if not GATED[name][1]:  # where the width doubles, the convolution has half as many inputs
        more -= 16 * 32 + 32 * 64
    plain = summary.counts(network("resnet110"))
    assert summary.counts(network(name)).trainable_params == plain.trainable_params + more


@pytest.mark.parametrize("name", WIDE)
def test_wide_resnets_by_hand(name: str) -> None:
    """Zagoruyko 2016, Table 1: 3 groups of n units of two 3x3, k times as wide."""
    n, k = WIDE[name]
    count, channels = 9 * 3 * 16, 16
    for width in (16 * k, 32 * k, 64 * k):
        count += channels * width  # the projection
        for _ in range(n):
            count += 2 * channels + 9 * channels * width + 2 * width + 9 * width * width
            channels = width
    count += 2 * channels + channels * 10 + 10
    assert summary.counts(network(name)).trainable_params == count


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_d_by_hand(depth: int) -> None:
    """Three 3x3 of 32, 32 and 64 for the 7x7 of 64; the average pool has no parameters."""
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32)
    plain = summary.counts(network(f"resnet{depth}")).trainable_params
    counts = summary.counts(network(f"resnet{depth}_d")).trainable_params
    assert counts == plain - 49 * 3 * 64 + stem


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_squeeze_and_excitation_by_hand(depth: int) -> None:
    """Hu 2017, eq. 5: 2 / 16 of the square of each unit's width, plus biases here."""
    units = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
    wide = 1 if depth < 50 else 4
    more = 0
    for n, width in zip(units.get(depth, (3, 8, 36, 3)), (64, 128, 256, 512), strict=True):
        out = wide * width
        more += n * (2 * out * (out // 16) + out // 16 + out)
    plain = summary.counts(network(f"resnet{depth}")).trainable_params
    assert summary.counts(network(f"seresnet{depth}")).trainable_params == plain + more


@pytest.mark.parametrize(
    ("depth", "published"),
    [(20, 40.55), (32, 68.86), (44, 97.17), (56, 125.49), (110, 252.89), (1202, 2829.24)],
)
def test_cifar_multiply_adds(depth: int, published: float) -> None:
    """Millions, to the published digits."""
    for name in (f"resnet{depth}", f"plain{depth}"):
        counts = summary.counts(network(name)).multiply_adds
        assert counts is not None
        assert round(counts / 1e6, 2) == published


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
    counts = summary.counts(network(name))
    assert counts.trainable_params == weights + 2 * bn
    assert counts.total_params == weights + 4 * bn


def test_hundred_classes_add_as_many_parameters_as_in_the_paper() -> None:
    for depth, hundred in ((164, 1_726_388), (1001, 10_350_836)):
        net = with_classes(network(f"resnet{depth}_v2"), 100)
        assert summary.counts(net).trainable_params == hundred
    twenty = [summary.counts(with_classes(network("resnet20"), n)) for n in (10, 100)]
    assert twenty[1].trainable_params - twenty[0].trainable_params == 5_850


def test_running_statistics() -> None:
    """BN channels of torchvision's ResNets; two statistics each."""
    channels = {18: 4_800, 34: 8_512, 50: 26_560, 101: 52_672, 152: 75_712}
    for depth, n in channels.items():
        counts = summary.counts(network(f"resnet{depth}"))
        assert counts.total_params - counts.trainable_params == 2 * n


def test_depths_are_the_names() -> None:
    shortcuts = {"wrn": 2, "densenet264": -1}  # WRN counts projections; 264 has 265 to count
    for name in NETWORKS:
        if name.endswith("_d"):
            continue  # a deep stem has two more layers
        digits = re.search(r"\d+", name.removeprefix("keras_hub_").removesuffix("_2012"))
        if digits and not name.endswith(("_2014", "_printed")):
            off = next((n for start, n in shortcuts.items() if name.startswith(start)), 0)
            assert summary.depth(network(name)) == int(digits[0]) - off, name


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
    counts = summary.counts(network("characters_printed"))
    assert (counts.trainable_params, counts.multiply_adds) == (count, adds)


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
    counts = summary.counts(network("characters"))
    assert (counts.trainable_params, counts.multiply_adds) == (count, adds)
