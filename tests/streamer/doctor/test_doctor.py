"""Set-ups that are really broken: the doctor finds each, names it, and says the mend."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from typer.testing import CliRunner

from exporters.registry import Draft, GraphFile, Registry
from feature_store.online import OnlineStore
from streamer.broker import free_port
from streamer.cli import app
from streamer.doctor.clocks import check_clocks
from streamer.doctor.finding import Finding, fine, wrong
from streamer.doctor.registry import check_registry
from streamer.doctor.state_files import check_labels, check_locks, check_snapshots, check_state
from streamer.doctor.stores import check_feast, check_folders, check_redis
from streamer.doctor.versions import check_environment, check_versions
from streamer.doctor.visit import CHECKS, visit
from streamer.errors import SettingsError
from streamer.settings import Kafka, Serving, Settings, Stores
from streamer.snapshots import SnapshotStore
from streamer.state import PartitionState, state_path

GRAPH = GraphFile(content=b"graph", architecture="a", inputs=("x",), outputs=("y",))


@pytest.fixture
def whole(tmp_path: Path) -> Settings:
    """State of a system in which nothing is wrong, and no broker, server or store that answers."""
    settings = Settings(
        stores=Stores(state_dir=tmp_path / "state"),
        kafka=Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}"),
        serving=Serving(port=free_port()),
    )
    PartitionState(state_path(settings.stores.sessions_dir, 0)).close()
    snapshots = SnapshotStore(settings.stores.snapshots_dir / "student")
    registry = Registry(settings.stores.models_dir)
    for step in (1, 2):
        snapshots.save({"offsets": {"0": step}}, {})
        registry.publish(Draft(name="student", graphs={"rank": GRAPH}, step=step))
    OnlineStore.open(settings.stores.feast_dir).close()
    return settings


def wrongs(found: Any) -> list[Finding]:
    return [finding for finding in found if finding.wrong]


def the_wrong(found: Any) -> Finding:
    (only,) = wrongs(found)
    return only


STATE_CHECKS = (check_folders, check_redis, check_feast, check_state, check_snapshots, check_labels, check_registry)


@pytest.mark.parametrize("check", [*STATE_CHECKS, check_locks], ids=lambda check: check.__name__)
def test_nothing_is_wrong_with_what_is_whole(whole: Settings, check: Callable[[Settings], Any]) -> None:
    assert wrongs(check(whole)) == []


def test_no_broker(whole: Settings) -> None:
    found = the_wrong(visit(whole, ["broker", "topics"]))
    assert found.said == f"no Kafka broker answers at {whole.kafka.bootstrap_servers}"
    assert "HEADWATER_KAFKA__BOOTSTRAP_SERVERS" in found.mend


def test_no_server(whole: Settings) -> None:
    found = the_wrong(visit(whole, ["processes"]))
    assert f"127.0.0.1:{whole.serving.port}/health/ready does not answer" in found.said


def test_a_process_that_does_not_answer(whole: Settings) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert any(address in finding.said for finding in wrongs(visit(whole, ["processes"], [address])))


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = the_wrong(check_folders(Settings(stores=Stores(state_dir=tmp_path / "file" / "state"))))
    assert "cannot be written" in found.said and "HEADWATER_STORES__STATE_DIR" in found.mend


def test_a_full_disk(whole: Settings) -> None:
    found = the_wrong(check_folders(whole, least_free_bytes=2**62))
    assert "GiB are free" in found.said


def test_redis_that_does_not_answer(whole: Settings) -> None:
    stores = Stores(online_store="redis", redis_url=f"redis://127.0.0.1:{free_port()}/0")
    found = the_wrong(check_redis(whole.model_copy(update={"stores": stores})))
    assert "does not take a write" in found.said


def test_redis_that_takes_no_writes(whole: Settings, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    stores = Stores(online_store="redis", redis_url=redis_url)
    settings = whole.model_copy(update={"stores": stores})
    assert wrongs(check_redis(settings)) == []
    before = redis.config_get("min-replicas-to-write")
    redis.config_set("min-replicas-to-write", 3)
    try:
        assert "NOREPLICAS" in the_wrong(check_redis(settings)).said
    finally:
        redis.config_set(*next(iter(before.items())))


def test_feast_that_looks_into_another_store(whole: Settings) -> None:
    config = whole.stores.feast_dir / "feature_store.yaml"
    written = yaml.safe_load(config.read_text())
    written["online_store"] = {"type": "redis", "connection_string": "cache:6379"}
    config.write_text(yaml.safe_dump(written))
    found = the_wrong(check_feast(whole))
    assert "says redis, the settings say sqlite" in found.said


def test_a_damaged_online_store(whole: Settings) -> None:
    path = whole.stores.feast_dir / "online.db"
    with path.open("r+b") as file:
        file.write(b"no database at all, ")
    assert "online.db is damaged" in the_wrong(check_feast(whole)).said


def test_a_damaged_state_file(whole: Settings) -> None:
    path = state_path(whole.stores.sessions_dir, 0)
    raw = path.read_bytes()
    path.write_bytes(raw[:100] + b"\xff" * (len(raw) - 100))
    found = the_wrong(check_state(whole))
    assert "partition-00000.sqlite" in found.said and "headwater restore" in found.mend


def test_state_of_another_format(whole: Settings) -> None:
    with closing(sqlite3.connect(state_path(whole.stores.sessions_dir, 0))) as connection:
        connection.execute("UPDATE applied SET format = 99")
        connection.commit()
    assert "has format 99, this version reads 1" in the_wrong(check_state(whole)).said


def test_state_of_more_partitions_than_there_are(whole: Settings) -> None:
    PartitionState(state_path(whole.stores.sessions_dir, 1)).close()
    found = the_wrong(check_state(whole.model_copy(update={"kafka": Kafka(partitions=1)})))
    assert found.mend.startswith("set HEADWATER_KAFKA__PARTITIONS=2")


def test_a_damaged_snapshot(whole: Settings) -> None:
    path = whole.stores.snapshots_dir / "student" / "snapshot-000000000002.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    found = the_wrong(check_snapshots(whole))
    assert path.name in found.said and "damaged" in found.said


def test_a_label_store_that_does_not_know_how_far_it_is(whole: Settings) -> None:
    whole.stores.labels_dir.mkdir()
    (whole.stores.labels_dir / "offsets.json").write_text("{")
    assert str(whole.stores.labels_dir) in the_wrong(check_labels(whole)).said


def test_a_damaged_graph(whole: Settings) -> None:
    registry = Registry(whole.stores.models_dir)
    (registry.folder("student", registry.versions("student")[0]) / "rank.onnx").write_bytes(b"other")
    found = the_wrong(check_registry(whole))
    assert "rank.onnx is damaged" in found.said


def test_a_pointer_to_a_version_that_is_gone(whole: Settings) -> None:
    registry = Registry(whole.stores.models_dir)
    pointer = registry.current("student")
    assert pointer is not None
    for path in registry.folder("student", pointer.version).iterdir():
        path.unlink()
    found = wrongs(check_registry(whole))
    assert any(f"student points to {pointer.version}" in finding.said for finding in found)
    assert any(finding.mend == "headwater rollback --name student" for finding in found)


def test_a_pointer_that_cannot_be_read(whole: Settings) -> None:
    (whole.stores.models_dir / "versions" / "student" / "current.json").write_text("{")
    assert "current.json is damaged" in the_wrong(check_registry(whole)).said


def test_a_lock_that_is_never_let_go(whole: Settings) -> None:
    path = whole.stores.models_dir / "versions" / "student" / ".lock"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = the_wrong(check_locks(whole, seconds=0.2))
    assert str(path) in found.said and "fuser" in found.mend
    assert wrongs(check_locks(whole)) == []


def test_clocks_that_differ(whole: Settings, redis_url: str) -> None:
    import time

    stores = Stores(online_store="redis", redis_url=redis_url)
    settings = whole.model_copy(update={"stores": stores})
    assert wrongs(check_clocks(settings)) == []
    found = the_wrong(check_clocks(settings, now=lambda: time.time() + 600))
    assert found.said.startswith("Redis differs from this machine by -") and "time service" in found.mend


def test_a_clock_at_zero(whole: Settings) -> None:
    assert "before the earliest event time" in the_wrong(check_clocks(whole, now=lambda: 0.0)).said


def test_packages_that_do_not_fit(whole: Settings) -> None:
    found = wrongs(check_versions(whole, ["numpy>=99", "no-such-package-here>=1", "msgspec>=0.1", "x; extra == 'y'"]))
    assert [finding.said.split()[0] for finding in found] == ["numpy", "no-such-package-here"]
    assert found[0].mend == "pip install 'numpy>=99'"
    assert wrongs(check_versions(whole)) == []


def test_a_misspelt_variable(whole: Settings) -> None:
    given = {"HEADWATER_KAFKA__BOOTSTRAP_SERVER": "kafka:9092", "HEADWATER_KAFKA__PARTITIONS": "4", "PATH": ""}
    found = the_wrong(check_environment(whole, given))
    assert found.said == "HEADWATER_KAFKA__BOOTSTRAP_SERVER is read by nobody"


def test_a_look_that_breaks_off_is_a_finding(whole: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(settings: Settings) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setitem(CHECKS, "state", (breaks,))
    found = wrongs(visit(whole, ["state", "labels", "registry"]))
    assert [finding.part for finding in found] == ["state"] and "unforeseen" in found[0].said


def test_a_finding_in_one_line() -> None:
    assert fine("stores", "there").line == "stores: there" and not fine("stores", "there").wrong
    assert wrong("stores", "gone", "bring it").line == "stores: gone. Mend: bring it"


def test_command(whole: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(whole.stores.state_dir))
    run = CliRunner().invoke
    asked = ["doctor", "--only", "registry", "--only", "state", "--json", str(tmp_path / "found.json")]
    said = run(app, asked)
    assert said.exit_code == 0 and "0 wrong" in said.output
    (whole.stores.models_dir / "versions" / "student" / "current.json").write_text("{")
    said = run(app, [*asked, "--quiet"])
    assert said.exit_code == 1 and "current.json is damaged" in said.output and "fine " not in said.output
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["wrong"] == 1 and [one["part"] for one in report["findings"] if one["wrong"]] == ["registry"]
    assert isinstance(run(app, ["doctor", "--only", "heart"]).exception, SettingsError)


def test_what_is_wrong_always_has_a_mend() -> None:
    assert wrong("topics", "one is missing", "headwater topics").wrong and not fine("topics", "all there").wrong
    with pytest.raises(ValueError, match="without a mend"):
        wrong("topics", "one is missing", " ")
