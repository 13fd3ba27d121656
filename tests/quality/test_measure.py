import pytest
import torch

from helpers import random_source
from smalti.core.errors import InputError
from smalti.quality import Reference, load_features, measure

ALL = random_source(120, (3, 12, 12))
TRAINING, HELD_OUT = ALL.subset(slice(0, 80)), ALL.subset(slice(80, 120))


@pytest.fixture(scope="module")
def reference():
    return Reference(TRAINING, HELD_OUT, load_features("pixels"))


def test_copies_and_new_images_are_told_apart(reference):
    copied = measure(TRAINING.working(slice(0, 10)), reference)
    assert copied.copies.share == 1
    assert copied.patch_copies.share > 0.9
    assert copied.copies.median == pytest.approx(0, abs=1e-6)
    new = measure(random_source(10, (3, 12, 12), seed=9).working(), reference)
    assert new.copies.share <= 0.1
    assert new.kid.low <= 0
    assert new.diversity == pytest.approx(1, abs=0.15)
    grey = measure(torch.zeros(10, 3, 12, 12), reference)
    assert grey.diversity == pytest.approx(0, abs=1e-6)
    bright = measure(random_source(10, (3, 12, 12), seed=9).working() * 0.2 + 0.8, reference)
    assert bright.kid.low > 0.05 > new.kid.low


def test_every_number_names_its_features_and_sizes(reference):
    quality = measure(random_source(10, (3, 12, 12), seed=9).working(), reference)
    rows = {name: how for name, _, how in quality.rows()}
    for name in ("KID x 1000", "precision", "recall"):
        assert "pixels, 10 samples against 40 held-out images" in rows[name]
    assert "80 training images" in rows["nearest training image"]
    assert "3 x 3 patches, shifts up to 2" in rows["patch copies"]


def test_work_is_counted():
    done = []
    reference = Reference(TRAINING, HELD_OUT, load_features("pixels"), advance=done.append)
    assert sum(done) == reference.work


def test_bad_input(reference):
    with pytest.raises(InputError, match="3 samples are too few"):
        measure(TRAINING.working(slice(0, 3)), reference)
    with pytest.raises(InputError, match="samples have shape"):
        measure(torch.zeros(8, 3, 8, 8), reference)
    with pytest.raises(InputError, match="held-out ones"):
        Reference(TRAINING, random_source(9, (3, 8, 8)), load_features("pixels"))
    with pytest.raises(InputError, match="2 held-out images are too few"):
        Reference(TRAINING, HELD_OUT.subset(slice(0, 2)), load_features("pixels"))
