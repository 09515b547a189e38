"""The moves of ``headwater bench rollback``, against a registry and a small server of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from exporters.registry import Draft, GraphFile, Registry
from streamer import rollbacks
from streamer.bench import rollback
from streamer.bench.rollback import Moves
from streamer.errors import HeadwaterError
from streamer.settings import Settings, Stores


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(stores=Stores(state_dir=tmp_path))
    for step in (1, 2):
        graph = GraphFile(content=b"%d" % step, architecture="a", inputs=("x",), outputs=("y",))
        draft = Draft(name="student", graphs={"rank": graph}, step=step, tables={}, item_ids=[])
        Registry(settings.stores.models_dir).publish(draft)
    return settings


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    """A server that serves what the registry points to."""

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving = Registry(settings.stores.models_dir).current("student").version
            body = msgspec.json.encode({"students": {"student": {"serving": serving}}})
            self.send_response(200 if self.path == "/models" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Told)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def moves(settings: Settings, port: int) -> Moves:
    made = Moves(SimpleNamespace(settings=settings, port=port), pause_seconds=0.01)
    made.start()
    return made


def test_the_first_version_comes_back_and_the_newest_after_it(
    settings: Settings, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(rollbacks, "announce", lambda said, *_: told.append((said.kind, said.version)))
    found = moves(settings, port).ended()
    first, newest = Registry(settings.stores.models_dir).versions("student")
    assert told == [("rolled_back", first), ("released", newest)]
    assert found.keys() == {"rolled_back", "released"} and all(0 <= seconds < 60 for seconds in found.values())


def test_a_version_that_never_serves_is_an_error(
    settings: Settings, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moves_nothing(given: Settings, *_: Any) -> None:
        Registry(given.stores.models_dir).release("student")

    monkeypatch.setattr(rollbacks, "roll_back", moves_nothing)
    monkeypatch.setattr(rollback, "_MOST_SECONDS", 0.3)
    with pytest.raises(HeadwaterError, match="does not serve after 0.3 s"):
        moves(settings, port).ended()
