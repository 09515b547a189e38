"""docker-compose.yml, the Dockerfile and what they mount: pinned, checked for health, not root, restarted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.cli import COMMANDS
from streamer.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"topics", "replayer"}  # they end; nothing to keep alive
OURS = {"topics", "worker", "trainer", "trainer-caser", "teacher", "labels", "foundation", "server", "replayer"}
PROFILES = {"replayer": ["demo"], "trainer-caser": ["ab"]}
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "redis", "prometheus", "grafana"} | OURS
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == PROFILES


@each_service
def test_image_is_pinned(service: dict[str, Any]) -> None:
    name, _, tag = service["image"].partition(":")
    assert name and re.search(r"\d+\.\d+", tag), service["image"]


@each_service
def test_user_is_not_root(service: dict[str, Any]) -> None:
    assert str(service["user"]).split(":")[0] not in {"", "0", "root"}
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_restart_policy(name: str) -> None:
    assert SERVICES[name]["restart"] == ("on-failure" if name in ONE_SHOT else "unless-stopped")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_health_is_checked(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= set(check)


@each_service
def test_ports_are_bound_to_loopback(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize(
    "name",
    ["kafka", "redis", "worker", "trainer", "trainer-caser", "labels", "foundation", "server", "prometheus", "grafana"],
)
def test_state_lies_in_a_named_volume(name: str) -> None:
    named = {mount.split(":")[0] for mount in SERVICES[name]["volumes"]} & set(COMPOSE["volumes"])
    assert named


@each_service
def test_mounted_files_exist(service: dict[str, Any]) -> None:
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), mount


@pytest.mark.parametrize("name", sorted(OURS))
def test_command_exists(name: str) -> None:
    assert SERVICES[name]["command"][0] in COMMANDS


@pytest.mark.parametrize("name", sorted(OURS))
def test_environment_names_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What compose sets is what the processes read: a misspelt variable would be ignored in silence."""
    given = SERVICES[name]["environment"]
    environment = {key: str(value) for key, value in given.items() if value is not None}  # None: as the shell has it
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    for key in given:
        path = key.removeprefix("HEADWATER_").lower().split("__")
        found: Any = settings
        for part in path:
            assert part in type(found).model_fields, key
            found = getattr(found, part)
        assert key not in environment or str(found) == environment[key]


def test_prometheus_scrapes_every_process_where_it_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    ports: dict[str, int] = {}
    for job in config["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            ports[found["names"][0]] = found["port"]
        for found in job.get("static_configs", []):
            host, port = found["targets"][0].split(":")
            ports[host] = int(port)
    metrics_port = int(SERVICES["worker"]["environment"]["HEADWATER_METRICS_PORT"])
    server_port = int(SERVICES["server"]["command"][-1])
    assert ports == {
        "worker": metrics_port,
        "trainer": metrics_port,
        "trainer-caser": metrics_port,
        "teacher": metrics_port,
        "labels": metrics_port,
        "foundation": metrics_port,
        "server": server_port,
        "localhost": 9090,
    }


def test_dockerfile_runs_as_a_user_and_copies_every_package() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users and users[-1].split(":")[0] not in {"0", "root"}
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert {"streamer", "feature_store", "online_models", "exporters", "pyproject.toml", "README.md"} <= copied
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= kept, "the build context leaves out what the Dockerfile copies"


def test_dependencies_are_installed_before_the_sources_are_copied() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert text.index("--requirement requirements.txt") < text.index("COPY streamer")


@pytest.mark.docker
def test_docker_compose_reads_it() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin here")
    command = ["docker", "compose", "--profile", "demo", "--profile", "ab", "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
