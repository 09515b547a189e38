"""Checks of a running compose, from outside: through Kafka's host listener, HTTP and Prometheus.

python -m deploy.smoke reacts STATE.json       an event from Kafka changes the session and the list of its user
python -m deploy.smoke dashboard               every query of the dashboards has data, every alert is evaluated
python -m deploy.smoke demo                    what the demo profile publishes shows in Prometheus and on the page
python -m deploy.smoke remembers STATE.json    after a restart: the session and the model version are still there
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
from kafka import KafkaProducer

from deploy.dashboards.live import Row, alert_rows, panel_rows, queries

Found = TypeVar("Found")

KAFKA = "localhost:29092"
SERVER = httpx.Client(base_url="http://localhost:8080", timeout=15)
PROMETHEUS = httpx.Client(base_url="http://localhost:9090", timeout=15)
GENRES, ITEMS_A_GENRE, READERS = 3, 8, 20


def fail(said: str) -> NoReturn:
    """End with a line that says what was expected and what was there."""
    print(f"FAIL  {said}")
    sys.exit(1)


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = 60) -> Found:
    """Look until there is something; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > until:
            fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.25)
    return found


class Publisher:
    """An application: knows Kafka's address and the event contract, nothing else."""

    def __init__(self) -> None:
        self._producer = KafkaProducer(bootstrap_servers=KAFKA, acks="all")

    def item(self, item_id: str, genre: int) -> None:
        """Add an item to the catalogue."""
        event = {"type": "item", "item_id": item_id, "title": f"Book {item_id}", "categories": [f"genre {genre}"]}
        self._send("headwater.items", item_id, event)

    def click(self, user_id: str, item_id: str) -> str:
        """Publish a click; returns its event id."""
        event = {"type": "interaction", "user_id": user_id, "item_id": item_id, "action": "click"}
        return self._send("headwater.events", user_id, event)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        self._producer.flush(30)

    def _send(self, topic: str, key: str, event: dict[str, Any]) -> str:
        whole = {"event_id": str(uuid.uuid4()), "event_time_ms": time.time_ns() // 1_000_000, **event}
        self._producer.send(topic, json.dumps(whole).encode(), key=key.encode())
        return str(whole["event_id"])


def session(user_id: str, event_id: str | None = None) -> dict[str, Any]:
    """Read a user's session, waiting for an event where one is given."""
    wanted = {} if event_id is None else {"wait_for_event_id": event_id, "timeout_ms": "10000"}
    answer = SERVER.get(f"/users/{user_id}/session", params=wanted).raise_for_status()
    return dict(answer.json())


def recommend(user_id: str) -> list[str]:
    """Ask for a list, without publishing the impression."""
    ask = {"user_id": user_id, "count": 10, "log": False, "deadline_ms": 5_000}
    answer = SERVER.post("/recommend", json=ask).raise_for_status()
    return [item["item_id"] for item in answer.json()["items"]]


def genre_items(genre: int) -> list[str]:
    """Name the items of one genre."""
    return [f"book-{genre}-{number}" for number in range(ITEMS_A_GENRE)]


def warm_up(publisher: Publisher) -> None:
    """Publish a small world: readers who each keep to one genre."""
    draw = random.Random(7)
    for genre in range(GENRES):
        for item_id in genre_items(genre):
            publisher.item(item_id, genre)
    for reader in range(READERS):
        for item_id in draw.sample(genre_items(reader % GENRES), 6):
            publisher.click(f"reader-{reader}", item_id)
    publisher.flush()


def learned_version(least: int = 1) -> dict[str, Any] | None:
    """Describe the version that serves, where it has learned at least so many examples."""
    models = SERVER.get("/models").raise_for_status().json()
    serving = [entry for entry in models["versions"] if entry["version"] == models["serving"]]
    return dict(serving[0]) if serving and serving[0]["step"] >= least else None


def reacts(state: Path) -> None:
    """Publish an event to Kafka and see it change the session and the list."""
    publisher = Publisher()
    warm_up(publisher)
    user_id = f"newcomer-{uuid.uuid4().hex[:8]}"
    model = wait_for("a version that has learned serves", learned_version, 120)
    print(f"ok    model: version {model['version']} serves, {model['step']} examples learned")
    before = wait_for("a list for an unknown user", lambda: recommend(user_id) or None)
    clicked = next(item_id for item_id in before if item_id.startswith("book-"))
    event_id = publisher.click(user_id, clicked)
    publisher.flush()
    seen = session(user_id, event_id)
    if not seen["visible"] or [entry["item_id"] for entry in seen["history"]] != [clicked]:
        fail(f"session: expected the click on {clicked}, found {seen}")
    print(f"ok    session: the click on {clicked} is visible ({seen['waited_ms']:.0f} ms after asking)")
    after = recommend(user_id)
    if clicked in after or after == before:
        fail(f"list: expected another list without {clicked}, found {after} (before: {before})")
    print(f"ok    list: {' '.join(before[:4])} … became {' '.join(after[:4])} …")
    state.write_text(json.dumps({"user_id": user_id, "session": seen, "model": model}))


def remembers(state: Path) -> None:
    """Compare what the processes know with what the earlier ones knew."""
    was = json.loads(state.read_text())
    now = session(was["user_id"])
    for part in ("session_id", "last_event_id", "history", "session_length"):
        if now[part] != was["session"][part]:
            fail(f"state: {part} was {was['session'][part]!r} and is {now[part]!r}")
    print(f"ok    state: the session of {was['user_id']} is as it was")
    step = was["model"]["step"]
    model = wait_for(f"a version with at least {step} learned examples serves", lambda: learned_version(step))
    versions = [entry["version"] for entry in SERVER.get("/models").raise_for_status().json()["versions"]]
    if was["model"]["version"] not in versions:
        fail(f"state: version {was['model']['version']} was served and is not in the registry any more: {versions}")
    print(f"ok    state: version {model['version']} serves, {model['step']} examples learned; the earlier one is kept")


def dashboard() -> None:
    """Every query of the dashboards is answered with data, and every alert is evaluated."""

    def rows() -> list[Row]:
        SERVER.post("/recommend", json={"user_id": "reader-1"})
        return panel_rows(PROMETHEUS) + alert_rows(PROMETHEUS)

    until, found = time.monotonic() + 90, rows()
    while not all(row.alive for row in found) and time.monotonic() < until:
        time.sleep(2)
        found = rows()
    print(*found, sep="\n")
    if not all(row.alive for row in found):
        fail("dashboard: see the rows above")
    print(f"ok    dashboard: Prometheus answers all {len(queries())} queries and evaluates every alert")


def demo() -> None:
    """See what the demo profile publishes in Prometheus, and the page with its figures."""
    before = consumed()

    def look() -> float | None:
        now = consumed()
        return now if now > before else None

    more = wait_for("Prometheus counts the demo's events", look, 120)
    print(f"ok    demo: Prometheus has counted {more - before:.0f} more events")
    page = SERVER.get("/").raise_for_status().text
    stats = wait_for("the page's figures", lambda: SERVER.get("/stats").raise_for_status().json() or None)
    if "<html" not in page.lower() or not stats:
        fail(f"page: expected HTML and figures, found {page[:80]!r} and {stats}")
    print("ok    demo: the page and its figures are there")


def consumed() -> float:
    """Events that the workers have consumed, as Prometheus knows it."""
    query = {"query": "sum(headwater_events_consumed_total)"}
    result = PROMETHEUS.get("/api/v1/query", params=query).raise_for_status().json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def main(arguments: list[str]) -> None:
    """Run one check."""
    match arguments:
        case ["reacts", path]:
            reacts(Path(path))
        case ["remembers", path]:
            remembers(Path(path))
        case ["dashboard"]:
            dashboard()
        case ["demo"]:
            demo()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
