"""Window families: what they cover, and that their different lowerings agree."""

from __future__ import annotations

import math

import pytest
import torch

from smalti import Centred, Crops, Full, GaussianWindows, InputError, Masks
from smalti.engine import Entries, PackedMasks

SHAPE = (2, 5, 7)
FAMILIES = [Full(), Crops(1), Crops(3), Crops((2, 5)), Crops(5), Centred(1), Centred(3), Centred(9), Centred(3, wrap=True),
            Centred(5, wrap=True), GaussianWindows(0.7)]  # fmt: skip


@pytest.mark.parametrize("windows", FAMILIES, ids=repr)
def test_lowerings_agree(windows):
    masks = windows.masks(SHAPE)
    assert masks.shape == (len(windows.anchors(SHAPE)), 1, 5, 7)
    boxes = windows.boxes(SHAPE)
    if boxes is None:
        return
    assert boxes.rows * boxes.columns == len(masks)
    for k, mask in enumerate(masks[:, 0]):
        ay, ax = divmod(k, boxes.columns)
        expected = torch.zeros(5, 7, dtype=torch.float64)
        expected[max(0, ay + boxes.top) : ay + boxes.bottom, max(0, ax + boxes.left) : ax + boxes.right] = 1
        assert torch.equal(mask, expected)


def test_crops_are_all_positions_inside():
    masks = Crops(3).masks(SHAPE)[:, 0]
    assert len(masks) == (5 - 3 + 1) * (7 - 3 + 1)
    assert (masks.sum((1, 2)) == 9).all()
    assert len({tuple(m.flatten().tolist()) for m in masks}) == len(masks)
    assert torch.equal(masks[6], torch.nn.functional.pad(torch.ones(3, 3, dtype=torch.float64), (1, 3, 1, 1)))


def test_centred_clips_or_wraps():
    clipped, wrapped = Centred(3).masks(SHAPE)[0, 0], Centred(3, wrap=True).masks(SHAPE)[0, 0]
    assert clipped.sum() == 4
    assert wrapped.sum() == 9
    assert wrapped[-1, -1] == wrapped[-1, 0] == wrapped[0, -1] == 1


def test_gaussian_windows():
    mask = GaussianWindows(1.5).masks(SHAPE)[2 * 7 + 3, 0]
    assert mask[2, 3] == 1
    assert float(mask[4, 4]) == pytest.approx(math.exp(-(4 + 1) / (2 * 1.5**2)))


def test_extents_of_wrapping_windows_are_unwrapped():
    assert Centred(3, wrap=True).extents(SHAPE)[0].tolist() == [-1, 2, -1, 2]
    assert Centred(3).extents(SHAPE)[0].tolist() == [0, 2, 0, 2]
    assert Crops((2, 3)).extents(SHAPE)[6].tolist() == [1, 3, 1, 4]


def test_anchors_of_masks():
    ones = torch.zeros(2, 5, 7)
    ones[0, 1:4, 2:5] = 1
    ones[1, 4, 6] = 1
    assert Masks(ones).anchors(SHAPE).tolist() == [[2, 3], [4, 6]]
    assert Masks(torch.ones(35, 5, 7)).anchors(SHAPE)[8].tolist() == [1, 1]
    assert Masks(ones, at=torch.tensor([[0, 0], [1, 1]])).anchors(SHAPE).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (Crops(6), "does not fit"),
        (Crops(0), "at least 1"),
        (Crops((5, 8)), "does not fit"),
        (Centred(4), "odd"),
        (Centred(0), "odd"),
        (Centred(15), "already covers"),
        (Centred(7, wrap=True), "wraps"),
        (GaussianWindows(0.0), "greater than 0"),
        (Masks(torch.ones(2, 5, 6)), "masks have shape"),
        (Masks(torch.ones(2, 3, 5, 7)), "masks have shape"),
        (Masks(-torch.ones(2, 5, 7)), "negative"),
        (Masks(torch.full((1, 5, 7), math.nan)), "finite"),
        (Masks(torch.ones(2, 5, 7), at=torch.zeros(3, 2)), "one \\(row, column\\)"),
    ],
)
def test_bad_windows(windows, message):
    with pytest.raises(InputError, match=message):
        windows.check(SHAPE)


def test_entries_are_single_entries():
    masks = Entries().masks(SHAPE)
    assert torch.equal(masks.flatten(1), torch.eye(2 * 5 * 7, dtype=torch.float64))
    assert masks.shape == (70, *SHAPE)
    some = torch.tensor([3, 69, 36])
    assert torch.equal(Entries().some_masks(SHAPE, some), masks[some])
    assert torch.equal(Entries().extents(SHAPE), Masks(masks).extents(SHAPE))
    assert Entries().anchors(SHAPE)[36].tolist() == [0, 1]


@pytest.mark.parametrize("channels", [1, 2])
def test_packed_masks_are_masks(channels):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(70, channels, 5, 7, generator=generator) < 0.3
    packed = PackedMasks.of(values, weight=0.25)
    packed.check(SHAPE)
    assert packed.bits.nbytes == 70 * -(-channels * 35 // 8)
    assert torch.equal(packed.masks(SHAPE), values.double() / 4)
    some = torch.tensor([69, 2])
    assert torch.equal(packed.some_masks(SHAPE, some), values[some].double() / 4)
    assert torch.equal(packed.extents(SHAPE), Masks(values.double()).extents(SHAPE))
    assert torch.equal(packed.anchors(SHAPE), Entries().anchors(SHAPE))
    assert torch.equal(PackedMasks.of(values[:35]).anchors(SHAPE), Centred(1).anchors(SHAPE))
    assert repr(packed) == f"PackedMasks(<(70, {channels}, 5, 7)>, weight=0.25)"


def test_packed_masks_that_do_not_fit():
    values = torch.ones(3, 1, 5, 7)
    for shape in ((2, 5, 6), (2, 7, 5)):
        with pytest.raises(InputError, match="do not fit"):
            PackedMasks.of(values).check(shape)
    with pytest.raises(InputError, match="do not fit"):
        PackedMasks.of(torch.ones(3, 3, 5, 7)).check(SHAPE)
    with pytest.raises(InputError, match="weight"):
        PackedMasks.of(values, weight=0).check(SHAPE)
    with pytest.raises(InputError, match="uint8"):
        PackedMasks(PackedMasks.of(values).bits[:, :-1], (1, 5, 7)).check(SHAPE)
