import pytest

from smalti.cli import main
from smalti.cli.options import NAMED_DATA, Images, parse_resolution
from smalti.core.errors import InputError
from smalti.source.opening import NAMES


@pytest.mark.parametrize(("text", "size"), [(None, None), ("32", 32), ("32x48", (32, 48)), (" 8X9 ", (8, 9))])
def test_resolution(text, size):
    assert parse_resolution(text) == size


@pytest.mark.parametrize("text", ["", "0", "32x", "x32", "32x0", "3.5", "-4", "32x32x32", "big"])
def test_bad_resolution(text):
    with pytest.raises(InputError, match="--resolution must look like"):
        parse_resolution(text)


def test_every_option_reaches_the_source(monkeypatch, tmp_path):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path))
    source = Images("digits", hflip=True, classes="3, 8", limit=10, resolution="4x6").open()
    assert source.hflip
    assert set(source.labels.tolist()) <= {3, 8}
    assert len(source) == 10
    assert source.shape == (1, 4, 6)


def test_empty_class_names_are_refused():
    with pytest.raises(InputError, match="--classes"):
        Images("digits", classes="3,").check()


def test_names_are_the_sources():
    assert NAMED_DATA == NAMES


def test_an_option_that_is_given_twice_is_said(capsys, own_cache):
    assert main(["info", "digits", "--limit", "5", "--limit", "6", "--debug", "--debug"]) == 0
    out, err = capsys.readouterr()
    assert err == "smalti: warning: --limit is given twice; the last one counts\n"
    assert "6" in out
    assert main(["info", "digits", "--limit", "5"]) == 0
    assert capsys.readouterr().err == ""
