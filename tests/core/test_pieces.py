"""Kept pieces: what is taken, what is computed again."""

import json

import numpy as np
import pytest

from smalti import InputError
from smalti.core.pieces import IDENTITY, Pieces


def squares(pieces, calls, n=7, stop=None, told=None):
    """i^2 of n numbers in batches of 3."""

    def compute(batch):
        if batch.low == stop:
            raise KeyboardInterrupt
        calls.append((batch.low, batch.high))
        batch.advance(1)
        return {"square": np.array(batch.numbers) ** 2}

    found = np.empty(n, int)
    for batch, arrays in pieces.batches("squares", n, 3, compute, (told if told is not None else []).append):
        found[batch.rows] = arrays["square"]
    return found.tolist()


def test_what_was_finished_is_taken_after_an_interruption(tmp_path):
    calls, told = [], []
    with pytest.raises(KeyboardInterrupt):
        squares(Pieces.open(tmp_path, {"a": 1}), calls, stop=3)
    assert squares(Pieces.open(tmp_path, {"a": 1}), calls, told=told) == [0, 1, 4, 9, 16, 25, 36]
    assert calls == [(0, 3), (3, 6), (6, 7)]
    assert sum(told) == 7, "kept or computed, each counts once"
    assert squares(Pieces(), calls) == [0, 1, 4, 9, 16, 25, 36], "without a folder nothing is kept"


def test_any_damage_is_computed_again_and_stops_nothing(tmp_path):
    whole = squares(Pieces.open(tmp_path, {"a": 1}), [])
    (path,) = tmp_path.glob("*-squares-0000003-0000006.npz")
    good = path.read_bytes()
    damaged = [
        good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
        for place in range(0, len(good), 5)
        for flip in (1, 128)
    ]
    damaged += [b"", good[:40], good[:-1], good + b"x", b"PK" + bytes(200)]
    for content in damaged:
        path.write_bytes(content)
        calls = []
        assert squares(Pieces.open(tmp_path, {"a": 1}), calls) == whole
        assert calls == [(3, 6)]
        assert path.read_bytes() == good


def test_a_piece_that_lacks_an_array_or_is_of_somebody_else_is_not_taken(tmp_path):
    pieces = Pieces.open(tmp_path, {"a": 1})
    whole = squares(pieces, [])
    path = pieces._path("squares-0000000-0000003")
    np.savez(path.with_suffix(""), other=np.zeros(3))
    calls = []
    assert squares(pieces, calls) == whole
    assert calls == [(0, 3)]


def test_another_computation_is_refused_and_a_damaged_record_written_anew(tmp_path):
    Pieces.open(tmp_path, {"a": 1, "deep": {"b": 2}})
    record = tmp_path / IDENTITY
    good = record.read_bytes()
    with pytest.raises(InputError, match=r"keeps another computation \(deep b was 2, now 3\)"):
        Pieces.open(tmp_path, {"a": 1, "deep": {"b": 3}})
    for content in (
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        good.replace(b'"b": 2', b'"b": 7'),
        json.dumps({"a": 1}).encode(),
    ):
        record.write_bytes(content)
        Pieces.open(tmp_path, {"a": 1, "deep": {"b": 2}})
        assert record.read_bytes() == good


def test_parts_of_a_computation_are_apart(tmp_path):
    one, two = (Pieces(tmp_path, "key").under(name) for name in ("one", "two"))
    one.put("x", {"v": np.array(1)})
    assert two.get("x") is None
    assert int(two.computed("x", lambda: {"v": np.array(2)})["v"]) == 2
    assert int(one.get("x")["v"]) == 1
