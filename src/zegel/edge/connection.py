"""One peer: a TCP connection or a UDP datagram, from bytes to frames and back to a receipt."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from zegel.edge.framing import HEADER, VERSION, cut
from zegel.node.spool_format import Mark, Source, pack_address

if TYPE_CHECKING:
    from zegel.edge.receiver import Receiver

__all__ = ["Connection", "Datagram", "Datagrams"]


class Connection(asyncio.Protocol):
    """A TCP connection of a peer: any number of frames, receipts on the same connection.

    Holds no timer and, between frames, no buffer: one sweep of the receiver looks after time.
    """

    __slots__ = (
        "_buffer",
        "_receiver",
        "_transport",
        "address",
        "begun",
        "blocked",
        "closing",
        "port",
        "since",
        "waiting",
    )

    source = Source.PUSH_TCP

    def __init__(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._buffer: bytearray | None = None
        self.address, self.port = b"", 0
        self.since = self.begun = 0.0  # loop time: last whole frame, start of the one under way
        self.waiting = 0  # frames that are not durable yet
        self.closing = False
        self.blocked = False  # the peer does not read its receipts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a seat, or be sent away."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.address, self.port = pack_address(peer[0]), peer[1]
        self._receiver.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes: the common case is one whole frame in one piece."""
        receiver = self._receiver
        if self.closing:
            return
        if self._buffer is None and len(data) >= 8:
            version, source, destination, length = HEADER.unpack_from(data)
            if version == VERSION and length + 8 == len(data) and length <= receiver.max_apdu:
                receiver.frame(self, source, destination, data[8:])
                return
        self._cut(data)

    def eof_received(self) -> bool:
        """The peer sends no more; it may still wait for receipts. True keeps our half open."""
        if self._buffer is not None:
            self._odd(Mark.FRAMING)
        self.closing = True
        if not self.waiting:
            self._receiver.closes(self)
        return self.waiting > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a frame under way was cut."""
        del exc
        if self._buffer is not None:
            self._odd(Mark.FRAMING)
        self._transport = None
        self._receiver.left(self)

    def settle(self, receipt: bytes | None) -> bool:
        """A frame is durable: send its receipt."""
        self.waiting -= 1
        transport = self._transport
        if transport is None:
            return False
        sent = receipt is not None and not transport.is_closing()
        if sent and receipt is not None:
            transport.write(receipt)
        if self.closing and not self.waiting:
            self._close(transport)
        return sent

    def fail(self) -> None:
        """A frame could not be made durable: close, so that the peer sends it again."""
        self.waiting -= 1
        self.drop()

    def finish(self) -> None:
        """Take no more; close as soon as what was taken has its receipts."""
        self.closing = True
        if self._transport is not None:
            if self.waiting:
                self._transport.pause_reading()
            else:
                self._close(self._transport)

    def drop(self) -> None:
        """Close, with a moment for receipts on their way. A frame under way is recorded as cut."""
        if self._buffer is not None:
            self._odd(Mark.FRAMING)
        self.closing = True
        if self._transport is None:
            return
        if self.blocked:  # what was never read is not waited for
            self._transport.abort()
        else:
            self._close(self._transport)

    def cut_off(self) -> None:
        """Close and be gone: the file is free, though the peer left receipts unread."""
        self.drop()
        self.abort()

    def abort(self) -> None:
        """Forget what the peer did not read, and be gone."""
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self.closing and not self.blocked:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Thousands of receipts wait to be read: take no more until they are."""
        self.blocked = True
        self.pause()

    def resume_writing(self) -> None:
        """The peer reads its receipts."""
        self.blocked = False
        if not self._receiver.held:
            self.resume()

    def served(self, now: float, *, known: bool) -> None:
        """A whole frame was taken from here: the connection has earned its seat anew."""
        self.since = now
        self._receiver.seats.served(self, known=known)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close once the peer has read its receipts; the receiver bounds how long that takes."""
        transport.close()
        self._receiver.closes(self)

    def _cut(self, data: bytes) -> None:
        """Cut what has come so far into frames, however it was cut on its way."""
        receiver = self._receiver
        buffer = self._buffer if self._buffer is not None else bytearray()
        buffer += data
        at = 0
        while not self.closing and (found := cut(buffer, at, receiver.max_apdu)) is not None:
            if found.mark:
                self._buffer = buffer[at:]
                self._odd(found.mark)
                self.finish()
                return
            apdu = bytes(buffer[found.begin : found.end])
            receiver.frame(self, found.source, found.destination, apdu)
            at = found.end
        del buffer[:at]
        self._buffer = buffer if buffer and not self.closing else None
        receiver.holding(self, len(buffer) if self._buffer is not None else 0, anew=at > 0)

    def _odd(self, mark: Mark) -> None:
        """Record the bytes of a stream whose place is lost, and hold them no longer."""
        buffer, self._buffer = self._buffer or bytearray(), None
        self._receiver.holding(self, 0)
        self._receiver.odd(self, mark, bytes(buffer))


class Datagram:
    """One UDP datagram's sender: where the receipt goes."""

    __slots__ = ("_peer", "_transport", "address", "port", "waiting")

    source = Source.PUSH_UDP

    def __init__(self, transport: asyncio.DatagramTransport, peer: tuple[Any, ...]) -> None:
        self._transport, self._peer = transport, peer
        self.address, self.port = pack_address(peer[0]), peer[1]
        self.waiting = 0

    def settle(self, receipt: bytes | None) -> bool:
        """The frame is durable: send its receipt, if we can still send."""
        if receipt is None or self._transport.is_closing():
            return False
        self._transport.sendto(receipt, self._peer)
        return True

    def fail(self) -> None:
        """Without a receipt the sender repeats; there is nothing to close."""

    def finish(self) -> None:
        """There is nothing to close."""

    def served(self, now: float, *, known: bool) -> None:
        """There is no seat to keep."""


class Datagrams(asyncio.DatagramProtocol):
    """The UDP port: a datagram is exactly one frame, or it is recorded as seen."""

    def __init__(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Take a datagram. An empty one is nothing; while reading is stopped it is dropped."""
        receiver = self._receiver
        if self._transport is None or not data:
            return
        if receiver.held:
            receiver.refused("refused_backlog")
            return
        sender = Datagram(self._transport, addr)
        found = cut(data, 0, receiver.max_apdu)
        if found is None or (found.mark is Mark.NONE and found.end != len(data)):
            receiver.odd(sender, Mark.FRAMING, data)
        elif found.mark:
            receiver.odd(sender, found.mark, data)
        else:
            receiver.frame(sender, found.source, found.destination, data[found.begin :])

    def error_received(self, exc: Exception) -> None:
        """A receipt met a closed port: the sender does not want it."""
