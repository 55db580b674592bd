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
Made = TypeVar("Made")


class Pipeline:
    """Shuffled, augmented, standardised batches of a split, prepared in the background.

    The order of an epoch, and what is drawn for the images of a step, depend on the seed, the
    epoch and the step alone: `epoch(e, start=k)` yields bit for bit what `epoch(e)` yields after
    k batches. The last, incomplete batch of an epoch is dropped; a split smaller than a batch is
    one batch.

    Args:
        augment: as in `augment.parse`, e.g. ("pad-crop(4)", "flip").
        workers: threads that decode files; sets in memory need only one.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch: int,
        seed: int,
        augment: Sequence[str | Augmentation] = (),
        standardise: Normalization,
        workers: int = 2,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch is {batch}; at least 1")
        self.split = split
        self.batch = min(batch, len(split))
        self.seed = seed
        self.standardise = standardise
        self.workers = max(1, workers)
        self.steps_per_epoch = len(split) // self.batch
        self._stages = by_stage(augment)
        height, width, _ = split.image_shape
        if self._stages["view"] and height != width:
            _, view = self._stages["view"][0]
            raise UserError(f"{view} makes square images, but these are {height}x{width}: set size")

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches `start`.. of an epoch: float32 (b, h, w, c) and int32 (b,).

        Leaving the loop early ends the threads; an error in one is raised here.
        """
        order = self._order(epoch)
        steps = range(start, self.steps_per_epoch)

        def finish(step: int, images: np.ndarray) -> Batch:
            labels = self.split.labels[self._rows(order, step)]
            return self._augmented(images, epoch, step), labels

        yield from _prefetched(self._raw(order, epoch, steps), finish)

    @property
    def only_moves(self) -> bool:
        """Whether `moves` says all that is done to the images, but for standardising them."""
        drawn = [a for stage in self._stages.values() for _, a in stage]
        return isinstance(self.split, ArraySplit) and all(a.only_moves for a in drawn)

    def moves(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, Moves, np.ndarray]]:
        """The batches of `epoch` for who has the images: positions, moves and labels, each (b,...).

        The images of the split at these positions, standardised and then moved, are the batch bit
        for bit. Only where `only_moves` holds.
        """
        order = self._order(epoch)
        height, width, _ = self.split.image_shape

        def drawn(step: int, rows: np.ndarray) -> tuple[np.ndarray, Moves, np.ndarray]:
            moves = Moves.none(len(rows), height, width)
            for place, augmentation in self._stages["standardised"]:
                moves = augmentation.move(moves, self._stream(epoch, step, place))
            return rows, moves, self.split.labels[rows]

        steps = range(start, self.steps_per_epoch)
        yield from _prefetched(((step, self._rows(order, step)) for step in steps), drawn)

    def _order(self, epoch: int) -> np.ndarray:
        return Stream(self.seed, "order", epoch).permutation(len(self.split))

    def _stream(self, epoch: int, step: int, place: int) -> Stream:
        return Stream(self.seed, "augment", epoch, step, place)

    def _rows(self, order: np.ndarray, step: int) -> np.ndarray:
        return order[step * self.batch : (step + 1) * self.batch]

    def _raw(self, order: np.ndarray, epoch: int, steps: range) -> Iterator[tuple[int, np.ndarray]]:
        """(step, uint8 images) in order."""
        from reslab.data.sources.folder import FileSplit

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
        images = self.standardise(images)
        for place, augmentation in self._stages["standardised"]:
            images = augmentation(images, self._stream(epoch, step, place))
        return images


def _views(
    images: np.ndarray, how: Augmentation, key: tuple[int | str, ...], rows: np.ndarray
) -> np.ndarray:
    """What files get while they are decoded, for images in memory."""
    from PIL import Image

    from .images import to_array, view

    size, channels = min(images.shape[1:3]), images.shape[-1]
    out = np.empty((len(images), size, size, channels), np.uint8)
    for i, (image, row) in enumerate(zip(images, rows.tolist(), strict=True)):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        out[i] = to_array(view(picture, size, how, Stream(*key, row)), channels)
    return out


def _prefetched(
    raw: Iterator[tuple[int, np.ndarray]],
    finish: Callable[[int, np.ndarray], Made],
    ahead: int = 3,
) -> Iterator[Made]:
    """`finish` over `raw`, up to `ahead` batches before they are asked for, in one thread."""

    def step() -> Made | None:
        item = next(raw, None)
        return None if item is None else finish(*item)

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reslab-data")
    waiting: deque[Future[Made | None]] = deque(pool.submit(step) for _ in range(ahead))
    try:
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(step))
            yield batch
    finally:
        # It must not wait for the thread: where an exception holds this generator, the garbage
        # collector ends it, in any thread, at any allocation. That may be one inside `submit`,
        # under the lock that our thread needs for its next image. `raw` ends with its last step.
        pool.shutdown(wait=False, cancel_futures=True)


def batches(
    split: Split, batch: int, standardise: Normalization, workers: int = 2
) -> Iterator[Batch]:
    """All of a split in order, un-augmented; the last batch may be smaller."""
    from reslab.data.sources.folder import FileSplit

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
        return standardise(images), split.labels[start : start + batch]

    yield from _prefetched(raw(), finish)
