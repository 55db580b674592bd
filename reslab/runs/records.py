"""What the JSON files of a run's folder hold: names, types and ranges of the fields.

Fields that a reader cannot do without are required. Other keys are allowed: later versions may
write more, and earlier ones wrote less. The descriptions are data for `reslab.core.records.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from reslab.core.records import Amount, AnyNumber, Count, Fraction, Number

Moment = Annotated[datetime, Meta(tz=True)]  # text of ISO 8601 in JSON
Size = Annotated[int, Meta(ge=0, le=2**24)]
# Values that a page shows as they are.
Plain = str | bool | Number | list[str | Number] | None


class Facts(TypedDict):
    """What is known about the data. A page shows every entry; these are read by name too."""

    counts: NotRequired[dict[str, dict[str, Count]]]  # of each part, by class
    identical_in_train_and_test: NotRequired[Count]
    skipped: NotRequired[Any]
    mirrors: NotRequired[bool]


class DataInfo(TypedDict):
    """The data of a run."""

    name: str
    source: str
    checksum: str
    classes: list[str]
    image_shape: list[Size | None]
    counts: dict[str, Count]
    facts: Facts
    provenance: dict[str, Any]


class WeightsInfo(TypedDict):
    """The weights that a training started from. `strict` and `ema` are there if they are False."""

    source: str
    scheme: NotRequired[str]
    scheme_given: NotRequired[bool]  # whether the user named the scheme
    strict: NotRequired[bool]
    ema: NotRequired[bool]


class RecordedBatch(TypedDict):
    """A batch and the learning rate for it."""

    batch: Annotated[int, Meta(ge=1, le=2**40)]
    rate: Amount


class ResumedWith(TypedDict):
    """What a person changed when a run was resumed."""

    batch: NotRequired[Annotated[int, Meta(ge=1, le=2**40)]]
    rate: NotRequired[Amount]
    before: NotRequired[RecordedBatch]
    remat: NotRequired[bool]


class RunInfo(TypedDict):
    """run.json."""

    format: Count
    name: str
    status: str
    backend: str
    seed: int
    network: dict[str, Any]
    recipe: dict[str, Plain]
    data: DataInfo
    task: NotRequired[str]
    command: NotRequired[str | None]
    commit: NotRequired[str | None]
    precision: NotRequired[str | None]
    why: NotRequired[str | None]
    started: NotRequired[Moment | None]
    finished: NotRequired[Moment | None]
    chosen_epoch: NotRequired[Count | None]
    thresholds: NotRequired[list[Fraction]]
    thresholds_chosen: NotRequired[list[str]]
    params: NotRequired[Count | None]
    multiply_adds: NotRequired[Count | None]
    machine: NotRequired[dict[str, Plain]]
    versions: NotRequired[dict[str, str | None]]
    weights: NotRequired[WeightsInfo | None]
    class_weights: NotRequired[dict[str, Amount] | None]
    checkpoint_seconds: NotRequired[Amount]
    workers: NotRequired[Count]
    keep_checkpoints: NotRequired[bool]
    keep_seen: NotRequired[bool]
    balance: NotRequired[bool]
    freeze_bn: NotRequired[bool]
    recalibrate_bn: NotRequired[bool]
    stacked: NotRequired[bool | None]
    remat: NotRequired[bool | None]
    resumed_with: NotRequired[list[ResumedWith]]
    jit_compile: NotRequired[bool]
    track: NotRequired[list[str]]


class LogLine(TypedDict):
    """What every line of log.jsonl holds."""

    kind: str


class EpochLine(TypedDict):
    """A line of log.jsonl about an epoch. The loss of a diverged training is not finite."""

    epoch: Count
    step: Count
    rate: NotRequired[Amount]
    seconds: NotRequired[Amount | None]
    images_per_second: NotRequired[Amount | None]
    train_loss: NotRequired[AnyNumber]
    train_error: NotRequired[AnyNumber]
    val_loss: NotRequired[AnyNumber]
    val_error: NotRequired[AnyNumber]
    val_mean_average_precision: NotRequired[AnyNumber]


class StepsLine(TypedDict):
    """A line of log.jsonl about some steps."""

    epoch: Amount
    step: Count
    rate: NotRequired[Amount]
    images_per_second: NotRequired[Amount | None]
    loss: NotRequired[AnyNumber]
    error: NotRequired[AnyNumber]


class NoteLine(TypedDict):
    """A line of log.jsonl for people."""

    text: str


LOG_LINES: Mapping[str, Any] = {"epoch": EpochLine, "steps": StepsLine, "note": NoteLine}


class TrainedOn(TypedDict):
    """The metadata of training-images.safetensors."""

    unknown: NotRequired[list[str]]
