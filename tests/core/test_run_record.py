"""run.json: one schema, and nothing in a file is taken on trust."""

import json

import pytest

from smalti.core.files import remove_leftovers
from smalti.core.run_record import RECORD, RunRecord


def test_the_schema(tmp_path):
    record = RunRecord(tmp_path / "run")
    record.begin("sample", again="smalti sample", total=3, determined_by={"seed": 0}, files=["b", "a"], data="digits")
    said = RunRecord.read(tmp_path / "run")
    assert list(said)[:3] == ["schema", "command", "status"]
    assert (said["status"], said["done"], said["total"], said["files"]) == ("partial", 0, 3, ["a", "b"])
    assert (said["determined_by"], len(said["key"]), said["data"]) == ({"seed": 0}, 64, "digits")
    assert {"smalti", "torch", "python"} <= set(said["versions"])
    record.update(done=2)
    assert RunRecord.read(tmp_path / "run")["done"] == 2
    record.finish(more=1)
    assert (RunRecord.read(tmp_path / "run")["status"], RunRecord.read(tmp_path / "run")["more"]) == ("complete", 1)


def test_what_an_earlier_run_wrote_and_this_one_did_not_is_removed(tmp_path):
    first = RunRecord(tmp_path)
    (tmp_path / "tables").mkdir()
    for name in ("old.csv", "tables/new.csv", "mine.txt"):
        (tmp_path / name).write_text("")
    (tmp_path.parent / "outside.txt").write_text("")
    first.begin("reproduce")
    first.finish(["old.csv", "tables/new.csv", "../outside.txt", "tables"])
    second = RunRecord(tmp_path)
    second.begin("reproduce")
    second.finish(["tables/new.csv"])
    assert not (tmp_path / "old.csv").exists()
    for name in ("tables/new.csv", "mine.txt", "../outside.txt"):
        assert (tmp_path / name).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"a": ' * 200 + "1" + "}" * 200, "[" * 100_000, "\udcff"])
def test_a_damaged_or_nested_record_is_none(tmp_path, text):
    (tmp_path / RECORD).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert RunRecord.read(tmp_path) == {}
    (tmp_path / RECORD).unlink()
    (tmp_path / RECORD).mkdir()
    assert RunRecord.read(tmp_path) == {}


@pytest.mark.parametrize("files", [None, 7, ["a", 7, None, "\0"], {"a": 1}])
def test_files_of_a_strange_record_do_no_harm(tmp_path, files):
    (tmp_path / RECORD).write_text(json.dumps({"files": files}))
    record = RunRecord(tmp_path)
    record.begin("x")
    record.finish(["b"])
    assert RunRecord.read(tmp_path)["files"] == ["b"]


def test_leftovers_of_killed_writings_are_removed_and_nothing_else(tmp_path):
    for name in (".run.json.abcd1234.tmp", ".other.abcd1234.tmp", ".run.json.tmp", "run.json.abcd1234.tmp", "x.npz"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, ["run.json"])
    assert not (tmp_path / ".run.json.abcd1234.tmp").exists()
    assert len(list(tmp_path.iterdir())) == 4
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.json.tmp", "run.json.abcd1234.tmp", "x.npz"]
    remove_leftovers(tmp_path / "none")
