"""The fate of every frame of a batch: design section 10, in its order.

mark of the edge            framing, too_large
header                      malformed, unsupported, not_authenticated
system title                unknown_meter
the same bytes stored       duplicate
the vault                   unknown_meter, not_authenticated, malformed, bad_tag
counter seen, same bytes    duplicate
counter seen, other bytes   forged_counter
at or below the floor       replay
body                        malformed, unsupported
device name                 identity_mismatch
else                        stored
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zegel.calls.vault import OpenVerdict
from zegel.cosem.batch import BatchDecoder, Verdict
from zegel.node.switches import guard
from zegel.store.batch import Batch, Decision
from zegel.store.days import LocalDays
from zegel.store.engine import Query
from zegel.store.fate import Fate, Reason
from zegel.store.opening import Ask, Content, decode_all, open_frames
from zegel.store.readings import Highs, Rows, checked, classified, doubtful
from zegel.store.registry.index import MeterIndex
from zegel.store.window import DUPLICATE, FORGED, UNSEEN, Windows, hash64

__all__ = ["Judge"]

_OF_VAULT = np.zeros(256, "u1")
_OF_VAULT[OpenVerdict.UNKNOWN_METER] = Reason.UNKNOWN_METER
_OF_VAULT[OpenVerdict.BAD_TAG] = Reason.BAD_TAG
_OF_VAULT[OpenVerdict.NOT_AUTHENTICATED] = Reason.NOT_AUTHENTICATED
_OF_VAULT[OpenVerdict.MALFORMED] = Reason.MALFORMED
_OF_DECODER = np.zeros(256, "u1")
_OF_DECODER[Verdict.MALFORMED] = Reason.MALFORMED
_OF_DECODER[Verdict.UNSUPPORTED] = Reason.UNSUPPORTED

_WHAT = {
    Reason.UNKNOWN_METER: "system title of no meter in use here",
    Reason.NOT_AUTHENTICATED: "not authenticated and encrypted with the suite of its key",
    Reason.BAD_TAG: "authentication tag does not fit",
    Reason.REPLAY: "invocation counter at or below the floor",
    Reason.FORGED_COUNTER: "invocation counter used before, with other bytes",
}


@dataclass(slots=True, eq=False)
class _Work:
    """The decision while it is made."""

    fate: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    version: NDArray[np.uint16]
    authentic: NDArray[np.bool_]  # the vault verified its tag
    fast: NDArray[np.uint8]
    meter: NDArray[np.uint64]
    what: dict[int, str] = field(default_factory=dict)

    def quarantine(self, places: NDArray[np.int64], reason: "NDArray[np.uint8] | Reason") -> None:
        """Quarantine frames."""
        self.fate[places] = Fate.QUARANTINED
        self.reason[places] = reason


class Judge:
    """Decides; changes nothing but the decoder's layouts. Used by the pipeline's thread."""

    def __init__(
        self, *, decoder: BatchDecoder, windows: Windows, highs: Highs, days: LocalDays
    ) -> None:
        self.decoder, self.windows, self.highs, self.days = decoder, windows, highs, days

    def decide(
        self, batch: Batch, index: MeterIndex, ask: Ask, query: Query, poison: Mapping[int, str]
    ) -> Decision:
        """Decide about every frame of a batch.

        Args:
            batch: the frames; those that `frames` holds already are not among them.
            index: the meters.
            ask: opens frames; whatever it raises ends the decision.
            query: looks up counters and readings.
            poison: frame ids that are known to break this very function, and how.
        """
        work = self._before_opening(batch, poison)
        opened = self._open(batch, work, ask)
        content = decode_all(self.decoder, opened)
        work.fast[content.place] = content.fast
        work.what.update(content.what)
        if not guard("store.authenticated"):
            self._take_clear(content, work, index)
        self._judge(batch, work, content, index, query)
        _explain(work)
        rows = self._rows(batch, work, content, query)
        return Decision(
            fate=work.fate,
            reason=work.reason,
            version=work.version,
            fast=work.fast,
            opened=work.authentic.astype("u1"),
            rows=rows,
            meter=work.meter,
            what=work.what,
        )

    def _before_opening(self, batch: Batch, poison: Mapping[int, str]) -> _Work:
        n = len(batch)
        work = _Work(
            fate=np.full(n, Fate.STORED, "u1"),
            reason=batch.headers.reason.copy(),
            version=np.zeros(n, "u2"),
            authentic=np.zeros(n, bool),
            fast=np.zeros(n, "u1"),
            meter=batch.meter.copy(),
            what=dict(batch.headers.what),
        )
        for frame_id, what in poison.items():
            place = int(np.flatnonzero(batch.frame_id == frame_id)[0])
            work.reason[place], work.what[place] = Reason.MALFORMED, what
        work.reason[(work.reason == Reason.NONE) & (batch.meter == 0)] = Reason.UNKNOWN_METER
        work.quarantine(np.flatnonzero(work.reason), work.reason[work.reason != 0])
        same = self.windows.known(batch.meter, batch.headers.counter, hash64(batch.digest))
        work.fate[same & (work.reason == Reason.NONE)] = Fate.DUPLICATE
        return work

    def _open(
        self, batch: Batch, work: _Work, ask: Ask
    ) -> list[tuple[NDArray[np.int64], memoryview, np.ndarray]]:
        """Have frames opened; quarantine what the vault refuses; return what is to be decoded."""
        opened: list[tuple[NDArray[np.int64], memoryview, np.ndarray]] = []
        for places, verdicts, versions, plaintexts, lengths in open_frames(
            batch, np.flatnonzero(work.fate == Fate.STORED), ask
        ):
            good = verdicts == OpenVerdict.OK
            work.version[places[good]] = versions[good]
            work.authentic[places[good]] = True
            work.quarantine(places[~good], _OF_VAULT[verdicts[~good]])
            opened.append((places[good], plaintexts, lengths[good]))
        if not guard("store.authenticated"):
            opened += [
                (np.array([at]), memoryview(batch.records[at].frame), batch.headers.size[[at]])
                for at in batch.headers.clear
            ]
        return opened

    def _take_clear(self, content: Content, work: _Work, index: MeterIndex) -> None:
        """Without the guard, a frame in the clear is believed: the meter is whom it names."""
        clear = work.reason[content.place] == Reason.NOT_AUTHENTICATED
        for k in np.flatnonzero(clear & (content.verdict == Verdict.OK)).tolist():
            meter = index.by_serial(content.identity[k].tobytes().decode("ascii", "replace"))
            if meter:
                place = int(content.place[k])
                work.fate[place], work.reason[place] = Fate.STORED, Reason.NONE
                work.meter[place] = meter
                work.what.pop(place, None)

    def _judge(
        self, batch: Batch, work: _Work, content: Content, index: MeterIndex, query: Query
    ) -> None:
        order = np.argsort(content.place)  # frames that broke the decoder stand at its end
        place, verdict = content.place[order], content.verdict[order]
        identity = content.identity[order]
        authentic = work.authentic[place]
        body = _OF_DECODER[verdict]
        other = (body == Reason.NONE) & (identity != index.identity[work.meter[place]])
        for k in np.flatnonzero(other).tolist():
            name = identity[k].tobytes().decode("ascii", "replace")
            serial = index.serial(int(work.meter[place[k]]))
            work.what[int(place[k])] = f"device name; expected {serial}; found {name}"
        body[other] = Reason.IDENTITY_MISMATCH
        place, body = place[authentic], body[authentic]
        seen = self.windows.judge(
            batch.meter[place],
            work.version[place],
            batch.headers.counter[place],
            hash64(batch.digest)[place],
            query,
        )
        below = batch.headers.counter[place] <= index.floor[batch.meter[place]]
        if below.any():
            below &= self.windows.first_key(batch.meter[place], work.version[place])
        if not guard("store.replay"):
            below[:] = False
        below &= seen == UNSEEN
        body[below] = Reason.REPLAY
        body[seen == FORGED] = Reason.FORGED_COUNTER
        work.quarantine(place[body != 0], body[body != 0])
        again = place[seen == DUPLICATE]
        work.fate[again], work.reason[again] = Fate.DUPLICATE, Reason.NONE
        _within_batch(batch, work, place)

    def _rows(self, batch: Batch, work: _Work, content: Content, query: Query) -> Rows:
        """Return the rows of the stored frames, checked and classified."""
        n = len(batch)
        frame = content.place[content.frame]
        keep = (work.fate == Fate.STORED)[frame]
        none = np.zeros(n, "i8")
        rows = Rows(
            frame=frame,
            day=np.zeros(len(frame), "i8"),
            meter=work.meter[frame],
            t=content.t,
            import_wh=content.import_wh,
            export_wh=content.export_wh,
            status=content.status,
            quality=doubtful(content.doubtful),
            frame_id=batch.frame_id[frame],
            stored=none,
            duplicates=none,
            clock_ahead=none,
            implausible=none,
        ).take(keep)
        rows = checked(rows, batch.received.astype("i8"), self.days)
        return classified(rows, work.meter, self.highs, query, batch.cut)


def _within_batch(batch: Batch, work: _Work, places: NDArray[np.int64]) -> None:
    """Hold frames of one batch that use the same counter of the same key against each other.

    In the order of arrival: the first that is stored wins; the same bytes again are a
    duplicate, others are forged.
    """
    meter, version = batch.meter[places], work.version[places]
    counter = batch.headers.counter[places]
    order = np.lexsort((batch.frame_id[places], counter, version, meter))
    same = np.zeros(len(order), bool)
    for column in (meter[order], version[order], counter[order]):
        same[1:] |= column[1:] != column[:-1]
    same = ~same
    same[:1] = False  # from here on: equals the one before it
    winner = -1
    for k in np.flatnonzero(same | np.append(same[1:], False)).tolist():
        if not same[k]:
            winner = -1
        place = int(places[order[k]])
        if work.fate[place] != Fate.STORED:
            continue
        if winner < 0:
            winner = place
        elif batch.digest[place] == batch.digest[winner]:
            work.fate[place] = Fate.DUPLICATE
        else:
            work.quarantine(np.array([place]), Reason.FORGED_COUNTER)


def _explain(work: _Work) -> None:
    """Say what is wrong with frames of which nothing has been said yet."""
    for place in np.flatnonzero(work.reason).tolist():
        reason = Reason(work.reason[place])
        if place not in work.what or reason in (Reason.REPLAY, Reason.FORGED_COUNTER):
            work.what[place] = _WHAT.get(reason, reason.name.lower())
