"""Opening uplink frames (rule V6): a closed list of checks at fixed places, no parser.

A frame is opened only if, in this order,

1. its system title has a key in use here, and is not the centre's own: UNKNOWN_METER;
2. its security control is exactly 0x30 (authenticated and encrypted) with the suite of that
   key: NOT_AUTHENTICATED;
3. it is at least as long as a tag: MALFORMED;
4. the tag fits, over security control, authentication key and ciphertext: BAD_TAG.

What fails at 2 or 4 is tried under the meter's other key, where it has one (`Rotation`).

No byte of a plaintext leaves before its tag was checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from numpy.typing import NDArray

from zegel.calls.shipment import TITLE_BYTES
from zegel.calls.vault import Opened, OpenFrames, OpenVerdict
from zegel.errors import DamagedError, MalformedError
from zegel.node.health import HealthState
from zegel.node.switches import guard
from zegel.vault.key_table import ENVELOPE, KeyTable
from zegel.vault.keys import Kind, associated
from zegel.vault.providers import Provider
from zegel.vault.rotation import Rotation

__all__ = ["TAG_BYTES", "Batch", "Opener"]

TAG_BYTES = 12  # COSEM cuts the tag of GCM to 96 bits
AUTHENTICATED_ENCRYPTED = 0x30
_CONTROL = [bytes((n,)) for n in range(256)]
_BOUND = np.frombuffer(associated(bytes(TITLE_BYTES), Kind.UNICAST, 0), np.uint8)
_TITLE_AT = 5  # in what an envelope is bound to: "zegel", title, kind, version


@dataclass(frozen=True, slots=True)
class Batch:
    """The arrays of an `OpenFrames` call, checked against one another.

    `frame_ids` (n,) u64; `titles` (n, 8) u8; `controls` (n,) u8; `nonces` (n, 12) u8: title
    and big-endian invocation counter; `ends` (n,) int64: where each frame ends in `sealed`;
    `lengths` (n,) int64.
    """

    frame_ids: NDArray[np.uint64]
    titles: NDArray[np.uint8]
    controls: NDArray[np.uint8]
    nonces: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    ends: NDArray[np.int64]
    sealed: memoryview

    def __len__(self) -> int:
        return len(self.controls)

    @classmethod
    def read(cls, call: OpenFrames) -> "Batch":
        """Take the arrays of a call.

        Raises:
            MalformedError: arrays that contradict one another. Nothing is opened.
        """
        n = len(call.controls)
        for name, array, width in (
            ("frame_ids", call.frame_ids, 8),
            ("titles", call.titles, TITLE_BYTES),
            ("counters", call.counters, 4),
            ("lengths", call.lengths, 4),
        ):
            if len(array) != n * width:
                expected, found = f"{n} x {width} bytes", f"{len(array)} bytes"
                raise MalformedError(f"OpenFrames.{name}", expected=expected, found=found)
        lengths = np.frombuffer(call.lengths, "<u4").astype(np.int64)
        ends = np.cumsum(lengths)
        sealed = memoryview(call.sealed)
        total = int(ends[-1]) if n else 0
        if total != len(sealed):
            expected, found = f"{total} bytes", f"{len(sealed)} bytes"
            raise MalformedError("OpenFrames.sealed", expected=expected, found=found)
        titles = np.frombuffer(call.titles, np.uint8).reshape(n, TITLE_BYTES)
        nonces = np.empty((n, 12), np.uint8)
        nonces[:, :TITLE_BYTES] = titles
        counters = np.frombuffer(call.counters, "<u4").astype(">u4")
        nonces[:, TITLE_BYTES:] = counters.view(np.uint8).reshape(n, 4)
        frame_ids = np.frombuffer(call.frame_ids, "<u8").astype(np.uint64)
        controls = np.frombuffer(call.controls, np.uint8)
        return cls(frame_ids, titles, controls, nonces, lengths, ends, sealed)


@dataclass(slots=True, eq=False)
class _Work:
    """An answer while it is made.

    `verdicts` (n,) u8; `versions` (n,) u16, of the key that a frame was tried with, 0 for none;
    `plaintexts` of the frames that are OK, in their order. `used` holds keys, and only in the
    control of the claim that they stay here.
    """

    verdicts: NDArray[np.uint8]
    versions: NDArray[np.uint16]
    plaintexts: list[bytes]
    used: list[bytes]

    @classmethod
    def begin(cls, batch: Batch, table: KeyTable, rows: NDArray[np.int64]) -> "_Work":
        """Judge what needs no cipher."""
        known = rows >= 0
        verdicts = _checks(batch, table, rows)
        versions = np.zeros(len(batch), "<u2")
        versions[known] = table.versions[rows[known]]
        return cls(verdicts, versions, [], [])

    def refused(self) -> NDArray[np.int64]:
        """Return the frames that another key of their meter might open."""
        bad_tag = self.verdicts == OpenVerdict.BAD_TAG
        return np.flatnonzero(bad_tag | (self.verdicts == OpenVerdict.NOT_AUTHENTICATED))

    def take(self, other: "_Work") -> NDArray[np.int64]:
        """Take what is OK in another work, none of it OK here; return the frames."""
        places = np.flatnonzero(other.verdicts == OpenVerdict.OK)
        here = np.flatnonzero(self.verdicts == OpenVerdict.OK)
        order = np.argsort(np.concatenate((here, places)))
        both = self.plaintexts + other.plaintexts
        self.plaintexts = [both[i] for i in order.tolist()]
        self.verdicts[places], self.versions[places] = OpenVerdict.OK, other.versions[places]
        self.used += other.used
        return places


class Opener:
    """Opens batches of frames with the keys of a table. One thread only."""

    def __init__(
        self,
        table: KeyTable,
        provider: Provider,
        own_title: bytes,
        health: HealthState,
        rotation: Rotation | None = None,
    ) -> None:
        self._table, self._provider, self._health = table, provider, health
        self._own = np.uint64(int.from_bytes(own_title, "big"))
        self._rotation = rotation

    def open(self, batch: Batch) -> tuple[Opened, NDArray[np.uint8]]:
        """Open every frame that passes; return the answer and its verdicts (n,) u8.

        Raises:
            StorageError: a meter has switched to its new key, and that cannot be kept.
        """
        rows = self._rows(batch)
        work = _Work.begin(batch, self._table, rows)
        self._decipher(batch, self._table, rows, work)
        if self._rotation is not None:
            self._try_others(batch, rows, work, self._rotation)
        opened = work.verdicts == OpenVerdict.OK
        lengths = np.where(opened, batch.lengths - TAG_BYTES, 0).astype("<u4")
        answer = Opened(
            verdicts=work.verdicts.tobytes(),
            versions=work.versions.tobytes(),
            lengths=lengths.tobytes(),
            plaintexts=memoryview(b"".join(work.plaintexts + work.used)),
        )
        return answer, work.verdicts

    def _try_others(
        self, batch: Batch, rows: NDArray[np.int64], work: "_Work", rotation: Rotation
    ) -> None:
        """Try what the active keys do not open under new keys, and under replaced ones."""
        if not len(batch) or not rotation.may_help(batch.frame_ids):
            return
        refused = work.refused()
        if not len(refused):
            return
        titles = batch.titles[refused].view(">u8").ravel().astype(np.uint64)
        table, found = rotation.new(titles, rows[refused])
        switched = self._try_table(batch, table, refused, found, work)
        if len(switched):
            rotation.switch(switched, batch.frame_ids.max())
        table, found = rotation.replaced(titles, batch.frame_ids[refused])
        self._try_table(batch, table, refused, found, work)

    def _try_table(
        self,
        batch: Batch,
        table: KeyTable,
        places: NDArray[np.int64],
        found: NDArray[np.int64],
        work: "_Work",
    ) -> NDArray[np.int64]:
        """Try the frames at `places` with the rows `found`; return the rows that opened some."""
        rows = np.full(len(batch), -1, np.int64)
        rows[places] = np.where(work.verdicts[places] == OpenVerdict.OK, -1, found)
        if not (rows >= 0).any():
            return rows[:0]
        again = _Work.begin(batch, table, rows)
        self._decipher(batch, table, rows, again)
        return rows[work.take(again)]

    def _rows(self, batch: Batch) -> NDArray[np.int64]:
        """Return the row of each frame's key, -1 where there is none: (n,) int64."""
        numbers = batch.titles.view(">u8").ravel().astype(np.uint64)
        rows = self._table.find(numbers)
        rows[numbers == self._own] = -1  # the title on the frame is never ours
        return rows

    def _decipher(
        self,
        batch: Batch,
        table: KeyTable,
        rows: NDArray[np.int64],
        work: "_Work",
    ) -> None:
        """Add the plaintexts of the frames that passed and whose tag fits.

        The others of them get their verdict.
        """
        check_tag, keys_stay = guard("vault.tag"), guard("vault.keys_stay")
        unwrap, sealed = self._provider.unwrap, batch.sealed
        verdicts, plaintexts, used = work.verdicts, work.plaintexts, work.used
        passed = np.flatnonzero(verdicts == OpenVerdict.OK)
        frames = self._each(batch, table, rows, passed)
        for i, envelope, bound, control, nonce, tag, start, end in frames:
            try:
                keys = unwrap(envelope, bound)
            except DamagedError as error:
                verdicts[i] = OpenVerdict.UNKNOWN_METER
                self._health.set("damaged_key", f"key of {nonce[:TITLE_BYTES].hex()}: {error}")
                continue
            half = len(keys) >> 1
            cipher = Cipher(AES(keys[:half]), GCM(nonce, tag, TAG_BYTES)).decryptor()
            cipher.authenticate_additional_data(control + keys[half:])
            plaintext = cipher.update(sealed[start:end])
            if check_tag:
                try:
                    cipher.finalize()
                except InvalidTag:
                    verdicts[i] = OpenVerdict.BAD_TAG
                    continue
            plaintexts.append(plaintext)
            if not keys_stay:
                used.append(keys)

    def _each(
        self,
        batch: Batch,
        table: KeyTable,
        rows: NDArray[np.int64],
        passed: NDArray[np.int64],
    ) -> Iterator[tuple[int, bytes, bytes, bytes, bytes, bytes, int, int]]:
        """Return what the cipher needs of each frame.

        Number, envelope, what that is bound to, security control, nonce, tag, and where the
        ciphertext starts and ends in `sealed`.
        """
        taken = rows[passed]
        bounds = np.tile(_BOUND, (len(passed), 1))
        bounds[:, _TITLE_AT : _TITLE_AT + TITLE_BYTES] = batch.titles[passed]
        bounds[:, -2:] = table.versions[taken].astype(">u2").view(np.uint8).reshape(-1, 2)
        ends = batch.ends[passed] - TAG_BYTES
        starts = ends + TAG_BYTES - batch.lengths[passed]
        tags = np.frombuffer(batch.sealed, np.uint8)[ends[:, None] + np.arange(TAG_BYTES)]
        controls = [_CONTROL[control] for control in batch.controls[passed].tolist()]
        return zip(
            passed.tolist(),
            _envelopes(table.envelopes[taken], ENVELOPE[table.suites[taken]]),
            _strings(bounds),
            controls,
            _strings(batch.nonces[passed]),
            _strings(tags),
            starts.tolist(),
            ends.tolist(),
            strict=True,
        )


def _checks(batch: Batch, table: KeyTable, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Judge what needs no cipher: (n,) u8 verdicts."""
    known = rows >= 0
    wanted = np.zeros(len(batch), np.uint8)
    wanted[known] = AUTHENTICATED_ENCRYPTED | table.suites[rows[known]]
    verdicts = np.full(len(batch), OpenVerdict.OK, np.uint8)
    verdicts[batch.lengths < TAG_BYTES] = OpenVerdict.MALFORMED
    verdicts[batch.controls != wanted] = OpenVerdict.NOT_AUTHENTICATED
    verdicts[~known] = OpenVerdict.UNKNOWN_METER
    return verdicts


def _strings(rows: NDArray[np.uint8]) -> list[bytes]:
    """Return each row of a (n, m) matrix as bytes."""
    strings: list[bytes] = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel().tolist()
    return strings


def _envelopes(rows: NDArray[np.uint8], sizes: NDArray[np.int64]) -> list[bytes]:
    """Return each row of a (n, ENVELOPE_BYTES) matrix, cut to its size."""
    if len(rows) and (sizes == sizes[0]).all():
        return _strings(rows[:, : int(sizes[0])])
    return [row[:size] for row, size in zip(_strings(rows), sizes.tolist(), strict=True)]
