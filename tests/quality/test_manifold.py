import pytest
import torch

from smalti.core.errors import InputError
from smalti.quality import diversity, precision_recall


def line(*values):
    return torch.tensor(values).double()[:, None]


def test_precision_and_recall_on_a_line():
    reference = line(0, 1, 2, 3)
    samples = line(0.5, 1.5, 10)
    # balls of the reference reach 1 from each (k = 1): 10 is outside. Balls of the samples: 1, 1 and 8.5
    assert precision_recall(samples, reference, k=1) == (pytest.approx(2 / 3), 1.0)
    assert precision_recall(line(0.1, 0.2, 0.3), reference, k=1) == (1.0, pytest.approx(1 / 4))


def test_a_copy_has_both():
    points = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert precision_recall(points, points) == (1.0, 1.0)
    assert diversity(points, points) == pytest.approx(1)


def test_diversity_is_relative():
    points = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert diversity(points / 2, points) == pytest.approx(0.5)
    assert diversity(points[:1].expand(5, -1), points) == pytest.approx(0, abs=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match="k must be from 1 to 2"):
        precision_recall(line(0, 1, 2), line(0, 1, 2, 3), k=3)
    with pytest.raises(InputError, match="at least two images"):
        diversity(line(1), line(0, 1))
