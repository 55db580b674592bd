"""Data sets: where they come from, how they are split, augmented and fed.

>>> data = reslab.data.load("fashion-mnist")                         # doctest: +SKIP
>>> pipeline = Pipeline(data.train, batch=128, seed=0,               # doctest: +SKIP
...                     augment=("pad-crop(4)", "flip"),
...                     standardise=standardise(data.train, "pixel-mean"))
"""

from .base import ArraySplit, Data, Split
from .pipeline import Pipeline, batches
from .sources import FOLDER_SIZE, load, sample, sources
from .splits import class_weights
from .standardise import Standardise, laid_out, standardise

__all__ = [
    "FOLDER_SIZE",
    "ArraySplit",
    "Data",
    "Pipeline",
    "Split",
    "Standardise",
    "batches",
    "class_weights",
    "laid_out",
    "load",
    "sample",
    "sources",
    "standardise",
]
