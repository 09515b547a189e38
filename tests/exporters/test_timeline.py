from __future__ import annotations

from exporters.announcements import Announcement, Kind
from exporters.manifest import Manifest
from exporters.timeline import Timeline


def told(number: int, kind: Kind = "published", **metrics: float) -> Announcement:
    return Announcement(
        name="student", kind=kind, version=f"{number:06d}-a", metrics=metrics, time_ms=1_000 * number, reason="why"
    )


def test_rates_are_kept_beside_their_time_and_other_metrics_are_not() -> None:
    line = Timeline()
    line.note(told(1, **{"hr@10": 0.2, "popular_7d_hr@10": 0.1, "loss": 3.0}))
    line.note(told(2, loss=2.0))
    document = line.document()
    assert document["quality"] == [{"time_ms": 1_000, "model": "student", "hr@10": 0.2, "popular_7d_hr@10": 0.1}]
    assert [mark["version"] for mark in document["versions"]] == ["000001-a", "000002-a"]


def test_what_the_registry_and_the_topic_both_tell_counts_once() -> None:
    manifest = Manifest(
        name="student",
        version="000001-a",
        number=1,
        created_ms=900,
        step=1,
        graphs={},
        files={},
        metrics={"hr@10": 0.2},
    )
    line = Timeline()
    line.begin(manifest)
    line.note(told(1, **{"hr@10": 0.2}))
    assert len(line.document()["quality"]) == len(line.document()["versions"]) == 1


def test_each_refusal_and_each_rollback_is_a_mark_but_a_request_is_none() -> None:
    line = Timeline()
    for number in (1, 2):
        line.note(told(number, "refused"))
        line.note(told(number, "asked"))
    line.note(told(3, "rolled_back"))
    line.note(told(4, "rolled_back"))
    kinds = [mark["kind"] for mark in line.document()["versions"]]
    assert kinds == ["refused", "refused", "rolled_back", "rolled_back"]
    assert line.document()["quality"] == []


def test_memory_is_bounded_and_the_line_keeps_its_length() -> None:
    line = Timeline(points=8, marks=3)
    for number in range(1, 101):
        line.note(told(number, **{"hr@10": number / 100}))
    document = line.document()
    times = [point["time_ms"] for point in document["quality"]]
    assert len(times) <= 8
    assert times[0] == 1_000 and times[-1] == 100_000 and times == sorted(times)
    assert [mark["time_ms"] for mark in document["versions"]] == [98_000, 99_000, 100_000]


def test_a_later_word_on_an_alarm_replaces_the_earlier() -> None:
    line = Timeline()
    line.note_drift("a1", {"time_ms": 5, "kind": "action", "state": "started"})
    line.note_drift("a1", {"time_ms": 5, "kind": "action", "state": "ended"})
    assert line.document()["drift"] == [{"time_ms": 5, "kind": "action", "state": "ended"}]
