"""The limits that the page about untrusted files names are those of the code."""

from __future__ import annotations

from pathlib import Path

from reslab.core import limits, records
from reslab.data.sources import idx, table_files
from reslab.runs import papers, run
from reslab.spec import fields

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "untrusted-files.md"
MIB, GIB = 2**20, 2**30
LIMITS = {
    "A JSON file": f"{records.MOST_FILE // MIB} MiB, and {records.MOST_MEMORY // GIB} GiB of memory"
    " when it is parsed",
    "Levels of brackets in JSON": f"{records.MOST_DEPTH}",
    "A whole number in JSON": f"{records.MOST_WHOLE.bit_length() + 1} bits",
    "`log.jsonl`": f"{run.MOST_LOG // MIB} MiB",
    "A recipe in TOML": f"{papers.MOST_TOML // MIB} MiB",
    "The layers of a network, repetitions counted": f"{fields.MOST_LAYERS:,}",
    "The channels, the kernel or the side of an image of a layer": f"{fields.MOST_SIZE:,}",
    "The data of an IDX file, unpacked": f"{idx.MOST_BYTES // GIB} GiB",
    "A weight file or a model file, unpacked": f"{limits.SPARE // MIB} MiB"
    f" and {limits.RATIO} times its size on disk",
    "A table as text": f"{table_files.MOST_BYTES // MIB} MiB",
    "The rows of a table": f"{table_files.MOST_ROWS:,}",
    "A Parquet table, unpacked": f"{table_files.MOST_UNPACKED // MIB} MiB",
}


def test_the_table_of_limits() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert dict(rows[1:]) == LIMITS
