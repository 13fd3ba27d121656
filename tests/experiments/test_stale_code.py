"""A result that is kept is never that of code that has changed since: a copy of the package is broken, and the same request asked again."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smalti
from smalti.core.code import class_digest, function_digest

PROGRAM = f"""
import dataclasses
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from laboratories import laboratory
from smalti import Gaussian, InputError, Optimal, deviations
from smalti.experiments.exhibits.error import ErrorToOptimal
from smalti.experiments.steps import Store, run

lab, out = laboratory({{"ddpmpp": Gaussian}}), Path(sys.argv[1])
optimal = Optimal(lab.source, backend="reference")  # nothing is compiled
lab = dataclasses.replace(lab, denoisers={{"optimal": optimal}})
computed = []
results = run(ErrorToOptimal().steps(lab)[:1], Store(out / "results"), computed.append, show=False)
print(len([line for line in computed if "begun" in line]))
print(float(results["w2/deviations"]["products"].sum()))
for keep in (out / "pieces", None):
    try:
        found = deviations(lab.networks, lab.source, [1.0], 4, optimal=optimal, keep=keep, progress=False)
        print(found.errors()["mse"][0])
    except InputError as error:
        print("refused" if "code was" in str(error) else error)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, in a folder for PYTHONPATH."""
    root = tmp_path / "copy"
    shutil.copytree(Path(smalti.__file__).parent, root / "smalti", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def asked(package: Path, out: Path) -> tuple[int, float, str, float]:
    """How many steps were computed, what they give, and what a function gives that keeps pieces, and one that does not."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(out)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    computed, products, kept, fresh = done.stdout.split()
    return int(computed), float(products), kept, float(fresh)


def change(package: Path, file: str, old: str, new: str) -> None:
    path = package / "smalti" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_result_is_that_of_the_code_as_it_is(package, tmp_path):
    out = tmp_path / "out"
    computed, products, kept, fresh = asked(package, out)
    assert computed == 1
    assert float(kept) == fresh
    change(package, "report/curves.py", "def error_figure", "x = 1\n\n\ndef error_figure")
    assert asked(package, out) == (0, products, kept, fresh), (
        "figures are drawn otherwise, and nothing is computed again"
    )
    change(package, "analysis/errors.py", "return d @ d.transpose(1, 2)", "return 2 * (d @ d.transpose(1, 2))")
    again = asked(package, out)
    assert again[:3] == (1, pytest.approx(2 * products), "refused")
    assert again[3] == pytest.approx(2 * fresh)


def test_a_function_of_another_package_counts_by_its_own_code():
    def one():
        return 1

    def two():
        return 2

    assert function_digest(one) != function_digest(two).replace("two", "one")
    assert function_digest(one) == function_digest(one)


def test_a_class_of_another_package_counts_by_its_file_and_its_bases(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "their_denoiser.py"
    digests = []
    for number in (1, 2):
        file.write_text(f"from smalti import Denoiser\n\n\nclass Theirs(Denoiser):\n    value = {number}\n")
        sys.modules.pop("their_denoiser", None)
        sys.path_importer_cache.clear()
        digests.append(class_digest(importlib.import_module("their_denoiser").Theirs))
    assert digests[0] != digests[1]
