"""Push frames at a node over real sockets: raw epoll, one thread, bounded in flight.

One connection per push, as meters do it; or kept-open connections, or UDP, beside it. A push
whose receipt does not come is sent again with a growing pause, a bounded number of times: if the
node had stored it, the second one is a duplicate. At a fixed rate a push's latency counts from
the moment it was due, so a slow node cannot hide.
"""

import errno
import heapq
import select
import socket
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from zegel.cosem.push import RECEIPT_BYTES, parse_receipt, receipt
from zegel.errors import InputError, UsageError
from zegel.meter.frames import Push

__all__ = ["SendStats", "Sender"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0
TICK_S = 0.2
PENDING = (errno.EINPROGRESS, errno.EAGAIN, errno.EWOULDBLOCK)
READ, WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR
ID_AT, ID_BYTES = 10, 3  # of the invoke-id in a receipt
BEFORE_ID, BEHIND_ID = receipt(0)[:ID_AT], receipt(0)[ID_AT + ID_BYTES :]


@dataclass(slots=True)
class SendStats:
    """What became of the pushes.

    `sent` counts every whole frame that left, resends included; `resent` those among them;
    `failed` the pushes without a receipt after all tries. `latencies` in seconds, one for each
    confirmed push.
    """

    sent: int = 0
    confirmed: int = 0
    resent: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"), repr=False)

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95, p99 and the maximum in milliseconds; empty without a receipt."""
        if not self.latencies:
            return {}
        times = np.frombuffer(self.latencies, "f8") * 1000
        found = np.percentile(times, (50, 95, 99, 100)).round(2).tolist()
        return dict(zip(("p50", "p95", "p99", "max"), found, strict=True))

    def add(self, other: "SendStats") -> Self:
        """Add another run to this one."""
        self.sent += other.sent
        self.confirmed += other.confirmed
        self.resent += other.resent
        self.failed += other.failed
        self.seconds += other.seconds
        self.latencies.extend(other.latencies)
        return self


@dataclass(slots=True)
class _Task:
    """A push that still wants its receipt."""

    push: Push
    due: float
    tries: int = 0


class _Exchange:
    """One push on one connection."""

    __slots__ = ("deadline", "offset", "received", "sock", "task")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.task: _Task | None = None  # None: a kept-open connection without work
        self.offset = 0
        self.received = b""
        self.deadline = 0.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Push frames at `host:port` and wait for their receipts.

    Args:
        host: address of the edge; a name is not resolved.
        port: its push port.
        in_flight: connections open at once, at most.
        rate: pushes begun in a second; 0 sends as fast as receipts come (closed loop).
        receipt_s: how long to wait for a receipt.
        tries: how often a push is sent before it counts as failed.
        keep_open: use each connection for many pushes.
        udp: one datagram per push instead of a connection.

    Raises:
        UsageError: a limit that lets nothing through.
    """

    host: str
    port: int
    in_flight: int = 256
    rate: float = 0.0
    receipt_s: float = 10.0
    tries: int = 8
    keep_open: bool = False
    udp: bool = False

    def __post_init__(self) -> None:
        if self.in_flight < 1 or self.tries < 1 or self.rate < 0 or self.receipt_s <= 0:
            found = f"{self.in_flight}, {self.tries}, {self.rate}, {self.receipt_s}"
            expected = "in_flight >= 1, tries >= 1, rate >= 0, receipt_s > 0"
            raise UsageError("sender", expected=expected, found=found)

    def run(
        self,
        pushes: Iterable[Push],
        *,
        progress: Callable[[SendStats], None] | None = None,
        stop: threading.Event | None = None,
    ) -> SendStats:
        """Send them all; return when each has its receipt or failed, or `stop` is set."""
        return _Run(self, iter(pushes), progress, stop).loop()

    def open(self) -> socket.socket | None:
        """Return a socket on its way to the node, or None where it was refused at once."""
        kind = socket.SOCK_DGRAM if self.udp else socket.SOCK_STREAM
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        failure = sock.connect_ex((self.host, self.port))
        if failure and failure not in PENDING:
            sock.close()
            return None
        return sock


class _Run:
    """The state of one `Sender.run`."""

    def __init__(
        self,
        sender: Sender,
        pushes: Iterator[Push],
        progress: Callable[[SendStats], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._s = sender
        self.stats = SendStats()
        self._pushes: Iterator[Push] | None = pushes
        self._taken = 0
        self._began = time.monotonic()
        self._progress, self._stop = progress, stop
        self._epoll = select.epoll()
        self._active: dict[int, _Exchange] = {}  # oldest first: so are their deadlines
        self._idle: dict[int, _Exchange] = {}
        self._again: list[tuple[float, int, _Task]] = []  # heap of resends
        self._told = self._began

    def loop(self) -> SendStats:
        try:
            while self._pushes is not None or self._active or self._again:
                if self._stop is not None and self._stop.is_set():
                    break
                pause = self._begin()
                for fd, events in self._epoll.poll(pause):
                    self._event(fd, events)
                self._expire()
                self._tell()
        finally:
            for exchange in (*self._active.values(), *self._idle.values()):
                exchange.sock.close()
            self._epoll.close()
        self.stats.seconds = time.monotonic() - self._began
        if self._progress is not None:
            self._progress(self.stats)
        return self.stats

    def _begin(self) -> float:
        """Begin what is due and return how long to wait for events, seconds."""
        while len(self._active) < self._s.in_flight:
            now = time.monotonic()
            if self._again and self._again[0][0] <= now:
                self._open(heapq.heappop(self._again)[2])
                continue
            if self._pushes is None:
                return min(TICK_S, max(0.0, self._again[0][0] - now)) if self._again else TICK_S
            due = self._began + self._taken / self._s.rate if self._s.rate else now
            if due > now:
                return min(TICK_S, due - now)
            push = next(self._pushes, None)
            if push is None:
                self._pushes = None
                continue
            self._taken += 1
            self._open(_Task(push, due))
        return TICK_S

    def _open(self, task: _Task) -> None:
        """Send a push on a new connection, or on one that is kept open and idle."""
        task.tries += 1
        if self._idle:
            exchange = self._idle.pop(next(iter(self._idle)))
        else:
            sock = self._s.open()
            if sock is None:
                self._retry(task)
                return
            exchange = _Exchange(sock)
            self._epoll.register(exchange.sock.fileno(), READ)
        exchange.task, exchange.offset, exchange.received = task, 0, b""
        exchange.deadline = time.monotonic() + self._s.receipt_s
        self._active[exchange.sock.fileno()] = exchange
        self._write(exchange, task.push)

    def _write(self, exchange: _Exchange, push: Push) -> None:
        fd = exchange.sock.fileno()
        try:
            exchange.offset += exchange.sock.send(
                push.wire[exchange.offset :] if exchange.offset else push.wire
            )
        except OSError as error:
            if error.errno not in PENDING and error.errno != errno.ENOTCONN:
                self._end(fd, exchange, confirmed=False)
                return
        if exchange.offset < len(push.wire):
            self._epoll.modify(fd, READ | WRITE)
            return
        self.stats.sent += 1
        self.stats.resent += exchange.task is not None and exchange.task.tries > 1
        if push.cut:
            exchange.sock.shutdown(socket.SHUT_WR)

    def _event(self, fd: int, events: int) -> None:
        exchange = self._active.get(fd)
        if exchange is None or exchange.task is None:
            self._drop_idle(fd)
            return
        if events & WRITE and not events & GONE and exchange.offset < len(exchange.task.push.wire):
            self._epoll.modify(fd, READ)
            self._write(exchange, exchange.task.push)
            return
        try:
            data = exchange.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        exchange.received += data
        if len(exchange.received) >= RECEIPT_BYTES:
            self._end(fd, exchange, confirmed=self._fits(exchange, exchange.task.push))
        elif not data:
            self._end(fd, exchange, confirmed=False)

    @staticmethod
    def _fits(exchange: _Exchange, push: Push) -> bool:
        invoke_id = push.invoke_id.to_bytes(ID_BYTES, "big")
        if exchange.received == BEFORE_ID + invoke_id + BEHIND_ID:
            return True  # as a rule; reading it whole would take a tenth of this thread's time
        try:
            return parse_receipt(exchange.received) == push.invoke_id
        except InputError:
            return False

    def _end(self, fd: int, exchange: _Exchange, *, confirmed: bool) -> None:
        self._active.pop(fd, None)
        task, exchange.task = exchange.task, None
        if confirmed and self._s.keep_open and not self._s.udp:
            self._idle[fd] = exchange
        else:
            exchange.sock.close()  # leaves the epoll set too
        if task is None:
            return
        if confirmed:
            self.stats.confirmed += 1
            self.stats.latencies.append(time.monotonic() - task.due)
        else:
            self._retry(task)

    def _drop_idle(self, fd: int) -> None:
        """Forget a kept-open connection that the other side closed."""
        exchange = self._idle.pop(fd, None)
        if exchange is not None:
            exchange.sock.close()

    def _retry(self, task: _Task) -> None:
        if task.tries >= self._s.tries:
            self.stats.failed += 1
            return
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (task.tries - 1))
        heapq.heappush(self._again, (time.monotonic() + pause, id(task), task))

    def _expire(self) -> None:
        now = time.monotonic()
        while self._active:
            fd, exchange = next(iter(self._active.items()))
            if exchange.deadline > now:
                return
            self._end(fd, exchange, confirmed=False)

    def _tell(self) -> None:
        if self._progress is not None and time.monotonic() - self._told > TICK_S:
            self._told = time.monotonic()
            self._progress(self.stats)
