"""Batches for training, each a pure function of (seed, epoch, step), and for evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from reslab.core.errors import UserError
from reslab.core.rng import Stream

from .augment import Augmentation, Moves, by_stage
from .dataset import ArraySplit, Split
from .normalize import Normalization

Batch = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")


class Pipeline:
    """Make shuffled, augmented and normalised batches of a split, in background threads.

    The order of the images and the random numbers of the augmentations depend only on the seed,
    the epoch and the step: `epoch(e, start=k)` yields, bit for bit, what `epoch(e)` yields after
    k batches. The last, incomplete batch of an epoch is dropped. A split that is smaller than a
    batch is one batch.

    Args:
        split: the images and labels.
        batch: images in a batch, at least 1.
        seed: of the order and the augmentations.
        augment: augmentations as recipes write them, such as ("pad-crop(4)", "flip").
        normalise: applied after the augmentations that work on pixels of 0 to 255.
        workers: threads that decode image files. Arrays use one thread.

    Raises:
        UserError: an unknown augmentation, or one that makes square images of a split whose
            images are not square.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch: int,
        seed: int,
        augment: Sequence[str | Augmentation] = (),
        normalise: Normalization,
        workers: int = 2,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch is {batch}; at least 1")
        self.split = split
        self.batch = min(batch, len(split))
        self.seed = seed
        self.normalise = normalise
        self.workers = max(1, workers)
        self.steps_per_epoch = len(split) // self.batch
        self._stages = by_stage(augment)
        height, width, _ = split.image_shape
        if self._stages["view"] and height != width:
            _, view = self._stages["view"][0]
            raise UserError(f"{view} makes square images, but these are {height}x{width}: set size")

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        If the loop is left early, the threads end. An error in a thread is raised here.

        Args:
            epoch: its number, which selects order and augmentations.
            start: the number of batches to skip.

        Yields:
            Images, float32 (b, h, w, c), and labels, int32 (b,).
        """
        order = self._order(epoch)
        steps = range(start, self.steps_per_epoch)

        def finish(step: int, images: np.ndarray) -> Batch:
            labels = self.split.labels[self._rows(order, step)]
            return self._augmented(images, epoch, step), labels

        yield from _prefetched(self._raw(order, epoch, steps), finish)

    @property
    def only_moves(self) -> bool:
        """Whether the augmentations only move pixels, so that `moves` describes them fully."""
        augmentations = [a for stage in self._stages.values() for _, a in stage]
        return isinstance(self.split, ArraySplit) and all(a.only_moves for a in augmentations)

    def moves(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, Moves, np.ndarray]]:
        """Yield positions, moves and labels of each batch, for a caller that has the images.

        The images at these positions, normalised and then moved, are equal to the batch of
        `epoch`, bit for bit. Requires `only_moves`.
        """
        order = self._order(epoch)
        height, width, _ = self.split.image_shape

        def finish(step: int, rows: np.ndarray) -> tuple[np.ndarray, Moves, np.ndarray]:
            moves = Moves.none(len(rows), height, width)
            for place, augmentation in self._stages["normalised"]:
                moves = augmentation.move(moves, self._stream(epoch, step, place))
            return rows, moves, self.split.labels[rows]

        steps = range(start, self.steps_per_epoch)
        yield from _prefetched(((step, self._rows(order, step)) for step in steps), finish)

    def _order(self, epoch: int) -> np.ndarray:
        return Stream(self.seed, "order", epoch).permutation(len(self.split))

    def _stream(self, epoch: int, step: int, place: int) -> Stream:
        return Stream(self.seed, "augment", epoch, step, place)

    def _rows(self, order: np.ndarray, step: int) -> np.ndarray:
        return order[step * self.batch : (step + 1) * self.batch]

    def _raw(self, order: np.ndarray, epoch: int, steps: range) -> Iterator[tuple[int, np.ndarray]]:
        """(step, uint8 images) in order."""
        from reslab.data.sources.files import FileSplit

        view = next((a for _, a in self._stages["view"]), None)
        if isinstance(self.split, FileSplit):
            key = (self.seed, "view", epoch)
            read = self.split.batches(order, self.batch, steps, self.workers, view, key)
            yield from zip(steps, read, strict=True)
            return
        for step in steps:
            rows = self._rows(order, step)
            images = self.split.images(rows)
            if view is not None:
                images = _views(images, view, (self.seed, "view", epoch), rows)
            yield step, images

    def _augmented(self, images: np.ndarray, epoch: int, step: int) -> np.ndarray:
        pixels = self._stages["pixels"]
        if pixels:
            images = images.astype(np.float32)
        for place, augmentation in pixels:
            images = augmentation(images, self._stream(epoch, step, place))
        images = self.normalise(images)
        for place, augmentation in self._stages["normalised"]:
            images = augmentation(images, self._stream(epoch, step, place))
        return images


def _views(
    images: np.ndarray, augmentation: Augmentation, key: tuple[int | str, ...], rows: np.ndarray
) -> np.ndarray:
    """The views of images in memory. Files get theirs while they are decoded."""
    from PIL import Image

    from .images import to_array, view

    size, channels = min(images.shape[1:3]), images.shape[-1]
    out = np.empty((len(images), size, size, channels), np.uint8)
    for i, (image, row) in enumerate(zip(images, rows.tolist(), strict=True)):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        out[i] = to_array(view(picture, size, augmentation, Stream(*key, row)), channels)
    return out


def _prefetched(
    raw: Iterator[tuple[int, np.ndarray]],
    finish: Callable[[int, np.ndarray], T],
    ahead: int = 3,
) -> Iterator[T]:
    """Apply `finish` to each item of `raw` in one thread, up to `ahead` batches in advance."""

    def step() -> T | None:
        item = next(raw, None)
        return None if item is None else finish(*item)

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reslab-data")
    waiting: deque[Future[T | None]] = deque(pool.submit(step) for _ in range(ahead))
    try:
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(step))
            yield batch
    finally:
        # Do not wait for the thread. If an exception holds this generator, the garbage collector
        # closes it, in any thread, at any allocation. That may happen inside `submit`, which holds
        # the lock that our thread needs for its next image. `raw` ends after its last step.
        pool.shutdown(wait=False, cancel_futures=True)


def batches(
    split: Split, batch: int, normalise: Normalization, workers: int = 2
) -> Iterator[Batch]:
    """Yield all images of a split in order, without augmentation.

    Args:
        split: the images and labels.
        batch: images in a batch. The last batch may be smaller.
        normalise: applied to each batch.
        workers: threads that decode image files.

    Yields:
        Images, float32 (b, h, w, c), and labels, int32 (b,).
    """
    from reslab.data.sources.files import FileSplit

    starts = range(0, len(split), batch)

    def raw() -> Iterator[tuple[int, np.ndarray]]:
        if isinstance(split, FileSplit):
            order = np.arange(len(split))
            read = split.batches(order, batch, range(len(starts)), workers)
            yield from zip(starts, read, strict=True)
            return
        for start in starts:
            yield start, split.images(slice(start, start + batch))

    def finish(start: int, images: np.ndarray) -> Batch:
        return normalise(images), split.labels[start : start + batch]

    yield from _prefetched(raw(), finish)
