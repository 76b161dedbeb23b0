"""What is written is DBN that others read, whole or growing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import databento
import numpy as np
import pytest
import zstandard

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Label, Session, labels_path, read_labels, write_labels
from tapewatch.errors import UserError
from tapewatch.records import SECOND, TRADE, Array


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(MarketSimulation(symbols=3, minutes=395, anomalies=(), trades_per_minute=20))


def decoded(raw: bytes) -> Array:
    length = int.from_bytes(raw[4:8], "little")
    body = raw[8 + length :]
    return np.frombuffer(body[: len(body) // TRADE.itemsize * TRADE.itemsize], TRADE)


# Databento's own use of pandas.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("name", ["day.dbn", "day.dbn.zst"])
def test_databento_reads_it(tmp_path: Path, session: Session, name: str) -> None:
    path = tmp_path / name
    write_dbn(path, session.records, session.symbols)
    store = databento.DBNStore.from_file(path)
    assert store.metadata.version == 3
    assert store.dataset == "XSIM.TAPE"
    assert (str(store.schema), str(store.stype_in)) == ("trades", "raw_symbol")
    assert np.array_equal(store.to_ndarray(), session.records)
    frame = store.to_df()
    assert set(frame["symbol"]) == set(session.symbols.values())
    assert len(frame) == len(session.records)
    assert [len(intervals) for intervals in store.mappings.values()] == [2, 2, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_records_are_the_same_bytes(tmp_path: Path, session: Session) -> None:
    for name in ("a.dbn.zst", "b.dbn.zst"):
        write_dbn(tmp_path / name, session.records, session.symbols)
    assert (tmp_path / "a.dbn.zst").read_bytes() == (tmp_path / "b.dbn.zst").read_bytes()


def test_no_records_are_a_header(tmp_path: Path) -> None:
    path = tmp_path / "none.dbn.zst"
    write_dbn(path, np.zeros(0, TRADE), {7: "SPY"})
    assert len(databento.DBNStore.from_file(path).to_ndarray()) == 0


@pytest.mark.parametrize("name", ["live.dbn", "live.dbn.zst"])
def test_a_paced_file_can_be_followed(
    tmp_path: Path, session: Session, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    records = session.records[:60]
    passed = (records["ts_recv"] - records["ts_recv"][0]).astype(np.float64) / SECOND
    now, lengths = [0.0], []

    def look(seconds: float) -> None:
        """Follow the file while the writer sleeps; time is what it has slept, a second for the whole tape."""
        raw = path.read_bytes()
        if name.endswith(".zst"):
            raw = zstandard.ZstdDecompressor().decompressobj().decompress(raw) if raw else b""
        lengths.append(len(decoded(raw)) if len(raw) > 8 else 0)
        due = np.count_nonzero(passed / passed[-1] <= now[0])
        assert lengths[-1] == due
        now[0] += seconds

    monkeypatch.setattr("connectors.dbn_writer.time", SimpleNamespace(monotonic=lambda: now[0], sleep=look))
    write_dbn(path, records, session.symbols, speed=float(passed[-1]))
    assert 1.0 <= now[0] < 1.2
    assert len(set(lengths)) > 10
    assert lengths == sorted(lengths)
    assert np.array_equal(databento.DBNStore.from_file(path).to_ndarray(), records)


def test_a_night_passes_at_once(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    second_day = np.searchsorted(session.records["ts_recv"], session.hours[1][0])
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr("connectors.dbn_writer.time", clock)
    around = session.records[second_day - 2 : second_day + 2]
    write_dbn(tmp_path / "night.dbn", around, session.symbols, speed=1000.0)
    assert sum(slept) < 3


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.csv", "must end in .dbn or .dbn.zst"),
        ("missing/a.dbn", "there is no directory"),
        ("dir.dbn", "it is a directory"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, path: str, line: str) -> None:
    (tmp_path / "dir.dbn").mkdir()
    with pytest.raises(UserError, match=line):
        write_dbn(tmp_path / path, np.zeros(0, TRADE), {})


def test_labels_survive_their_file(tmp_path: Path) -> None:
    path = labels_path(tmp_path / "a.dbn.zst")
    labels = (Label("A", "gap", 1, 2), Label("B", "bad_tick", 1, 5))
    write_labels(path, labels)
    assert path.name == "a.dbn.zst.labels.csv"
    assert read_labels(path) == labels


@pytest.mark.parametrize("text", ["", "key,kind\n", "key,kind,ts_start,ts_end\nA,gap,x,2\n", "\xff"])
def test_other_files_are_no_labels(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"labels\.csv must"):
        read_labels(path)
