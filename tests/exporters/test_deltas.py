from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.deltas import ChecksumError, Row, decode, encode, model_of, stamp_of

ROW = Row(table="item_knn", item_id="a/b:c", row=7, step=3, epoch=2, batch=5, of=9, model="caser",
          neighbours=np.arange(3, dtype="<i4").tobytes(), weights=np.ones(3, "<f4").tobytes())  # fmt: skip


@given(st.integers(0, len(encode(ROW)) - 1), st.integers(1, 255))
def test_no_changed_byte_passes(place, change):
    raw = bytearray(encode(ROW))
    raw[place] ^= change
    with pytest.raises(msgspec.DecodeError):
        decode(bytes(raw))


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xc1\x00\x00\x00\x00", b"{"])
def test_what_never_was_a_row_is_no_row(raw):
    with pytest.raises(msgspec.DecodeError):
        decode(raw)


def test_a_cut_row_names_its_checksum():
    with pytest.raises(ChecksumError, match="checksum"):
        decode(encode(ROW)[:-1])


def test_rows_of_before_there_were_checksums_are_read():
    assert decode(encode(ROW)) == ROW == decode(msgspec.msgpack.encode(ROW))


@pytest.mark.parametrize("model", ["student", "caser"])
@pytest.mark.parametrize("item_id", ["a", "a/b", "a:b/c", "*"])
def test_a_key_names_its_model(model, item_id):
    assert model_of(Row(table="item_vectors", item_id=item_id, row=2, step=1, model=model).key) == model


def test_stamps_fit_64_bits_for_decades():
    assert stamp_of((1 << 31) - 1, (1 << 32) - 1) == (1 << 63) - 1
