"""Denoisers from their names, and denoisers of one's own among them."""

from __future__ import annotations

import pytest
import torch

import smalti
from helpers import noisy, random_source
from smalti.analysis.candidates import Candidates, default_candidates
from smalti.denoisers import REGISTRY, ByLevel, register
from smalti.denoisers.base import per_level

SOURCE = random_source(6, (1, 7, 7))


@pytest.fixture
def columns():
    """A denoiser of one's own, in the words of the documentation, known by name for one test."""

    @register
    class Columns(smalti.WindowDenoiser):
        """Strips."""

        name = "columns"
        by_level = ByLevel("width", whole=True, candidates=lambda shape, others: range(1, shape[2] + 1, 2))

        def __init__(self, source, width: int | list[int] = 3, sigmas: list[float] | None = None, backend="auto"):
            self.width, self.sigmas = width, sigmas
            self.widths, levels = per_level(width, sigmas, "widths")
            super().__init__(levels, source=source, backend=backend)

        def collection_at(self, level):
            return self.posteriors(smalti.Crops((self.shape[1], self.widths[level])))

    return Columns


def test_with_parameters_as_text_or_values():
    z = noisy(SOURCE, 0.5)
    expected = smalti.PSPCSquare(SOURCE, patch_size=5)(z, 0.5)
    for made in (
        smalti.denoiser("pspc-square:patch_size=5", SOURCE),
        smalti.denoiser("pspc-square:patch-size=5:backend=auto", SOURCE),
        smalti.denoiser("pspc-square", SOURCE, patch_size=5),
    ):
        assert type(made) is smalti.PSPCSquare
        assert torch.equal(made(z, 0.5), expected)
    assert smalti.denoiser("local-score:window=3", SOURCE, backend="torch").backend == "torch"


def test_a_schedule_by_name(tmp_path):
    path = tmp_path / "schedule.json"
    smalti.Schedule("local-score", (2.0, 0.5), (5, 3)).save(path)
    for made in (
        smalti.denoiser(f"local-score:schedule={path}", SOURCE),
        smalti.denoiser("local-score", SOURCE, schedule=path),
    ):
        assert (made.window, made.sigmas) == ([5, 3], [2.0, 0.5])


def test_one_of_ones_own_is_known_everywhere(columns):
    made = smalti.denoiser("columns:width=5,1:sigmas=2,0.5", SOURCE)
    assert type(made) is columns
    assert made.widths == [5, 1]
    assert default_candidates("columns", (1, 7, 7)) == [1, 3, 5, 7]
    candidates = Candidates("columns", SOURCE, [1.0, 0.3])
    assert candidates.values == [1, 3, 5, 7]
    assert candidates.at(1, 2).widths == [5]
    schedule = smalti.Schedule("columns", (1.0, 0.3), (7, 1))
    assert smalti.denoiser("columns", SOURCE, schedule=schedule).widths == [7, 1]
    smalti.check_denoiser(made)


def test_registering_twice_and_under_a_taken_name(columns):
    assert register(columns) is columns

    class Other(smalti.Optimal):
        pass

    with pytest.raises(smalti.InputError, match="is called 'optimal' already"):
        register(Other)
    Other.name = "two words"
    with pytest.raises(smalti.InputError, match="without spaces"):
        register(Other)


def test_repr_shows_the_schedule():
    assert repr(smalti.PSPCSquare(SOURCE)) == (
        f"PSPCSquare({SOURCE!r}, patch_sizes=[full x 7, 5, 3 x 10] for sigma 80 to 0.002)"
    )
    assert repr(smalti.PSPCSquare(SOURCE, patch_size=3)) == f"PSPCSquare({SOURCE!r}, patch_size=3)"


def test_what_completion_shows():
    for name, kind in REGISTRY.items():
        shown = dir(smalti.denoiser(name, SOURCE))
        assert {"denoise", "shape", "source", "with_source"} <= set(shown)
        assert not {"opt_outs", "parameters_shown"} & set(shown)
        assert hasattr(kind, "opt_outs")


def test_a_class_is_told_its_name():
    for name, kind in REGISTRY.items():
        with pytest.raises(smalti.InputError, match=f"did you mean {name!r}"):
            smalti.denoiser(kind.__name__, SOURCE)
        with pytest.raises(smalti.InputError, match=f"text, {name!r}, or call .*itself"):
            smalti.denoiser(kind, SOURCE)
    for typed in ("Local Score", "local_score", "LOCAL-SCORE", "localscore:window=3"):
        with pytest.raises(smalti.InputError, match="did you mean 'local-score'"):
            smalti.denoiser(typed, SOURCE)
