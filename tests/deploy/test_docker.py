"""The Compose file, the image and the environment file, which cannot run here: held to the rules they rely on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tapewatch.settings import SinkSettings

_ROOT = Path(__file__).parents[2]
_COMPOSE: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
#: Those that do one thing and end.
_ONCE = {"topic", "accounts", "prepare"}
_OURS = {"prepare", "flow", "dashboard", "feed"}
#: Keys of the Compose specification that are used here.
_SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init", "logging",
    "networks", "ports", "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs",
    "ulimits", "volumes",
}  # fmt: skip
_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_PINNED = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*:v?\d+\.\d+\.\d+(?:-[a-z0-9.-]+)?")
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(:\?[^}]*|-[^}]*)?\}")
_SECRET = re.compile("PASSWORD|SECRET|TOKEN|_KEY|KEY$|ENCRYPTIONKEY")
_DURATION = re.compile(r"\d+s")


def texts(value: Any) -> list[str]:
    """Return every text in a part of the file."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [str(value)]


def env_example() -> dict[str, str]:
    lines = (_ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(text: str, values: dict[str, str]) -> str:
    """Return a text as Compose hands it on: variables filled in, ``$$`` as ``$``."""

    def value(match: re.Match[str]) -> str:
        name, rule = match[1], match[2] or ""
        if rule.startswith(":?"):
            assert values.get(name), f"{name} must be set"
        return values.get(name, rule[1:])

    return _VARIABLE.sub(value, text).replace("$$", "$")


FILLED = {
    **env_example(), "ELASTIC_PASSWORD": "superuser0", "KIBANA_PASSWORD": "kibana0", "RESULTS_PASSWORD": "results0",
    "KIBANA_ENCRYPTION_KEY": "e" * 48, "DATABENTO_API_KEY": "db-" + "k" * 29, "LIVE_DATASET": "EQUS.MINI",
}  # fmt: skip


def test_the_file_has_only_what_the_specification_knows() -> None:
    assert {key for key in _COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in SERVICES.items():
        assert service.keys() <= _SERVICE_KEYS, name
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
    assert set(SERVICES) >= {"kafka", "redpanda", "elasticsearch", "kibana", "flow", "dashboard"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    service = SERVICES[name]
    assert _PINNED.fullmatch(service["image"]), service["image"]
    assert ("build" in service) == (name in _OURS) == service["image"].startswith("tapewatch:")
    if "build" in service:
        build = service["build"]
        assert (_ROOT / build["context"] / build["dockerfile"]).is_file()


def test_what_belongs_together_has_one_version() -> None:
    images = {service["image"].split(":")[0]: service["image"].split(":")[1] for service in SERVICES.values()}
    assert images["kibana"] == images["elasticsearch"]
    assert len(images) == len({service["image"] for service in SERVICES.values()})
    project = (_ROOT / "pyproject.toml").read_text()
    assert f'version = "{images["tapewatch"]}"' in project


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_those_of_this_machine(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port


def test_no_two_services_that_run_together_want_one_port() -> None:
    together = [s for n, s in SERVICES.items() if n != "redpanda"]
    ports = [port for service in together for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))
    assert SERVICES["kafka"]["ports"] == SERVICES["redpanda"]["ports"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_stays_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    if name in _ONCE:
        assert not service.keys() & {"healthcheck", "restart", "ports"}
        return
    assert service["restart"] in ("unless-stopped", "on-failure")
    check = service["healthcheck"]
    assert check.keys() == {"test", "interval", "timeout", "retries", "start_period"}
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert len(check["test"]) == 2 or check["test"][0] == "CMD"
    assert all(_DURATION.fullmatch(check[key]) for key in ("interval", "timeout", "start_period"))


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_are_there_and_can_be_met(name: str) -> None:
    own = set(SERVICES[name].get("profiles", ()))
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how.keys() <= {"condition", "required"}
        assert how["condition"] in _CONDITIONS
        assert (how["condition"] == "service_completed_successfully") == (other in _ONCE)
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        # What may be absent must not be required.
        absent = bool(set(SERVICES[other].get("profiles", ())) - own)
        assert how.get("required", True) is not absent


def test_volumes_and_files_are_there() -> None:
    named = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert mode == ["ro"]
                assert (_ROOT / source).is_file()
            else:
                named.add(source)
    assert named == set(_COMPOSE["volumes"])


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if _SECRET.search(variable):
                assert _VARIABLE.fullmatch(str(value)), variable
    example = env_example()
    used = {match[1] for text in texts(SERVICES) for match in _VARIABLE.finditer(text)}
    assert used | {"COMPOSE_PROFILES"} == set(example)
    assert all(not value for variable, value in example.items() if _SECRET.search(variable))
    assert set(example["COMPOSE_PROFILES"].split(",")) <= {"kafka", "redpanda", "live"}
    # Where one is needed by all, an empty one stops everything.
    for variable in ("ELASTIC_PASSWORD", "KIBANA_PASSWORD", "RESULTS_PASSWORD", "KIBANA_ENCRYPTION_KEY"):
        uses = [
            match for text in texts(SERVICES) for match in _VARIABLE.finditer(text) if match[1] == variable
        ]
        assert uses
        assert all((match[2] or "").startswith(":?") for match in uses)


@pytest.mark.parametrize("name", sorted(_OURS))
def test_our_services_may_do_little_and_their_settings_are_settings(name: str, tmp_path: Path) -> None:
    if "elasticsearch" not in SinkSettings.model_fields:
        pytest.skip("there is no sink for Elasticsearch")
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    ours = {variable: interpolated(str(v), FILLED) for variable, v in service["environment"].items()}
    assert ours["TAPEWATCH_CONFIG"] == "/etc/tapewatch/tapewatch.toml"
    kept = {variable: v for variable, v in os.environ.items() if not variable.startswith("TAPEWATCH_")}
    code = (
        "import sys; from tapewatch.settings import load; s = load(); print(s.source.kind, s.kafka.brokers, "
        "s.kafka.topic, s.sinks.kinds)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**kept, **ours, "TAPEWATCH_CONFIG": str(_ROOT / "tapewatch.toml")}, capture_output=True,
        text=True, timeout=280, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "kafka broker:9092 trades ['sqlite', 'elasticsearch']\n"


def test_the_topic_that_is_made_is_the_one_that_is_read() -> None:
    command = SERVICES["topic"]["command"]
    settings = _COMPOSE["x-settings"]
    assert command[command.index("--topic") + 1] == settings["TAPEWATCH_KAFKA__TOPIC"]
    assert command[command.index("--bootstrap-server") + 1] == settings["TAPEWATCH_KAFKA__BROKERS"]
    for broker in ("kafka", "redpanda"):
        assert SERVICES[broker]["networks"]["default"]["aliases"] == ["broker"]
        assert any("broker:9092" in text and "127.0.0.1:9094" in text for text in texts(SERVICES[broker]))


def test_the_accounts_get_their_passwords_and_rights(tmp_path: Path) -> None:
    """The script runs with a ``curl`` that writes down what it is asked."""
    said = tmp_path / "said"
    stub = tmp_path / "curl"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" END >> {said}\n')
    stub.chmod(0o755)
    service = SERVICES["accounts"]
    env = {variable: interpolated(str(v), FILLED) for variable, v in service["environment"].items()}
    (script,) = service["command"]
    subprocess.run(
        [*service["entrypoint"], interpolated(script, FILLED)],
        env={**env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True, timeout=280,
    )  # fmt: skip
    calls = [part.strip("\n").split("\n") for part in said.read_text().split("END\n")[:-1]]
    asked = {call[call.index("PUT") + 1].rpartition("_security/")[2]: call[-1] for call in calls}
    assert json.loads(asked["user/kibana_system/_password"]) == {"password": "kibana0"}
    assert json.loads(asked["user/tapewatch"]) == {"password": "results0", "roles": ["tapewatch"]}
    assert asked["role/tapewatch"] == "@/role.json"
    assert all("elastic:superuser0" in call for call in calls)
    role = json.loads((_ROOT / "deploy" / "docker" / "role.json").read_text())
    assert role.keys() == {"cluster", "indices", "applications"}
    assert [part["names"] for part in role["indices"]] == [["tapewatch-*"]]
    assert "all" not in role["cluster"]


def test_the_image_is_pinned_and_nobodys() -> None:
    lines = (_ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    bases = [rest.split()[0] for word, rest in words if word == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.1[12]\.\d+-slim-[a-z]+", base) for base in bases)
    (user,) = [rest for word, rest in words if word == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert {word for word, _ in words} <= {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "CMD"}
    (install,) = [rest for word, rest in words if word == "RUN" and "pip install" in rest]
    assert "-c constraints.txt" in install
    kept = {
        line[1:].rstrip("/") for line in (_ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for word, rest in words:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            for source in sources:
                assert (_ROOT / source).exists()
                assert source in kept
    ignored = (_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert ".env" not in kept
    assert ".env" in (_ROOT / ".gitignore").read_text().splitlines()


def test_the_image_has_every_extra_that_its_services_need() -> None:
    dockerfile = (_ROOT / "deploy" / "Dockerfile").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", dockerfile, re.MULTILINE)
    project = (_ROOT / "pyproject.toml").read_text()
    assert {"dashboard", "kafka", "live"} <= set(extras.split(","))
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    (packages,) = re.findall(r"^packages = \[(.*)\]$", project, re.MULTILINE)
    for package in re.findall(r'"(\w+)"', packages):
        assert f"\nCOPY {package} {package}\n" in dockerfile
