"""Kibana's objects refer to what there is, and what their panels ask has answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import altair as alt
import orjson
import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import KINDS, MAPPINGS, alias, create
from connectors.kibana import ndjson, saved_objects
from connectors.kibana_panels import panels
from tapewatch.records import HOUR, MINUTE
from tapewatch.settings_elasticsearch import ElasticsearchSettings

make: Any = import_module("tests.connectors.made_results")
kql: Any = import_module("tests.kql")

_ROOT = Path(__file__).parents[2]
_FILE = _ROOT / "deploy" / "kibana" / "tapewatch.ndjson"
_PAGE = (_ROOT / "docs" / "kibana.md").read_text()
_QUERIES = re.findall(
    r"^```json\nGET tapewatch-([a-z-]+)/_search\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL
)
_KQL = re.findall(r"^```kql\n(.*?)\n```", _PAGE, re.MULTILINE | re.DOTALL)
OBJECTS: list[dict[str, Any]] = [orjson.loads(line) for line in _FILE.read_bytes().splitlines()]
BY_ID = {found["id"]: found for found in OBJECTS}


def of(kind: str) -> list[dict[str, Any]]:
    return [found for found in OBJECTS if found["type"] == kind]


def fields_of(kind: str) -> set[str]:
    names = set(MAPPINGS[kind])
    return names | {f"{n}.{sub}" for n, f in MAPPINGS[kind].items() for sub in f.get("fields", ())}


def kind_of(index: str) -> str:
    return index.removeprefix("tapewatch-")


def specs() -> dict[str, dict[str, Any]]:
    """Return the Vega-Lite specification of each panel, as it is in the file."""
    found = {}
    for visualization in of("visualization"):
        state = orjson.loads(visualization["attributes"]["visState"])
        assert state["type"] == "vega"
        found[visualization["id"]] = orjson.loads(state["params"]["spec"])
    return found


def test_the_file_is_what_the_program_makes() -> None:
    assert _FILE.read_bytes() == ndjson(saved_objects("tapewatch"))


def test_there_is_what_was_asked_for() -> None:
    assert len(BY_ID) == len(OBJECTS)
    assert {view["attributes"]["title"] for view in of("index-pattern")} == {
        alias("tapewatch", kind) for kind in ("anomalies", "bars", "scores", "reviews", "dead-letters")
    }
    assert set(specs()) == {"tapewatch-severity-over-time", "tapewatch-top-symbols", "tapewatch-swim-lane"}
    assert len(of("dashboard")) == 1
    assert len(of("search")) == 4


def test_objects_refer_only_to_objects_that_exist() -> None:
    for found in OBJECTS:
        for reference in found["references"]:
            assert BY_ID[reference["id"]]["type"] == reference["type"]
    (dashboard,) = of("dashboard")
    laid = orjson.loads(dashboard["attributes"]["panelsJSON"])
    named = {reference["name"]: reference for reference in dashboard["references"]}
    assert len(named) == len(laid) == 4
    for panel in laid:
        reference = named[f"{panel['panelIndex']}:{panel['panelRefName']}"]
        assert reference["type"] == panel["type"]
        assert panel["gridData"]["i"] == panel["panelIndex"]
    # Nothing lies over anything else, nor beyond the 48 columns of the grid.
    taken: set[tuple[int, int]] = set()
    for grid in (panel["gridData"] for panel in laid):
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 48
        assert cells.isdisjoint(taken)
        taken |= cells


def test_searches_show_fields_that_exist() -> None:
    for search in of("search"):
        attributes = search["attributes"]
        source = orjson.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
        (reference,) = search["references"]
        assert source["indexRefName"] == reference["name"]
        known = fields_of(kind_of(BY_ID[reference["id"]]["attributes"]["title"]))
        assert set(attributes["columns"]) <= known
        assert {name for name, _ in attributes["sort"]} <= known
    for view in of("index-pattern"):
        kind = kind_of(view["attributes"]["title"])
        assert kind in KINDS
        assert view["attributes"]["timeFieldName"] in MAPPINGS[kind]


def asked(node: Any) -> Iterator[str]:
    """Yield each field that an aggregation or an encoding names."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "field":
                yield value
            else:
                yield from asked(value)
    elif isinstance(node, list):
        for value in node:
            yield from asked(value)


@pytest.mark.parametrize("name", specs())
def test_panels_ask_for_indices_and_fields_that_exist(name: str) -> None:
    url = specs()[name]["data"]["url"]
    assert url["%context%"] is True
    known = fields_of(kind_of(url["index"]))
    assert {url["%timefield%"], *asked(url["body"])} <= known


@pytest.mark.parametrize("name", specs())
def test_panels_are_valid_vega_lite(name: str) -> None:
    spec = specs()[name]
    spec["data"] = {"values": []}
    alt.Chart.from_dict(spec, validate=True)
    spec["encoding"]["x"]["type"] = "sideways"
    with pytest.raises(Exception, match="sideways"):
        alt.Chart.from_dict(spec, validate=True)


@pytest.fixture(scope="module")
def filled(_plain_elasticsearch: Any) -> Iterator[ElasticsearchSettings]:
    _plain_elasticsearch.start()
    with _plain_elasticsearch.settings() as place:
        client = connect(place)
        create(client, place)
        writer = BulkWriter(client, place)
        start = make.MONDAY + 14 * HOUR
        anomalies = [
            make.anomaly(
                n, key=f"SIM00{n % 3}", detector=("high_volume", "block_trade")[n % 2], severity=50.0 + n,
                ts_start=start + n * MINUTE, ts_event=start + n * MINUTE, incident=f"{n // 3:032x}",
            )
            for n in range(40)
        ]  # fmt: skip
        poison = make.anomaly(99, publisher_id=2**63)
        bars = [make.bars(*range(1, 61), key="SIM001", first=14 * 60)]
        writer.write([make.results(anomalies=[*anomalies, poison], bars=bars, counters={"records": 5})])
        review = {"anomaly_id": anomalies[0].id, "label": 1, "reviewer": "me", "reviewed_at": start}
        writer.write_documents("reviews", [review])
        writer.refresh()
        yield place
        client.close()


def rows_of(answer: Any, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that Vega-Lite draws: the buckets, flattened."""
    rows = answer
    for name in spec["data"]["format"]["property"].split("."):
        rows = rows[name]
    for step in spec["transform"]:
        if "flatten" in step:
            (path,), (name,) = step["flatten"], step["as"]
            rows = [{**row, name: cell} for row in rows for cell in value_of(row, path)]
        else:
            found = re.fullmatch(r"(?:utcFormat\()?datum\.([\w.]+)(?:, '.*'\))?", step["calculate"])
            assert found is not None
            rows = [{**row, step["as"]: value_of(row, found[1])} for row in rows]
    return list(rows)


def value_of(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row[name]
    return row


@pytest.mark.parametrize("number", range(3))
def test_what_each_panel_asks_has_an_answer_with_all_that_it_draws(
    number: int, filled: ElasticsearchSettings, elasticsearch: Any
) -> None:
    panel = panels(filled.index_prefix)[number]
    url = panel.spec["data"]["url"]
    client = connect(filled)
    bounds = {
        "gte": "2024-06-03T00:00:00Z",
        "lte": "2024-06-04T00:00:00Z",
        "format": "strict_date_optional_time",
    }
    # As Kibana does with %timefield%.
    query = {"bool": {"filter": [{"range": {url["%timefield%"]: bounds}}]}}
    answer = client.search(index=url["index"], query=query, **url["body"]).body
    rows = rows_of(answer, panel.spec)
    assert len(rows) >= 3
    for row in rows:
        for path in asked(panel.spec["encoding"]):
            assert value_of(row, path) is not None
    assert max(row["severity"] for row in rows) == 89.0
    client.close()


def test_the_page_has_queries() -> None:
    assert len(_QUERIES) >= 10
    assert len(_KQL) >= 7


@pytest.mark.parametrize("number", range(len(_QUERIES)))
def test_each_query_of_the_page_finds_something(
    number: int, filled: ElasticsearchSettings, elasticsearch: Any
) -> None:
    kind, body = _QUERIES[number]
    client = connect(filled)
    answer = client.search(index=alias(filled.index_prefix, kind), body=orjson.loads(body)).body
    found = answer["hits"]["hits"] or [
        b for a in answer.get("aggregations", {}).values() for b in a["buckets"]
    ]
    assert found
    client.close()


@pytest.mark.parametrize("line", _KQL)
def test_each_kql_query_of_the_page_finds_some_but_not_all(
    line: str, filled: ElasticsearchSettings, elasticsearch: Any
) -> None:
    query, fields = kql.parse(line)
    kind = "bars" if "width" in fields else "anomalies"
    assert {
        name.partition(".")[0] if name.startswith("contributions") else name for name in fields
    } <= fields_of(kind)
    client = connect(filled)
    found = client.count(index=alias(filled.index_prefix, kind), query=query)["count"]
    assert found
    if line.startswith(("severity", "detector", "reason : ")):
        assert found < 40
    client.close()


@pytest.mark.parametrize("line", ["severity >=", "a : (b or c", "key : SPY and", ") key : a", "key = SPY"])
def test_what_is_no_kql_is_found_out(line: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        kql.parse(line)
