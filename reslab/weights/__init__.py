"""Weights from and to torchvision, timm, keras.applications and KerasHub.

`load` and `save` cross between their names and ours; `create` makes a model with weights that a
library publishes; `flatten` writes stacked units out, and `stack` stacks them. A network's names
under a scheme follow from its description: no network has a table of its own.
"""

from __future__ import annotations

from reslab.weights.bridge import About, about, load, save
from reslab.weights.crossing import compare, convert
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.pretrained import create
from reslab.weights.stacking import flatten, stack

__all__ = [
    "About",
    "Preprocessing",
    "about",
    "compare",
    "convert",
    "create",
    "flatten",
    "load",
    "save",
    "stack",
]
