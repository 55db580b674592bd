"""Write the pages of the site that follow from the code: the reference, and the notebooks.

    python docs/pages.py

`scripts/docs` calls this before it builds the site. The pages are not committed.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

import reslab
from reslab.cli.main import SECTIONS, cli

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
NOTEBOOKS = HERE / "notebooks"
MODULES = {
    "data": "Load data sets, and read the images as a training reads them.",
    "spec": "Write networks: their parts, and how to traverse them.",
    "transforms": "Functions from network to network. They leave the given network as it is.",
    "weights": "Load and save weights under the names of other libraries.",
    "draw": "Draw networks as SVG and PNG.",
}
# The order of reading; names that are not here follow in the order of the stub.
FIRST = "create", "load", "train", "resume", "evaluate", "predict", "inference", "accelerate"


def main() -> None:
    (REFERENCE / "commands.md").write_text("\n".join(command_page()) + "\n", encoding="utf-8")
    for name, text in reference_pages():
        (REFERENCE / f"{name}.md").write_text(text, encoding="utf-8")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = path.with_suffix(".md")
        page.write_text("\n".join(notebook_page(path)) + "\n", encoding="utf-8")


def reference_pages() -> Iterator[tuple[str, str]]:
    """A page for `reslab`, and one for each public module; mkdocstrings fills in the docstrings."""
    names = [name for name in reslab.__all__ if name not in (*MODULES, "__version__")]
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    lazy = "`import reslab` is lazy: Keras is loaded by the first function that needs it."
    yield "python", _reference("reslab", lazy, names)
    for module, purpose in MODULES.items():
        names = public_names(module)
        yield module, _reference(f"reslab.{module}", purpose, names)


def public_names(module: str) -> list[str]:
    """The names of `__all__`; in transforms the functions that are defined there."""
    loaded = getattr(reslab, module)
    if hasattr(loaded, "__all__"):
        return list(loaded.__all__)
    return [
        name
        for name, value in vars(loaded).items()
        if inspect.isfunction(value)
        and value.__module__ == "reslab.spec.transforms"
        and not name.startswith("_")
    ]


def _reference(module: str, purpose: str, names: list[str]) -> str:
    entries = "\n".join(f"::: {module}.{name}\n" for name in names)
    return f"# {module}\n\n{purpose}\n\n{entries}"


def command_page() -> Iterator[str]:
    """The reference of the command line, from the definitions of the commands."""
    yield "# Command line"
    yield ""
    yield "`reslab COMMAND --help` prints the same. Exit codes: 0 for success, 2 for a mistake"
    yield "that one line on standard error explains, 130 after an interruption."
    parent = click.Context(cli, info_name="reslab")
    yield ""
    yield from _help(cli.help or "")
    for title, commands in SECTIONS.items():
        yield from ("", f"## {title}")
        for command in commands:
            yield from _command(command, click.Context(command, parent, command.name), 3)


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield from ("", f"{'#' * level} {context.command_path}", "", "```text", usage, "```", "")
    yield from _help(command.help or "")
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [record for record in records if record and record[1]]
    if rows:
        yield from ("| option | meaning |", "|---|---|")
    for names, text in rows:
        yield f"| `{_cell(names)}` | {_plain(_cell(text))} |"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(inner, click.Context(inner, context, name), level + 1)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str) -> str:
    """Brackets that are no link, and names with underscores."""
    return re.sub(r"([][<>*_])", r"\\\1", text)


def _help(text: str) -> Iterator[str]:
    """Paragraphs; those after a line with \\b are kept as they are, as examples."""
    for paragraph in text.replace("\r", "").split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            examples = [line.strip() for line in lines[1:] if line.strip()]
            yield from ("```text", *examples, "```", "")
        else:
            yield from (*(line.strip() for line in lines), "")


def notebook_page(path: Path) -> Iterator[str]:
    """A notebook as Markdown: its text and its code, and where to get it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    note = f"This page is a notebook: [download {path.name}]({path.name}) and run it."
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        yield from (source, "") if cell["cell_type"] == "markdown" else _fenced(source)
        if number == 0:
            yield from (note, "")


def _fenced(source: str) -> Iterator[str]:
    yield from ("```python", source, "```", "")


if __name__ == "__main__":
    main()
