import errno
import json
import os

import numpy as np
import pytest

from smalti.cli.runs import run_batches
from smalti.core import folder_lock as lock
from smalti.core.errors import EnvironmentFailure, InputError, NoRoomError
from smalti.core.files import save_npz
from smalti.core.run_folder import RunFolder

FILES = ("out.npz",)
IDENTITY = {"seed": 0, "data": {"fingerprint": "abc"}}


def start(path, identity=IDENTITY, **flags):
    """Whether the run is complete already."""
    with RunFolder(path, FILES, **flags) as folder:
        return folder.start(identity, 5, {"command": "test"})


def record(path):
    return json.loads((path / "run.json").read_text())


def keep(folder, low, high):
    """Images low .. high - 1 are finished, and all before them."""
    folder.pieces().put(f"images-{low:07d}-{high:07d}", {"a": np.zeros(high - low)})
    folder.record_done(high)


class Work:
    """Computes squares; stops with Ctrl-C before image `stop`."""

    def __init__(self, stop=99):
        self.stop, self.calls = stop, []

    def __call__(self, low, high, advance):
        if high > self.stop:
            raise KeyboardInterrupt
        self.calls.append((low, high))
        advance(high - low)
        return {"square": np.arange(low, high) ** 2}


def run(path, work, **flags):
    with RunFolder(path, FILES, **flags) as folder:
        assert not folder.start(IDENTITY, 5, {"command": "test"})
        arrays, done, interrupted = run_batches(folder, 5, 2, work, "working")
        if done:
            save_npz(path / "out.npz", arrays)
        folder.finish(done)
        return done, interrupted


def test_a_whole_run(tmp_path):
    path = tmp_path / "a" / "b"
    assert run(path, Work()) == (5, False)
    assert np.load(path / "out.npz")["square"].tolist() == [0, 1, 4, 9, 16]
    assert record(path)["status"] == "complete"
    assert (record(path)["done"], record(path)["total"]) == (5, 5)
    assert sorted(p.name for p in path.iterdir()) == ["out.npz", "run.json"]


def test_interrupted_then_resumed_gives_the_same_bytes(tmp_path):
    run(tmp_path / "whole", Work())
    path = tmp_path / "parts"
    assert run(path, Work(stop=4)) == (4, True)
    assert np.load(path / "out.npz")["square"].tolist() == [0, 1, 4, 9]
    assert (record(path)["status"], record(path)["done"]) == ("partial", 4)
    rest = Work()
    assert run(path, rest, resume=True) == (5, False)
    assert rest.calls == [(4, 5)]
    for name in ("out.npz", "run.json"):
        assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (path / ".parts").exists()


def test_interrupted_before_anything_finished(tmp_path):
    assert run(tmp_path / "r", Work(stop=0)) == (0, True)
    assert record(tmp_path / "r")["done"] == 0
    assert not (tmp_path / "r" / "out.npz").exists()


def test_the_record_is_right_at_every_moment(tmp_path):
    with RunFolder(tmp_path, FILES) as folder:
        folder.start(IDENTITY, 5, {})
        assert record(tmp_path)["status"] == "partial"
        keep(folder, 0, 2)
        assert record(tmp_path)["done"] == 2


def test_results_are_not_replaced_unasked(tmp_path):
    run(tmp_path, Work())
    with pytest.raises(InputError, match=r"already has results \(run.json\).*--overwrite"):
        start(tmp_path)
    run(tmp_path, Work(), overwrite=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"already has results \(out.npz\)"):
        start(tmp_path)


def test_a_partial_run_is_offered_to_resume(tmp_path):
    run(tmp_path, Work(stop=2))
    with pytest.raises(InputError, match="--resume to go on"):
        start(tmp_path)


def test_other_files_are_no_obstacle_and_survive_overwrite(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path, Work())
    run(tmp_path, Work(stop=2), overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert np.load(tmp_path / "out.npz")["square"].tolist() == [0, 1]


def test_resuming_another_run_says_what_differs(tmp_path):
    run(tmp_path, Work(stop=2))
    with pytest.raises(InputError, match=r'cannot resume .*seed was 0, now 1; data fingerprint was "abc", now "xyz"'):
        start(tmp_path, {"seed": 1, "data": {"fingerprint": "xyz"}}, resume=True)


def test_resuming_a_complete_run_has_nothing_to_do(tmp_path):
    run(tmp_path, Work())
    assert start(tmp_path, resume=True)


def test_resuming_nothing_starts(tmp_path):
    assert run(tmp_path / "new", Work(), resume=True) == (5, False)


def test_resuming_without_a_record_is_refused(tmp_path):
    run(tmp_path, Work(stop=2))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is missing or damaged"):
        start(tmp_path, resume=True)


def test_a_damaged_part_is_computed_again(tmp_path):
    run(tmp_path, Work(stop=4))
    part = min((tmp_path / ".parts").iterdir())
    part.write_bytes(part.read_bytes()[:40])
    again = Work()
    run(tmp_path, again, resume=True)
    assert again.calls == [(0, 2), (4, 5)]


def test_contradictions(tmp_path):
    with pytest.raises(InputError, match="one of them"):
        RunFolder(tmp_path, FILES, overwrite=True, resume=True)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "in" / "it"):
        with pytest.raises(InputError, match="file is not a folder"):
            RunFolder(path, FILES)


def test_a_folder_that_cannot_be_made_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EnvironmentFailure, match=r"cannot make .*new: Permission denied"):
        RunFolder(tmp_path / "new", FILES)
    RunFolder(tmp_path, FILES)  # one that is there may be complete, and need no writing


def test_npz_bytes_are_reproducible_and_plain(tmp_path):
    arrays = {"a": np.arange(3), "b": np.float64(2.5)}
    save_npz(tmp_path / "1.npz", arrays)
    save_npz(tmp_path / "2.npz", arrays)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    loaded = np.load(tmp_path / "1.npz", allow_pickle=False)
    assert loaded["a"].tolist() == [0, 1, 2]
    assert float(loaded["b"]) == 2.5


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_that_finished_no_part_is_no_result(tmp_path, flags):
    run(tmp_path / "whole", Work())
    path = tmp_path / "r"
    run(path, Work(stop=0))
    (path / ".parts").mkdir()
    (path / ".parts" / ".x.npz.abc.tmp").write_bytes(b"what a kill -9 left")
    assert not start(path, {"seed": 1}, **flags), "whatever it was that had begun"
    assert run(path, Work(), **flags) == (5, False)
    assert sorted(p.name for p in path.iterdir()) == ["out.npz", "run.json"]
    assert (path / "out.npz").read_bytes() == (tmp_path / "whole" / "out.npz").read_bytes()


def test_a_part_without_its_record_is_a_result(tmp_path):
    run(tmp_path, Work(stop=2))
    (tmp_path / "run.json").unlink()
    (tmp_path / "out.npz").unlink()
    with pytest.raises(InputError, match="already has results"):
        start(tmp_path)


def test_what_an_interrupted_run_advises_works(tmp_path):
    with RunFolder(tmp_path, FILES, overwrite=True) as folder:
        folder.start(IDENTITY, 5, {})
        assert str(folder.interrupted(0, "image")).endswith("finished; run the same command again")
        keep(folder, 0, 1)
        assert "1 of 5 images is kept" in str(folder.interrupted(1, "image"))
        assert str(folder.interrupted(1, "image")).endswith("with --resume instead of --overwrite")
    with RunFolder(tmp_path, FILES, resume=True) as folder:
        assert not folder.start(IDENTITY, 5, {})
        assert str(folder.interrupted(1, "image")).startswith("interrupted: 1 of 5 images is kept")
        assert str(folder.interrupted(1, "image")).endswith("to go on, run the same command with --resume")


@pytest.mark.parametrize(
    ("parts", "advice"),
    [(0, "free some space, then run the same command again"), (1, "then run the same command with --resume")],
)
def test_a_full_disk_advises_what_works(tmp_path, monkeypatch, parts, advice):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(NoRoomError, match=rf"the disk is full; .*{advice}$"), RunFolder(tmp_path, FILES) as folder:
        folder.start(IDENTITY, 5, {})
        for part in range(parts):
            keep(folder, part, part + 1)
        monkeypatch.setattr(os, "fsync", full)
        keep(folder, parts, parts + 1)
    monkeypatch.undo()
    assert not start(tmp_path, resume=bool(parts))


BUSY = r"another smalti is writing to .*; wait for it or choose another --out"


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_one_writer_at_a_time(tmp_path, flags):
    early = RunFolder(tmp_path / "r", FILES, **flags)  # before the other has begun
    with RunFolder(tmp_path / "r", FILES) as folder:
        folder.start(IDENTITY, 5, {})
        keep(folder, 0, 5)
        with pytest.raises(InputError, match=BUSY):
            RunFolder(tmp_path / "r", FILES, **flags)
        with pytest.raises(InputError, match=BUSY):
            early.start(IDENTITY, 5, {})
        save_npz(tmp_path / "r" / "out.npz", {})
        folder.finish(5)
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["out.npz", "run.json"]
    if flags:
        assert early.start(IDENTITY, 5, {}) == ("resume" in flags)
    else:
        with pytest.raises(InputError, match="already has results"):
            early.start(IDENTITY, 5, {})


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path, FILES) as folder:
        folder.start(IDENTITY, 5, {})
        raise ZeroDivisionError
    assert not (tmp_path / lock.LOCK).exists()
    assert not start(tmp_path)


def test_a_lock_file_that_was_removed_while_one_waited_is_not_the_lock(tmp_path, monkeypatch):
    """Its holder removes the file between another's opening and locking it: that one must not take the dead file."""
    first, second, third = (lock.FolderLock(tmp_path) for _ in range(3))
    first.acquire()
    flock, left = lock.fcntl.flock, []

    def late(handle, how):
        if not left:
            left.append(first.release())
        flock(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    second.acquire()
    with pytest.raises(InputError, match=BUSY):
        third.acquire()


@pytest.mark.parametrize("missing", ["module", "file system", "folder"])
def test_without_locks_the_run_goes_on(tmp_path, monkeypatch, missing):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if missing == "module":
        monkeypatch.setattr(lock, "fcntl", None)
    elif missing == "file system":
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    else:
        monkeypatch.setattr(os, "open", refuse)
        lock.FolderLock(tmp_path).acquire()
        return
    assert run(tmp_path, Work()) == (5, False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz", "run.json"]


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    run(tmp_path, Work(stop=2))
    for name in (".run.json.abcd1234.tmp", ".out.npz.abcd1234.tmp", ".parts/.x.npz.abcd1234.tmp", "mine.tmp"):
        (tmp_path / name).write_bytes(b"half")
    run(tmp_path, Work(), resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.tmp", "out.npz", "run.json"]


def test_overwriting_removes_what_other_options_wrote(tmp_path):
    (tmp_path / "samples-1.png").write_bytes(b"")
    (tmp_path / "mine.png").write_bytes(b"")
    with RunFolder(tmp_path, FILES, others=("samples-*.png",)) as folder:
        folder.start(IDENTITY, 5, {})
    assert (tmp_path / "samples-1.png").exists(), "not asked to"
    with RunFolder(tmp_path, FILES, overwrite=True, others=("samples-*.png",)) as folder:
        folder.start(IDENTITY, 5, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "run.json"]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"status": 7, "key": []}', '{"status": "partial", "key": {"a": 1}}'])
def test_a_strange_record_is_a_clear_line(tmp_path, text):
    run(tmp_path, Work(stop=2))
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run.json is missing or damaged; --overwrite starts again"):
        start(tmp_path, resume=True)


def test_folders_made_for_nothing_are_removed(tmp_path):
    with lock.FolderLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / lock.LOCK).exists()
    assert not (tmp_path / "a").exists()
    (tmp_path / "c").mkdir()
    with lock.FolderLock(tmp_path / "c"):
        pass
    assert (tmp_path / "c").exists()
