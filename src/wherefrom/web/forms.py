"""The image in an HTML form (`multipart/form-data`, RFC 7578), read as it arrives.

    curl -F image=@suspect.png http://127.0.0.1:8000/api/jobs

A form holds one file.  Other fields are passed over; they and all headers may be small only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from email.message import Message

MAX_HEAD = 16 * 2**10  # bytes of the headers of one part, or of a field that is not the file
MAX_AROUND = 64 * 2**10  # bytes of a form that are not the file
MAX_BOUNDARY = 70  # RFC 2046, 5.1.1
Refuse = Callable[[str], Exception]


class ImageForm:
    """A form whose only file is read as it arrives."""

    def __init__(self, kind: str, body: AsyncIterator[bytes], refuse: Refuse) -> None:
        """`kind`: the Content-Type; `refuse` makes the exception for a reason."""
        boundary = _field("content-type", kind).get_boundary("")
        if not kind.lower().startswith("multipart/form-data") or not boundary:
            raise refuse("it is no multipart/form-data with a boundary; send a form as curl -F")
        if len(boundary) > MAX_BOUNDARY or not boundary.isascii():
            raise refuse(f"its boundary is no text of at most {MAX_BOUNDARY} ASCII characters")
        self._mark, self._body, self._refuse = f"\r\n--{boundary}".encode(), body, refuse
        self._left = b"\r\n"  # the first boundary may begin the body
        self._around = 0
        self.name = ""

    async def find_file(self) -> None:
        """Read up to the bytes of the file, and set `name`; refuses a form without a file."""
        await self._small(self._mark)
        while await self._another_part():
            if self.name:
                return
            await self._small(self._mark)
        raise self._refuse("it holds no file; send one image, as curl -F image=@suspect.png")

    async def file(self) -> AsyncIterator[bytes]:
        """The bytes of the file; at its end the rest of the form is read, and checked."""
        async for chunk in self._until(self._mark):
            yield chunk
        self.name, first = "", self.name
        while await self._another_part():
            if self.name:
                raise self._refuse("it holds several files; send one image in each form")
            await self._small(self._mark)
        self.name = first

    async def _another_part(self) -> bool:
        """Read the headers of the next part, and set `name` if it is a file; False at the end."""
        while len(self._left) < 2:
            await self._more()
        if self._left.startswith(b"--"):
            async for chunk in self._body:  # so that the connection can be used again
                self._count(len(chunk))
            return False
        if (await self._small(b"\r\n")).strip(b" \t"):
            raise self._refuse("a boundary of it is followed by other text")
        self._left = b"\r\n" + self._left  # a part may have no headers
        head = (await self._small(b"\r\n\r\n")).decode("utf-8", "replace")
        for line in head.split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                file = _field(name.strip(), value.strip()).get_filename()
                self.name = "" if file is None else file or "image"
        return True

    async def _small(self, mark: bytes) -> bytes:
        data = b""
        async for chunk in self._until(mark):
            data += chunk
            self._count(len(chunk), len(data))
        return data

    def _count(self, more: int, part: int = 0) -> None:
        self._around += more
        if part > MAX_HEAD or self._around > MAX_AROUND:
            raise self._refuse("what it holds beside the file is too large")

    async def _until(self, mark: bytes) -> AsyncIterator[bytes]:
        """The bytes before the next `mark`, which is consumed."""
        while (end := self._left.find(mark)) < 0:
            known = len(self._left) - len(mark) + 1
            if known > 0:
                chunk, self._left = self._left[:known], self._left[known:]
                yield chunk
            await self._more()
        chunk, self._left = self._left[:end], self._left[end + len(mark) :]
        if chunk:
            yield chunk

    async def _more(self) -> None:
        async for chunk in self._body:
            if chunk:
                self._left += chunk
                return
        raise self._refuse("it ends in the middle; send the whole form")


def _field(name: str, value: str) -> Message:
    """A header whose parameters can be asked for."""
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message
