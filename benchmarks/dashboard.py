"""Seconds until each page is there, and a new anomaly is seen, over 100,000 anomalies and 1,000,000 bars.

The pages of payments are over 100,000 anomalies of payments and 20,000 profiles.

``python -m benchmarks.dashboard [--elasticsearch URL]``: with SQLite and, where a server is, Elasticsearch.
In a headless Chromium. A page is there when its script has ended and every chart is drawn. The processor
time beside it holds on a busy machine, too; the first look of each page is with what the browser does not
yet know. An anomaly is seen when its cell of the monitor's lanes is drawn, counted from before it is written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import dashboard_payments
from benchmarks.dashboard_results import KEYS, newest, results
from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.elasticsearch_upkeep import wipe
from connectors.sqlite import SqliteWriter
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch
    from playwright.sync_api import BrowserContext

    from tapewatch.documents import Results

    Write = Callable[[Sequence[Results]], int]

_RUNS, _NEW_ONES = 3, 10
#: Of all cores; above it a server still works on what was written.
_IDLE_PERCENT = 4
_PREFIX = "tapewatch-benchmark"
_APP = Path(__file__).parents[1] / "dashboard" / "app.py"
#: A page, its address, and how many charts it has.
_PAGES = {
    "monitor": ("/", 4),
    "monitor, 30 days": ("/?range=30+days", 4),
    "monitor, all": ("/?range=all", 3),
    "anomalies": ("/anomalies", 1),
    "anomalies of a key": (f"/anomalies?key={KEYS[3]}&order=newest&range=30+days", 1),
    "one anomaly": (f"/anomalies?id={0:032x}", 4),
    "review": ("/review", 0),
    "models": ("/models", 2),
    "models, drift": ("/models?view=Drift", 3),
    "control": ("/control", 0),
}
_PAGES_OF_PAYMENTS = {
    "users": ("/users", 0),
    "a user": (f"/users?user={dashboard_payments.user(3)}", 6),
    "amounts": ("/amounts", 2),
    "amounts of 7 days": ("/amounts?range=7+days&by=Category", 2),
    "predict": ("/predict", 0),
    "batch": ("/batch", 0),
}
_THERE = """charts => {
  const app = document.querySelector("[data-testid=stApp]");
  return app && app.dataset.testScriptState === "notRunning"
    && document.querySelectorAll("[data-testid=stVegaLiteChart] .marks").length >= charts
    && !document.querySelector("[data-testid=stSkeleton]")
    && document.querySelectorAll("button").length > 3;
}"""


_SEEN = """reason => [...document.querySelectorAll("[data-testid=stVegaLiteChart] path[aria-label]")]
  .some(cell => cell.getAttribute("aria-label").includes(reason))"""


class Look(NamedTuple):
    """What it cost to see a page: seconds, and processor seconds of the server and of the page."""

    seconds: float
    server: float
    browser: float


@contextlib.contextmanager
def served(folder: Path, settings: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Serve the pages, and give their address and the server's process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TAPEWATCH_")}
    process = subprocess.Popen(
        [
            sys.executable, "-m", "streamlit", "run", str(_APP), "--server.address", "127.0.0.1",
            "--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false",
        ],
        cwd=folder, env=kept | settings | {"TAPEWATCH_DASHBOARD__CONTROL": "true"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"),
            ):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _cpu_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def look(context: BrowserContext, url: str, charts: int, server: int) -> Look:
    """Return what it costs to see a page, from its address to its last chart."""
    page = context.new_page()
    metrics = context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    before, begun = _cpu_seconds(server), time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function(_THERE, arg=charts, polling=20, timeout=60_000)
    taken = time.perf_counter() - begun
    told = {row["name"]: row["value"] for row in metrics.send("Performance.getMetrics")["metrics"]}
    found = Look(taken, _cpu_seconds(server) - before, told["TaskDuration"])
    page.close()
    return found


def seen_after(context: BrowserContext, url: str, write: Write) -> list[float]:
    """Return after how many seconds each of some new anomalies is on a monitor that is open."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function(_THERE, arg=4, polling=20, timeout=60_000)
    taken = []
    for number in range(_NEW_ONES):
        # At any moment between two looks.
        page.wait_for_timeout(1_000 + 370 * (number % 5))
        new = newest(number)
        begun = time.perf_counter()
        write([new])
        page.wait_for_function(_SEEN, arg=new.anomalies[0].reason, polling=20, timeout=60_000)
        taken.append(time.perf_counter() - begun)
    page.close()
    return taken


def measure(folder: Path, settings: dict[str, str], name: str, write: Write | None = None) -> str:
    """Print the table's rows of one store: medians of some looks, after a first one.

    Returns the line on how soon what ``write`` writes is seen; without it the pages of payments are looked
    at, and nothing is written.
    """
    pages = _PAGES_OF_PAYMENTS if write is None else _PAGES
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with served(folder, settings) as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        for page, (path, charts) in pages.items():
            first = look(context, address + path, charts, server)
            taken = [look(context, address + path, charts, server) for _ in range(_RUNS)]
            cells = [statistics.median(values) for values in zip(*taken, strict=True)]
            told = " | ".join(f"{value:.2f} s" for value in (*cells, first.seconds))
            print(f"| {name} | {page} | {told} |", flush=True)
        seen = [] if write is None else seen_after(context, address, write)
        browser.close()
    if not seen:
        return ""
    return f"| {name} | {statistics.median(seen):.2f} s | {max(seen):.2f} s |"


def _settled(client: Elasticsearch) -> None:
    """Wait, a minute at most, until the server no longer tidies up what was just written."""
    for _ in range(30):
        time.sleep(2)
        if all(
            node["process"]["cpu"]["percent"] < _IDLE_PERCENT
            for node in client.nodes.stats(metric="process")["nodes"].values()
        ):
            return


def main() -> int:
    """Fill the stores and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.dashboard")
    parser.add_argument("--elasticsearch", metavar="URL", help="a server whose indices of ours may be made")
    asked = parser.parse_args()
    print("| store | page | until drawn | CPU, server | CPU, page | first look |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with SqliteWriter(folder / "results.db") as sqlite:
            for part in results():
                sqlite.write([part])
            variables = {"TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "results.db")}
            seen = [measure(folder, variables, "SQLite", sqlite.write)]
        with SqliteWriter(folder / "payments.db") as sqlite:
            for part in dashboard_payments.results():
                sqlite.write([part])
        measure(folder, {"TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "payments.db")}, "SQLite")
        if asked.elasticsearch:
            settings = ElasticsearchSettings(url=asked.elasticsearch, index_prefix=_PREFIX)
            client = connect(settings)
            create(client, settings)
            elasticsearch = BulkWriter(client, settings)
            for part in results():
                elasticsearch.write([part])
            elasticsearch.refresh()
            _settled(client)
            place_of = "TAPEWATCH_SINKS__ELASTICSEARCH__"
            variables = {
                "TAPEWATCH_SINKS__KINDS": '["elasticsearch"]',
                f"{place_of}URL": settings.url,
                f"{place_of}INDEX_PREFIX": _PREFIX,
            }
            try:
                seen.append(measure(folder, variables, "Elasticsearch", elasticsearch.write))
                wipe(settings)
                create(client, settings)
                for part in dashboard_payments.results():
                    elasticsearch.write([part])
                elasticsearch.refresh()
                _settled(client)
                measure(folder, variables, "Elasticsearch")
            finally:
                wipe(settings)
        print("\n| store | a new anomaly is seen after | the last of them |\n|---|---|---|", *seen, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
