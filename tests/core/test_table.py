import csv

import pytest

from smalti import InputError
from smalti.core.table import Table


@pytest.fixture
def table():
    rows = [{"name": "a", "x": 0.1 + 0.2, "n": 3}, {"name": "bb", "x": float("nan"), "n": None}]
    return Table(("name", "x", "n"), rows)


def test_text_is_aligned(table):
    assert str(table) == "name    x  n\na     0.3  3\nbb    nan"


def test_columns_and_rows(table):
    assert table["name"] == ["a", "bb"]
    assert table.where(name="a").rows == table.rows[:1]
    assert table.where(lambda row: row["n"] is None)["name"] == ["bb"]
    assert Table(("k",), [{"k": 2}, {"k": 1}, {"k": 2}]).distinct("k") == [2, 1]
    assert len(table) == 2
    assert "name, x, n" in repr(table)


def test_csv_has_every_digit(table, tmp_path):
    table.save(tmp_path / "t.csv")
    with open(tmp_path / "t.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["x"]) == 0.1 + 0.2
    assert rows[1] == {"name": "bb", "x": "nan", "n": ""}


def test_wrong_names(table):
    with pytest.raises(InputError, match=r"no column 'nam'; did you mean 'name'\?"):
        table["nam"]
    with pytest.raises(InputError, match="no column"):
        table.where(colour=1)
    with pytest.raises(InputError, match="row 0 has b; the columns are a"):
        Table(("a",), [{"b": 1}])
