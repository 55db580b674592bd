"""What a run keeps of how its data were loaded."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from reslab.core.records import Amount, Count

# The rules by which pictures of a folder are found. Versions that did not record `facts["layout"]`
# had the second one.
FOUND_BY = BY_CONTENT, BY_SUFFIX = "content", "suffix"


class Provenance(TypedDict):
    """The arguments of `load`, and the fold, as a run keeps them."""

    source: str
    size: NotRequired[Count | list[Count] | None]
    channels: NotRequired[Count | None]
    validation: NotRequired[Amount]
    seed: NotRequired[int]
    skip_bad: NotRequired[bool]
    test: NotRequired[Amount | str | None]
    folder_size: NotRequired[Count]
    margin: NotRequired[bool]
    images: NotRequired[Count | None]
    split: NotRequired[str]
    group: NotRequired[str | None]
    near_duplicates: NotRequired[bool | None]
    classes: NotRequired[list[str]]
    scale: NotRequired[dict[str, Any]]
    columns: NotRequired[dict[str, Any]]
    found_by: NotRequired[str]
    fold: NotRequired[Annotated[list[Count], Meta(min_length=2, max_length=2)]]
