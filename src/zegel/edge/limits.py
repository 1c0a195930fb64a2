"""Who is let in, and who gives way, when there is too much of it.

A forger can write any system title into a frame, and may share the address of real meters
(a gateway, a NAT). The edge holds no key and cannot tell. So a limit must never be a lever
with which a forger silences a meter; the rule is:

1. *In plenty, everything is taken.* While the spool has room, no frame is refused for the
   rate of its title. What comes first is served first, and when the edge cannot keep up it
   stops reading, so that the queue stands in the kernel and nobody is singled out.
2. *Scarcity begins* when the unread segments fill all but the reserved share of their limit.
   From then on only the reserved lane is served: frames of a title that authenticated lately
   *from that address* (the store tells, when it releases a segment), and within the rate of
   that (title, address). A forger elsewhere who uses the title has the bucket of its own
   address, and no lane. One behind the very address of the meter shares its lane, but can
   take no more than the rate of it.
3. *At the limit* the edge stops reading, for all.
4. A rate per peer address is a hard limit, and off unless an operator sets it.
5. *Connections.* When all seats are taken the one goes that has waited longest without a whole
   frame, strangers first: silent or trickling connections make room for a new meter.
   Connections of the reserved lane keep their seats up to the reserved share; beyond it they
   give way too, first only where strangers hold less than an eighth of the seats.

What is refused here is not received in the sense of the fates: it is counted
(`refused_rate`, `refused_backlog`, `refused_connections`), never spooled, never receipted,
and its connection is closed; a meter repeats.
"""

from collections.abc import Callable, Hashable, Iterator
from itertools import islice, takewhile
from typing import Generic, TypeVar

from zegel.node.config import EdgeConfig
from zegel.node.spool_format import V4_MAPPED

__all__ = ["Buckets", "Limits", "Seats", "peer_key"]

MAX_PEERS = 65_536
PEER_BURST_S = 2.0  # a peer may be this many seconds ahead of its rate
STRANGERS_KEEP = 0.125  # of the seats, where the others are taken by known connections
SEATS_SEARCHED = 64  # connections looked at to find one that can go

Seat = TypeVar("Seat", bound=Hashable)


class Buckets:
    """Token buckets by key, bounded: the one not used longest is forgotten (and so is full).

    Kept as one number a key: the time at which its bucket is full again (GCRA).
    """

    def __init__(self, rate: float, burst: float, size: int) -> None:
        self._step = 1.0 / rate if rate > 0 else 0.0  # seconds a token
        self._slack = self._step * max(burst - 1.0, 0.0)
        self._size = size
        self._full: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full)

    def take(self, key: bytes, now: float) -> bool:
        """Take a token; False if there is none. A rate of 0 is no limit."""
        if not self._step:
            return True
        full = self._full.pop(key, now)
        allowed = full - now <= self._slack
        self._full[key] = max(full, now) + self._step if allowed else full
        if len(self._full) > self._size:
            del self._full[next(iter(self._full))]
        return allowed


class Limits:
    """The rates, and the memory of who authenticated lately."""

    def __init__(self, config: EdgeConfig) -> None:
        self._titles = Buckets(config.title_rate, config.title_burst, config.max_titles)
        burst = max(1.0, config.peer_rate * PEER_BURST_S)
        self._peer_rate = config.peer_rate
        self._peers = Buckets(config.peer_rate, burst, MAX_PEERS)
        self._lately: dict[bytes, bytes] = {}  # title: address, empty if the store told none
        self._size = config.max_titles

    def authenticated(self, titles: bytes, addresses: bytes = b"") -> None:
        """Remember titles (8 bytes each) that authenticated, and (16 bytes each) from where."""
        lately = self._lately
        for i in range(len(titles) // 8):
            title = titles[8 * i : 8 * i + 8]
            lately.pop(title, None)
            lately[title] = addresses[16 * i : 16 * i + 16]
        while len(lately) > self._size:
            del lately[next(iter(lately))]

    def in_reserved_lane(self, title: bytes, address: bytes) -> bool:
        """Tell whether `title` authenticated lately from `address`."""
        known = self._lately.get(title)
        return known is not None and (not known or known == address)

    def refusal(
        self, title: bytes | None, address: bytes, now: float, *, scarce: bool
    ) -> str | None:
        """Return the counter under which a frame is refused, or None: it is taken.

        `title` is None where the frame shows none.
        """
        if self._peer_rate and not self._peers.take(peer_key(address), now):
            return "refused_rate"
        within = title is None or self._titles.take(title + address, now)
        if not scarce:
            return None
        if title is None or not self.in_reserved_lane(title, address):
            return "refused_backlog"
        return None if within else "refused_rate"


class Seats(Generic[Seat]):
    """The connections that are open, each kind in the order of its last whole frame."""

    def __init__(self, limit: int, reserved: float) -> None:
        self._limit, self._reserved = limit, int(limit * reserved)
        self._strangers: dict[Seat, None] = {}
        self._known: dict[Seat, None] = {}

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def __iter__(self) -> Iterator[Seat]:
        yield from self._strangers
        yield from self._known

    @property
    def full(self) -> bool:
        """No seat is free."""
        return len(self._strangers) + len(self._known) >= self._limit

    def sit(self, seat: Seat) -> None:
        """Take a seat as a stranger, behind all others."""
        self._strangers[seat] = None

    def leave(self, seat: Seat) -> None:
        """Give a seat back."""
        if seat in self._strangers:
            del self._strangers[seat]
        else:
            self._known.pop(seat, None)

    def served(self, seat: Seat, *, known: bool) -> None:
        """Move a connection that sent a whole frame behind the others of its kind."""
        if seat in self._strangers:
            del self._strangers[seat]
            (self._known if known else self._strangers)[seat] = None
        elif seat in self._known:
            del self._known[seat]
            self._known[seat] = None

    def give_way(self) -> list[Seat]:
        """Return who may have to go for a newcomer, the first to go first; a few of them."""
        strangers = list(islice(self._strangers, SEATS_SEARCHED))
        known = list(islice(self._known, SEATS_SEARCHED))
        if len(self._known) <= self._reserved:
            return strangers
        if len(self._strangers) >= self._limit * STRANGERS_KEEP:
            return [*strangers, *known]
        return [*known, *strangers]

    def silent(self, is_silent: Callable[[Seat], bool]) -> list[Seat]:
        """Return the connections at the old end of each kind's order that are silent."""
        return [*takewhile(is_silent, self._strangers), *takewhile(is_silent, self._known)]


def peer_key(address: bytes) -> bytes:
    """Return what stands for a peer: an IPv4 address, or the /64 of an IPv6 address."""
    return address if address[:12] == V4_MAPPED else address[:8]
