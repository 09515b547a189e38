"""The Helm chart, rendered by Helm's own engine, with its defaults and with everything turned on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.cli import COMMANDS
from streamer.settings import Settings

helm = pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this platform")
kubernetes = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "headwater"
EVERYTHING: dict[str, Any] = {
    "apiKey": {"value": "secret"},
    "settings": {"SESSIONS__GAP_SECONDS": 900},
    "trainers": [
        {"name": "student", "family": "session", "resources": {}},
        {"name": "caser", "family": "caser", "resources": {}, "nodeSelector": {"disk": "fast"}},
    ],
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"team": "a"}}, "rules": {"enabled": True}},
    "server": {
        "students": {"student": 0.5, "caser": 0.5},
        "ingress": {"enabled": True, "host": "example.org", "tlsSecret": "tls"},
        "tolerations": [{"operator": "Exists"}],
    },
    "imagePullSecrets": [{"name": "registry"}],
    "backup": {"enabled": True, "existingClaim": "archives"},
}
CUSTOM = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}  # of the Prometheus operator


def rendered(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    chart = helm.Chart.load(str(CHART))
    files = chart.render(values or {}, name="hw", namespace="shop")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"].removeprefix("hw-headwater-"): document
        for document in documents
        if document["kind"] == kind
    }


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents:
        spec = document.get("spec") or {}
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if document["kind"] in {"Deployment", "Job", "CronJob"}:
            yield document["metadata"]["name"], spec["template"]["spec"]


BOTH = pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])


def test_helm_finds_nothing_to_complain_about() -> None:
    found = helm.lint(str(CHART), EVERYTHING, strict=True)
    assert found["errors"] == []


@BOTH
def test_kubernetes_takes_every_object(values: dict[str, Any]) -> None:
    documents = rendered(values)
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes.validate(document, "1.30", strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    for document in documents:
        assert len(document["metadata"]["name"]) <= 63


def test_every_process_is_there() -> None:
    parts = set(of_kind(rendered(), "Deployment"))
    assert parts == {"worker", "trainer-student", "teacher", "labels", "foundation", "server"}
    assert {"trainer-student", "trainer-caser"} <= set(of_kind(rendered(EVERYTHING), "Deployment"))
    off = rendered({part: {"enabled": False} for part in ("teacher", "labels", "foundation")})
    assert set(of_kind(off, "Deployment")) == {"worker", "trainer-student", "server"}


@BOTH
def test_every_command_exists(values: dict[str, Any]) -> None:
    for name, pod in pods(rendered(values)):
        (container,) = pod["containers"]
        if "args" in container:
            assert container["args"][0] in COMMANDS, name
        else:
            assert re.search(r"headwater (\S+)", container["command"][-1])[1] in COMMANDS  # type: ignore[index]


@BOTH
def test_pods_are_not_root_and_write_to_volumes_alone(values: dict[str, Any]) -> None:
    for name, pod in pods(rendered(values)):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001, name
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"] is not None and "/tmp" in {
            mount["mountPath"] for mount in container["volumeMounts"]
        }


def test_the_server_is_probed_where_it_answers() -> None:
    (container,) = of_kind(rendered(), "Deployment")["server"]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "http"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == 8080 and container["args"][-1] == "8080"


@pytest.mark.parametrize("part", ["worker", "trainer-student", "teacher", "labels", "foundation"])
def test_the_others_are_probed_by_their_metrics(part: str) -> None:
    (container,) = of_kind(rendered(), "Deployment")[part]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["HEADWATER_METRICS_PORT"] == str(container["ports"][0]["containerPort"])


def test_session_state_is_the_workers_own() -> None:
    documents = rendered(EVERYTHING)
    having = {
        name.removeprefix("hw-headwater-")
        for name, pod in pods(documents)
        if "sessions" in {volume["name"] for volume in pod["volumes"]}
    }
    assert having == {"worker", "backup"}
    claims = of_kind(documents, "PersistentVolumeClaim")
    assert claims["sessions"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claims["shared"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for claim in claims.values():
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    given = rendered({"persistence": {"existingClaim": "mine"}, "worker": {"persistence": {"existingClaim": "ours"}}})
    assert not of_kind(given, "PersistentVolumeClaim")
    worker = of_kind(given, "Deployment")["worker"]["spec"]["template"]["spec"]
    named = {
        volume["persistentVolumeClaim"]["claimName"] for volume in worker["volumes"][:2] if "emptyDir" not in volume
    }
    assert "mine" in named


def test_workers_and_servers_scale_with_their_load() -> None:
    documents = rendered()
    scaled = of_kind(documents, "HorizontalPodAutoscaler")
    assert set(scaled) == {"worker", "server"}
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == f"hw-headwater-{name}"
        deployment = of_kind(documents, "Deployment")[name]
        assert "replicas" not in deployment["spec"], "helm upgrade would undo what the autoscaler did"
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"]["cpu"], "utilisation is a share of what is requested"
    fixed = rendered({"server": {"autoscaling": {"enabled": False}, "replicas": 3}})
    assert of_kind(fixed, "Deployment")["server"]["spec"]["replicas"] == 3


def test_more_workers_than_partitions_are_refused() -> None:
    with pytest.raises(helm.HelmError, match="more workers than partitions"):
        rendered({"worker": {"autoscaling": {"maxReplicas": 13}}})


@pytest.mark.parametrize(
    "values",
    [
        {"redis": {"url": "memcached://x"}},
        {"kafka": {"partition": 3}},
        {"trainers": []},
        {"trainers": [{"name": "Student", "family": "session"}]},
        {"sever": {}},
    ],
    ids=["no redis url", "misspelt key", "no trainer", "name", "misspelt group"],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    chart = helm.Chart.load(str(CHART))
    with pytest.raises(helm.HelmError):
        chart.validate_schema(chart.merge_values(values))


def test_keys_lie_in_secrets() -> None:
    documents = rendered(EVERYTHING)
    secret = documents[[document["kind"] for document in documents].index("Secret")]
    assert secret["stringData"] == {"redis-url": "redis://redis:6379/0", "api-key": "secret"}
    for name, pod in pods(documents):
        for entry in pod["containers"][0]["env"]:
            assert entry.get("value") != "secret", name
            if entry["name"] in {"HEADWATER_SERVING__API_KEY", "HEADWATER_STORES__REDIS_URL"}:
                assert entry["valueFrom"]["secretKeyRef"]["name"] == "hw-headwater"
    given = rendered({"redis": {"existingSecret": "r"}, "apiKey": {"existingSecret": "k"}})
    assert not [document for document in given if document["kind"] == "Secret"]


@BOTH
def test_environment_names_settings(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for _, pod in pods(rendered(values)):
        environment = {
            entry["name"]: str(entry.get("value", "redis://x"))
            for entry in pod["containers"][0]["env"]
            if entry["name"].startswith("HEADWATER_")
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        settings = Settings()
        for key in environment:
            found: Any = settings
            for part in key.removeprefix("HEADWATER_").lower().split("__"):
                assert part in type(found).model_fields, key
                found = getattr(found, part)
    assert settings.stores.online_store == "redis"


def test_prometheus_finds_the_processes_under_the_dashboards_names() -> None:
    documents = rendered(EVERYTHING)
    monitor = of_kind(documents, "PodMonitor")["processes"]
    labels = of_kind(documents, "Deployment")["worker"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    service = of_kind(documents, "Service")["server"]["metadata"]["labels"]
    assert of_kind(documents, "ServiceMonitor")["server"]["spec"]["selector"]["matchLabels"].items() <= service.items()
    jobs = {entry.get("replacement") for entry in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]}
    assert "trainer" in jobs


def test_the_charts_alerts_are_the_alerts() -> None:
    assert (CHART / "files" / "alerts.yml").read_text() == (ROOT / "deploy" / "alerts.yml").read_text(), (
        "run python -m deploy.dashboards"
    )
    (rules,) = [document for document in rendered(EVERYTHING) if document["kind"] == "PrometheusRule"]
    assert rules["spec"] == yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())


def test_every_value_is_documented_and_used() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for group in values:
        assert f".Values.{group}" in templates, f"{group} is read by no template"
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
