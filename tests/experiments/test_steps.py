import numpy as np
import pytest

from smalti.core.errors import SmaltiError
from smalti.experiments.steps import Kept, Step, Store, missing, ordered, run


class Plan:
    """a <- b <- c, and d alone; what was computed is in `calls`."""

    def __init__(self, b=1):
        self.calls = []
        self.a = Step("a", self._computes("a", ()), {})
        self.b = Step("b", self._computes("b", "a"), {"b": b}, (self.a,))
        self.c = Step("c", self._computes("c", "b"), {}, (self.b,))
        self.d = Step("d", self._computes("d", ()), {})

    def _computes(self, name, needs):
        def compute(work):
            self.calls.append(name)
            assert list(work.results) == list(needs)
            return {"value": np.array(1 + sum(int(work.results[need]["value"]) for need in needs))}

        return compute


def test_steps_come_after_their_needs_and_once():
    plan = Plan()
    assert [step.name for step in ordered([plan.c, plan.b, plan.d, plan.c])] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="two different steps are called 'b'"):
        ordered([plan.c, Plan(b=2).b])


def test_what_is_kept_is_not_computed_again(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    results = run([plan.c, plan.d], store)
    assert plan.calls == ["a", "b", "c", "d"]
    assert int(results["c"]["value"]) == 3
    run([plan.c, plan.d], store)
    assert plan.calls == ["a", "b", "c", "d"]


def test_a_changed_parameter_computes_again_what_depends_on_it_and_nothing_else(tmp_path):
    store, changed = Store(tmp_path), Plan(b=2)
    run([Plan().c, Plan().d], store)
    run([changed.c, changed.d], store)
    assert changed.calls == ["b", "c"]


def test_what_only_kept_steps_need_is_not_missing(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    run([plan.c], store)
    store.path(plan.a).unlink()
    assert missing([plan.c], store) == []
    store.path(plan.c).unlink()
    assert [step.name for step in missing([plan.c], store)] == ["c"]


def test_a_damaged_result_is_computed_again(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    run([plan.c], store)
    store.path(plan.b).write_bytes(b"damaged")
    results = run([plan.c, plan.b], store)
    assert plan.calls == ["a", "b", "c"], "it is not read yet"
    assert int(results["b"]["value"]) == 2
    assert plan.calls == ["a", "b", "c", "b"]
    assert store.get(plan.b) is not None


def test_any_changed_byte_of_a_result_is_seen_and_computed_again(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    run([plan.a], store)
    path, whole = store.path(plan.a), store.path(plan.a).read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert int(run([plan.a], store)["a"]["value"]) == 1
        assert path.read_bytes() == whole
    assert len(plan.calls) == 1 + len(range(0, len(whole), 7))


def test_what_a_damaged_result_needs_is_computed_too(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    run([plan.c], store)
    store.path(plan.c).write_bytes(b"damaged")
    store.path(plan.b).unlink()
    assert int(run([plan.c], store)["c"]["value"]) == 3
    assert plan.calls == ["a", "b", "c", "c", "b"], "c, which asks for b"


def test_the_log_tells_what_failed(tmp_path):
    def fails(work):
        raise SmaltiError("x returned NaN")

    lines = []
    with pytest.raises(SmaltiError):
        run([Plan().a, Step("bad", fails, {})], Store(tmp_path), lines.append)
    assert any(line.startswith("a: done in") for line in lines)
    assert lines[-1] == "bad: failed: x returned NaN"


def test_progress_counts_to_a_hundred_percent(tmp_path, monkeypatch):
    import contextlib

    told = []

    @contextlib.contextmanager
    def progress(description, total, show):
        told.append(total)
        yield lambda n, note="": told.append(n)

    monkeypatch.setattr("smalti.experiments.steps.progress", progress)

    def halves(work):
        work.advance(0.5)
        work.advance(0.7)  # more than there is
        return {}

    run([Step("a", halves, {}, seconds=1), Step("b", lambda work: {}, {}, seconds=3)], Store(tmp_path))
    assert told[0] == 100
    assert sum(told[1:]) == 100
    assert told[1] == 12


def test_kept_results_that_nobody_needs_are_not_read(tmp_path, monkeypatch):
    plan, store = Plan(), Store(tmp_path)
    run([plan.c], store)
    read = []
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, step: read.append(step.name) or get(self, step))
    results = run([plan.c, plan.b, plan.a], store)
    assert read == []
    assert int(results["b"]["value"]) == 2
    assert read == ["b"]


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
    monkeypatch.setattr("smalti.experiments.steps.ROOM", 100)
    store, names = Store(tmp_path), ["a", "b"]
    for name in names:
        store.put(step(name), {"x": np.zeros(10)})
    kept = Kept(store, [*map(step, names), step("never")])
    assert list(kept) == ["a", "b", "never"]
    first = kept["a"]
    assert kept["a"] is first
    assert kept["b"]["x"].shape == (10,)
    assert kept["a"] is not first, "the two together are larger than the room"
    assert "a" in kept
    assert "never" not in kept
    assert "another" not in kept
    with pytest.raises(KeyError):
        kept["never"]
