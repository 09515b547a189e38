from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from streamer.dead_letter import DeadLetter, from_record, to_letter, to_record
from streamer.errors import EventError

ERROR = EventError("wrong_type", "a number")


@given(st.binary(max_size=300), st.none() | st.binary(max_size=20))
def test_letters_keep_bytes_as_they_came(raw: bytes, key: bytes | None) -> None:
    letter = to_letter(ERROR, raw, topic="headwater.events", partition=2, offset=9, key=key)
    record_key, value = to_record(letter)
    again = from_record(value)
    assert again == letter
    assert (again.payload, again.key_bytes, record_key) == (raw, key, key)
    assert not again.is_truncated
    json.loads(value)


def test_other_errors_are_named_by_their_class() -> None:
    letter = to_letter(KeyError("x"), None, topic="t")
    assert (letter.reason, letter.payload, letter.raw_bytes) == ("KeyError", b"", 0)


def test_every_letter_fits_into_a_record() -> None:
    for raw in (b"\x00" * 149_000, b"\x01" * 1_000_000, b"\xff" * 1_000_000):
        letter = to_letter(ERROR, raw, topic="t", key=b"k")
        assert len(to_record(letter)[1]) < 1_000_000
        assert raw.startswith(letter.payload)
        assert letter.is_truncated == (len(raw) > 700_000)
        assert letter.raw_bytes == len(raw)


def test_texts_stay_readable() -> None:
    letter = to_letter(ERROR, '{"käse":'.encode(), topic="t")
    assert isinstance(letter, DeadLetter)
    assert letter.raw == '{"käse":' and not letter.raw_is_base64
