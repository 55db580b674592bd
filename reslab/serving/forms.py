"""The files of a form (multipart/form-data), from a body that is in memory already."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from reslab.core.errors import short
from reslab.serving.refused import Refused

MOST_HEADER = 8192  # bytes of the headers of a part


class FormFiles:
    """What the parser of the form calls, and the files that come of it: names and contents."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.files: list[tuple[str, bytes]] = []
        self.complete = False
        self._field, self._value = bytearray(), bytearray()
        self._disposition: dict[bytes, bytes] = {}
        self._size = 0
        self._content: list[bytes] = []

    def on_part_begin(self) -> None:
        self._disposition, self._content, self._size = {}, [], 0
        if len(self.files) == self.most:
            raise Refused(413, f"the form has more than {self.most} files")

    def on_header_begin(self) -> None:
        self._field, self._value = bytearray(), bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = parse_options_header(bytes(self._value))[1]

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def on_part_end(self) -> None:
        if b"filename" not in self._disposition:
            field = self._disposition.get(b"name", b"").decode("utf-8", "replace")
            raise Refused(
                400, f"the field {short(field)} of the form is not a file: send pictures only"
            )
        name = self._disposition[b"filename"].decode("utf-8", "replace")
        self.files.append((name or f"image {len(self.files)}", b"".join(self._content)))

    def on_end(self) -> None:
        self.complete = True

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MOST_HEADER:
            raise Refused(400, f"a part of the form has more than {MOST_HEADER} bytes of headers")


CALLBACKS = [name for name in vars(FormFiles) if name.startswith("on_")]


def read_form(content: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """The files of a form, at most so many. Raises Refused."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refused(400, "the form cannot be read: its content type has no boundary")
    form = FormFiles(most)
    callbacks = {name: getattr(form, name) for name in CALLBACKS}
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(content)
        parser.finalize()
    except (FormParserError, UnicodeError, ValueError) as error:
        raise Refused(400, f"the form cannot be read: {error}") from None
    if not form.complete:
        raise Refused(400, "the form is not complete: its last boundary is missing")
    if not form.files:
        raise Refused(400, "the form has no files: send pictures")
    return form.files
