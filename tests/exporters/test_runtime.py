from __future__ import annotations

import threading

import numpy as np
import pytest

from exporters.announcements import announcement_of
from exporters.errors import RuntimeLoadError
from exporters.publish import DensePublisher
from exporters.runtime import ModelHost, RankerSession
from exporters.session import Execution


@pytest.fixture
def publisher(registry) -> DensePublisher:
    return DensePublisher(registry)


@pytest.fixture
def host(tiny, registry) -> ModelHost:
    return ModelHost(registry=registry, warm_up={"rank": tiny.feeds()})


def logits(tiny, host: ModelHost) -> np.ndarray:
    return host.current.sessions["rank"].run(tiny.feeds(seed=3))["logits"]


def test_a_session_says_what_it_takes_and_what_is_wrong(tiny, registry, publisher):
    written = tiny.publish(publisher, tiny.ranker())
    session = RankerSession(registry.folder("student", written.version) / "rank.onnx", Execution(threads=2))
    assert session.inputs["candidate_vectors"] == ("B", "N", 16) and session.outputs == ("logits", "source_weights")
    assert session.provider == "CPUExecutionProvider" or "CUDA" in session.provider
    feeds = tiny.feeds()
    assert session.run(feeds | {"unknown": np.zeros(1)})["logits"].shape == (2, 9)
    with pytest.raises(RuntimeLoadError, match=r"\['query'\] are missing"):
        session.run({name: value for name, value in feeds.items() if name != "query"})
    with pytest.raises(RuntimeLoadError, match="did not run"):
        session.run(feeds | {"features": np.zeros((2, 99), np.float32)})
    with pytest.raises(RuntimeLoadError, match="could not load"):
        RankerSession(b"no graph")


def test_a_host_follows_what_is_published(tiny, registry, publisher, host):
    assert not host.start().swapped and host.version == "" and host.age_seconds == 0
    first = tiny.publish(publisher, tiny.ranker(0))
    assert host.start().swapped and host.version == first.version
    before = logits(tiny, host)
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    result = host.follow(announcement_of(registry, second, "published"))
    assert result.swapped and result.took_ms > 0 and host.version == second.version
    assert np.abs(logits(tiny, host) - before).max() > 0.01
    assert "already" in host.swap(second).reason


def test_a_damaged_version_keeps_the_one_before_and_says_why(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    host.start()
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    path = registry.folder("student", second.version) / "rank.onnx"
    path.write_bytes(path.read_bytes()[:-9])
    result = host.swap(second)
    assert not result.swapped and "rank.onnx is damaged" in result.reason and host.version == first.version
    assert not host.swap("000099-00000000").swapped and host.version == first.version


def test_a_version_that_was_loaded_ahead_is_not_loaded_again(tiny, registry, publisher, host, monkeypatch):
    tiny.publish(publisher, tiny.ranker(0))
    host.start()
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    host.load_ahead(second.version)
    assert host.version != second.version, "loaded, not served"
    monkeypatch.setattr(registry, "verify", lambda *_, **__: pytest.fail("the files are read again"))
    assert host.swap(second).swapped and host.version == second.version


def test_a_damaged_version_is_refused_at_its_switch_and_not_before(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    host.start()
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    path = registry.folder("student", second.version) / "rank.onnx"
    path.write_bytes(path.read_bytes()[:-9])
    host.load_ahead(second.version)
    assert "rank.onnx is damaged" in host.swap(second).reason and host.version == first.version


def test_damaged_tables_keep_nobody_from_a_newer_graph_but_from_a_rollback(tiny, registry, publisher, host):
    """The stream's tables serve beside a published version; one that is rolled back to serves with its own."""
    first = tiny.publish(publisher, tiny.ranker(0))
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    host.start()
    third = tiny.publish(publisher, tiny.ranker(2), step=3)
    for version in (first.version, third.version):
        path = registry.folder("student", version) / "tables.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert host.follow(announcement_of(registry, third, "published")).swapped
    refused = host.rollback(first.version)
    assert not refused.swapped and "tables.safetensors is damaged" in refused.reason and not host.pinned
    assert host.version == third.version and host.rollback(second.version).swapped and host.pinned


def test_a_version_that_fails_the_warm_up_never_serves(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    host.start()
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    host.warm_up = {"rank": tiny.feeds() | {"features": np.full((2, 5), np.nan, np.float32)}}
    assert "answers NaN" in host.swap(second).reason and host.version == first.version
    host.warm_up = {"encode": tiny.feeds()}
    assert "no graph 'encode'" in host.swap(second).reason and host.version == first.version


def test_a_rollback_is_instant_and_holds_until_released(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    host.start()
    loaded = host.current
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    host.swap(second)
    assert host.rollback().swapped and host.current is loaded and host.pinned
    third = tiny.publish(publisher, tiny.ranker(2), step=3)
    assert "pinned" in host.follow(announcement_of(registry, third, "published")).reason
    assert host.version == first.version
    assert host.follow(announcement_of(registry, third, "released")).swapped and host.version == third.version
    assert not host.pinned


def test_an_announced_rollback_pins_a_host_that_serves_the_version_already(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    host.start()
    host.follow(announcement_of(registry, first, "rolled_back"))
    assert host.pinned and host.version == first.version


def test_a_rollback_to_nowhere_changes_nothing_and_does_not_pin(tiny, publisher, host):
    tiny.publish(publisher, tiny.ranker(0))
    host.start()
    assert "no earlier version" in host.rollback().reason
    assert not host.rollback("000042-00000000").swapped and not host.pinned


def test_other_models_and_refusals_are_none_of_its_business(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    told = announcement_of(registry, first, "refused")
    assert not host.follow(told).swapped and host.version == ""


def test_a_cold_start_serves_the_newest_whole_version(tiny, registry, publisher, host):
    first = tiny.publish(publisher, tiny.ranker(0))
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    (registry.folder("student", second.version) / "rank.onnx").unlink()
    result = host.start()
    assert result.swapped and host.version == first.version and "rank.onnx is missing" in result.reason


def test_a_pin_survives_a_restart(tiny, registry, publisher, host):
    tiny.publish(publisher, tiny.ranker(0))
    tiny.publish(publisher, tiny.ranker(1), step=2)
    pinned = registry.rollback("student").version
    third = tiny.publish(publisher, tiny.ranker(2), step=3)
    host.start()
    assert host.version == pinned and not host.swap(third).swapped


def test_requests_never_see_half_of_a_swap(tiny, registry, publisher, host):
    """Every answer given while versions are swapped is an answer of one of them."""
    versions, expected = [], []
    for seed in (0, 1):
        versions.append(tiny.publish(publisher, tiny.ranker(seed), step=seed + 1))
        session = RankerSession(registry.folder("student", versions[-1].version) / "rank.onnx")
        expected.append(session.run(tiny.feeds(seed=3))["logits"])
    host.start()
    wrong: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            held = host.current
            answer = held.sessions["rank"].run(tiny.feeds(seed=3))["logits"]
            if not np.allclose(answer, expected[held.version == versions[1].version], atol=1e-5):
                wrong.append(held.version)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for turn in range(20):
        assert host.swap(versions[turn % 2]).swapped
    stop.set()
    for asker in askers:
        asker.join()
    assert not wrong


def test_runtime_needs_no_torch():
    """A server that only serves should not pay for torch."""
    import subprocess
    import sys

    code = "import sys, exporters.runtime, exporters.item_tables, exporters.retrieval; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_graph_has_answered_before_its_version_serves(tiny, registry, publisher, monkeypatch):
    """Nobody's request pays for the first run of a new version."""
    host, served = ModelHost(registry=registry), []
    run = RankerSession.run

    def noted(session: RankerSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        served.append((host.version, feeds["candidate_vectors"].shape[:2]))
        return run(session, feeds)

    first = tiny.publish(publisher, tiny.ranker(0))
    second = tiny.publish(publisher, tiny.ranker(1), step=2)
    monkeypatch.setattr(RankerSession, "run", noted)
    assert host.swap(first).swapped and host.swap(second).swapped
    assert served == [("", (1, 500)), (first.version, (1, 500))]


def test_a_graph_that_does_not_run_never_serves(tiny, registry, publisher, monkeypatch):
    host = ModelHost(registry=registry)
    first = tiny.publish(publisher, tiny.ranker(0))
    host.swap(first)
    second = tiny.publish(publisher, tiny.ranker(1), step=2)

    def breaks(session: RankerSession) -> None:
        raise RuntimeLoadError("the graph did not run: out of memory")

    monkeypatch.setattr(RankerSession, "warm_up", breaks)
    assert "out of memory" in host.swap(second).reason and host.version == first.version
