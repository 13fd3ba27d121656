"""The small extensions that the documentation is built with, as far as they do not need Sphinx."""

import importlib.util
from pathlib import Path

import pytest

from smalti.cli.app import app
from smalti.denoisers import REGISTRY

EXTENSIONS = Path(__file__).parents[2] / "docs" / "extensions"


def extension(name: str):
    pytest.importorskip("sphinx", reason="make docs installs it")
    spec = importlib.util.spec_from_file_location(name, EXTENSIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_loads_from_another_host_is_found():
    loaded = extension("self_contained").loaded
    assert loaded('<script src="https://a.example/x.js"></script>') == ["https://a.example/x.js"]
    assert loaded("<link rel=stylesheet href='//a.example/x.css'>") == ["//a.example/x.css"]
    assert loaded("@font-face { src: url(https://a.example/f.woff2) }") == ["https://a.example/f.woff2"]
    assert loaded('<a href="https://a.example">a link is not loaded</a><img src="_static/x.png">') == []


def test_rows_of_what_was_measured():
    module = extension("measured_rows")
    table = "| what | ours | published | ratio |\n|---|---|---|---|\n| A p=3 | 1 | 2 | 3 |\n| B | 4 | 5 | 6 |\n"
    assert module.rows(table, "A") == [["A p=3", "1", "2", "3"]]
    assert module.rows(table, "C") == []


def test_the_command_reference_has_every_command_and_loses_no_dash():
    module = extension("command_reference")
    text = module.reference()
    assert text.count("## smalti ") == len(app.registered_commands)
    assert "`--seed <int>`" in text
    assert (
        module.marked("Exactly one of --level and -n; pspc-square") == "Exactly one of `--level` and `-n`; pspc-square"
    )


def test_the_list_of_denoisers_is_that_of_the_classes(monkeypatch, tmp_path):
    module = extension("denoiser_list")
    text = module.table()
    for name in (*REGISTRY, "blend"):
        assert f"| [`{name}`]({name}.md) | " in text
        assert f"\n{name}\n" in text.split("```{toctree}")[1]
    assert "| [`nearest`](nearest.md) | The nearest training image at every noise level" in text
    for kind in REGISTRY.values():
        assert f".. automodule:: {kind.__module__}\n" in module.modules()
    monkeypatch.setattr(module, "PAGES", tmp_path)
    assert "| `nearest` | The nearest training image, at every noise level." in module.table()


def test_docstrings_become_markup():
    plain = extension("plain_docstrings").plain
    lines = [
        "A formula:",
        "",
        "    w_k^i = |z|^2 * 2",
        "",
        "and x_ with `a|b`, `Step`s.",
        "",
        "Args:",
        "    z: (B, C), |z| > 0.",
        "",
    ]
    found = plain(lines)
    assert found[2:5] == [".. code-block:: text", "", "    w_k^i = |z|^2 * 2"]
    assert found[6] == r"and x\_ with `a|b`, `Step`\ s."
    assert found[9] == r"    z: (B, C), \|z\| > 0."


def test_aligned_paragraphs_are_formulas_too():
    found = extension("plain_docstrings").plain(["Text.", "", "D(z) = a,   b_", "E = c", "", "More | text."])
    assert found[2:6] == [".. code-block:: text", "", "    D(z) = a,   b_", "    E = c"]
    assert found[-1] == r"More \| text."
