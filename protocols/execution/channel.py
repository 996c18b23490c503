"""Frames over a socket, under a size limit and a clock; used between judge, candidate and zygote."""

from __future__ import annotations

import socket
import struct
import time

_HEADER = struct.Struct(">I")
MAX_FRAME = 16 << 20
"""Bytes in one answer of a candidate. Large enough for a million-item list, small enough to be held and parsed."""


class ChannelClosedError(Exception):
    """The other side closed the channel, or died."""


class FrameTooLargeError(Exception):
    """The other side announced a frame above the limit."""


class ClockError(Exception):
    """The deadline passed before a whole frame had come."""


def send(channel: socket.socket, payload: bytes, *, deadline: float | None = None) -> None:
    """Send one frame; ``deadline`` is a time of :func:`time.monotonic`.

    Raises:
        ChannelClosedError: nobody reads it any more.
        ClockError: the other side did not take it in time.
    """
    try:
        channel.settimeout(_left(deadline))
        channel.sendall(_HEADER.pack(len(payload)) + payload)
    except TimeoutError:
        raise ClockError from None
    except OSError as error:
        raise ChannelClosedError(str(error)) from None


def receive(channel: socket.socket, *, deadline: float | None = None, limit: int = MAX_FRAME) -> bytes:
    """Return one frame's payload.

    Raises:
        ChannelClosedError: the other side closed before a whole frame.
        FrameTooLargeError: the frame is announced larger than ``limit`` bytes.
        ClockError: the deadline passed.
    """
    head = _exactly(channel, _HEADER.size, deadline)
    (size,) = _HEADER.unpack(head)
    if size > limit:
        raise FrameTooLargeError(f"{size} bytes, more than {limit}")
    return _exactly(channel, size, deadline)


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        try:
            channel.settimeout(_left(deadline))
            part = channel.recv(min(size, 1 << 20))
        except TimeoutError:
            raise ClockError from None
        except OSError as error:
            raise ChannelClosedError(str(error)) from None
        if not part:
            raise ChannelClosedError("closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
