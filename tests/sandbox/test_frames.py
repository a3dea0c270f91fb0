"""Frames: what is let through, and what is not."""

import os
import socket
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscript.sandbox.frames import (
    HEADER_BYTES,
    LONGEST_TEXT,
    ChannelClosed,
    Expected,
    Frame,
    FrameBuffer,
    FrameError,
    Kind,
    json_frame,
    read_frame,
    receive,
    send,
    write_frame,
)

EXPECTED = Expected(b"0123456789abcdef", 77, 4)


def matrix_frame(**changes: object) -> Frame:
    values: dict[str, object] = {
        "kind": Kind.MATRIX,
        "payload": np.arange(16, dtype="<f4").tobytes(),
        "token": EXPECTED.token,
        "sequence": EXPECTED.sequence,
        "rows": 4,
        "columns": 4,
    }
    return Frame(**(values | changes))  # type: ignore[arg-type]


def test_a_frame_arrives_in_pieces() -> None:
    data = matrix_frame().encode() + matrix_frame(kind=Kind.FAILURE, payload=b"no").encode()[:9]
    buffer = FrameBuffer(EXPECTED)
    for place in range(HEADER_BYTES + 63):
        buffer.add(data[place : place + 1])
        assert buffer.take() is None
    buffer.add(data[HEADER_BYTES + 63 :])
    frame = buffer.take()
    assert frame is not None
    assert frame.matrix().tolist() == np.arange(16).reshape(4, 4).tolist()
    assert buffer.take() is None
    assert len(buffer) == 9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": b"f" * 16}, "another run"),
        ({"sequence": 78}, "another run"),
        ({"kind": Kind.PROGRAM}, "does not send"),
        ({"kind": Kind.REPLY}, "does not send"),
        ({"rows": 5}, "another length"),
        ({"rows": 30_000, "columns": 30_000}, "another length"),
        (
            {"kind": Kind.FAILURE, "rows": 0, "columns": 0, "payload": bytes(LONGEST_TEXT + 1)},
            "long",
        ),
        ({"kind": Kind.VALUE}, "too long"),
    ],
)
def test_what_is_no_answer_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        FrameBuffer(EXPECTED).add(matrix_frame(**changes).encode())


def test_a_huge_matrix_is_refused_by_its_header() -> None:
    frame = matrix_frame(rows=400, columns=400, payload=bytes(4 * 400 * 400))
    with pytest.raises(FrameError, match="far too large"):
        FrameBuffer(EXPECTED).add(frame.encode()[:HEADER_BYTES])


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    buffer = FrameBuffer(EXPECTED)
    try:
        buffer.add(data)
        assert buffer.take() is None
    except FrameError:
        pass


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1))
def test_frames_come_back(payload: bytes, rows: int, sequence: int) -> None:
    left, right = socket.socketpair()
    with left, right:
        sent = Frame(Kind.QUESTION, payload, b"t" * 16, sequence, rows, 3)
        send(left, sent)
        assert receive(right, deadline=time.monotonic() + 5) == sent
        write_frame(right.fileno(), sent)
        assert read_frame(left.fileno()) == sent


def test_the_end_and_lateness_are_told_apart() -> None:
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(TimeoutError):
            receive(left, deadline=time.monotonic() + 0.01)
        right.close()
        with pytest.raises(ChannelClosed):
            receive(left)


def test_a_value_that_is_no_json_is_refused() -> None:
    assert json_frame(Kind.VALUE, [1, "ü"]).value() == [1, "ü"]
    for payload in (b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(FrameError):
            Frame(Kind.VALUE, payload).value()
    assert os.sep not in Frame(Kind.FAILURE, b"\xff").text()
