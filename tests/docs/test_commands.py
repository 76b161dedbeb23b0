"""Every command that the documentation shows works as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Pages whose commands need a broker.
_WITH_BROKER = {"kafka.md", "replay.md", "scaling.md"}
_BLOCKS = [
    pytest.param(block, page.name in _WITH_BROKER, id=f"{page.name}-{number}")
    for page in _PAGES
    for number, block in enumerate(_BLOCK.findall(page.read_text()))
    if not block.startswith("make ")
]


#: Stands before ``timeout``: it ends its command once nothing more is written, however long that takes.
_TIMEOUT = """#!{python}
import pathlib, signal, sqlite3, subprocess, sys, time
options = [word for word in sys.argv[1:] if word.startswith("--")]
seconds, *command = sys.argv[1 + len(options):]
limited = subprocess.Popen(["{timeout}", *options, "280", *command])

def counted():
    try:
        return sqlite3.connect("tapewatch.db").execute("SELECT sum(value) FROM counters").fetchone()[0] or 0
    except sqlite3.Error:
        return 0

over = pathlib.Path("over")
found, looked = 0, time.monotonic()
while limited.poll() is None:
    time.sleep(0.05)
    if time.monotonic() - looked > float(seconds) / 4:
        before, found, looked = found, counted(), time.monotonic()
        if before and before == found:
            # Those of the other processes of a cluster end theirs too.
            over.touch()
    if over.exists():
        limited.send_signal(signal.SIGTERM)
        break
sys.exit(limited.wait())
"""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return settings of a server for the pages whose commands need one."""
    if not request.node.callspec.id.startswith("elasticsearch"):
        return {}
    place = request.getfixturevalue("elasticsearch_settings")
    prefix = "TAPEWATCH_SINKS__ELASTICSEARCH__"
    return {f"{prefix}URL": place.url, f"{prefix}INDEX_PREFIX": place.index_prefix}


@pytest.mark.parametrize(("block", "with_broker"), _BLOCKS)
def test_commands_work(
    block: str, with_broker: bool, server: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if "timeout" in block:
        stub = tmp_path / "bin" / "timeout"
        stub.parent.mkdir()
        stub.write_text(_TIMEOUT.format(python=sys.executable, timeout=shutil.which("timeout")))
        stub.chmod(0o755)
        path = f"{stub.parent}{os.pathsep}{path}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    if with_broker:
        env["TAPEWATCH_KAFKA__BROKERS"] = request.getfixturevalue("broker").address
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env={**env, **server, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_each_table_has_a_head(page: Path) -> None:
    """A row behind an empty line is text to Markdown, and so are those that follow."""
    lines = [""]
    shown = True
    for line in page.read_text().splitlines():
        shown ^= line.startswith("```")
        lines.append(line if shown else "")
    heads = [
        number
        for number, line in enumerate(lines)
        if line.startswith("|") and not lines[number - 1].startswith("|")
    ]
    assert [number for number in heads if not re.fullmatch(r"[|\s:-]+", lines[number + 1])] == []
