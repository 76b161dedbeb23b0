"""Prometheus: its configuration, the alerts, the dashboard's questions, and a real one that scrapes a flow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from connectors.dbn_writer import write_dbn
from connectors.flow_metrics import FlowMetrics
from connectors.kafka_lag import MESSAGES
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sqlite import SqliteWriter
from connectors.timed_source import Batch
from tests.ports import free_port

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy" / "prometheus"
_RULES = yaml.safe_load((_FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
_DASHBOARD = json.loads((_ROOT / "deploy" / "grafana" / "tapewatch.json").read_text())
_PANELS = [panel for panel in _DASHBOARD["panels"] if panel["type"] != "row"]
_QUESTIONS = [target["expr"] for panel in _PANELS for target in panel["targets"]]
#: What Prometheus adds to whatever it scrapes.
_ADDED = {"job", "instance"}
TOKEN = "hunter2-and-more"  # noqa: S105


def tool(name: str) -> str:
    """Return the path of a program of the package ``prometheus``."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (apt-get install prometheus)"
        if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def promtool(*args: object, said: str = "") -> str:
    done = subprocess.run(
        [tool("promtool"), *map(str, args)],
        input=said, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what a flow's process and the API tell, each with something of everything."""
    folder = tmp_path_factory.mktemp("metrics")
    scores = make.scores(*([5.0] * 20))
    with SqliteWriter(folder / "results.db") as writer:
        writer.write(
            [make.results(anomalies=[make.anomaly(1)], bars=[make.bars(1)], counters={"records": 3})]
        )
    client = serving.client(folder)
    review = {"anomaly_id": make.anomaly(1).id, "label": 1}
    assert client.post("/api/reviews", json=review).status_code in (200, 201)
    registry = CollectorRegistry()
    metrics = FlowMetrics(registry, "market", "", 1, live=True)
    batch: Batch = make.results(seq=1, credit="memory:0")
    metrics.handed(batch)
    metrics.acknowledged(
        make.results(seq=1, credit="memory:0", anomalies=[make.anomaly(1)], clock=make.MONDAY)
    )
    metrics.acknowledged(make.results(deleted=[make.anomaly(1).id]))
    for number in range(40):
        metrics.acknowledged(make.results(scores=[scores], clock=make.MONDAY + number * 300_000_000_000))
    return [generate_latest(registry).decode(), client.get("/metrics").text]


@pytest.fixture(scope="module")
def known(texts: list[str]) -> dict[str, set[str]]:
    """Return the labels of each series that there may be."""
    found: dict[str, set[str]] = {
        "up": set(),
        "process_cpu_seconds_total": set(),
        "process_resident_memory_bytes": set(),
    }
    found["tapewatch_kafka_lag_messages"] = set(MESSAGES._labelnames)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_configuration_is_sound() -> None:
    said = promtool("check", "config", _FOLDER / "prometheus.yml")
    assert f"{len(_RULES)} rules found" in said
    assert "SUCCESS" in promtool("check", "rules", _FOLDER / "alerts.yml")


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", Path(__file__).parent / "alerts_test.yml")


def test_every_alert_is_tried_and_explained() -> None:
    tried = (Path(__file__).parent / "alerts_test.yml").read_text()
    page = (_ROOT / "docs" / "metrics.md").read_text()
    for rule in _RULES:
        assert re.search(rf"alertname: {rule['alert']}\n +exp_alerts", tried), rule["alert"]
        assert f"`{rule['alert']}`" in page


def test_metrics_are_written_as_prometheus_likes_them(texts: list[str]) -> None:
    for text in texts:
        assert promtool("check", "metrics", said=text) == ""


def names_in(question: str) -> set[str]:
    return set(
        re.findall(
            r"\b(?:tapewatch_\w+|process_\w+|up)\b(?=[{\[)\s<>=]|$)", re.sub(r'"[^"]*"', '""', question)
        )
    )


@pytest.mark.parametrize("question", [*_QUESTIONS, *(rule["expr"] for rule in _RULES)])
def test_questions_are_about_metrics_that_there_are(question: str, known: dict[str, set[str]]) -> None:
    names = names_in(question)
    assert names
    assert names <= known.keys()
    labels = {"le"}.union(*(known[name] for name in names)) | _ADDED
    for asked in re.findall(r"(?:by|on) \(([^)]*)\)", question):
        assert {label.strip() for label in asked.split(",")} <= labels
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", question):
        assert set(re.findall(r"(\w+)=", selector)) <= known[name] | _ADDED


def test_the_page_names_every_metric(known: dict[str, set[str]]) -> None:
    page = (_ROOT / "docs" / "metrics.md").read_text()
    # The flow's process leaves those out.
    for name in (name for name in known if not name.endswith("_created")):
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        assert family in page, family


def test_the_dashboard_is_one() -> None:
    assert len({panel["id"] for panel in _DASHBOARD["panels"]}) == len(_DASHBOARD["panels"])
    variables = {each["name"] for each in _DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(_DASHBOARD))) - {"__rate_interval", "__all"} == variables
    for panel in _PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(
                re.findall(r"\w+", target["expr"])
            ) | _ADDED | {"of", "detector"}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self._url, self._process = url, process

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        asked = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        end = time.monotonic() + 200
        while True:
            assert self._process.poll() is None
            assert time.monotonic() < end
            try:
                with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
                    said = json.load(answer)
                assert said["status"] == "success", said
                return said["data"]
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise AssertionError((path, query, error.read())) from error
            except OSError:
                pass  # it is about to start, or busy
            time.sleep(0.1)

    def value(self, question: str) -> float | None:
        """Return the first value that answers a question, None if there is none."""
        data = self.get("query", query=question)
        return float(data["result"][0]["value"][1]) if data["result"] else None

    def until(self, condition: Callable[[], object], seconds: float = 200) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.get("targets")
            time.sleep(0.1)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Run Prometheus with the shipped configuration, on another flow and in a hurry."""
    config = yaml.safe_load((_FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(_FOLDER / "alerts.yml")]
    (folder / "token").write_text(TOKEN)
    flow = config["scrape_configs"][0]
    flow["static_configs"] = [{"targets": [target]}]
    flow["authorization"] = {"credentials_file": str(folder / "token")}
    config["scrape_configs"] = [flow]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}", "--log.level=error",
        ],
        cwd=folder,
    )  # fmt: skip
    try:
        yield Prometheus(f"http://{address}", process)
    finally:
        process.kill()
        process.wait(200)


def test_a_real_one_scrapes_a_running_flow(start_market: Callable[..., Any], tmp_path: Path) -> None:
    tool("prometheus")
    # Ten minutes at that speed: it does not end by itself.
    session = simulate(MarketSimulation(seed=3, minutes=1_500, symbols=4))
    write_dbn(tmp_path / "day.dbn", session.records, session.symbols)
    target = f"127.0.0.1:{free_port()}"
    running = start_market(
        tmp_path, [tmp_path / "day.dbn"], source__speed="150", sinks__scores="true",
        metrics__port=target.rpartition(":")[2], metrics__token=TOKEN,
    )  # fmt: skip
    try:
        with prometheus(tmp_path, target) as server:
            asked = f'tapewatch_records_total{{job="tapewatch-flow", instance="{target}"}}'
            server.until(lambda: (server.value(asked) or 0) > 0)
            first = server.value(asked) or 0.0
            server.until(lambda: (server.value(asked) or 0) > first)
            server.until(lambda: server.value("sum(rate(tapewatch_batch_seconds_count[1m]))"))
            assert server.value('count({__name__=~"tapewatch_.*"})')

            def answered(question: str) -> bool:
                return bool(server.get("query", query=question)["result"])

            for question in _QUESTIONS:
                here = question.replace("$__rate_interval", "1m").replace("$instance", ".+")
                if not re.search(r"kafka_lag|event_to_result|anomal|drift|tapewatch-api", question):
                    server.until(partial(answered, here))
            (group,) = server.get("rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
            assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in _RULES]
            server.until(lambda: server.value(f'up{{instance="{target}"}}') == 1)
            running.kill()
            running.communicate()
            server.until(lambda: server.value("up") == 0)

            def pending() -> set[str]:
                return {alert["labels"]["alertname"] for alert in server.get("alerts")["alerts"]}

            server.until(lambda: "TapewatchDown" in pending())
    finally:
        running.kill()
        running.communicate()
