"""Compiled kernels are those of the sources as they are, found again where nothing changed, and done without where nothing can be kept.

Each test runs fresh processes on a copy of the package, with a cache of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import smalti

PACKAGE = Path(smalti.__file__).parent
PROGRAM = """
import json, warnings
import numpy as np
import smalti
from smalti.engine.compiled import jit, kernels, pixel_kernels

source = smalti.Source(np.random.default_rng(0).integers(0, 256, (8, 1, 4, 4), dtype=np.uint8))
z = source.working(slice(0, 1)) + 0.3
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = {CALL}
kernel = {KERNEL}
print(json.dumps({
    "result": result,
    "folder": str(jit.kernels_folder()[0]),
    "hits": sum(kernel.stats.cache_hits.values()),
    "misses": sum(kernel.stats.cache_misses.values()),
    "warnings": [str(w.message) for w in caught],
}))
"""


def program(call: str, kernel: str) -> str:
    return PROGRAM.replace("{CALL}", call).replace("{KERNEL}", kernel)


LOCAL = program("smalti.LocalScore(source, window=3)(z, 0.5).flatten().tolist()", "pixel_kernels.pixel_pass")
WHOLE = program("smalti.Optimal(source)(z, 0.5).flatten().tolist()", "kernels.bounded_distances")
SMALL = program("kernels.doublings(9)", "kernels.doublings")


def start(folder: Path, program: str, **environment: str) -> subprocess.Popen:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SMALTI", "NUMBA", "XDG", "PYTHON"))
    }
    return subprocess.Popen(
        [sys.executable, "-B", "-c", program],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(folder)} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen) -> Any:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return json.loads(out)


def copy(folder: Path) -> Path:
    shutil.copytree(PACKAGE, folder / "smalti", ignore=shutil.ignore_patterns("__pycache__", "weights", "data"))
    return folder


def broken(folder: Path, file: str, before: str, after: str) -> Path:
    """A copy with one change."""
    path = copy(folder) / "smalti" / "engine" / "compiled" / file
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))
    return folder


def test_changed_sources_are_compiled_anew_and_unchanged_ones_are_not(tmp_path):
    cache = tmp_path / "cache"
    first = outcome(start(copy(tmp_path / "first"), LOCAL, SMALTI_CACHE=str(cache)))
    assert first["misses"] == 1
    assert Path(first["folder"]).parent == cache / "kernels"
    changed = [
        # 2^x, which `pixel_pass` has of `pixel_rows`, and the squared differences, which it has of `kernels`: neither in its own file
        broken(
            tmp_path / "second",
            "exp2.py",
            "builder.shl(builder.bitcast(shifted, whole(0).type), whole(23))",
            "builder.shl(builder.bitcast(shifted, whole(0).type), whole(24))",
        ),
        broken(tmp_path / "third", "kernels.py", "out[i] = d * d + (out[i]", "out[i] = 3 * d * d + (out[i]"),
        copy(tmp_path / "fourth"),  # another checkout with the same sources
    ]
    second, third, fourth = map(outcome, [start(folder, LOCAL, SMALTI_CACHE=str(cache)) for folder in changed])
    for other in (second, third):
        assert other["result"] != pytest.approx(first["result"], abs=1e-3)
        assert other["folder"] != first["folder"]
    assert second["result"] != third["result"]
    assert fourth["result"] == first["result"]
    assert (fourth["hits"], fourth["misses"]) == (1, 0)


def test_damaged_code_is_compiled_again(tmp_path):
    folder, cache = copy(tmp_path / "copy"), tmp_path / "cache"
    first = outcome(start(folder, SMALL, SMALTI_CACHE=str(cache)))
    for path, damage in zip(sorted(Path(first["folder"]).glob("*.doublings-*.nb?")), (flipped, shortened), strict=True):
        path.write_bytes(damage(path.read_bytes()))
        found = outcome(start(folder, SMALL, SMALTI_CACHE=str(cache)))
        assert (found["hits"], found["misses"], found["result"]) == (0, 1, first["result"])
    assert outcome(start(folder, SMALL, SMALTI_CACHE=str(cache)))["hits"] == 1


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def shortened(content: bytes) -> bytes:
    return content[:-20]


def test_where_nothing_can_be_written_kernels_are_compiled_and_it_is_said_once(tmp_path):
    folder, file = copy(tmp_path / "copy"), tmp_path / "file"
    file.touch()
    (folder / "smalti" / "engine" / "compiled" / "__pycache__").touch()  # a file in the way, for root too
    found = outcome(start(folder, WHOLE, SMALTI_CACHE=str(file / "cache"), HOME=str(file)))
    assert found["misses"] == 1
    assert len(found["warnings"]) == 1
    assert "set SMALTI_CACHE to a folder that can be written" in found["warnings"][0]


def test_without_smalti_cache_the_folder_lies_in_the_package(tmp_path):
    folder = copy(tmp_path / "copy")
    program = "import json; from smalti.engine.compiled import jit; print(json.dumps(str(jit.kernels_folder()[0])))"
    found = outcome(start(folder, program))
    assert Path(found).parent == folder / "smalti" / "engine" / "compiled" / "__pycache__" / "kernels"


def test_folders_of_old_sources_go(tmp_path, monkeypatch):
    from smalti.engine.compiled import jit

    for age in range(12):
        old = tmp_path / f"{age:032x}"
        old.mkdir()
        os.utime(old, (1e9 - age, 1e9 - age))
    jit._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{age:032x}" for age in range(jit.KEPT)]
