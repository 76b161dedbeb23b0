"""Seconds until each page is there, over 100,000 anomalies and 1,000,000 bars, in a headless Chromium.

``python -m benchmarks.dashboard [--elasticsearch URL]``: with SQLite and, where a server is, Elasticsearch.
A page is there when its script has ended, every chart is drawn and every table has its rows.
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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.dashboard_results import KEYS, results
from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.elasticsearch_upkeep import wipe
from connectors.sqlite import SqliteWriter
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_RUNS = 5
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
    "control": ("/control", 0),
}
_THERE = """charts => {
  const app = document.querySelector("[data-testid=stApp]");
  return app && app.dataset.testScriptState === "notRunning"
    && document.querySelectorAll("[data-testid=stVegaLiteChart] .marks").length >= charts
    && !document.querySelector("[data-testid=stSkeleton]")
    && document.querySelectorAll("button").length > 3;
}"""


@contextlib.contextmanager
def served(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """Serve the pages, and give their address."""
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
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def seconds(browser: Browser, url: str, charts: int) -> float:
    """Return how long a page takes from its address to its last chart."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    try:
        begun = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_function(_THERE, arg=charts, polling=20, timeout=60_000)
        return time.perf_counter() - begun
    finally:
        context.close()


def measure(folder: Path, settings: dict[str, str], name: str) -> None:
    """Print the table's rows of one store: the median and the slowest of some looks, after one."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with served(folder, settings) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for page, (path, charts) in _PAGES.items():
            first = seconds(browser, address + path, charts)
            taken = [seconds(browser, address + path, charts) for _ in range(_RUNS)]
            middle, slowest = statistics.median(taken), max(taken)
            print(f"| {name} | {page} | {middle:.2f} s | {slowest:.2f} s | {first:.2f} s |", flush=True)
        browser.close()


def main() -> int:
    """Fill the stores and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.dashboard")
    parser.add_argument("--elasticsearch", metavar="URL", help="a server whose indices of ours may be made")
    asked = parser.parse_args()
    print("| store | page | median | slowest | first look |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with SqliteWriter(folder / "results.db") as sqlite:
            for part in results():
                sqlite.write([part])
        measure(folder, {"TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "results.db")}, "SQLite")
        if asked.elasticsearch:
            settings = ElasticsearchSettings(url=asked.elasticsearch, index_prefix=_PREFIX)
            client = connect(settings)
            create(client, settings)
            elasticsearch = BulkWriter(client, settings)
            for part in results():
                elasticsearch.write([part])
            elasticsearch.refresh()
            place_of = "TAPEWATCH_SINKS__ELASTICSEARCH__"
            variables = {
                "TAPEWATCH_SINKS__KINDS": '["elasticsearch"]',
                f"{place_of}URL": settings.url,
                f"{place_of}INDEX_PREFIX": _PREFIX,
            }
            try:
                measure(folder, variables, "Elasticsearch")
            finally:
                wipe(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
