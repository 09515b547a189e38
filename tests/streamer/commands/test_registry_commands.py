"""``headwater models``, ``rollback`` and ``export`` on a registry with real graphs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from exporters import announcements
from exporters.publish import DensePublisher
from exporters.registry import Registry
from exporters.runtime import RankerSession
from online_models.learner import Graph
from streamer.cli import app
from streamer.errors import BrokerError, HeadwaterError
from streamer.settings import Settings

runner = CliRunner()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architectures folder of a linear model, traced once."""
    registry = Registry(tmp_path_factory.mktemp("traced"))
    _publish(registry, 0)
    return registry.architectures_dir


@pytest.fixture
def registry(tmp_path: Path, graphs: Path) -> Registry:
    registry = Registry(tmp_path / "models")
    registry.directory.mkdir()
    registry.architectures_dir.symlink_to(graphs)
    for step in (1, 2, 3):
        _publish(registry, step)
    return registry


def _publish(registry: Registry, step: int) -> None:
    torch.manual_seed(step)
    module = nn.Linear(3, 2)
    graph = Graph(module=module, inputs={"input": torch.randn(2, 3)}, outputs=("logits",), dynamic={"input": {0: "B"}})
    tables = {"item_vectors": np.ones((3, 2), np.float32)}
    DensePublisher(registry).publish({"rank": graph}, tables, [None, None, "a"], {}, {"hr@10": 0.2}, {}, step)


def run(registry: Registry, *arguments: str):
    return runner.invoke(app, [*arguments, "--dir", str(registry.directory)], catch_exceptions=True)


def test_models_lists_the_newest_first_and_says_which_serves(registry, tmp_path):
    done = run(registry, "models", "--json", str(tmp_path / "list.json"))
    assert done.exit_code == 0, done.output
    listed = json.loads((tmp_path / "list.json").read_text())
    assert [entry["step"] for entry in listed] == [3, 2, 1]
    assert [entry["state"] for entry in listed] == ["serving", "", ""]
    assert listed[0]["version"] in done.output and listed[0]["metrics"] == {"hr@10": 0.2}


def test_what_models_and_export_print_is_whole_in_80_columns(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in (["models"], ["export", str(tmp_path / "out")]):
        done = run(registry, *command)
        assert done.exit_code == 0, done.output
        assert "…" not in done.output and max(map(len, done.output.splitlines()[:-1])) <= 80
    listed = run(registry, "models").output
    assert all(piece in listed for piece in ("serving", registry.versions("student")[0], "0.2"))


def test_models_check_names_what_is_damaged_and_fails(registry, tmp_path):
    assert run(registry, "models", "--check").exit_code == 0
    (registry.folder("student", registry.versions("student")[0]) / "rank.onnx").write_bytes(b"!")
    done = run(registry, "models", "student", "--check", "--json", str(tmp_path / "list.json"))
    assert done.exit_code == 1
    assert "rank.onnx is damaged" in json.loads((tmp_path / "list.json").read_text())[2]["state"]


def test_models_of_an_empty_registry_says_so(tmp_path):
    done = run(Registry(tmp_path / "nothing"), "models")
    assert done.exit_code == 0 and "Nothing is published" in done.output


def test_rollback_pins_the_version_before_and_release_lifts_it(registry, tmp_path):
    versions = registry.versions("student")
    done = run(registry, "rollback", "--no-announce", "--reason", "drift", "--json", str(tmp_path / "told.json"))
    assert done.exit_code == 0, done.output
    told = announcements.decode((tmp_path / "told.json").read_bytes())
    assert (told.kind, told.version, told.reason) == ("rolled_back", versions[1], "drift")
    assert registry.current("student").pinned and registry.current("student").version == versions[1]
    assert run(registry, "rollback", "--no-announce", "--to", versions[0]).exit_code == 0
    assert registry.current("student").version == versions[0]
    assert run(registry, "rollback", "--no-announce", "--release").exit_code == 0
    assert registry.current("student").version == versions[2] and not registry.current("student").pinned


def test_rollback_refuses_what_cannot_be(registry):
    done = run(registry, "rollback", "--no-announce", "--to", "000009-00000000")
    assert isinstance(done.exception, HeadwaterError) and "has no version" in str(done.exception)
    both = run(registry, "rollback", "--no-announce", "--release", "--to", registry.versions("student")[0])
    assert isinstance(both.exception, HeadwaterError) and "either" in str(both.exception)
    nobody = run(registry, "rollback", "nobody", "--no-announce")
    assert isinstance(nobody.exception, HeadwaterError) and "nothing is published under 'nobody'" in str(
        nobody.exception
    )


def test_rollback_without_a_broker_has_moved_the_registry_and_says_what_is_missing(registry, monkeypatch):
    from streamer import announcing

    monkeypatch.setattr(announcing.announce, "__defaults__", (0.5,))
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9")
    done = run(registry, "rollback")
    assert isinstance(done.exception, BrokerError) and "did not take the announcement" in str(done.exception)
    assert registry.current("student").pinned


def test_export_writes_a_version_that_runs_by_itself(registry, tmp_path):
    target = tmp_path / "out"
    done = run(registry, "export", str(target), "--json", str(tmp_path / "export.json"))
    assert done.exit_code == 0, done.output
    assert {path.name for path in target.iterdir()} == {"rank.onnx", "tables.safetensors", "manifest.json"}
    report = json.loads((tmp_path / "export.json").read_text())
    assert report["graphs"]["rank"]["inputs"] == {"input": ["B", 3]}
    answer = RankerSession(target / "rank.onnx").run({"input": np.ones((4, 3), np.float32)})
    assert answer["logits"].shape == (4, 2)


def test_export_of_nothing_says_what_is_there(registry, tmp_path):
    done = run(registry, "export", str(tmp_path / "out"), "--name", "teacher")
    assert isinstance(done.exception, HeadwaterError) and "models there: student" in str(done.exception)


def test_models_and_rollback_take_the_name_as_train_does(registry, tmp_path):
    for arguments in (["rollback", "--name", "student", "--no-announce"], ["models", "--name", "student"]):
        done = run(registry, *arguments)
        assert done.exit_code == 0, (done.output, done.exception)
    assert registry.current("student").pinned and "pinned" in done.output
    assert isinstance(run(registry, "rollback", "--name", "nobody", "--no-announce").exception, HeadwaterError)


def test_train_refuses_a_name_or_a_family_that_there_is_not():
    for arguments, told in (
        (["--family", "transformer"], "the families are session, caser"),
        (["--name", "a/b"], "--name 'a/b'"),
        (["--name", "foundation"], "the name of another model"),
    ):
        done = runner.invoke(app, ["train", *arguments])
        assert isinstance(done.exception, HeadwaterError) and told in str(done.exception)


@pytest.mark.integration
def test_an_announced_rollback_reaches_a_server(registry, settings: Settings, monkeypatch):
    """The command's announcement goes through a real broker to a host, which switches."""
    from kafka import KafkaConsumer

    from exporters.runtime import ModelHost
    from streamer import topics
    from streamer.topics import create_topics

    create_topics(settings)
    servers = settings.kafka.bootstrap_servers
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", servers)
    host = ModelHost(registry=registry)
    host.start()
    wanted = registry.versions("student")[0]
    done = run(registry, "rollback", "--to", wanted)
    assert done.exit_code == 0, (done.output, done.exception)
    consumer = KafkaConsumer(
        topics.MODELS.name, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=15_000
    )
    for message in consumer:
        told = announcements.decode(message.value)
        if told.version == wanted and message.key == b"student":
            assert host.follow(told).swapped and host.version == wanted and host.pinned
            break
    else:
        pytest.fail("the announcement did not arrive")
    consumer.close()
