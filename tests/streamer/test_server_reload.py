from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from exporters.canary import Canary, CanaryRules
from exporters.problem import Problem
from exporters.rate_limit import Rate
from streamer.events import Limits as EventLimits
from streamer.http_door import KafkaDoor
from streamer.serve import _services, composed
from streamer.server_links import BrokerLink, StoreLink
from streamer.server_reload import LIVE, Reloader, _flat
from streamer.server_state import ServerState
from streamer.settings import Settings

TOML = """
[learning]
catalog_rows = 64
dimension = 8
neighbours = 10
[stores]
state_dir = "{state}"
[serving]
students = {{ student = 0.5, caser = 0.5 }}
"""


class Running:
    """A server's parts without any connection, with a TOML file of their own."""

    def __init__(self, path: Path, state: Path):
        self.path, self.plain = path, TOML.format(state=state)
        self.write("")
        settings = Settings()
        state_of = ServerState(settings)
        self.door = KafkaDoor(EventLimits())
        store = StoreLink(settings.stores, lambda: 500.0)
        broker = BrokerLink(settings.kafka, self.door, state_of, 30.0)
        self.services = _services(settings, state_of, self.door, store, broker, False)
        self.reloader = Reloader(settings, self.services, self.door, Settings)

    def write(self, more: str) -> None:
        self.path.write_text(self.plain + more)


@pytest.fixture
async def running(tmp_path, monkeypatch):
    path = tmp_path / "headwater.toml"
    monkeypatch.setenv("HEADWATER_CONFIG", str(path))
    return Running(path, tmp_path / "state")


async def test_what_can_change_changes_at_once_and_the_rest_is_named(running):
    running.write(
        "deadline_ms = 77\nrate_per_second = 9\nrate_burst = 4\nport = 1234\n"
        "[events]\nmax_slate = 5\n[logs]\naccess_share = 0.25\n[kafka]\npartitions = 9\n"
    )
    answer = await running.reloader.reload()
    assert answer["changed"]["serving.deadline_ms"] == [150.0, 77.0]
    assert answer["needs_restart"] == {"serving.port": [8080, 1234], "kafka.partitions": [4, 9]}
    services = running.services
    assert services.limits.deadline_ms == 77 and services.rate.rate == Rate(per_second=9, burst=4)
    assert services.access_log.share == 0.25 and running.door.limits.max_slate == 5
    assert running.reloader.settings.serving.port == 8_080, "what needs a restart is not in force"
    assert (await running.reloader.reload())["changed"] == {}


async def test_keys_change_and_are_never_told(running):
    running.write('api_keys = { shop = "shop-key-1" }\nadmin_keys = { operator = "night-key-1" }\n')
    answer = await running.reloader.reload()
    assert answer["changed"] == {"serving.api_keys": "a secret", "serving.admin_keys": "a secret"}
    assert running.services.keys.caller("shop-key-1").name == "shop"


async def test_shares_move_but_a_student_that_is_not_loaded_needs_a_restart(running):
    running.write("")
    running.path.write_text(running.path.read_text().replace("0.5", "0.9", 1).replace("0.5", "0.1"))
    assert "serving.students" in (await running.reloader.reload())["changed"]
    assert running.services.students.share("student") == 0.9
    running.path.write_text(running.path.read_text().replace("caser", "other"))
    assert "serving.students" in (await running.reloader.reload())["needs_restart"]
    assert running.services.students.share("student") == 0.9


@pytest.mark.parametrize(
    "more",
    [
        "deadline_ms = 0\nrate_per_second = 3\n",
        "deadline_ms = 20\n[oops\n",
        'api_keys = { shop = "short" }\n',
        'api_keys = { shop = "with a blank in it" }\n',
        "deadline_ms = 20\nstudents = { student = 0.2 }\n",
    ],
)
async def test_a_bad_file_changes_nothing_and_says_why(running, more):
    before = _flat(running.reloader.settings), running.services.limits, running.services.rate.rate
    text = (
        running.plain.replace("students = { student = 0.5, caser = 0.5 }", "") if "students" in more else running.plain
    )
    running.path.write_text(text + more)
    with pytest.raises(Problem, match="Nothing has changed") as caught:
        await running.reloader.reload()
    assert caught.value.status == 422
    assert "short" not in caught.value.detail.replace("shorter", "") and "with a blank" not in caught.value.detail
    assert before == (_flat(running.reloader.settings), running.services.limits, running.services.rate.rate)


async def test_a_file_that_has_gone_is_no_file_of_defaults(running):
    running.path.unlink()
    with pytest.raises(Problem, match="no such file"):
        await running.reloader.reload()


def test_every_live_setting_exists():
    assert set(_flat(Settings())) >= LIVE


async def test_a_running_server_takes_over_the_canary_and_the_number_of_candidates(running):
    running.write("max_candidates = 10\nmax_results = 100\n[kafka]\nbootstrap_servers = '127.0.0.1:1'\n")
    async with (
        composed(Settings(), cold=True) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client,
    ):
        eleven = {"user_id": "ada", "candidates": [f"i{number}" for number in range(11)]}
        assert (await client.post("/rank", json=eleven)).json()["type"] == "urn:headwater:problem:slate_too_long"
        canaries = [student.canary for student in app.state.services.students]
        canaries[0].begin(SimpleNamespace(version="000002-ab"))  # nobody tries anything yet
        running.write(
            "max_candidates = 11\ncanary_share = 0.5\ncanary_seconds = 5\ncanary_lists = 7\n"
            "assignment_salt = 'spring'\n[kafka]\nbootstrap_servers = '127.0.0.1:1'\n"
        )
        answer = (await client.post("/admin/reload")).json()
        assert answer["needs_restart"] == {} and answer["changed"]["serving.canary_share"] == [0.0, 0.5]
        assert len((await client.post("/rank", json=eleven)).json()["items"]) == 11
        rules = [(one.rules.share, one.rules.seconds, one.rules.lists) for one in canaries]
        assert len(rules) == 2 and set(rules) == {(0.5, 5.0, 7)}
        trying = [user for user in map(str, range(50)) if canaries[0].tries(user)]
        assert trying == [user for user in map(str, range(50)) if Canary(CanaryRules(share=0.5), "spring").tries(user)]
        shown = (await client.get("/models")).json()
        assert shown["students"]["student"]["canary"]["share"] == 0.5
