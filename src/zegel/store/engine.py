"""The engine of the readings: ClickHouse in this process (chDB), on an encrypted disk.

One path per process, and never fork once this module is imported: a forked child that queries
hangs. Nothing else in Zegel imports chDB.
"""

import errno
import hmac
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chdb
import numpy as np

from zegel.errors import ConfigError, StorageError, ZegelError
from zegel.node.switches import guard
from zegel.store.native import native_block
from zegel.store.schema import POLICY, STATEMENTS

__all__ = ["Engine", "Query"]

_CODE = re.compile(r"Code: (\d+)")
_SESSION = "optimize_on_insert=0&max_threads=2&max_insert_threads=1"
_CONFIG = """<clickhouse><storage_configuration>
<disks><plain><type>local</type><path>{root}/</path></plain>
<sealed><type>encrypted</type><disk>plain</disk>
<algorithm>AES_256_CTR</algorithm><key_hex>{key}</key_hex></sealed></disks>
<policies><{policy}><volumes><main><disk>{disk}</disk></main></volumes></{policy}></policies>
</storage_configuration></clickhouse>"""


class Query:
    """One connection of one thread. A connection with an open insert refuses queries."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def data(self, sql: str, form: str, parameters: Mapping[str, object] | None = None) -> bytes:
        """Run a query and return its whole result in a format of the engine.

        Raises:
            StorageError: the engine refused or failed.
        """
        try:
            result = self._connection.query(sql, form, params=dict(parameters or {}))
            data: bytes = result.bytes()
        except Exception as error:
            raise _failed("query", error) from error
        return data

    def run(self, sql: str) -> None:
        """Run a statement without a result."""
        self.data(sql, "Null")

    def rows(
        self, sql: str, dtype: np.dtype[np.void], parameters: Mapping[str, object] | None = None
    ) -> np.ndarray:
        """Return the rows of a query as (n,) of `dtype`.

        The columns must be of fixed width and stand in the order of `dtype`'s fields.
        """
        return np.frombuffer(self.data(sql, "RowBinary", parameters), dtype)

    def insert(
        self, table: str, types: Mapping[str, str], columns: Mapping[str, np.ndarray | bytes]
    ) -> None:
        """Insert one block, synced when this returns. A block of one month is all or nothing.

        The block goes through an anonymous file in memory: a streaming insert of chDB reports
        success even if the part could not be written (seen with a full disk).

        Raises:
            StorageError: whether the rows are in is not known: read back before a repeat.
        """
        names = ", ".join(types)
        kinds = _quoted(", ".join(f"{name} {kind}" for name, kind in types.items()))
        file = os.memfd_create("block", os.MFD_CLOEXEC)
        try:
            _write_all(file, native_block(types, columns))
            source = f"file('/proc/self/fd/{file}', 'Native', '{kinds}')"
            sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM {source}"  # noqa: S608 - constants
            self.run(sql)
        except OSError as error:
            raise StorageError("memory for a block", found=error.strerror) from error
        finally:
            os.close(file)

    def write_file(
        self, file: int, form: str, types: Mapping[str, str], blocks: Iterator[bytes]
    ) -> None:
        """Have the engine write one document of Native blocks into an open, empty file.

        Success means nothing here (see `insert`): the caller checks the document's end.

        Raises:
            StorageError: the engine failed, as far as it says so.
        """
        kinds = _quoted(", ".join(f"{name} {kind}" for name, kind in types.items()))
        target = f"FUNCTION file('/proc/self/fd/{file}', '{form}', '{kinds}')"
        try:
            inserter = self._connection.send_insert(f"INSERT INTO {target}", "Native")
        except Exception as error:
            raise _failed("document", error) from error
        try:
            for block in blocks:
                inserter.append(block)
            inserter.finish()
        except ZegelError:
            inserter.cancel()
            raise
        except Exception as error:
            inserter.cancel()
            raise _failed("document", error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Engine:
    """The open engine. `writer` is the pipeline's; every other thread asks for its own `query`.

    The disk key passes through an anonymous file in memory and is never written to a disk.

    Args:
        folder: the engine's own folder; made if absent.
        key: 32 bytes from the vault.
        max_memory: bytes that all queries and merges together may take.

    Raises:
        StorageError: another key than the one this folder was made with, or the engine failed.
    """

    def __init__(self, folder: Path, key: bytes, *, max_memory: int = 2_000_000_000) -> None:
        if set("?&") & set(str(folder)):
            raise ConfigError("data directory", where=str(folder), expected="no ? or & in it")
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_key(folder / "KEYCHECK", key)
        self._path = folder / "db"
        self.writer = Query(self._open(key, max_memory))
        try:
            for statement in STATEMENTS:
                self.writer.run(statement)
        except StorageError:
            self.writer.close()
            raise

    def _open(self, key: bytes, max_memory: int) -> Any:
        root = self.folder / "disk"
        root.mkdir(mode=0o700, exist_ok=True)
        config = os.memfd_create("engine", os.MFD_CLOEXEC)
        try:
            disk = "sealed" if guard("store.encrypted_disk") else "plain"
            text = _CONFIG.format(root=_xml(str(root)), key=key.hex(), policy=POLICY, disk=disk)
            os.write(config, text.encode())
            return _connect(
                f"{self._path}?config-file=/proc/self/fd/{config}&async_insert=0&{_SESSION}"
                f"&max_server_memory_usage={max_memory}&mark_cache_size=100000000"
            )
        except Exception as error:  # noqa: BLE001 - its message may quote the key
            code = _CODE.search(str(error))
            raise StorageError(
                "engine does not open", where=str(self._path), found=code[0] if code else "failure"
            ) from None
        finally:
            os.ftruncate(config, 0)
            os.close(config)

    @contextmanager
    def query(self) -> Iterator[Query]:
        """Give a connection of the calling thread."""
        try:
            query = Query(_connect(f"{self._path}?{_SESSION}"))
        except Exception as error:
            raise _failed("connection", error) from error
        try:
            yield query
        finally:
            query.close()

    def close(self) -> None:
        """Close the engine; running queries of other threads must have ended."""
        self.writer.close()


def _connect(where: str) -> Any:
    connect: Any = chdb.connect
    return connect(where)


def _check_key(path: Path, key: bytes) -> None:
    """Refuse another key before the engine sees it: it would set all parts aside as broken."""
    check = hmac.new(key, b"zegel store disk key check", "sha256").hexdigest()[:32]
    if path.exists():
        if not hmac.compare_digest(path.read_text(encoding="ascii").strip(), check):
            raise StorageError(
                "disk key", where=str(path.parent), expected="the key of this data", found="another"
            )
        return
    if (path.parent / "db").exists():
        raise StorageError("disk key check", where=str(path), expected="a file", found="none")
    draft = path.with_suffix(".new")
    with draft.open("w", encoding="ascii") as file:
        file.write(check)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(file: int, buffers: list[bytes | memoryview]) -> None:
    expected = sum(len(buffer) for buffer in buffers)
    written = os.writev(file, buffers)
    if written != expected:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _failed(what: str, error: Exception) -> StorageError:
    lines = str(error).splitlines() or [type(error).__name__]
    return StorageError(f"engine: {what}", found=lines[0][:300])


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
