"""KerasHub's classifiers, built with the settings of its presets."""

from __future__ import annotations

import re

import keras

from tests.helpers.weights.libraries import library

UNITS = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}  # fmt: skip
REPEATS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def make(name: str, size: int) -> keras.Model:
    """`resnet_50`, `resnet_v2_50`, `resnet_vd_50`, `densenet_121`, `vgg_16`."""
    models = library("keras_hub").models
    depth, shape = int(re.findall(r"\d+", name)[-1]), (size, size, 3)
    if name.startswith("densenet"):
        backbone = models.DenseNetBackbone(list(REPEATS[depth]), image_shape=shape)
        return models.ImageClassifier(backbone=backbone, num_classes=1000)
    if name.startswith("vgg"):
        widths = [64, 128, 256, 512, 512]
        backbone = models.VGGBackbone(list(VGG[depth]), widths, image_shape=shape)
        return models.VGGImageClassifier(backbone=backbone, num_classes=1000, pooling="flatten")
    deep_stem = "_vd" in name
    block = "basic_block" if depth < 50 else "bottleneck_block"
    backbone = models.ResNetBackbone(
        input_conv_filters=[32, 32, 64] if deep_stem else [64],
        input_conv_kernel_sizes=[3, 3, 3] if deep_stem else [7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=list(UNITS[depth]),
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=f"{block}_vd" if deep_stem else block,
        use_pre_activation="_v2" in name,
        image_shape=shape,
    )
    return models.ImageClassifier(backbone=backbone, num_classes=1000)
