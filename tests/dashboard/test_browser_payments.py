"""The pages of payments in a real browser, over what a transaction flow has left."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.sqlite import SqliteWriter
from connectors.store_elasticsearch import ElasticsearchStore
from dashboard.uploads import EXAMPLE

pytestmark = pytest.mark.xdist_group("browser of payments")  # what they share takes seconds to make

pytest.importorskip("playwright")
pages: Any = import_module("tests.dashboard.test_browser")
served: Any = import_module("tests.dashboard.served")
stored: Any = import_module("tests.scoring.stored")
browser = pages.browser
opened, go, in_address, eventually = pages.opened, pages.go, pages.in_address, pages.eventually

_JUDGED = 1_000


@pytest.fixture(scope="module")
def judged() -> list[Any]:
    """Return what a transaction flow leaves in a store."""
    flow = stored.Flow()
    return [*flow.until(_JUDGED), *flow.known()]


@pytest.fixture(scope="module")
def payments(judged: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of pages over what a transaction flow has left."""
    folder = tmp_path_factory.mktemp("payments")
    with SqliteWriter(folder / "results.db") as writer:
        writer.write(judged)
    with served.served(folder) as url:
        yield url


@pytest.fixture
def paying(browser: Any, payments: str) -> Iterator[Any]:
    """Return a page of the browser over payments."""
    yield from opened(browser, payments)


def test_a_user_is_found_and_a_payment_compared_with_others(paying: Any) -> None:
    page = paying
    go(page, "/users")
    # The first row, under the head.
    page.get_by_test_id("stDataFrame").click(position={"x": 40, "y": 55})
    eventually(lambda: in_address(page, "user") is not None)
    user = in_address(page, "user")
    page.get_by_text("Newest anomalies").wait_for()
    charts = page.locator("[data-testid=stVegaLiteChart] svg")
    eventually(charts.count, 6)
    page.get_by_text("Open and review").click()
    page.get_by_role("dialog").get_by_text(f"Against what is usual for {user}").click()
    page.wait_for_url("**/users?*")
    eventually(lambda: in_address(page, "user"), user)
    assert in_address(page, "payment")
    eventually(charts.count, 6)
    search = page.get_by_role("textbox", name="User").or_(page.get_by_role("searchbox", name="User"))
    search.fill("nobody")
    page.keyboard.press("Enter")
    page.get_by_text("No user begins with nobody").wait_for()
    eventually(lambda: in_address(page, "payment"), None)
    go(page, f"/users?user={user}")
    page.get_by_text("Score one like it").click()
    page.wait_for_url("**/predict?*")
    amount = page.get_by_role("spinbutton", name="Amount")
    eventually(lambda: float(amount.input_value() or 0) > 0)


def test_amounts_are_filtered_and_lead_to_a_user(paying: Any) -> None:
    page = paying
    go(page, "/amounts?least=75")
    page.get_by_text("Sum by place").wait_for()
    page.get_by_role("radio", name="Category").or_(page.get_by_role("button", name="Category")).first.click()
    page.get_by_text("Sum by category").wait_for()
    eventually(lambda: in_address(page, "by"), "Category")
    points = page.locator("[data-testid=stVegaLiteChart]").nth(1).locator("svg path[aria-label*='amount']")
    points.first.wait_for()
    link = page.get_by_text("Against what is usual for")
    pages.follow(page, page.reload, points.last, link)
    page.wait_for_url("**/users?*")
    page.get_by_text("Newest anomalies").wait_for()


def test_a_payment_is_scored(paying: Any) -> None:
    page = paying
    go(page, f"/predict?user={stored.rows()[_JUDGED]['user_id']}")
    page.get_by_role("spinbutton", name="Amount").fill("98765")
    page.get_by_role("button", name="Score").click()
    page.get_by_text("By detector").wait_for()
    page.get_by_text("an amount of 98,765").first.wait_for()
    page.get_by_text("critical risk").wait_for()
    eventually(page.locator("[data-testid=stVegaLiteChart] svg").count, 3)
    page.get_by_text("Profile of").click()
    page.wait_for_url("**/users?*")
    page.go_back()
    # An answer is to what the form says, and that is empty again.
    page.get_by_text("Describe a payment").wait_for()


def test_a_file_of_payments_is_scored_and_taken_away(paying: Any, tmp_path: Path) -> None:
    page = paying
    rows = stored.rows(_JUDGED, _JUDGED + 40)
    with (tmp_path / "some.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    go(page, "/batch")
    page.locator("input[type=file]").set_input_files(tmp_path / "some.csv")
    page.get_by_text("Risk levels").wait_for()
    eventually(page.locator("[data-testid=stVegaLiteChart] svg").count, 2)
    with page.expect_download() as coming:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    assert coming.value.suggested_filename == "some-scored.csv"
    with Path(coming.value.path()).open() as file:
        scored = list(csv.DictReader(file))
    assert {row["transaction_id"] for row in scored} == {row["transaction_id"] for row in rows}
    assert {row["basis"] for row in scored} <= {"profile", "population"}


def test_the_pages_of_payments_over_elasticsearch(
    browser: Any, judged: list[Any], elasticsearch_settings: Any, tmp_path: Path
) -> None:
    place = elasticsearch_settings
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place)
    writer.write(judged)
    writer.refresh()
    client.close()
    with ElasticsearchStore(place) as store:
        (worst,) = store.transactions(order="worst", limit=1)
        told = sum(row["transactions"] for row in store.amounts("location", min_severity=75.0))
    user, asked = worst["user_id"], {"kinds": '["elasticsearch"]', "elasticsearch__url": place.url}
    asked["elasticsearch__index_prefix"] = place.index_prefix
    with served.served(tmp_path, **{f"sinks__{name}": value for name, value in asked.items()}) as url:
        for page in opened(browser, url):
            charts = page.locator("[data-testid=stVegaLiteChart] svg")
            go(page, "/users")
            page.get_by_text("Users with the worst payments").wait_for()
            go(page, f"/users?user={user}&payment={worst['id']}")
            page.get_by_text(worst["reason"]).first.wait_for()
            eventually(charts.count, 6)
            go(page, "/amounts?least=75")
            figures = page.get_by_test_id("stMetric")
            figures.get_by_text(f"{told:,}", exact=True).wait_for()
            eventually(charts.count, 2)
            go(page, f"/predict?user={user}")
            page.get_by_role("spinbutton", name="Amount").fill("98765")
            page.get_by_role("button", name="Score").click()
            page.get_by_text("critical risk").wait_for()
            page.get_by_text("compared with the user's own payments").wait_for()
            go(page, "/batch")
            (tmp_path / "some.csv").write_bytes(EXAMPLE.encode())
            page.locator("input[type=file]").set_input_files(tmp_path / "some.csv")
            page.get_by_text("Risk levels").wait_for()
            eventually(charts.count, 2)


def test_every_page_of_payments_fits_a_phone(browser: Any, payments: str) -> None:
    user = stored.rows()[0]["user_id"]
    for page in opened(browser, payments, is_mobile=True, has_touch=True):
        page.set_viewport_size({"width": 390, "height": 800})
        for path in ("/users", f"/users?user={user}", "/amounts", "/predict", "/batch"):
            go(page, path)
            page.wait_for_timeout(1000)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
