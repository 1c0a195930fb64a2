"""Messages on a Unix socket: a big-endian u32 length and that many bytes."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from zegel.calls.base import MAX_MESSAGE

__all__ = ["Wire", "peer_user"]

_LENGTH = struct.Struct(">I")


def peer_user(connection: socket.socket) -> int:
    """Return the numeric user at the other end (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


class Wire(asyncio.BufferedProtocol):
    """Cut a stream into messages, received in place: a big message is copied once.

    A message over `MAX_MESSAGE` closes the connection: its sender is no zone of ours.
    """

    def __init__(
        self,
        on_message: Callable[["Wire", memoryview], None],
        on_lost: Callable[["Wire"], None],
        on_made: Callable[["Wire"], None] = lambda _wire: None,
    ) -> None:
        self._on_message, self._on_lost, self._on_made = on_message, on_lost, on_made
        self._head = bytearray(_LENGTH.size)
        self._target = memoryview(self._head)
        self._filled = 0
        self._in_body = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.transport.set_write_buffer_limits(high=1024 * 1024)
        self._on_made(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell the owner; whoever waits to write goes on and finds the link closed."""
        self.transport = None
        self._writable.set()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Hold streams back: the other side is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let streams go on."""
        self._writable.set()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Offer the rest of the length, or of the message."""
        return self._target[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came; hand a whole message on."""
        self._filled += nbytes
        if self._filled < len(self._target):
            return
        if not self._in_body:
            (length,) = _LENGTH.unpack(self._head)
            if length > MAX_MESSAGE or length == 0:
                self.close()
                return
            self._expect(memoryview(bytearray(length)), in_body=True)
            return
        message = self._target
        self._expect(memoryview(self._head), in_body=False)
        self._on_message(self, message)

    def _expect(self, target: memoryview, *, in_body: bool) -> None:
        self._target, self._filled, self._in_body = target, 0, in_body

    def send(self, message: bytes) -> None:
        """Queue one message; a closed connection swallows it (its owner is told of the loss)."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines([_LENGTH.pack(len(message)), message])

    async def drain(self) -> None:
        """Wait until the other side takes more."""
        await self._writable.wait()

    def close(self) -> None:
        """Close the connection once what was queued is sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()
