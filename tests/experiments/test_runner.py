import numpy as np
import pytest

from smalti.core.errors import SmaltiError
from smalti.experiments.runner import missing, ordered, run
from smalti.experiments.step import Step
from smalti.experiments.store import Store


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
    run([plan.c, plan.b], store)
    assert plan.calls == ["a", "b", "c", "b"]


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

    monkeypatch.setattr("smalti.experiments.runner.progress", progress)

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
