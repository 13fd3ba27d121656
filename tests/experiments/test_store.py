import numpy as np
import pytest

from smalti import EnvironmentFailure
from smalti.experiments.step import Step
from smalti.experiments.store import Kept, Store


def step(name="a/b", **parameters):
    return Step(name, lambda work: {}, parameters)


def test_results_are_kept_by_key(tmp_path):
    store = Store(tmp_path)
    store.put(step(n=1), {"x": np.arange(3), "text": np.array(["one"])})
    assert store.has(step(n=1))
    assert not store.has(step(n=2))
    assert store.get(step(n=1))["x"].tolist() == [0, 1, 2]
    assert store.get(step(n=1))["text"].tolist() == ["one"]
    assert store.path(step(n=1)).name.startswith("a-b-")


def test_a_damaged_file_counts_as_absent(tmp_path):
    store = Store(tmp_path)
    store.put(step(), {"x": np.zeros(9)})
    path = store.path(step())
    path.write_bytes(path.read_bytes()[:40])
    assert store.get(step()) is None


def test_pieces_go_when_the_step_is_finished(tmp_path):
    store = Store(tmp_path)
    store.pieces(step()).put("one", {"x": np.zeros(1)})
    assert store.pieces(step()).get("one") is not None
    assert store.pieces(step(n=1)).get("one") is None, "another step's pieces are not taken"
    store.put(step(), {"x": np.zeros(1)})
    assert store.pieces(step()).get("one") is None


def test_times_add_up_and_survive_damage(tmp_path):
    store = Store(tmp_path)
    assert store.took([step()]) == 0
    store.put(step(), {}, 1.5)
    store.put(step("c"), {}, 2.0)
    with (tmp_path / "times.txt").open("a") as file:
        file.write("half a li")
    assert store.took([step(), step("c"), step("d")]) == 3.5


def test_kept_results_are_read_when_asked_for_and_forgotten_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.experiments.store.ROOM", 100)
    store, names = Store(tmp_path), ["a", "b"]
    for name in names:
        store.put(step(name), {"x": np.zeros(10)})
    kept = Kept(store, [*map(step, names), step("never")])
    assert list(kept) == ["a", "b", "never"]
    first = kept["a"]
    assert kept["a"] is first
    assert kept["b"]["x"].shape == (10,)
    assert kept["a"] is not first, "the two together are larger than the room"
    with pytest.raises(KeyError):
        kept["never"]


def test_whether_a_file_is_whole_is_told_without_reading_its_arrays(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(step(), {"x": np.zeros(9)})
    monkeypatch.setattr("smalti.experiments.store.load_npz", lambda path: pytest.fail("arrays were read"))
    kept = Kept(store, [step(), step("never")])
    assert store.is_whole(step())
    assert "a/b" in kept
    assert "never" not in kept
    assert "another" not in kept
    path = store.path(step())
    path.write_bytes(path.read_bytes()[:-30])
    assert not store.is_whole(step())
    assert not store.is_whole(step("never"))


def test_damage_within_a_file_is_one_line_and_the_file_goes(tmp_path):
    store = Store(tmp_path)
    store.put(step(), {"x": np.zeros(99)})
    path = store.path(step())
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    assert store.is_whole(step()), "from its end it looks so"
    with pytest.raises(EnvironmentFailure, match=r"was damaged and is removed; run the same command again"):
        Kept(store, [step()])["a/b"]
    assert not store.has(step())
