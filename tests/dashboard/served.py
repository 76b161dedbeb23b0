"""The pages as a server of their own, and a browser to look at them, for tests and measurements."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ports import free_port

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
#: The attribute with which Streamlit says that a page is drawn.
DRAWN = "[data-testid=stApp][data-test-script-state=notRunning]"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return an environment with these settings and no others, results in ``results.db`` of the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TAPEWATCH_")}
    asked = {"sinks__sqlite__path": str(folder / "results.db"), **settings}
    return kept | {f"TAPEWATCH_{name.upper()}": value for name, value in asked.items()}


@contextlib.contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Serve the pages from a folder for as long as the block lasts, and give their address."""
    port = free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", str(APP), "--server.address", "127.0.0.1", "--server.port",
        str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    log = folder / "streamlit.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder, **settings), stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 280
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health"):  # noqa: S310
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(200)


def chromium() -> str | None:
    """Return the browser of the system, None without one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Give a headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()
