from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import EventError
from streamer.events import KNOWN_FIELDS, REASONS, Event, Limits, decode, encode, json_schema, validate
from streamer.settings import Events

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
NOW_MS = 1_718_000_000_000
VIEW = {
    "event_id": "e",
    "type": "interaction",
    "event_time_ms": NOW_MS,
    "user_id": "u",
    "item_id": "i",
    "action": "view",
}
SHOWN = {"event_id": "e", "type": "impression", "event_time_ms": NOW_MS, "user_id": "u", "impression_id": "p"} | {
    "items": ["a", "b"]
}
ITEM = {"event_id": "e", "type": "item", "event_time_ms": NOW_MS, "item_id": "i"}


def reason_of(raw: bytes | dict[str, Any], limits: Limits | None = None) -> str:
    with pytest.raises(EventError) as caught:
        decode(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), limits, now_ms=NOW_MS)
    assert caught.value.reason in REASONS
    return caught.value.reason


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


@pytest.mark.parametrize("event", [VIEW, SHOWN, ITEM])
def test_good_events_come_back_as_they_were(event: dict[str, Any]) -> None:
    decoded = decode(json.dumps(event).encode(), now_ms=NOW_MS)
    assert json.loads(encode(decoded)) == event
    validate(decoded, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"event_id":"\xff"}', "malformed_json"),
        (b'{"event_id":"\\ud800"}', "malformed_json"),
        (b"[" * 100_000, "wrong_type"),
        (b'{"x":' + b"[" * 100_000, "malformed_json"),
        (b"[]", "wrong_type"),
        (b"null", "wrong_type"),
        (json.dumps(VIEW).encode() + b" more", "malformed_json"),
        (json.dumps(VIEW | {"value": math.nan}).encode(), "nan_value"),
        (json.dumps(VIEW | {"mine": [math.inf]}).encode(), "nan_value"),
        (json.dumps(VIEW)[:-1].encode() + b',"value":1e999}', "nan_value"),
        (json.dumps(VIEW)[:-1].encode() + b',"mine":' + b"1" * 5_000 + b"}", "nan_value"),
    ],
)
def test_bytes_that_are_no_event(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (VIEW | {"user_id": 5}, "wrong_type"),
        (VIEW | {"item_id": 5.0}, "wrong_type"),
        (VIEW | {"event_time_ms": "5"}, "wrong_type"),
        (VIEW | {"event_id": None}, "wrong_type"),
        (VIEW | {"type": 1}, "wrong_type"),
        (VIEW | {"value": "NaN"}, "wrong_type"),
        (SHOWN | {"items": ["a", 5]}, "wrong_type"),
        (without(VIEW, "event_id"), "missing_field"),
        (without(VIEW, "event_time_ms"), "missing_field"),
        (without(VIEW, "user_id"), "missing_field"),
        (without(VIEW, "item_id"), "missing_field"),
        (without(VIEW, "action"), "missing_field"),
        (VIEW | {"action": ""}, "missing_field"),
        (VIEW | {"user_id": None}, "missing_field"),
        (without(SHOWN, "items"), "missing_field"),
        (without(SHOWN, "impression_id"), "missing_field"),
        (without(ITEM, "item_id"), "missing_field"),
        (VIEW | {"type": "view"}, "unknown_type"),
        (VIEW | {"schema_version": 2}, "unsupported_version"),
        (VIEW | {"event_time_ms": 0}, "time_out_of_range"),
        (VIEW | {"event_time_ms": NOW_MS // 1_000}, "time_out_of_range"),
        (VIEW | {"event_time_ms": NOW_MS + 300_001}, "time_out_of_range"),
        (VIEW | {"event_time_ms": 10**40}, "time_out_of_range"),
        (ITEM | {"published_time_ms": 10**18}, "time_out_of_range"),
        (VIEW | {"user_id": "u" * 257}, "too_large"),
        (VIEW | {"mine": "x" * 262_144}, "too_large"),
        (SHOWN | {"items": [str(n) for n in range(10_000)]}, "slate_too_large"),
        (SHOWN | {"items": []}, "empty_slate"),
        (SHOWN | {"items": ["a", "a"]}, "duplicate_items"),
        (SHOWN | {"propensities": [0.5]}, "length_mismatch"),
        (SHOWN | {"source_scores": [[0.5]]}, "length_mismatch"),
        (VIEW | {"event_id": ""}, "empty_id"),
        (VIEW | {"user_id": ""}, "empty_id"),
        (SHOWN | {"items": ["a", ""]}, "empty_id"),
    ],
)
def test_objects_that_break_the_contract(event: dict[str, Any], reason: str) -> None:
    assert reason_of(event) == reason
    assert reason_of(event | {"unknown": 1}) == reason  # the same on the slower way


def test_ten_megabytes_are_refused_before_they_are_parsed() -> None:
    assert reason_of(b"[" * 10_000_000) == "too_large"


def test_limits_are_settings() -> None:
    assert asdict(Limits()) == Events().model_dump()
    assert reason_of(VIEW, Limits(max_event_bytes=20)) == "too_large"
    assert reason_of(SHOWN, Limits(max_slate=1)) == "slate_too_large"
    old = VIEW | {"event_time_ms": 1}
    assert decode(json.dumps(old).encode(), Limits(earliest_event_time_ms=0)).event_time_ms == 1


def test_the_future_begins_after_the_tolerance() -> None:
    ahead = VIEW | {"event_time_ms": NOW_MS + 300_000}
    assert decode(json.dumps(ahead).encode(), now_ms=NOW_MS).event_time_ms == NOW_MS + 300_000


@pytest.mark.parametrize("extra", [{"extra": {"a": 1}}, {"extra": "text", "b": None}, {"colour": [1, {"x": 2.5}]}])
def test_unknown_fields_are_kept(extra: dict[str, Any]) -> None:
    decoded = decode(json.dumps(VIEW | extra).encode(), now_ms=NOW_MS)
    assert decoded.extra == extra
    assert json.loads(encode(decoded)) == VIEW | extra


def test_extra_never_hides_a_known_field() -> None:
    event = Event(
        event_id="e", type="item", item_id="i", event_time_ms=NOW_MS, extra={"item_id": "other", "user_id": 5}
    )
    assert json.loads(encode(event)) == ITEM


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": math.nan}, "nan_value"),
        ({"source_scores": [[1.0, -math.inf]], "items": ["a"]}, "nan_value"),
        ({"user_id": None}, "missing_field"),
        ({"user_id": 7}, "wrong_type"),
        ({"item_id": ""}, "empty_id"),
    ],
)
def test_events_made_in_python_pass_the_same_check(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventError) as caught:
        validate(Event(**(VIEW | change)), now_ms=NOW_MS)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_event_errors(raw: bytes) -> None:
    reason_of(raw)


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_SCHEMA = jsonschema.Draft202012Validator(json_schema())
_IDS = st.sampled_from(["u", "i", "", 5, None, "x" * 257])
_WILD = st.fixed_dictionaries(
    {},
    optional={
        "event_id": _IDS,
        "type": st.sampled_from(["interaction", "impression", "item", "other", None]),
        "event_time_ms": st.sampled_from([NOW_MS, NOW_MS - 1, 1.5, "1", None]),
        "schema_version": st.sampled_from([1, 2]),
        "user_id": _IDS,
        "item_id": _IDS,
        "impression_id": _IDS,
        "action": st.sampled_from(["view", "", None, 3]),
        "items": st.sampled_from([["a"], ["a", "b"], [], ["a", "a"], [1], None]),
        "value": st.sampled_from([1, 2.5, "x", None]),
        "extra": _ANY_JSON,
        "query": _ANY_JSON,
    },
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(sorted(KNOWN_FIELDS)) | st.text(max_size=5), _ANY_JSON, max_size=8), st.integers(0)
)
def test_anything_is_an_event_or_an_event_error(changes: dict[str, Any], cut: int) -> None:
    raw = json.dumps(VIEW | changes).encode()
    for given_bytes in (raw, raw[: cut % (len(raw) + 1)]):
        try:
            event = decode(given_bytes, now_ms=NOW_MS)
        except EventError as error:
            assert error.reason in REASONS
        else:
            assert decode(encode(event), now_ms=NOW_MS) == event


@settings(max_examples=500)
@given(_WILD)
def test_the_published_schema_says_what_decode_does(event: dict[str, Any]) -> None:
    raw = json.dumps(event).encode()
    try:
        decode(raw, now_ms=NOW_MS)
        accepted = True
    except EventError as error:
        if error.reason in ("nan_value", "malformed_json"):
            return  # what JSON itself forbids is above a schema
        accepted = False
    assert _SCHEMA.is_valid(json.loads(raw)) == accepted


def fences(kind: str) -> list[str]:
    return re.findall(rf"^```json {kind}\n(.*?)^```", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_document_carries_the_schema() -> None:
    (embedded,) = fences("schema")
    assert json.loads(embedded) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_examples_of_the_document_are_good() -> None:
    examples = [decode(text.encode()) for text in fences("event")]
    assert {event.type for event in examples} == {"interaction", "impression", "item"}
    for text in fences("event"):
        jsonschema.validate(json.loads(text), json_schema())


def test_the_document_names_every_field_and_every_reason() -> None:
    text = DOCUMENT.read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
    assert rows == set(REASONS) | KNOWN_FIELDS


def test_the_struct_by_itself_refuses_unknown_fields() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(VIEW | {"x": 1}).encode(), type=Event)
