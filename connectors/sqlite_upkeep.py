"""Looking after the embedded results store: emptying, pruning, saving and bringing back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from connectors.sqlite_schema import (
    BUSY_SECONDS,
    TABLES,
    committing,
    empty_store,
    explain,
    open_for_reading,
    open_for_writing,
    open_store,
)
from tapewatch.errors import UserError
from tapewatch.records import DAY

#: What a flow writes; reviews stay, and what is known of users and payments.
_RESULTS = ("anomalies", "bars", "scores", "late", "counters")


def create(path: Path) -> bool:
    """Make the tables; return whether there were none. `UserError` if the place cannot be written."""
    new = not path.exists() or path.stat().st_size == 0
    open_for_writing(path).close()
    return new


def wipe(path: Path) -> dict[str, int]:
    """Delete all results but keep reviews and profiles; return the number of rows deleted per table."""
    connection = open_for_writing(path)
    with contextlib.closing(connection), _explained(path):
        connection.execute("BEGIN IMMEDIATE")
        with committing(connection):
            deleted = {table: connection.execute(f"DELETE FROM {table}").rowcount for table in _RESULTS}  # noqa: S608
            connection.execute("DELETE FROM provisional")
        # The room goes back to the disk, unless a flow is at work.
        connection.execute("PRAGMA busy_timeout = 1000")
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return deleted


def prune(path: Path, days: int, now: int) -> dict[str, int]:
    """Delete results of event days (UTC) over ``days`` before the day of ``now`` (ns).

    These are anomalies, bars, scores, late records and the profiles of users who have not paid since, of
    which the number of rows deleted is returned.
    Each series of bars or scores is a transaction of its own, so that a flow never waits for long. The file
    keeps its size, and the room is used for new results.
    """
    if days < 0:
        raise UserError(f"`--days` must be a whole number of at least 0, was {days}")
    if not path.exists():
        open_for_reading(path)
    before = max((now // DAY - days) * DAY, -(2**63))
    connection = open_for_writing(path)
    deleted = {}
    with contextlib.closing(connection), _explained(path):
        deleted["anomalies"] = connection.execute(
            "DELETE FROM anomalies WHERE ts_event < ?", (before,)
        ).rowcount
        connection.execute("DELETE FROM provisional WHERE id NOT IN (SELECT id FROM anomalies)")
        for table, series in (
            ("bars", ("key", "width", "dataset", "instrument_id")),
            ("scores", ("key", "detector", "flow", "instrument_id")),
        ):
            names = ", ".join(series)
            where = " AND ".join(f"{name} = ?" for name in series)
            groups = connection.execute(
                f"SELECT DISTINCT {names} FROM {table} WHERE ts_start < ?",  # noqa: S608
                (before,),
            ).fetchall()
            deleted[table] = sum(
                connection.execute(
                    f"DELETE FROM {table} WHERE {where} AND ts_start < ?",  # noqa: S608
                    (*group, before),
                ).rowcount
                for group in groups
            )
        deleted["late"] = connection.execute("DELETE FROM late WHERE ts_event < ?", (before,)).rowcount
        deleted["profiles"] = connection.execute("DELETE FROM profiles WHERE ts_last < ?", (before,)).rowcount
    return deleted


def backup(path: Path, target: Path) -> int:
    """Write a consistent copy of the store to a new file, while a flow may be writing; return its bytes.

    Raises
    ------
    UserError
        If there is no store, or the target exists or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already; a backup needs a new file name")
    if not target.absolute().parent.is_dir():
        raise UserError(f"cannot write {target}: {target.absolute().parent} is no directory")
    source = open_for_reading(path)
    with contextlib.closing(source):
        part = _copy_beside(source, target)
        try:
            # A link, unlike a rename, never replaces a file that has appeared meanwhile.
            target.hardlink_to(part)
        except FileExistsError:
            raise UserError(f"{target} exists already; a backup needs a new file name") from None
        except OSError:
            # Some disks know no links.
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
    return target.stat().st_size


def restore(path: Path, saved: Path) -> dict[str, int]:
    """Replace the whole content of the store by a backup's, at once; return the number of rows per table.

    Readers see the old or the new content, never a mixture. A store that is damaged is replaced as a file.

    Raises
    ------
    UserError
        If the backup is not a whole and sound database of this program and version; nothing is changed then.
    """
    if not saved.is_file():
        raise UserError(f"cannot restore {saved}: it is no file")
    if path.exists() and path.samefile(saved):
        raise UserError(f"cannot restore {saved} onto itself; name a backup")
    source = open_store(saved)
    with contextlib.closing(source):
        rows = _sound(source, saved)
        try:
            target = open_for_writing(path)
        except UserError:
            if not _is_damaged(path):
                raise
            _replace_file(source, path)
            return rows
        with contextlib.closing(target):
            try:
                _copy(source, target)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
                    raise UserError(explain(error, path)) from error
                target.close()
                _replace_file(source, path)
    return rows


def _sound(source: sqlite3.Connection, saved: Path) -> dict[str, int]:
    """Return the number of rows per table of a backup, or refuse it."""
    try:
        report = source.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if report != "ok":
            raise UserError(f"cannot restore {saved}: it is damaged ({report})")
        with contextlib.closing(empty_store()) as model:
            for table in TABLES:
                if _columns(source, table) != _columns(model, table):
                    raise UserError(
                        f"cannot restore {saved}: its table `{table}` is not as this version has it"
                    )
        if source.execute("SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone():
            raise UserError(f"cannot restore {saved}: it has triggers or views, which a backup has not")
        return {
            table: source.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in TABLES
        }
    except sqlite3.Error as error:
        raise UserError(f"cannot restore {saved}: it is damaged ({error})") from error


def _columns(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f"PRAGMA table_info({table})").fetchall()


def _is_damaged(path: Path) -> bool:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return False


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    # All pages in one step: the copy is of one moment, and goes on from there whatever is written meanwhile.
    source.backup(target, pages=-1, progress=_patience(), sleep=0.05)


def _patience() -> Callable[[int, int, int], None]:
    deadline = time.monotonic() + BUSY_SECONDS

    def progress(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise UserError(
                f"the results database was locked by another program for more than {BUSY_SECONDS:g} s; "
                "stop the flow first"
            )

    return progress


def _copy_beside(source: sqlite3.Connection, place: Path) -> Path:
    """Return a new file in the directory of ``place`` with a copy of the store, safe on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.absolute().parent)
    os.close(handle)
    part = Path(name)
    try:
        target = sqlite3.connect(part, isolation_level=None)
        with contextlib.closing(target):
            _copy(source, target)
            # One file without a log beside it is easier to carry about.
            target.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {place}: {error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.chmod(0o644)
    return part


def _replace_file(source: sqlite3.Connection, path: Path) -> None:
    part = _copy_beside(source, path)
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    part.replace(path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(explain(error, path)) from error
