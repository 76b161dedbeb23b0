"""Every page in a real browser, on a filled store: what is clicked happens, and is in the store."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sqlite import SqliteWriter
from connectors.store_sqlite import SqliteStore

pytestmark = pytest.mark.xdist_group("browser")  # what they share takes seconds to make

pytest.importorskip("playwright")
make: Any = import_module("tests.connectors.made_results")
served: Any = import_module("tests.dashboard.served")

_MOST_MS = 200_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if served.chromium() is None:
        if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
            pytest.fail("there is no Chromium")
        pytest.skip("there is no Chromium")
    with served.browser() as running:
        yield running


def filled(folder: Path) -> Path:
    """Return the folder with two hours of two keys, and an incident of two anomalies."""
    volumes = [100 + number % 7 for number in range(120)]
    anomalies = [
        make.anomaly(
            number, key="QQQ" if number % 3 else "SPY", severity=50.0 + number, incident=f"{number // 2:032x}",
            reason=f"Finding {number} of the tape.",
        )
        for number in range(2, 48, 2)
    ]  # fmt: skip
    pair = [
        make.anomaly(
            90, key="SPY", severity=99.0, incident="pair", reason="Volume is 9 times what is usual."
        ),
        make.anomaly(
            91, key="SPY", severity=97.0, incident="pair", detector="price_jump", reason="It moved."
        ),
    ]
    tapes = [make.bars(*volumes, key="SPY"), make.bars(*volumes, key="QQQ")]
    scores = [make.scores(*(float(n % 6) for n in range(120)), key="SPY")]
    with SqliteWriter(folder / "results.db") as writer:
        parts = {"bars": tapes, "anomalies": [*anomalies, *pair], "scores": scores}
        writer.write([make.results(**parts, counters={"records": 4321})])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path)


@pytest.fixture(scope="module")
def only_read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of pages for the tests that write nothing."""
    with served.served(filled(tmp_path_factory.mktemp("read")), dashboard__control="true") as url:
        yield url


@pytest.fixture
def reading(browser: Any, only_read: str) -> Iterator[Any]:
    """Return a page of the browser like `page`, for a test that writes nothing."""
    yield from opened(browser, only_read)


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """Return a page of the browser; `page.at` is the address of the pages."""
    with served.served(folder, dashboard__control="true") as url:
        yield from opened(browser, url)


def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, **options)
    context.set_default_timeout(_MOST_MS)
    shown = context.new_page()
    problems: list[str] = []
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.at = url
    yield shown
    assert shown.locator("[data-testid=stException]").count() == 0
    assert problems == []
    context.close()


def go(page: Any, path: str = "/") -> None:
    page.goto(page.at + path)
    page.wait_for_selector(served.DRAWN)


def in_address(page: Any, name: str) -> str | None:
    # `page.url` is as old as the last question to the browser.
    found = parse_qs(urlsplit(page.evaluate("location.href")).query).get(name)
    return found[0] if found else None


def eventually(question: Any, wanted: Any = True) -> None:
    deadline = time.monotonic() + _MOST_MS / 1000
    while question() != wanted:
        assert time.monotonic() < deadline, (question(), wanted)
        time.sleep(0.05)


def follow(page: Any, opened: Callable[[], object], part: Any, link: Any) -> None:
    """Click on a part of a picture and then on the link that this shows, if need be on a page drawn anew.

    A click that comes while the first picture is replaced is lost, or meets another part.
    """
    from playwright.sync_api import TimeoutError as LateError

    for _ in range(5):
        opened()
        part.wait_for(state="attached")
        page.wait_for_selector(served.DRAWN)
        page.wait_for_timeout(1500)
        part.click(force=True)
        with suppress(LateError):
            link.click(timeout=_MOST_MS / 5)
            return
    pytest.fail("no click was answered")


def reviews(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        return connection.execute(
            "SELECT anomaly_id, label, reviewer, notes FROM reviews ORDER BY 1"
        ).fetchall()


def test_the_monitor_shows_everything_and_lanes_can_be_clicked(reading: Any) -> None:
    page = reading
    go(page)
    page.get_by_text("4,321").wait_for()
    charts = page.locator("[data-testid=stVegaLiteChart]")
    eventually(charts.count, 4)
    assert in_address(page, "key") is None
    # The second lane is the other key's; its first cells are at the left.
    lanes = charts.nth(0)
    cells = lanes.locator("svg path[aria-label*='QQQ']")
    eventually(lambda: cells.count() > 1)
    follow(page, lambda: go(page), cells.first, page.get_by_text("Anomalies of QQQ in"))
    page.wait_for_url("**/anomalies?*")
    eventually(lambda: in_address(page, "key"), "QQQ")
    page.get_by_text("Finding").first.wait_for()
    assert page.get_by_text("SPY").count() == 0


def test_a_new_anomaly_is_seen_on_the_monitor(page: Any, folder: Path) -> None:
    go(page)
    page.get_by_text("4,321").wait_for()
    page.get_by_test_id("stDataFrame").last.wait_for()
    with SqliteWriter(folder / "results.db") as writer:
        late = make.anomaly(119, key="QQQ", severity=88.0, reason="Something has just happened.")
        writer.write([make.results(anomalies=[late], counters={"records": 5000})])
    page.locator("svg path[aria-label*='Something has just happened']").first.wait_for(state="attached")
    numbers = count(5001)

    def received() -> bool:
        with SqliteWriter(folder / "results.db") as writer:
            writer.write([make.results(counters={"records": next(numbers)})])
        page.wait_for_timeout(1000)
        return bool(page.get_by_text("Receiving").count())

    # What came is called so for some seconds, which a busy machine may sleep through.
    eventually(received)


def test_anomalies_are_searched_opened_and_reviewed(page: Any, folder: Path) -> None:
    go(page, "/anomalies")
    lines = page.locator("[data-testid=stExpander]")
    eventually(lines.count, 20)
    page.get_by_role("button", name="Next").click()
    eventually(lines.count, 4)
    assert in_address(page, "after")
    page.get_by_role("button", name="Back").click()
    eventually(lines.count, 20)

    page.get_by_placeholder("words of the reason or the key").fill("9 times")
    page.keyboard.press("Enter")
    eventually(lambda: in_address(page, "q"), "9 times")
    eventually(lines.count, 1)
    lines.first.click()
    page.get_by_text("It moved").wait_for()
    lines.first.get_by_role("button", name="Open").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Volume is 9 times what is usual").first.wait_for()
    assert in_address(page, "id") == f"{90:032x}"
    eventually(dialog.locator("[data-testid=stVegaLiteChart]").count, 4)

    dialog.get_by_placeholder("your name").fill("ana")
    dialog.get_by_placeholder("optional").fill("a *real* one")
    dialog.get_by_role("button", name="Confirm").click()
    dialog.get_by_text("a *real* one").wait_for()
    eventually(lambda: reviews(folder), [(f"{90:032x}", 1, "ana", "a *real* one")])
    dialog.get_by_role("button", name="Close").click()
    eventually(lambda: in_address(page, "id"), None)
    assert in_address(page, "q") == "9 times"


def test_an_address_leads_to_what_it_names(reading: Any) -> None:
    page = reading
    go(page, f"/anomalies?key=QQQ&least=70&order=oldest&id={4:032x}")
    page.get_by_role("dialog").get_by_text("Finding 4 of the tape").first.wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    found = page.locator("[data-testid=stExpander]")
    eventually(lambda: "Finding 20" in found.first.inner_text())
    assert (in_address(page, "key"), in_address(page, "least")) == ("QQQ", "70")
    eventually(lambda: in_address(page, "id"), None)
    go(page, "/anomalies?id=none")
    page.get_by_text("not stored").wait_for()


def test_models_are_compared_and_an_address_leads_to_a_view(reading: Any) -> None:
    page = reading
    charts = page.locator("[data-testid=stVegaLiteChart]")
    go(page, "/models")
    page.get_by_text("Who finds how much").first.wait_for()
    eventually(charts.count, 2)
    page.get_by_role("radio", name="Confusion").or_(page.get_by_role("button", name="Confusion")).click()
    eventually(lambda: in_address(page, "view"), "Confusion")
    eventually(charts.locator("svg").get_by_text("untouched bars").count, 2)
    go(page, "/models?view=Curves&curve=pattern")
    eventually(charts.locator("svg path[aria-roledescription='line mark']").count, 10)
    go(page, "/models?view=Drift&detector=high_volume")
    eventually(charts.count, 3)
    # A time axis without a scale has no times.
    eventually(lambda: "NaN" not in "".join(charts.nth(at).inner_html() for at in range(3)))
    eventually(lambda: "values from 0" in charts.nth(1).inner_html())


def test_what_is_exported_is_what_is_shown(reading: Any) -> None:
    page = reading
    go(page, "/anomalies?key=SPY&order=newest")
    with page.expect_download() as coming:
        page.get_by_role("button", name="CSV").click()
    lines = Path(coming.value.path()).read_text().splitlines()
    assert lines[0].startswith("id,incident,revision,flow,detector")
    assert len(lines) == 1 + 2 + len([n for n in range(2, 48, 2) if n % 3 == 0])
    assert lines[1].startswith(f"{91:032x},pair,")


def test_the_queue_is_worked_off(page: Any, folder: Path) -> None:
    go(page, "/review")
    page.get_by_placeholder("your name").fill("ben")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Confirm all 2").click()
    eventually(lambda: reviews(folder), [(f"{n:032x}", 1, "ben", None) for n in (90, 91)])
    page.get_by_text("Precision by detector").wait_for()
    eventually(page.get_by_role("button", name="Confirm all 2").count, 0)
    page.get_by_role("button", name="False alarm").first.click()
    eventually(lambda: len(reviews(folder)), 3)
    with SqliteStore(folder / "results.db") as store:
        assert {row["confirmed"] for row in store.verdicts()} == {1}
    eventually(lambda: page.get_by_text("confirmed").count() > 1)


def test_a_flow_is_started_and_stopped(page: Any, folder: Path) -> None:
    session = simulate(MarketSimulation(symbols=3, minutes=10))
    write_dbn(folder / "day.dbn.zst", session.records, session.symbols)
    go(page, "/control?source=files")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("no files are named").wait_for()
    page.get_by_role("textbox", name="Files").fill("day.dbn.zst")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("done after").wait_for()
    with SqliteStore(folder / "results.db") as store:
        assert store.totals()["records"] == 4321 + len(session.records)
    # At the market's own pace it takes ten minutes.
    page.get_by_role("spinbutton", name="Speed").fill("1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start").click()
    # Streamlit has one of its own, in the head of the page while it works.
    stop = page.get_by_test_id("stMain").get_by_role("button", name="Stop")
    stop.click()
    page.get_by_text("after").first.wait_for()
    eventually(stop.count, 0)


def test_every_page_fits_a_phone(browser: Any, only_read: str) -> None:
    for page in opened(browser, only_read, is_mobile=True, has_touch=True):
        page.set_viewport_size({"width": 390, "height": 800})
        views = ("/models", "/models?view=Curves", "/models?view=Cards", "/models?view=Drift")
        for path in ("/", "/anomalies", "/review", *views, "/control", f"/anomalies?id={90:032x}"):
            go(page, path)
            page.wait_for_timeout(1000)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, path


def test_without_the_password_nothing_is_shown(browser: Any, folder: Path) -> None:
    with served.served(folder, dashboard__token="hunter2") as url:  # noqa: S106
        for page in opened(browser, url):
            go(page, f"/anomalies?id={90:032x}")
            field = page.get_by_role("textbox", name="Password")
            field.fill("wrong")
            page.get_by_role("button", name="Enter").click()
            page.get_by_text("That is not the password").wait_for()
            assert page.get_by_text("Finding").count() == 0
            field.fill("hunter2")
            page.get_by_role("button", name="Enter").click()
            page.get_by_role("dialog").get_by_text("Volume is 9 times").first.wait_for()
            assert page.get_by_text("Control").count() == 0
