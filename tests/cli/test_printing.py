"""Whatever a name holds and wherever output goes, it is printed, and drawn, and written."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from smalti.cli import main, printing
from smalti.cli.commands.denoisers import KEPT, denoiser_list
from smalti.core.table import Table
from smalti.core.text import printable, shortened


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def said(text):
    text.flush()
    return text.buffer.getvalue()


def folder_of_images(path, name):
    """Two images in a class of that name."""
    (path / name).mkdir(parents=True)
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_outside_of_the_code_page_are_escaped(encoding, monkeypatch, tmp_path, own_cache):
    folder_of_images(tmp_path / "uni", "猫")
    out, err = stream(encoding), stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["info", str(tmp_path / "uni")]) == 0
    assert ("猫" if encoding == "utf-8" else r"\u732b").encode(encoding) in said(out)
    assert main(["info", str(tmp_path / "uni"), "--classes", "猫猫"]) == 2
    assert b"bug" not in said(err)


def test_closed_streams_are_no_error(monkeypatch, own_cache):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["info", "digits", "--limit", "5"]) == 0
    assert main(["info", "digits", "--limit", "-5"]) == 2


def close_stdout():
    os.close(1)


def test_a_real_closed_stdout_and_python_m():
    done = subprocess.run(
        [sys.executable, "-m", "smalti", "denoisers"], stderr=subprocess.PIPE, text=True, preexec_fn=close_stdout
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([sys.executable, "-m", "smalti", "denoisers", "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [entry["name"] for entry in json.loads(done.stdout)] == [entry["name"] for entry in denoiser_list()]


def test_the_kept_list_is_the_registry():
    now = json.loads(json.dumps(denoiser_list(), default=str))
    assert json.loads(KEPT.read_text("utf-8")) == now, "write it anew: python -m smalti.cli.commands.denoisers"


@pytest.mark.skipif(os.name == "nt", reason="names are bytes")
def test_names_that_are_not_utf_8_get_through(monkeypatch, tmp_path, own_cache):
    data = folder_of_images(tmp_path / os.fsdecode(b"d\xff"), os.fsdecode(b"c\xe9"))
    out = stream("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    folder = tmp_path / os.fsdecode(b"out\xff")
    words = [
        "error",
        "--data",
        str(data),
        "--denoiser",
        "gaussian",
        "--denoiser",
        "nearest",
        "-n",
        "2",
        "--levels",
        "2",
    ]
    assert main([*words, "--out", str(folder)]) == 0
    assert said(out).splitlines()[-1] == os.fsencode(folder), "for programs as it is"
    with open(folder / "errors.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert json.loads((folder / "run.json").read_text("utf-8"))["data"] == r"d\udcff"


def test_tables_are_written_and_shown_whatever_they_name(tmp_path):
    table = Table(("name", "x"), [{"name": "a\udcff\x1b[31m", "x": 1.23456}])
    table.save(tmp_path / "t.csv")
    assert r"\udcff" in (tmp_path / "t.csv").read_text("utf-8")
    assert r"a\udcff\x1b[31m" in str(table)
    assert "1.235" in str(table)


def test_figures_show_what_does_not_print(tmp_path):
    from matplotlib.figure import Figure

    from smalti.report.figures import colour_of, save_figure

    figure = Figure()
    figure.suptitle("a\udcff\x1b[31m$x\nsecond line")
    for ending in ("png", "pdf"):
        save_figure(figure, tmp_path / f"f.{ending}")
    assert colour_of("\udcff").startswith("#")


def test_a_long_table_is_cut_and_says_so(capsys):
    table = Table(("sigma", "x"), [{"sigma": float(i), "x": i} for i in range(100)])
    printing.print_table(table, "t.csv")
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == printing.ROWS + 2
    assert shown[-1] == f"... and {100 - printing.ROWS} rows more in t.csv"
    few = printing.some_levels(table)
    assert few["sigma"] == [0.0, 20.0, 40.0, 59.0, 79.0, 99.0]


def test_on_a_terminal_tables_are_ruled(monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    printing.print_table(Table(("name", "x"), [{"name": "[red]n\x1b", "x": 0.5}]))
    printing.print_rows([("a", "[b]")])
    text = terminal.getvalue()
    assert r"[red]n\x1b" in text
    assert "0.5" in text
    assert "[b]" in text
    assert "─" in text


def test_texts():
    assert printable("a\x1b\u202e\udcff\n猫") == r"a\x1b\u202e\udcff\n猫"
    assert shortened("x" * 80) == "x" * 80
    assert shortened("x" * 81) == "x" * 77 + "..."
