"""Backup and restore of real state: the processes' own objects write it, the archive is read back by them."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from redis import Redis
from typer.testing import CliRunner

from exporters.registry import Draft, GraphFile, Registry
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from streamer.backup import manifest
from streamer.backup.restoring import restore
from streamer.backup.writing import back_up
from streamer.cli import app
from streamer.errors import SnapshotError
from streamer.partitions import Partition
from streamer.settings import Kafka, Settings, Stores
from streamer.snapshots import SnapshotStore
from streamer.state import PartitionState, state_path

USERS = 5


class System:
    """What the processes keep in one state folder, without the processes."""

    def __init__(self, settings: Settings) -> None:
        stores = settings.stores
        self.settings = settings
        self.store = OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)
        self.partition = Partition(0, {}, settings, self._show)
        self.snapshots = SnapshotStore(stores.snapshots_dir / "student")
        self.registry = Registry(stores.models_dir, keep=3)

    def _show(self, states: Sequence[UserState]) -> float | None:
        self.store.push(states)
        return 0.0

    def take(self, stream: Any, first: int, count: int) -> list[str]:
        """Apply records; returns the messages that they make, as a receiver would have them."""
        clicks = [stream.click(f"e{n}", f"u{n % USERS}", n, item_id=f"i{n % 7}") for n in range(first, first + count)]
        done = self.partition.apply(stream.records(*clicks, first_offset=first))
        return [repr(message) for effects in done for message in effects.messages]

    def learn(self, step: int) -> None:
        self.snapshots.save({"weights": torch.full((64,), float(step)), "offsets": {"0": step}}, {"step": step})
        graph = GraphFile(content=b"graph" * step, architecture="a", inputs=("x",), outputs=("y",))
        self.registry.publish(Draft(name="student", graphs={"rank": graph}, step=step))

    def users(self) -> dict[str, list[str]]:
        found = self.partition.state.load([f"u{number}" for number in range(USERS)])
        return {name: list(record.user.item_ids) for name, record in found.items()}

    def close(self) -> None:
        self.partition.close()
        self.store.close()


def settings_in(folder: Path, **stores: Any) -> Settings:
    return Settings(stores=Stores(state_dir=folder, **stores))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(settings_in(tmp_path / "state"))
    yield running
    running.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "headwater.tar"


def logged(settings: Settings) -> list[int]:
    """Offsets in the event log's files and of the events that wait for one."""
    folder = settings.stores.event_log_dir
    rows = [row for path in folder.rglob("*.parquet") for row in pq.ParquetFile(path).read(["offset"]).to_pylist()]
    state = PartitionState(state_path(settings.stores.sessions_dir, 0))
    waiting = [row[0] for row in state._connection.execute("SELECT offset FROM log_entries")]
    state.close()
    return sorted([int(row["offset"]) for row in rows] + waiting)


def test_everything_comes_back_while_the_processes_run(
    system: System, stream: Any, archive: Path, tmp_path: Path
) -> None:
    system.take(stream, 0, 20)
    system.partition.flush_log(everything=True)
    system.take(stream, 20, 10)
    system.learn(1)
    system.learn(2)
    back_up(system.settings, archive)
    system.take(stream, 30, 5)  # what comes later is not in it
    system.learn(3)

    settings = settings_in(tmp_path / "other")
    found = restore(settings, archive)
    again = System(settings)
    assert found.positions["sessions"] == {"00000": 29} and found.positions["snapshots"] == {"student": {"0": 2}}
    assert again.partition.state.applied.offset == 29
    assert {len(items) for items in again.users().values()} == {6}
    latest = again.snapshots.latest()
    assert latest is not None and latest.meta == {"step": 2}
    assert torch.equal(latest.state["weights"], torch.full((64,), 2.0))
    pointer = again.registry.current("student")
    assert pointer is not None and again.registry.verify("student", pointer.version).step == 2
    kept = again.store.read("u3")
    assert kept is not None and list(kept.item_ids) == again.users()["u3"]
    again.close()
    assert logged(settings) == list(range(30))


def test_processes_resume_where_they_were(system: System, stream: Any, archive: Path, tmp_path: Path) -> None:
    system.take(stream, 0, 12)
    back_up(system.settings, archive)
    expected = system.take(stream, 12, 12)
    settings = settings_in(tmp_path / "other")
    restore(settings, archive)
    again = System(settings)
    assert again.take(stream, 12, 12) == expected, "the same records make the same examples"
    assert again.users() == system.users()
    assert again.partition.state.counters() == system.partition.state.counters()
    again.close()


def test_each_archive_is_whole_however_busy_the_processes_are(system: System, stream: Any, tmp_path: Path) -> None:
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        step = 0
        try:
            while not ended.is_set():
                system.take(stream, 10 * step, 10)
                if step % 2:
                    system.partition.flush_log(everything=True)
                system.learn(step + 1)
                step += 1
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        archives = [tmp_path / f"{number}.tar" for number in range(4)]
        for archive in archives:
            back_up(system.settings, archive)
    finally:
        ended.set()
        worker.join()
    assert not failures
    for number, archive in enumerate(archives):
        settings = settings_in(tmp_path / f"restored-{number}")
        restore(settings, archive)
        again = System(settings)
        applied = again.partition.state.applied.offset
        pointer = again.registry.current("student")
        if pointer is not None:
            again.registry.verify("student", pointer.version)
        again.snapshots.latest()
        again.close()
        assert logged(settings) == list(range(applied + 1)), "every event once, none twice"


def test_what_is_made_anew_is_left_out(system: System, archive: Path) -> None:
    (system.settings.stores.state_dir / "logs").mkdir()
    (system.settings.stores.state_dir / "logs" / "worker.log").write_text("said")
    back_up(system.settings, archive)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert not [name for name in names if name.endswith(("feature_store.yaml", "worker.log", ".lock", "-wal"))]
    assert names[-1] == manifest.FILE
    left = [path.name for path in system.settings.stores.state_dir.iterdir()]
    assert not [name for name in left if name.startswith(".backup")], "the staging folder is gone"


def test_a_compressed_archive(system: System, stream: Any, tmp_path: Path) -> None:
    system.take(stream, 0, 10)
    written = back_up(system.settings, tmp_path / "a.tar.gz")
    assert (tmp_path / "a.tar.gz").stat().st_size < sum(file.bytes for file in written.files.values())
    restore(settings_in(tmp_path / "other"), tmp_path / "a.tar.gz")


def test_a_changed_byte_is_noticed_and_nothing_appears(
    system: System, stream: Any, archive: Path, tmp_path: Path
) -> None:
    system.take(stream, 0, 10)
    back_up(system.settings, archive)
    raw = bytearray(archive.read_bytes())
    raw[2_000] ^= 1
    archive.write_bytes(raw)
    with pytest.raises(SnapshotError, match="is damaged: state/.* is not what was written"):
        restore(settings_in(tmp_path / "other"), archive)
    assert not (tmp_path / "other").exists()


def test_a_cut_off_archive_is_noticed(system: System, stream: Any, archive: Path, tmp_path: Path) -> None:
    system.take(stream, 0, 10)
    back_up(system.settings, archive)
    archive.write_bytes(archive.read_bytes()[:30_000])
    with pytest.raises(SnapshotError, match="damaged|cut off"):
        restore(settings_in(tmp_path / "other"), archive)


def test_an_archive_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(SnapshotError, match="no backup writes"):
        restore(settings_in(tmp_path / "other"), tmp_path / "evil.tar")


def test_a_folder_with_state_is_not_touched(system: System, archive: Path) -> None:
    back_up(system.settings, archive)
    with pytest.raises(SnapshotError, match="is not empty"):
        restore(system.settings, archive)


def test_an_empty_mounted_folder_is_filled(system: System, stream: Any, archive: Path, tmp_path: Path) -> None:
    system.take(stream, 0, 10)
    back_up(system.settings, archive)
    (tmp_path / "mounted").mkdir()
    restore(settings_in(tmp_path / "mounted"), archive)
    assert (tmp_path / "mounted" / "sessions").is_dir()


def test_other_partitions_are_refused(system: System, archive: Path, tmp_path: Path) -> None:
    back_up(system.settings, archive)
    settings = settings_in(tmp_path / "other").model_copy(update={"kafka": Kafka(partitions=9)})
    with pytest.raises(SnapshotError, match="kafka.partitions=4, here it is 9"):
        restore(settings, archive)


def test_a_backup_never_replaces_one(system: System, archive: Path) -> None:
    back_up(system.settings, archive)
    with pytest.raises(SnapshotError, match="exists"):
        back_up(system.settings, archive)


def test_no_state_no_backup(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no state folder"):
        back_up(settings_in(tmp_path / "nothing"), tmp_path / "a.tar")


def test_redis_comes_back(redis_url: str, stream: Any, archive: Path, tmp_path: Path) -> None:
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    redis.set("another program's", "value")
    system = System(settings_in(tmp_path / "state", online_store="redis", redis_url=redis_url))
    system.take(stream, 0, 20)
    back_up(system.settings, archive)
    expected = system.users()
    system.close()

    settings = settings_in(tmp_path / "other", online_store="redis", redis_url=redis_url)
    with pytest.raises(SnapshotError, match="already has rows"):
        restore(settings, archive)
    redis.flushdb()
    restore(settings, archive)
    again = System(settings)
    kept = again.store.read("u3")
    assert kept is not None and list(kept.item_ids) == expected["u3"]
    assert not redis.exists("another program's"), "only the project's keys are in the archive"
    again.close()
    redis.flushdb()


def test_commands(system: System, stream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system.take(stream, 0, 10)
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(system.settings.stores.state_dir))
    run = CliRunner().invoke
    archive = str(tmp_path / "a.tar")
    said = run(app, ["backup", archive, "--json", str(tmp_path / "a.json")])
    assert said.exit_code == 0 and '{"00000":9}' in said.output
    assert (tmp_path / "a.json").exists()
    assert "is whole" in run(app, ["restore", archive, "--check"]).output
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(tmp_path / "other"))
    assert run(app, ["restore", archive]).exit_code == 0
    assert (tmp_path / "other" / "sessions").is_dir()
