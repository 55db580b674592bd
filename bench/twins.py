"""Hand-written PyTorch networks with the weights of a reslab model: references for its speed.

`load` copies the weights of a Keras model of the same network into a twin. Scripts use it to check
that both compute the same function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reslab.spec import walk
from reslab.zoo import network

EPSILON, MOMENTUM = 1e-5, 0.1


def conv(channels: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, size, stride, size // 2, bias=False)


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, EPSILON, MOMENTUM)


class Basic(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut pads with zeros (option A)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 3, stride), norm(width)
        self.conv2, self.bn2 = conv(width, width, 3), norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.stride, self.added_channels = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.added_channels:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added_channels))
        return self.relu(y + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1; a projection where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 1), norm(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), norm(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), norm(4 * width)
        self.relu = nn.ReLU(inplace=True)
        changes = stride > 1 or channels != 4 * width
        self.shortcut = (
            nn.Sequential(conv(channels, 4 * width, 1, stride), norm(4 * width))
            if changes
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def cifar(units: int, classes: int) -> nn.Sequential:
    """Return a ResNet of He 2015, Sec. 4.2, with `units` residual units per stage."""
    parts: list[nn.Module] = [conv(3, 16, 3), norm(16), nn.ReLU(inplace=True)]
    channels = 16
    for stage in range(3):
        for unit in range(units):
            width = 16 * 2**stage
            parts.append(Basic(channels, width, 2 if unit == 0 and stage else 1))
            channels = width
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def imagenet(units: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return a bottleneck ResNet of He 2015, Table 1."""
    parts: list[nn.Module] = [conv(3, 64, 7, 2), norm(64), nn.ReLU(inplace=True)]
    parts.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, number in enumerate(units):
        for unit in range(number):
            width = 64 * 2**stage
            parts.append(Bottleneck(channels, width, 2 if unit == 0 and stage else 1))
            channels = 4 * width
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def twin(name: str, classes: int) -> nn.Sequential:
    """Return resnet20, resnet56, resnet110 or resnet50 as in the zoo."""
    if name == "resnet50":
        return imagenet((3, 4, 6, 3), classes)
    return cifar((int(name.removeprefix("resnet")) - 2) // 6, classes)


def load(name: str, module: nn.Module, model: Any) -> None:
    """Copy the weights of a flat reslab model into its twin, in the order of the layers."""
    ours = [line.path for line in walk(network(name)) if line.weights]
    theirs = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    for path, part in zip(ours, theirs, strict=True):
        layer = model.get_layer(path)
        w = {v.name: torch.from_numpy(np.array(v)) for v in layer.variables}
        with torch.no_grad():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(w["kernel"].permute(3, 2, 0, 1))
            elif isinstance(part, nn.Linear):
                part.weight.copy_(w["kernel"].t())
                part.bias.copy_(w["bias"])
            else:
                assert (part.eps, part.momentum) == (layer.epsilon, round(1 - layer.momentum, 9))
                part.weight.copy_(w["gamma"])
                part.bias.copy_(w["beta"])
                part.running_mean.copy_(w["moving_mean"])
                part.running_var.copy_(w["moving_variance"])
