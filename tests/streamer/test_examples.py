from __future__ import annotations

import json

import msgspec
import pytest

from streamer.examples import Example, Position, decode, encode


def test_every_field_survives_the_topic(example) -> None:
    full = example(
        7, history=["a", "b"], value=4.5, surface="search", query="ä", source_item_id="s", late=True, session_id="1",
        impression_id="m", slate=["a", "c"], outcomes=[1, 0], propensities=[0.5, 0.25], source_scores=[[1.0], [0.0]],
        model_version="v", index=3,
    )  # fmt: skip
    assert all(value is not None for value in msgspec.structs.asdict(full).values()), "a field is not tested"
    assert decode(encode(full)) == full


def test_what_is_absent_takes_no_bytes_and_positions_are_arrays(example) -> None:
    fields = json.loads(encode(example(7, partition=2, index=1)))
    assert fields["source"] == [2, 7, 1]
    assert not {"slate", "query", "late", "outcomes"} & set(fields)


def test_positions_are_ordered_within_a_partition() -> None:
    ordered = [Position(0, 1, 9), Position(0, 2), Position(0, 2, 1), Position(0, 10)]
    assert sorted(reversed(ordered)) == ordered


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"example_id": "x"}'])
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(raw)


@pytest.mark.parametrize(("name", "value"), [("kind", "purchase"), ("features", ["x"]), ("source", [0])])
def test_wrong_types_are_named(example, name: str, value: object) -> None:
    fields = json.loads(encode(example(7))) | {name: value}
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{name}"):
        decode(json.dumps(fields).encode())


def test_fields_of_a_newer_worker_are_passed_over(example) -> None:
    fields = json.loads(encode(example(7))) | {"added_later": 1}
    assert decode(json.dumps(fields).encode()) == example(7)
    assert isinstance(example(7), Example)
