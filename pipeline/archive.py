"""Blobs by key on disk, in one SQLite file: what is there is whole, whatever became of the process that wrote it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from engines.base import EngineError
from pipeline.shelf import Place

log = logging.getLogger(__name__)

FILE = "speech.sqlite"
SCHEMA = 1  # another number: what an older version wrote is forgotten
BUSY = 0.5  # seconds for another process to finish its writing; longer, and nothing is written
JOURNAL = 4 << 20  # bytes that the journal may keep of the disk between writes
TABLE = "CREATE TABLE blob (key BLOB PRIMARY KEY, size INTEGER NOT NULL, stored REAL NOT NULL, used REAL NOT NULL, content BLOB NOT NULL)"


class ArchiveFailed(EngineError):
    """The disk does not do what it is asked for; ``str()`` says why."""


class ArchiveBusy(ArchiveFailed):
    """Another process is writing, and takes its time."""


class Archive:
    """Every method blocks, and belongs on the lane for disks; all raise :exc:`ArchiveFailed`.

    1. A blob is there as a whole or not at all: each write is a transaction.
    2. A file that is damaged, or of another version, is replaced by an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._database: sqlite3.Connection | None = None

    def open(self) -> list[Place]:
        """What is there."""
        with _border(self.path):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._open()
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:
                    raise  # locked, full, not writable: nothing is wrong with what is there
                log.warning("the file of cached speech is damaged and begun anew: %s", error)
                self._forget()
                return self._open()

    def _open(self) -> list[Place]:
        self.path.touch(mode=0o600)  # what was said is nobody else's business
        database = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the latest blobs, and breaks none
        database.execute(f"PRAGMA journal_size_limit = {JOURNAL}")
        with database:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone() != (SCHEMA,):
                database.execute("DROP TABLE IF EXISTS blob")
                database.execute(TABLE)
                database.execute(f"PRAGMA user_version = {SCHEMA}")
        return [Place(*row) for row in database.execute("SELECT key, size, stored, used FROM blob")]

    def read(self, key: bytes) -> bytes | None:
        with self._use() as database:
            row = database.execute("SELECT content FROM blob WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def write(self, key: bytes, content: bytes, *, stored: float, gone: Iterable[bytes], used: Mapping[bytes, float]) -> None:
        """At once with it ``gone`` are taken away, and it is noted when others were ``used``."""
        with self._use() as database, database:
            database.execute("BEGIN IMMEDIATE")
            _change(database, gone, used)
            database.execute("INSERT OR REPLACE INTO blob VALUES (?, ?, ?, ?, ?)", (key, len(content), stored, stored, content))

    def tidy(self, *, gone: Iterable[bytes], used: Mapping[bytes, float]) -> None:
        """The same without a new one."""
        with self._use() as database, database:
            database.execute("BEGIN IMMEDIATE")
            _change(database, gone, used)

    def clear(self) -> None:
        """Everything goes, and its room on the disk is given back."""
        with self._use() as database:
            database.execute("DELETE FROM blob")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _forget(self) -> None:
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        if self._database is None:
            raise ArchiveFailed(f"{self.path} is not open")
        with _border(self.path):
            try:
                yield self._database
            except sqlite3.DatabaseError as error:
                if type(error) is sqlite3.DatabaseError:
                    self._forget()  # it is damaged: the next start begins anew
                raise


def _change(database: sqlite3.Connection, gone: Iterable[bytes], used: Mapping[bytes, float]) -> None:
    database.executemany("DELETE FROM blob WHERE key = ?", [(key,) for key in gone])
    database.executemany("UPDATE blob SET used = ? WHERE key = ?", [(when, key) for key, when in used.items()])


@contextlib.contextmanager
def _border(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        is_busy = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
        raise (ArchiveBusy if is_busy else ArchiveFailed)(f"{path}: {error}") from error
