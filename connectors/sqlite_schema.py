"""The embedded results store: its tables, how it is opened, and what its errors mean to a person."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tapewatch.errors import UserError

#: Raised whenever a table changes; kept in ``PRAGMA user_version``.
SCHEMA_VERSION = 3
#: "tape" in ASCII, in the file's header: tells our files from those of other programs.
APPLICATION_ID = 0x74617065
#: Seconds that a writer waits for another one.
BUSY_SECONDS = 30.0

# Bars are clustered by what a chart asks for: a key and a width over a stretch of time. A table without
# rowid takes a quarter less room than one with a separate index, and is no slower to fill.
_TABLES = (
    """CREATE TABLE anomalies (
    id TEXT PRIMARY KEY NOT NULL, incident TEXT, revision INTEGER NOT NULL, flow TEXT NOT NULL,
    detector TEXT NOT NULL, dataset TEXT, publisher_id INTEGER, instrument_id INTEGER, key TEXT NOT NULL,
    symbol TEXT, ts_event INTEGER NOT NULL, ts_start INTEGER NOT NULL, ts_end INTEGER NOT NULL,
    severity REAL, score REAL, threshold REAL, observed REAL, expected REAL, reason TEXT NOT NULL,
    contributions TEXT NOT NULL, detected_at INTEGER NOT NULL, transaction_id TEXT, user_id TEXT, amount REAL,
    merchant_category TEXT, location TEXT, payment_method TEXT, risk_level TEXT)""",
    """CREATE TABLE bars (
    key TEXT NOT NULL, instrument_id INTEGER NOT NULL, dataset TEXT NOT NULL, width TEXT NOT NULL,
    ts_start INTEGER NOT NULL, ts_end INTEGER NOT NULL, open REAL, high REAL, low REAL, close REAL,
    volume INTEGER, trades INTEGER, vwap REAL, buy_volume INTEGER, sell_volume INTEGER, max_size INTEGER,
    final INTEGER NOT NULL,
    PRIMARY KEY (key, width, dataset, instrument_id, ts_start)) WITHOUT ROWID""",
    """CREATE TABLE scores (
    flow TEXT NOT NULL, detector TEXT NOT NULL, key TEXT NOT NULL, instrument_id INTEGER NOT NULL,
    ts_start INTEGER NOT NULL, ts_end INTEGER NOT NULL, score REAL, threshold REAL, severity REAL,
    PRIMARY KEY (key, detector, flow, instrument_id, ts_start, ts_end)) WITHOUT ROWID""",
    """CREATE TABLE profiles (
    user_id TEXT PRIMARY KEY NOT NULL, locations TEXT, merchant_categories TEXT, payment_methods TEXT,
    hours TEXT, amount_min REAL, amount_max REAL, amount_mean REAL, transactions INTEGER, anomalies INTEGER,
    threshold REAL, ts_first INTEGER, ts_last INTEGER, state TEXT)""",
    """CREATE TABLE judges (
    source TEXT NOT NULL, partition TEXT NOT NULL, version INTEGER NOT NULL, ts_last INTEGER NOT NULL,
    transactions INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (source, partition))""",
    """CREATE TABLE reviews (
    anomaly_id TEXT, transaction_id TEXT, label INTEGER NOT NULL CHECK (label IN (0, 1)), reviewer TEXT,
    notes TEXT, reviewed_at INTEGER NOT NULL,
    CHECK (anomaly_id IS NOT NULL OR transaction_id IS NOT NULL))""",
    """CREATE TABLE counters (
    flow TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL, name TEXT NOT NULL,
    value INTEGER NOT NULL, PRIMARY KEY (flow, source, partition, name)) WITHOUT ROWID""",
    """CREATE TABLE late (
    key TEXT NOT NULL, instrument_id INTEGER NOT NULL, dataset TEXT NOT NULL, ts_clock INTEGER NOT NULL,
    ordinal INTEGER NOT NULL, publisher_id INTEGER, ts_event INTEGER NOT NULL, ts_recv INTEGER, price REAL,
    size INTEGER, side TEXT, sequence INTEGER,
    PRIMARY KEY (key, dataset, instrument_id, ts_clock, ordinal)) WITHOUT ROWID""",
    """CREATE TABLE provisional (
    id TEXT PRIMARY KEY NOT NULL, flow TEXT NOT NULL, source TEXT NOT NULL, detector TEXT NOT NULL,
    key TEXT NOT NULL, instrument_id INTEGER NOT NULL, ts_start INTEGER NOT NULL, standing TEXT)
    WITHOUT ROWID""",
)
# Stores of this version may be older than these; they get them when they are next written. What is counted
# over time is read from the indices alone, without the rows.
_LATER_INDICES = (
    "CREATE INDEX IF NOT EXISTS anomalies_by_incident ON anomalies (incident)",
    "CREATE INDEX IF NOT EXISTS anomalies_by_start ON anomalies (ts_start)",
    "CREATE INDEX IF NOT EXISTS anomalies_over_time ON anomalies (ts_event, key, severity, detector)",
    "CREATE INDEX IF NOT EXISTS anomalies_of_key ON anomalies (key, ts_event, severity)",
    "CREATE INDEX IF NOT EXISTS anomalies_of_detector ON anomalies (detector, ts_event, severity)",
    *(f"DROP INDEX IF EXISTS anomalies_by_{name}" for name in ("time", "key", "detector")),
)
_INDICES = (
    "CREATE INDEX anomalies_by_severity ON anomalies (severity)",
    *_LATER_INDICES,
    "CREATE INDEX reviews_by_anomaly ON reviews (anomaly_id)",
    "CREATE INDEX reviews_by_transaction ON reviews (transaction_id)",
)
#: Names of the tables, as the contract lists them, our own last.
TABLES = ("anomalies", "bars", "scores", "profiles", "reviews", "late", "counters", "provisional", "judges")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Return a connection that writes to the store, which is created with its tables if it is not there.

    Raises
    ------
    UserError
        If the place cannot be written, or the file is not a store of this version.
    """
    path = path.absolute()
    if "\0" in str(path):
        raise UserError(f"`sinks.sqlite.path` must be the name of a file, was {str(path)!r}")
    if not path.parent.is_dir():
        raise UserError(f"`sinks.sqlite.path` is {path}, but {path.parent} is no directory; create it first")
    if path.is_dir():
        raise UserError(f"`sinks.sqlite.path` must be a file, but {path} is a directory")
    try:
        # Opened where a flow is built, and used by the worker that writes.
        connection = sqlite3.connect(
            _uri(path, "rwc"), uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
    except (sqlite3.Error, ValueError) as error:
        raise UserError(f"cannot open `sinks.sqlite.path` {path}: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise UserError(explain(error, path)) from error
    except UserError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # One transaction, so that what another process is making is seen whole or not at all.
    connection.execute("BEGIN")
    with committing(connection):
        state = _identity(connection)
    if state != (0, 0, 0):
        _check_identity(state, path)
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -2048")
    connection.execute("BEGIN IMMEDIATE")
    with committing(connection):
        # Another process may have made the tables since we looked.
        state = _identity(connection)
        if state == (0, 0, 0):
            _create_tables(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        else:
            _check_identity(state, path)
            for statement in _LATER_INDICES:
                connection.execute(statement)
    if state == (0, 0, 0):
        # The tables belong in the file itself: a log that stays behind is read with whatever takes its place.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in (*_TABLES, *_INDICES):
        connection.execute(statement)


def empty_store() -> sqlite3.Connection:
    """Return a store in memory without results: what the tables of this version look like."""
    connection = sqlite3.connect(":memory:")
    _create_tables(connection)
    return connection


@contextlib.contextmanager
def committing(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the open transaction at the end of the block, or undo all of it."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and the writer not block each other; SQLite does not wait by itself to change this."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, and neither waits for the writer nor makes it wait.

    Raises
    ------
    UserError
        If there is no store, or the file is not one of this version.
    """
    path = path.absolute()
    if not path.exists():
        raise UserError(
            f"there are no results at `sinks.sqlite.path` {path}; run the flow first: "
            "python -m bytewax.run flows.market:flow"
        )
    return open_store(path)


def open_store(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to any file that is a store of this version; else `UserError`."""
    if path.is_dir():
        raise UserError(f"{path} is a directory, not a results database")
    connection = None
    try:
        connection = _read_only(path)
        _check_identity(_identity(connection), path)
    except (sqlite3.Error, ValueError) as error:
        if connection is not None:
            connection.close()
        raise UserError(explain(error, path)) from error
    except UserError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _read_only(path: Path) -> sqlite3.Connection:
    def connect(mode: str) -> sqlite3.Connection:
        uri = _uri(path, mode)
        opened = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
        try:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            opened.close()
            raise
        return opened

    try:
        return connect("ro")
    except sqlite3.OperationalError:
        # On a read-only disk SQLite cannot lay its index of the log beside the file. Without a log nobody
        # is writing, and the file can be read as it is.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return connect("ro&immutable=1")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _identity(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return what tells stores apart: application id, schema version, number of tables and indices."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    entries = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return application, version, entries


def _check_identity(state: tuple[int, int, int], path: Path) -> None:
    application, version, _ = state
    if state == (0, 0, 0):
        raise UserError(f"{path} is an empty database; `tapewatch init sqlite` makes the tables")
    if application != APPLICATION_ID:
        raise UserError(
            f"{path} is a database of another program; `sinks.sqlite.path` must name a file of its own"
        )
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} holds results in schema version {version}, this program reads and writes version "
            f"{SCHEMA_VERSION}; move the file away, or use the version of tapewatch that wrote it"
        )


def is_busy(error: BaseException) -> bool:
    """Return whether another process holds the lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def explain(error: BaseException, path: Path) -> str:
    """Return one line on what is wrong with the store and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        cure = f"was locked by another program for more than {BUSY_SECONDS:g} s; end that program"
    elif code == sqlite3.SQLITE_FULL:
        cure = "cannot grow, the disk is full; make room, or `tapewatch prune --days N`"
    elif code == sqlite3.SQLITE_IOERR:
        cure = f"failed: {error}; look after the disk it is on, and its quotas"
    elif code == sqlite3.SQLITE_CORRUPT:
        cure = "is damaged; `tapewatch restore` a backup, or move the file away"
    elif code == sqlite3.SQLITE_NOTADB:
        cure = "is not a SQLite database; `sinks.sqlite.path` must name a database or a new file"
    elif code == sqlite3.SQLITE_READONLY:
        cure = "cannot be written; check the permissions of the file and of its directory"
    elif code == sqlite3.SQLITE_CANTOPEN:
        cure = "cannot be opened; check the permissions of the file and of its directory"
    else:
        cure = f"failed: {error}; `tapewatch doctor` looks for the cause"
    return f"the results database {path} {cure}"
