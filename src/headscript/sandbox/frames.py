"""Frames: what the processes of the sandbox say to one another, without pickle.

A frame is a header and a payload:

    magic 4s | kind u8 | token 16s | sequence u64 | rows u32 | columns u32 | length u32 | payload

A matrix is rows * columns float32, little endian; everything else is JSON or text in UTF-8. Frames
of a child bear the token and the number of the request they answer, which are drawn for each run:
bytes that a program puts on the channel by itself are no frame of that run.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sB16sQIII")
_MAGIC = b"HSF1"
TOKEN_BYTES = 16
HEADER_BYTES = _HEADER.size
LONGEST_TEXT = 1 << 20
"""Bytes of a text or JSON payload; a sentence of 10,000 tokens takes half of it."""


class Kind(IntEnum):
    """What a frame is."""

    PROGRAM = 1
    """Host to parent: the program that the next sentences are for."""
    SENTENCE = 2
    """Host to parent: run it on this sentence."""
    FIND = 3
    """Host to parent: find the programs in this file."""
    PROBE = 4
    """Host to parent: which layers of isolation work here?"""
    MATRIX = 5
    """An answer: a matrix."""
    FAILURE = 6
    """An answer: why there is none."""
    VALUE = 7
    """An answer: JSON."""
    QUESTION = 8
    """Child to host: how is this text tokenised or parsed?"""
    REPLY = 9
    """Host to child: so."""


class FrameError(Exception):
    """Bytes that are no frame of the run in hand."""


class ChannelClosed(Exception):
    """The other side is gone."""


@dataclass(frozen=True)
class Frame:
    """A frame that was read."""

    kind: Kind
    payload: bytes = b""
    token: bytes = bytes(TOKEN_BYTES)
    sequence: int = 0
    rows: int = 0
    columns: int = 0

    def encode(self) -> bytes:
        """Its bytes."""
        header = _HEADER.pack(
            _MAGIC,
            self.kind,
            self.token,
            self.sequence,
            self.rows,
            self.columns,
            len(self.payload),
        )
        return header + self.payload

    def text(self) -> str:
        """Its payload as text; what is no UTF-8 is replaced."""
        return self.payload.decode("utf-8", "replace")

    def value(self) -> Any:
        """Its payload as JSON; raises FrameError for what is none."""
        try:
            return json.loads(self.payload)
        except (ValueError, RecursionError):
            raise FrameError("a payload that is no JSON") from None

    def matrix(self) -> NDArray[np.float32]:
        """Its payload as a matrix (rows, columns) that owns its memory."""
        return np.frombuffer(self.payload, dtype="<f4").reshape(self.rows, self.columns).copy()


def json_frame(kind: Kind, value: Any) -> Frame:
    """A frame whose payload is JSON."""
    return Frame(kind, json.dumps(value, separators=(",", ":")).encode())


@dataclass(frozen=True)
class Expected:
    """What a child may answer to a request; everything else is refused."""

    token: bytes
    sequence: int
    size: int
    """Rows and columns of the matrix."""
    longest: int = LONGEST_TEXT
    """Bytes of an answer that is no matrix."""

    def check_header(self, header: bytes) -> tuple[Kind, int, int, int]:
        """The kind, rows, columns and length that a header gives; raises FrameError."""
        magic, number, token, sequence, rows, columns, length = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise FrameError("bytes that are no frame")
        if token != self.token or sequence != self.sequence:
            raise FrameError("a frame of another run")
        if number not in (Kind.MATRIX, Kind.FAILURE, Kind.VALUE, Kind.QUESTION):
            raise FrameError("a frame that a program does not send")
        kind = Kind(number)
        if kind is Kind.MATRIX:
            if length != 4 * rows * columns:
                raise FrameError("a matrix of another length than it says")
            # A wrong shape is named to the person; a huge one is not read at all.
            if rows > 2 * self.size + 16 or columns > 2 * self.size + 16:
                raise FrameError("a matrix that is far too large")
        elif length > self.longest or rows or columns:
            raise FrameError("an answer that is too long")
        return kind, rows, columns, length


class FrameBuffer:
    """Bytes of a child as they come in, until they are a frame."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Take in bytes; raises FrameError as soon as they cannot become a frame."""
        self._bytes += data
        if len(self._bytes) >= HEADER_BYTES:
            self._expected.check_header(bytes(self._bytes[:HEADER_BYTES]))

    def take(self) -> Frame | None:
        """The frame that is complete, or None."""
        if len(self._bytes) < HEADER_BYTES:
            return None
        kind, rows, columns, length = self._expected.check_header(bytes(self._bytes[:HEADER_BYTES]))
        if len(self._bytes) < HEADER_BYTES + length:
            return None
        payload = bytes(self._bytes[HEADER_BYTES : HEADER_BYTES + length])
        del self._bytes[: HEADER_BYTES + length]
        return Frame(kind, payload, self._expected.token, self._expected.sequence, rows, columns)

    def __len__(self) -> int:
        return len(self._bytes)


def send(channel: socket.socket, frame: Frame) -> None:
    """Send a frame; raises ChannelClosed."""
    try:
        channel.sendall(frame.encode())
    except OSError as error:
        raise ChannelClosed(str(error)) from None


def receive(channel: socket.socket, *, deadline: float | None = None) -> Frame:
    """Read one frame from a process that is trusted.

    `deadline` is a time of `time.monotonic()`. Raises ChannelClosed where the other side is gone,
    TimeoutError where it is late, and FrameError where it does not speak in frames.
    """
    header = _exactly(channel, HEADER_BYTES, deadline)
    magic, number, token, sequence, rows, columns, length = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise FrameError("bytes that are no frame")
    payload = _exactly(channel, length, deadline)
    return Frame(Kind(number), payload, token, sequence, rows, columns)


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes:
    found = bytearray()
    while len(found) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            channel.settimeout(left)
        else:
            channel.settimeout(None)
        try:
            data = channel.recv(min(count - len(found), 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        if not data:
            raise ChannelClosed("end of file")
        found += data
    return bytes(found)


def write_frame(descriptor: int, frame: Frame) -> None:
    """Write a frame by `write` alone, which is what a child may still do."""
    data = memoryview(frame.encode())
    while data:
        data = data[os.write(descriptor, data) :]


def read_frame(descriptor: int) -> Frame:
    """Read a frame by `read` alone; raises ChannelClosed."""

    def exactly(count: int) -> bytes:
        found = b""
        while len(found) < count:
            data = os.read(descriptor, count - len(found))
            if not data:
                raise ChannelClosed("end of file")
            found += data
        return found

    _, number, token, sequence, rows, columns, length = _HEADER.unpack(exactly(HEADER_BYTES))
    return Frame(Kind(number), exactly(length), token, sequence, rows, columns)
