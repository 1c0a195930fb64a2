"""Ask the vault to open frames, and decode what it opened: sealed bytes in, columns out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zegel.calls.vault import Opened, OpenFrames
from zegel.cosem.batch import BatchDecoder, DecodedBatch, Verdict
from zegel.errors import MalformedError
from zegel.store.batch import Batch

__all__ = ["Ask", "Content", "decode_all", "open_frames"]

CALL_BYTES = 10_000_000  # sealed bytes in one call: a segment, as a rule

Ask = Callable[[OpenFrames], Opened]


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Decoded frames: `place` (k,) i8 in the batch; the rest in their order, rows as columns.

    `verdict` (k,) u1 of the decoder; `identity` (k,) V16; `fast` (k,) bool; `frame` (R,) i8
    index among the k; `t`, `import_wh`, `export_wh` (R,) i8; `status` (R,) u1; `doubtful` (R,)
    bool. `what` says what is wrong, by place.
    """

    place: NDArray[np.int64]
    verdict: NDArray[np.uint8]
    identity: np.ndarray
    fast: NDArray[np.bool_]
    frame: NDArray[np.int64]
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    status: NDArray[np.uint8]
    doubtful: NDArray[np.bool_]
    what: dict[int, str] = field(default_factory=dict)


def open_frames(
    batch: Batch, places: NDArray[np.int64], ask: Ask
) -> Iterator[
    tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint16], memoryview, np.ndarray]
]:
    """Have the frames `places` opened, some megabytes at a time; one answer before the next.

    Calls go in the order of arrival, because the vault takes a frame id below one that it has
    opened for a repeat; within a call the frames stand in the order of the batch.

    Gives places (k,), verdicts (k,) u1, key versions (k,) u2, the plaintexts end to end, and
    their lengths (k,) u4, 0 where not opened.
    """
    headers = batch.headers
    arrival = places[np.argsort(batch.frame_id[places])]
    part = np.cumsum(headers.size[arrival] - headers.start[arrival]) // CALL_BYTES
    for some in map(np.sort, np.split(arrival, np.flatnonzero(np.diff(part)) + 1)):
        if not len(some):
            continue
        starts = headers.start[some].tolist()
        data = [
            batch.records[at].frame[start:] for at, start in zip(some.tolist(), starts, strict=True)
        ]
        answer = ask(
            OpenFrames(
                frame_ids=batch.frame_id[some].astype("<u8").tobytes(),
                titles=headers.title[some].tobytes(),
                controls=headers.control[some].tobytes(),
                counters=headers.counter[some].astype("<u4").tobytes(),
                lengths=(headers.size[some] - headers.start[some]).astype("<u4").tobytes(),
                sealed=memoryview(b"".join(data)),
            )
        )
        verdicts = np.frombuffer(answer.verdicts, "u1")
        versions = np.frombuffer(answer.versions, "<u2")
        lengths = np.frombuffer(answer.lengths, "<u4")
        if not len(verdicts) == len(versions) == len(lengths) == len(some):
            found = f"{len(verdicts)} verdicts"
            raise MalformedError("answer of the vault", expected=f"{len(some)}", found=found)
        yield some, verdicts, versions, answer.plaintexts, lengths


def decode_all(
    decoder: BatchDecoder, parts: Sequence[tuple[NDArray[np.int64], memoryview, np.ndarray]]
) -> Content:
    """Decode plaintexts: (places, bytes end to end, lengths) each."""
    decoded: list[tuple[NDArray[np.int64], DecodedBatch]] = []
    what: dict[int, str] = {}
    for places, plaintexts, lengths in parts:
        decoded += _decode(decoder, places, memoryview(plaintexts), lengths, what)
    base = np.cumsum([0, *(len(places) for places, _ in decoded)])
    batches = [batch for _, batch in decoded]
    for places, batch in decoded:
        what.update({int(places[at]): line for at, line in batch.reason.items()})
    failed = np.array(sorted(set(what) - {int(p) for ps, _ in decoded for p in ps}), "i8")
    return Content(
        place=_join([places for places, _ in decoded] + [failed], "i8"),
        verdict=_join(
            [batch.verdict for batch in batches] + [np.full(len(failed), Verdict.MALFORMED)], "u1"
        ),
        identity=_join(
            [batch.identity for batch in batches] + [np.zeros(len(failed), "V16")], "V16"
        ),
        fast=_join([batch.fast for batch in batches] + [np.zeros(len(failed), "?")], "?"),
        frame=_join(
            [batch.frame + offset for batch, offset in zip(batches, base, strict=False)], "i8"
        ),
        t=_join([batch.t for batch in batches], "i8"),
        import_wh=_join([batch.import_wh for batch in batches], "i8"),
        export_wh=_join([batch.export_wh for batch in batches], "i8"),
        status=_join([batch.status for batch in batches], "u1"),
        doubtful=_join([batch.clock_doubtful for batch in batches], "?"),
        what=what,
    )


def _decode(
    decoder: BatchDecoder,
    places: NDArray[np.int64],
    plaintexts: memoryview,
    lengths: np.ndarray,
    what: dict[int, str],
) -> list[tuple[NDArray[np.int64], DecodedBatch]]:
    """Decode; if that fails unforeseen, halve until the frame is alone that does it.

    Such a frame is malformed to us, whatever it is: one must not stop the others, nor the zone.
    """
    if not len(places):
        return []
    try:
        return [(places, decoder.decode(plaintexts, lengths))]
    except Exception as error:  # noqa: BLE001 - a fault in the decoder costs one frame, no more
        if len(places) == 1:
            what[int(places[0])] = f"decoder failed: {type(error).__name__}"
            return []
    half = len(places) // 2
    cut = int(lengths[:half].sum())
    first = _decode(decoder, places[:half], plaintexts[:cut], lengths[:half], what)
    return first + _decode(decoder, places[half:], plaintexts[cut:], lengths[half:], what)


def _join(arrays: Sequence[np.ndarray], dtype: str) -> np.ndarray:
    some = [array for array in arrays if len(array)]
    if len(some) == 1:
        return some[0].astype(dtype, copy=False)
    return np.concatenate(some).astype(dtype, copy=False) if some else np.zeros(0, dtype)
