"""The whole run, with exhibits that cost nothing."""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import smalti
from laboratories import laboratory
from scripted import Means as Quarters
from scripted import saved
from smalti.core.errors import InputError
from smalti.experiments import reproduce as module
from smalti.experiments.exhibit import SHARES, Shown
from smalti.experiments.exhibits import EXHIBITS
from smalti.experiments.reproduce import find_exhibits, reproduce
from smalti.experiments.request import Request
from smalti.networks import Network
from tiny_exhibits import PARTS, TINY, Impossible, Means, tables_of


@pytest.fixture
def request_(digits):
    return Request(digits, {"ddpmpp": Network.load("ddpmpp-digits")}, TINY, 1.0, command="smalti reproduce --out o")


@pytest.fixture
def exhibits(monkeypatch):
    """Puts these exhibits into the report."""
    return lambda *chosen: monkeypatch.setattr(module, "EXHIBITS", chosen)


def test_it_writes_the_report_and_all_that_belongs_to_it(tmp_path, request_, exhibits):
    exhibits(Means(), Impossible())
    said = []
    path = reproduce(request_, tmp_path, said.append)
    assert path == tmp_path / "report.html"
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and "results" not in p.parts}
    assert names == {"report.html", "run.json", "run.log", "tables/means.csv", "tables/claims.csv", "z/forward.npy"} | {
        "z/forward.json", "figures/means-lines.pdf", "figures/means-lines.png"}  # fmt: skip
    page = path.read_text()
    assert 'alt="Lines of &lt;means&gt;."' in page
    assert "Means &amp; more." in page
    assert "data:image/svg+xml;base64," in page
    assert "Not shown here: needs a network." in page
    assert "smalti reproduce --out o" in page
    assert "ddpmpp-digits, 422,353 parameters" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", page), "nothing comes from elsewhere"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "complete"
    assert record["seed"] == 0
    assert record["networks"]["ddpmpp"]["digest"] == request_.networks["ddpmpp"].digest()
    assert set(record["versions"]) >= {"smalti", "torch", "numpy", "python"}
    assert smalti.ZSet.load(tmp_path / "z" / "forward.npy").z.shape == (18, 4, 1, 8, 8)
    assert any("n = 3: z" in line for line in said)
    assert any("needs a network" in line for line in said)
    assert said[-1].startswith("predicted: ")
    assert "but for those that are said to be published" in page
    assert record["sscd"] is None
    assert "means/scaled: done in" in (tmp_path / "run.log").read_text()


def test_the_file_that_measured_similarity_is_recorded(tmp_path, request_, exhibits):
    class Asks(Means):
        def steps(self, lab):
            lab.descriptor()
            return super().steps(lab)

    exhibits(Asks())
    file = saved(Quarters(), tmp_path / "sscd.pt")
    reproduce(dataclasses.replace(request_, sscd=file, trust=True), tmp_path / "o")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads((tmp_path / "o" / "run.json").read_text())["sscd"]["sha256"] == digest
    assert f"sha256 {digest}, not a known file, run by --trust" in (tmp_path / "o" / "report.html").read_text()


def test_names_that_two_have_are_refused_before_anything_is_written(tmp_path, request_):
    with pytest.raises(InputError, match="cannot be called 'optimal'"):
        dataclasses.replace(request_, networks={"optimal": request_.networks["ddpmpp"]})


def test_the_n_of_every_exhibit_is_told_at_the_start():
    lab = laboratory()
    for exhibit in find_exhibits(["w1", "w2", "w3", "w4", "w5", "w6"]):
        assert "n = " in module._numbers(exhibit.steps(lab)), exhibit.key


def test_the_same_request_again_computes_nothing(tmp_path, request_, exhibits):
    first, again = Means(), Means()
    exhibits(first)
    reproduce(request_, tmp_path)
    before = tables_of(tmp_path)
    exhibits(again)
    reproduce(request_, tmp_path)
    assert first.calls == ["of-z", *range(PARTS)]
    assert again.calls == []
    assert tables_of(tmp_path) == before


def test_a_changed_parameter_computes_again_only_what_depends_on_it(tmp_path, request_, exhibits):
    exhibits(Means())
    reproduce(request_, tmp_path)
    changed = Means(factor=2.0)
    exhibits(changed)
    reproduce(request_, tmp_path)
    assert changed.calls == list(range(PARTS)), "not the first step"
    seeded = Means()
    exhibits(seeded)
    reproduce(dataclasses.replace(request_, seed=1), tmp_path)
    assert seeded.calls == ["of-z", *range(PARTS)]


def test_an_interrupted_run_goes_on_in_the_middle_of_a_step(tmp_path, request_, exhibits):
    exhibits(Means())
    reproduce(request_, tmp_path / "whole")
    exhibits(Means(fail_at=2))
    with pytest.raises(KeyboardInterrupt):
        reproduce(request_, tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "partial"
    rest = Means()
    exhibits(rest)
    reproduce(request_, tmp_path / "out")
    assert rest.calls == [2, 3]
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "whole")


PROGRAM = f"""
import sys
from pathlib import Path
sys.path[:0] = [{os.path.dirname(os.path.dirname(__file__))!r}]
from tiny_exhibits import TINY, Means
from smalti import Source
from smalti.experiments import reproduce as module
from smalti.experiments.exhibit import SHARES, Shown
from smalti.experiments.exhibits import EXHIBITS
module.EXHIBITS = (Means(delay=1.0),)
module.reproduce(module.Request(Source.open("digits", limit=120), {{}}, TINY, 1.0), Path(sys.argv[1]))
"""


def test_kill_9_then_the_same_again_gives_the_same_tables(tmp_path, digits, exhibits):
    killed = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path / "out"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not list((tmp_path / "out").rglob("*part-1.npz")) and time.monotonic() < deadline:
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not (tmp_path / "out" / "report.html").exists()
    rest = Means()
    for name, means in (("out", rest), ("whole", Means())):
        exhibits(means)
        reproduce(Request(digits, {}, TINY, 1.0), tmp_path / name)
    assert rest.calls[-1] == PARTS - 1
    assert 0 not in rest.calls, "what was finished was taken"
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob("*part-*.npz"))


def test_files_of_an_earlier_report_that_are_not_in_this_one_go_and_others_stay(tmp_path, request_, exhibits):
    exhibits(Means(), Impossible())
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text("mine")
    reproduce(request_, tmp_path)
    reproduce(dataclasses.replace(request_, only=("impossible",)), tmp_path)
    assert set(tables_of(tmp_path)) == {"claims.csv", "mine.csv"}
    assert not list((tmp_path / "figures").iterdir())
    assert not (tmp_path / "z" / "forward.npy").exists()
    again = Means()
    exhibits(again, Impossible())
    reproduce(request_, tmp_path)
    assert again.calls == [], "results were kept"


def test_unknown_exhibits_are_refused_with_a_list():
    assert [exhibit.key for exhibit in find_exhibits(["w6", "w2"])] == ["w2", "w6"], "in the order of the report"
    with pytest.raises(InputError, match=r"no exhibit is called 'w9'.*w1, w2"):
        find_exhibits(["w9"])


def test_keys_files_and_shares_of_the_exhibits_are_sound():
    every = find_exhibits(())
    assert len({exhibit.key for exhibit in every}) == len(every)
    assert all(exhibit.share > 0 and exhibit.title and exhibit.origin for exhibit in every)


def test_with_a_fixed_n_two_runs_are_the_same_byte_for_byte(tmp_path, request_, exhibits):
    exhibits(Means(), Impossible())
    fixed = dataclasses.replace(request_, n=3)
    for name in ("one", "two"):
        reproduce(fixed, tmp_path / name)
    files = [p.relative_to(tmp_path / "one") for p in sorted((tmp_path / "one").rglob("*")) if p.is_file()]
    assert sorted(p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file()) == files
    differ = [p for p in files if (tmp_path / "one" / p).read_bytes() != (tmp_path / "two" / p).read_bytes()]
    assert {p.name for p in differ} <= {"run.log", "times.txt"}
    assert len(files) > 8
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert (record["n"], record["costs"], record["sizes"]["z"]) == (3, {}, 3)
    assert smalti.ZSet.load(tmp_path / "one" / "z" / "forward.npy").n == 3
    assert "What a query costs" not in (tmp_path / "one" / "report.html").read_text()


def test_another_exhibit_changes_the_n_of_no_other(tmp_path, request_, exhibits):
    class Another(Means):
        key, share = "another", 5.0

        def steps(self, lab):
            self.seconds = lab.seconds
            return ()

        def show(self, lab, results):
            return Shown([], {})

    exhibits(alone := Another())
    reproduce(request_, tmp_path / "alone")
    exhibits(both := Another(), Means())
    reproduce(dataclasses.replace(request_, only=("another",)), tmp_path / "both")
    assert alone.seconds == both.seconds > 0
    computing = sum(exhibit.share for exhibit in EXHIBITS) / SHARES * module.COMPUTING
    assert computing <= 1, "all of them fit into the budget"


def test_nothing_of_unfinished_steps_is_left_when_a_run_is_complete(tmp_path, request_, exhibits):
    exhibits(Means(fail_at=2))
    with pytest.raises(KeyboardInterrupt):
        reproduce(request_, tmp_path)
    assert list((tmp_path / "results" / ".pieces").rglob("*.npz"))
    exhibits(Means(factor=2.0))  # another step: the pieces of that one are nobody's
    reproduce(request_, tmp_path)
    assert not list(tmp_path.rglob(".pieces"))
    assert not list(tmp_path.rglob("*.tmp"))
