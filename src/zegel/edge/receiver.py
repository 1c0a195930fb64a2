"""The receiver: what becomes of connections and frames at the edge.

    bytes → frame → limits → waiting list → block, synced → receipt

A frame is receipted only after the sync of its block. What is well framed is spooled as it
is; a stream that ends in the middle of a frame (by the peer, by a time limit, or because its
seat was needed), or with a wrong wrapper version, is spooled as seen and marked `framing`,
one over `max_apdu` as `too_large`. Our own stop marks nothing: the meter will repeat.
"""

import asyncio
import contextlib
from functools import partial

from zegel.calls.edge import Release, Released
from zegel.edge.commit import Committer, Taken
from zegel.edge.connection import Connection, Datagram, Datagrams
from zegel.edge.framing import SEEN_TOO_LARGE, SEEN_WHEN_CUT
from zegel.edge.limits import Limits, Seats, peer_key
from zegel.edge.listener import Listener, bind, room_for_connections
from zegel.edge.receipt import clear_header, receipt
from zegel.edge.spool import Spool
from zegel.errors import UsageError
from zegel.node import switches
from zegel.node.config import EdgeConfig, SpoolConfig
from zegel.node.health import HealthState
from zegel.node.spool_format import Mark, Record

__all__ = ["Receiver"]

MAX_HELD = 64_000_000  # bytes of unfinished frames over all connections
MAX_WAITING = 16_000_000  # bytes that wait for a commit; above it reading stops for a moment
LINGER_S = 2.0  # for a closing connection whose peer does not read its receipts
STOP_S = 2.0  # for what waits when the edge is told to stop


class Receiver:
    """Receives pushes on one TCP and UDP port and keeps them in a spool.

    Made, started and stopped on one running loop. Owns the spool: `stop` closes it.
    """

    def __init__(
        self, edge: EdgeConfig, spool_config: SpoolConfig, spool: Spool, health: HealthState
    ) -> None:
        self.max_apdu = edge.max_apdu
        self.time = asyncio.get_running_loop().time
        self.held = False  # reading is stopped
        self._admitting = True
        self.seats: Seats[Connection] = Seats(
            room_for_connections(edge.max_connections), edge.reserved
        )
        self._edge, self._spool_config, self._health = edge, spool_config, health
        self._limits = Limits(edge)
        self._per_peer: dict[bytes, int] = {}
        self._partial: dict[Connection, int] = {}  # bytes held, oldest frame first
        self._partial_bytes = 0
        self._closing: dict[Connection, float] = {}  # loop time since when, longest first
        self._resumed = 0.0  # loop time at which reading went on
        self._scarce = self._stopping = False
        self._all_left = asyncio.Event()
        self._committer = Committer(
            spool_config,
            spool,
            durable=self._durable,
            failed=self._failed,
            changed=self._changed,
        )
        self._receipt_first = not switches.guard("edge.receipt_after_sync")
        self._listener: Listener | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        if spool.alarms:
            health.set("spool_damaged", "; ".join(spool.alarms))
        self._changed()

    async def start(self) -> int:
        """Bind, listen, and return the port.

        Raises:
            ConflictError: the port is in use.
            ConfigError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        stream, datagram = bind(self._edge.host, self._edge.port, udp=self._edge.udp)
        port: int = stream.getsockname()[1]
        self._listener = Listener(stream, partial(Connection, self))
        if datagram is not None:
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: Datagrams(self), sock=datagram
            )
        if self._admitting:
            await self._listener.open()
        self._sweep()
        return port

    async def stop(self) -> None:
        """Take no more, make durable and receipt what was taken, close the spool."""
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            await self._listener.close()
        for connection in self.seats:
            connection.pause()
        await self._committer.close(STOP_S)
        for connection in list(self.seats):
            connection.drop()
        if self._datagrams is not None:
            self._datagrams.close()
        if self.seats:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), STOP_S)

    async def release(self, call: Release) -> Released:
        """Drop a segment that the store has committed, and learn who authenticated in it.

        Raises:
            UsageError: `last` before `first`, or titles that are not 8 bytes each.
        """
        if call.last < call.first:
            raise UsageError("segment", expected=f"last >= {call.first}", found=call.last)
        titles, addresses = call.authenticated, call.addresses
        if len(titles) % 8 or len(addresses) not in (0, 2 * len(titles)):
            found = f"{len(titles)} and {len(addresses)} bytes"
            raise UsageError("titles and addresses", expected="8 and 16 bytes each", found=found)
        self._limits.authenticated(titles, addresses)
        return Released(await self._committer.release(call.first, call.last))

    # What connections tell

    def arrived(self, connection: Connection) -> None:
        """Give a new connection a seat, or send it away."""
        connection.since = self.time()
        crowded = self._edge.max_per_peer or self.seats.full
        if self._stopping or (crowded and not self._make_room(connection)):
            self.refused("refused_connections")
            connection.drop()
            return
        self.seats.sit(connection)
        if self.held:  # a new transport begins to read only after this call
            asyncio.get_running_loop().call_soon(self._pause_if_held, connection)

    def closes(self, connection: Connection) -> None:
        """A connection waits for its peer to read the last receipts; not for long."""
        self._closing.setdefault(connection, self.time())

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.seats.leave(connection)
        self._closing.pop(connection, None)
        self.holding(connection, 0)
        if self._stopping and not self.seats:
            self._all_left.set()
        if self._edge.max_per_peer:
            key = peer_key(connection.address)
            left = self._per_peer.pop(key, 0) - 1
            if left > 0:
                self._per_peer[key] = left

    def frame(
        self, sender: Connection | Datagram, source: int, destination: int, apdu: bytes
    ) -> None:
        """Take a well framed APDU into the spool, unless a limit forbids it."""
        now = self.time()
        header = clear_header(apdu)
        title = header.title if header is not None else None
        refusal = self._limits.refusal(title, sender.address, now, scarce=self._scarce)
        if refusal is not None:
            self.refused(refusal)
            sender.finish()
            return
        answer = None if header is None else receipt(source, destination, header.counter)
        record = Record(apdu, sender.source, Mark.NONE, sender.port, sender.address)
        sender.waiting += 1
        known = title is not None and self._limits.in_reserved_lane(title, sender.address)
        sender.served(now, known=known)
        taken = Taken(record, sender, answer)
        if self._receipt_first:
            self._confirm([taken])
            taken = Taken(record, None, None)
        self._take(taken)

    def odd(self, sender: Connection | Datagram, mark: Mark, seen: bytes) -> None:
        """Record a stream that was cut or odd, as seen. Nobody gets a receipt for it."""
        if self._stopping or not seen:
            return
        refusal = self._limits.refusal(None, sender.address, self.time(), scarce=self._scarce)
        if refusal is not None:
            self.refused(refusal)
            return
        self._health.count("too_large" if mark is Mark.TOO_LARGE else "framing")
        kept = seen[: SEEN_TOO_LARGE if mark is Mark.TOO_LARGE else SEEN_WHEN_CUT]
        record = Record(kept, sender.source, mark, sender.port, sender.address)
        self._take(Taken(record, None, None))

    def holding(self, connection: Connection, size: int, *, anew: bool = False) -> None:
        """Account for the bytes of an unfinished frame; `anew`: another one than before."""
        before = self._partial.get(connection, 0)
        self._partial_bytes += size - before
        if anew or not size:
            self._partial.pop(connection, None)
        if size:
            if anew or not before:
                connection.begun = self.time()
            self._partial[connection] = size
            if self._partial_bytes > MAX_HELD:
                self.refused("refused_connections")
                next(iter(self._partial)).drop()

    def refused(self, counter: str) -> None:
        """Count what was turned away."""
        self._health.count(counter)

    # Frames on their way

    def _take(self, taken: Taken) -> None:
        self._committer.add(taken)
        if not self.held and self._committer.waiting_bytes > MAX_WAITING:
            self._changed()

    def _durable(self, batch: list[Taken]) -> None:
        self._health.count("received", len(batch))
        self._confirm(batch)

    def _confirm(self, batch: list[Taken]) -> None:
        switches.step("receipt.before")
        sent = sum(
            taken.sender.settle(taken.receipt) for taken in batch if taken.sender is not None
        )
        switches.step("receipt.after")
        self._health.count("receipts", sent)

    def _failed(self, batch: list[Taken]) -> None:
        self._health.count("not_durable", len(batch))
        for taken in batch:
            if taken.sender is not None:
                taken.sender.fail()

    # Plenty, scarcity, stop

    def _changed(self) -> None:
        """See whether reading may go on, and say how it stands."""
        committer, health = self._committer, self._health
        usage, most = committer.usage, self._spool_config.max_unread_segments
        health.gauge("connections", len(self.seats))
        health.gauge("spool_segments", usage.unread)
        health.gauge("spool_bytes", usage.unread_bytes + usage.open_bytes)
        health.gauge("syncs", usage.syncs)
        self._scarce = usage.unread >= most * (1 - self._edge.reserved)
        full = usage.unread >= most
        reason = None
        if full or self._scarce:
            what = "reading stopped" if full else "only titles known lately are served"
            reason = f"edge: {usage.unread} unread segments of at most {most}: {what}"
        health.set("backlog", reason)
        error = committer.disk_error
        health.set("disk", None if error is None else f"edge: {error}: reading stopped")
        much = committer.waiting_bytes > (MAX_WAITING / 2 if self.held else MAX_WAITING)
        away = full or error is not None
        self._hold(wanted=away or much)
        self._admit(wanted=not away)

    def _admit(self, *, wanted: bool) -> None:
        """Accept newcomers, or leave them in the kernel's backlog.

        They are accepted while reading stops for a moment only: in a flood the listener would
        open and close again before anybody came in.
        """
        if wanted == self._admitting:
            return
        self._admitting = wanted
        if self._listener is not None and not self._stopping:
            self._listener.set_open(wanted=wanted)

    def _hold(self, *, wanted: bool) -> None:
        """Stop reading everywhere, or go on."""
        if wanted == self.held:
            return
        self.held = wanted
        self._resumed = self.time()
        for connection in self.seats:
            if wanted:
                connection.pause()
            else:
                connection.resume()

    def _pause_if_held(self, connection: Connection) -> None:
        if self.held:
            connection.pause()

    # Seats and time

    def _make_room(self, connection: Connection) -> bool:
        """See that a newcomer has a seat; the one that waited longest goes."""
        most = self._edge.max_per_peer
        if most:
            key = peer_key(connection.address)
            self._per_peer[key] = self._per_peer.get(key, 0) + 1
            if self._per_peer[key] > most:
                return False
        if not self.seats.full:
            return True
        for seat in self.seats.give_way():
            if not seat.waiting and not self.held:
                self.refused("refused_connections")
                seat.cut_off()  # one that lingered would hold a file outside the limit
                self.seats.leave(seat)
                return True
        return False

    def _sweep(self) -> None:
        """Close what has been silent or slow for too long; the only timer of all connections."""
        shortest = min(self._edge.idle_s, self._edge.frame_s)
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(min(1.0, max(shortest / 4, 0.01)), self._sweep)
        now = self.time()
        for connection, since in list(self._closing.items()):
            if now - since < LINGER_S:
                break
            connection.abort()
        if self.held:
            return
        for connection in list(self._partial):
            if now - max(connection.begun, self._resumed) < self._edge.frame_s:
                break
            self._time_out(connection)
        if now - self._resumed >= self._edge.idle_s:
            for connection in self.seats.silent(lambda seat: now - seat.since >= self._edge.idle_s):
                if not connection.waiting and connection not in self._partial:
                    self._time_out(connection)
        self._health.gauge("connections", len(self.seats))

    def _time_out(self, connection: Connection) -> None:
        self._health.count("timed_out")
        connection.cut_off()
