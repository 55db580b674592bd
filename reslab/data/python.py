"""Data sets that are Python objects: arrays, PyTorch and Keras data sets, streams of examples.

An exact resume needs every image by its number, so all images are copied into memory, at most
`MOST_BYTES`. Their pixels become bytes by one rule for the whole data set, which the facts say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reslab.core.errors import UserError

from . import content, python_labels, python_pixels
from .dataset import PARTS, ArraySplit, Data
from .images import Size
from .splits import counts, split_off

MOST_BYTES = 4 * 2**30  # of the copy in memory
IMAGE = "image", "img", "images", "pixel_values", "x"  # the keys of an example
LABEL = "label", "labels", "target", "fine_label", "y"


def load(
    source: Any,
    *,
    size: Size | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    test: float | None = 0.2,
    seed: int = 0,
    folder_size: int = 224,
    classes: Sequence[str] | None = None,
) -> Data:
    """Copy a data set into memory.

    Args:
        source: (images, labels); or an object with examples (image, label) or {"image": ...,
            "label": ...}: PyTorch's map-style data sets, Keras's `PyDataset`, `tf.data`, other
            iterables; or {"train": ..., "validation": ..., "test": ..., "classes": names} of them.
        size: See `reslab.data.load`. None: unchanged if all images have one size, else
            `folder_size`.
        channels: 1 or 3. None: unchanged.
        validation: The fraction or number of training images for the validation part.
        test: The fraction or number for the test part, if the data have none.
        seed: Of the random splits.
        folder_size: The size of images that have different sizes.
        classes: The names of the classes of a model that is evaluated on the data, if the data
            have no names: numbers are positions in them. None: those of the data set, or the
            numbers.

    Raises:
        UserError: The images or the labels cannot be understood, or there are too many.
    """
    parts, names = _parts(source, evaluated=classes is not None)
    notes: list[str] = []
    pixels = {part: examples[0] for part, examples in parts.items()}
    batches = python_pixels.as_bytes(pixels, notes)
    given = {part: examples[1] for part, examples in parts.items()}
    labels = python_labels.read(
        given, names or classes, notes, by_name=not names, least=2 if classes is None else 1
    )
    _check_lengths(batches, labels)
    digests = {
        part: np.concatenate([content.array_digests(array[None]) for array in batch])
        for part, batch in batches.items()
    }
    shapes = {a.shape for batch in batches.values() for a in batch}
    resized = {
        p: python_pixels.sized(b, shapes, size, channels, folder_size, notes)
        for p, b in batches.items()
    }
    splits: dict[str, Any] = {
        part: ArraySplit(
            resized[part],
            labels.of_part[part],
            np.arange(len(resized[part])),
            row_digests=digests[part],
        )
        for part in resized
    }
    arguments = {"size": size, "channels": channels, "validation": validation, "test": test}
    arguments |= {"seed": seed, "folder_size": folder_size}
    facts: dict[str, Any] = {"python": "; ".join(notes)} if notes else {}
    splits, rules = _divided(splits, labels.classes, validation, test or 0, seed)
    return Data(
        name=_name(source),
        source="Python",
        classes=labels.classes,
        image_shape=splits["train"].image_shape,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        checksum=_checksum(labels, digests),
        facts={
            **facts,
            **rules,
            "counts": {part: counts(s.labels, labels.classes) for part, s in splits.items()},
        },
        provenance={"python": type(source).__name__, **arguments},
        task=labels.task,
        column_per_label=labels.column_per_label,
    )


def again(source: Any, provenance: Mapping[str, Any], classes: Sequence[str]) -> Data:
    """The data with the arguments of an earlier `load`, and its sample of the training images."""
    from .loading import sample

    names = "size", "channels", "validation", "test", "seed", "folder_size"
    options: dict[str, Any] = {name: provenance[name] for name in names if name in provenance}
    if isinstance(options.get("size"), list):
        options["size"] = tuple(options["size"])
    data = load(source, **options)
    if data.classes != tuple(classes):
        data = load(source, **options, classes=classes)
    return sample(data, provenance["images"]) if "images" in provenance else data


# What objects are ---------------------------------------------------------------------------------


def is_dataset(thing: Any) -> bool:
    """Whether this has examples by their number, and is not a list."""
    is_list = isinstance(thing, list | tuple | str | bytes | Mapping) or python_pixels.is_array(
        thing
    )
    return not is_list and hasattr(thing, "__len__") and hasattr(thing, "__getitem__")


def items(source: Any) -> Iterator[Any]:
    """The images of a data set or of an iterable, with or without labels."""
    for example in _examples(source):
        yield _split(example)[0]


def pixels(array: Any) -> list[np.ndarray]:
    """The images of an array (h, w), (h, w, c), (n, h, w) or (n, h, w, c): uint8 (h, w, c) each."""
    images = python_pixels.as_array(array)
    shape = images.shape
    several = len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] not in (1, 3)  # grey ones
    batch = images if images.ndim > 3 or several else images[None]
    return list(python_pixels.as_bytes({"": batch}, [])[""])


# Reading ------------------------------------------------------------------------------------------

Examples = tuple[Any, Any]  # images: an array or a list of images; labels


def _parts(source: Any, evaluated: bool) -> tuple[dict[str, Examples], Sequence[str] | None]:
    """The examples of each part, and the names of the classes if the data set has them.

    Data that are `evaluated` need no training part.
    """
    if not isinstance(source, Mapping):
        return {"train": _collected(source, "train")}, _class_names(source)
    rest = dict(source)
    names = rest.pop("classes", None)
    parts: dict[str, Examples] = {}
    for key, value in rest.items():
        part = PARTS.get(str(key).lower())
        if part is None or part in parts:
            raise UserError(
                f"the data have the parts {', '.join(map(repr, source))}: give train, and perhaps "
                'validation, test and classes, such as {"train": (images, labels)}'
            )
        if value is not None:
            parts[part] = _collected(value, part)
            names = names or _class_names(value)
    if evaluated and len(parts) == 1:
        parts = dict(zip(["train"], parts.values(), strict=True))
    if "train" not in parts:
        raise UserError('the data have no training part: give {"train": (images, labels), ...}')
    return parts, names


def _class_names(source: Any) -> Sequence[str] | None:
    """The names that torchvision's and Hugging Face's data sets have."""
    names = getattr(source, "classes", None)
    if names is None and isinstance(features := getattr(source, "features", None), Mapping):
        names = next(
            (f.names for k, f in features.items() if k in LABEL and hasattr(f, "names")), None
        )
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return names
    return None


def _collected(source: Any, part: str) -> Examples:
    if isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], str | bytes):
        images, labels = source
        images = python_pixels.as_array(images) if python_pixels.is_array(images) else list(images)
    elif python_pixels.is_array(source):
        raise UserError(f"the {part} part is an array without labels: give (images, labels)")
    else:
        images, labels = [], []
        size = 0
        for example in _examples(source):
            image, label = _split(example)
            if label is None:
                raise UserError(
                    f"an example of the {part} part is a {type(example).__name__} without a label: "
                    'give (image, label), or {"image": ..., "label": ...}'
                )
            image = python_pixels.opened(image, f"image {len(images)}")
            size += image.nbytes
            if size > MOST_BYTES:
                raise UserError(
                    f"the {part} part has more than {MOST_BYTES // 2**30} GiB: write the images as "
                    "files, and give their folder or a table"
                )
            images.append(image)
            labels.append(label)
        _same_again(source, images)
    if len(images) == 0:
        raise UserError(f"the {part} part has no images: give some, or leave it out")
    return images, labels


def _same_again(source: Any, images: Sequence[np.ndarray]) -> None:
    """Refuse a data set that gives other pixels each time: a resumed run would not be the same."""
    if is_dataset(source) and images and not _is_batched(source):
        image = python_pixels.opened(_split(source[0])[0], "image 0")
        if image.shape != images[0].shape or not np.array_equal(image, images[0], equal_nan=True):
            raise UserError(
                "the data set gives another image 0 each time: remove its random transforms; "
                "the recipe augments the images (--set augment=...)"
            )


def _examples(source: Any) -> Iterator[Any]:
    """One example after another; batches are taken apart."""
    if hasattr(source, "as_numpy_iterator"):
        elements: Iterable[Any] = source.as_numpy_iterator()
        batched = _rank(source.element_spec) > 3
    elif is_dataset(source):
        elements, batched = (source[i] for i in range(len(source))), _is_batched(source)
    elif isinstance(source, Iterable):
        elements, batched = source, False
    else:
        raise UserError(
            f"a {type(source).__name__} is not a data set: give (images, labels), an object with "
            "examples, or the path of a folder or a table"
        )
    for element in elements:
        image, label = _split(element)
        if batched or (python_pixels.is_array(image) and np.ndim(image) > 3):
            yield from zip(image, label, strict=True) if label is not None else image
        else:
            yield element


def _is_batched(source: Any) -> bool:
    """Whether the items are batches: those of Keras's `PyDataset` are."""
    return any(base.__name__ == "PyDataset" for base in type(source).__mro__)


def _rank(spec: Any) -> int:
    image = _split(spec)[0]
    return len(getattr(image, "shape", ()) or ())


def _split(example: Any) -> Examples:
    """(image, label) of an example; the label is None if it has none."""
    if isinstance(example, Mapping):
        image = next((example[key] for key in IMAGE if key in example), example)
        return image, next((example[key] for key in LABEL if key in example), None)
    if isinstance(example, tuple | list) and len(example) >= 2:
        return example[0], example[1]
    return example, None


# Parts --------------------------------------------------------------------------------------------


def _divided(
    splits: dict[str, Any], classes: Sequence[str], validation: float, test: float, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Split off the parts that are missing; the facts say how."""
    rules: dict[str, str] = {}
    several = splits["train"].labels.ndim > 1
    rule = "by the content of the images" if several else "stratified"
    rules["split"] = "the parts of the data" if "test" in splits else "no test part"
    for part, wanted, key in (("test", test, "split"), ("validation", validation, "validation")):
        if part in splits or not wanted:
            continue
        splits["train"], taken = split_off(splits["train"], wanted, classes, seed, part)
        if taken is not None:
            splits[part] = taken
            source = f"{len(taken)} images of the training part, {rule}, seed {seed}"
            rules[key] = source if key == "validation" else f"{rule}, seed {seed}"
    if validation == 0 and "validation" in splits:
        splits["train"] = splits["train"].join(splits.pop("validation"))
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}, rules


def _check_lengths(batches: Mapping[str, Any], labels: python_labels.PythonLabels) -> None:
    for part, batch in batches.items():
        if len(batch) != (n := len(labels.of_part[part])):
            raise UserError(
                f"the {part} part has {len(batch):,} images and {n:,} labels: give one label for "
                "each image"
            )


def _name(source: Any) -> str:
    """The name of the class of a data set, or "arrays"."""
    plain = isinstance(source, tuple | list | Mapping)
    return "arrays" if plain else type(source).__name__.strip("_").lower() or "arrays"


def _checksum(labels: python_labels.PythonLabels, digests: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(repr((labels.task, labels.classes)).encode())
    for part in sorted(digests):
        digest.update(part.encode())
        digest.update(digests[part].astype("<u8").tobytes())
        digest.update(labels.of_part[part].astype("<i4").tobytes())
    return digest.hexdigest()
