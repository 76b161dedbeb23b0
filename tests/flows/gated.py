"""Files of which a flow reads no further than a test allows: what has to happen in the midst of a run does."""

from __future__ import annotations

from pathlib import Path

#: Python that the flow's process runs first.
GATED = """
import pathlib
from datetime import UTC, datetime, timedelta
import connectors.files
from tapewatch import stopping

def next_batch(self, ungated=connectors.files.FilesPartition.next_batch):
    allowed = int(pathlib.Path("allowed").read_text())
    if self._state.counters.get("records", 0) < allowed or stopping.stopping():
        return ungated(self)
    self._awake = datetime.now(UTC) + timedelta(milliseconds=50)
    return []

connectors.files.FilesPartition.next_batch = next_batch
"""


def allow(folder: Path, records: int) -> None:
    """Let the flow in a folder read on until it has so many records of each chain, or a batch more."""
    (folder / "allowed.new").write_text(str(records))
    (folder / "allowed.new").replace(folder / "allowed")
