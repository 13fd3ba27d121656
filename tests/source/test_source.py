"""Source on arrays: what it takes, what it refuses, and what it computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.core.errors import InputError
from smalti.source import Source, describe
from smalti.source import checks as checks_module


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)


def test_arrays_are_not_copied(images: np.ndarray) -> None:
    assert np.shares_memory(Source(images).images, images)
    floats = images.astype(np.float32)
    assert np.shares_memory(Source(floats).images, floats)
    tensor = torch.from_numpy(images)
    assert np.shares_memory(Source(tensor).images, images)


def test_memory_maps_stay_memory_maps(images: np.ndarray, tmp_path) -> None:
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = Source(mapped)
    assert isinstance(source.images, np.memmap)
    assert np.shares_memory(source.images, mapped)


def test_facts(images: np.ndarray) -> None:
    source = Source(images, [0, 1, 2, 0, 1, 2, 0], True, class_names=("a", "b", "c", "d"), name="toy")
    assert len(source) == 7
    assert source.shape == (3, 4, 5)
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert source.num_classes == 4
    assert source.skipped == ()
    assert repr(source) == "Source('toy', 7 x 3x4x5 uint8, 4 classes, hflip=True)"
    assert Source(images, torch.tensor([0, 1, 2, 0, 1, 2, 0], dtype=torch.uint8)).num_classes == 3
    assert repr(Source(images)) == "Source(7 x 3x4x5 uint8, hflip=False)"
    assert Source(images).num_classes is None


def test_other_floats_become_float32_in_c_order(images: np.ndarray) -> None:
    half = torch.from_numpy(images / 255).to(torch.bfloat16)
    for given in (images / 255, np.asfortranarray(images / 255), half, (images / 255).astype(np.float16)):
        source = Source(given)
        assert source.images.dtype == np.float32
        assert source.images.flags.c_contiguous
        assert np.allclose(source.images, images / 255, atol=0.01)
    strided = Source(images[:, :, ::-1, ::2])
    assert strided.images.flags.c_contiguous
    assert (strided.images == images[:, :, ::-1, ::2]).all()


def test_tensors_that_require_grad_are_taken() -> None:
    assert Source(torch.zeros(2, 1, 2, 2, requires_grad=True)).images.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((3, 4, 5), np.uint8), "4-D"),
        (np.zeros((0, 1, 2, 2), np.uint8), "at least 1"),
        (np.zeros((1, 1, 0, 2), np.uint8), "at least 1"),
        (np.zeros((1, 1, 2, 2), np.int64), "int64"),
        (np.zeros((1, 1, 2, 2), bool), "bool"),
        (np.full((1, 1, 2, 2), 1e300), "image 0 has NaN or infinite"),
        ([[[[1.0]]]], "NumPy array or a torch tensor"),
    ],
)
def test_bad_images(given: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_bad_image_is_named_in_any_block(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "BLOCK_BYTES", 100)
    images = np.zeros((40, 1, 3, 3), np.float32)
    images[29, 0, 1, 1] = value
    with pytest.raises(InputError, match="image 29 "):
        Source(images)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1], "2,"),
        ([0, 1, 2, 0, 1, 2, -1], "label 6 is -1"),
        ([0.0] * 7, "float64"),
        ([True] * 7, "bool"),
        (np.zeros((7, 2), np.int64), "one integer class"),
        (np.full(7, 2**63, np.uint64), "too large"),
        ([[0], [1, 2]] * 3 + [[1]], "ragged"),
    ],
)
def test_bad_labels(images: np.ndarray, labels: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source(images, labels)  # type: ignore[arg-type]


def test_bad_names_and_flags(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="label 6 has no name"):
        Source(images, range(7), class_names=["a"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="without labels"):
        Source(images, class_names=["a"])
    with pytest.raises(InputError, match="list of text"):
        Source(images, [0] * 7, class_names="abc")
    with pytest.raises(InputError, match="hflip"):
        Source(images, hflip="yes")  # type: ignore[arg-type]


def test_working_scale(images: np.ndarray) -> None:
    source = Source(images)
    whole = source.working()
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.from_numpy(images).float() / 127.5 - 1)
    assert Source(np.array([[[[0, 255]]]], np.uint8)).working().flatten().tolist() == [-1.0, 1.0]
    assert torch.equal(source.working(slice(2, 5)), whole[2:5])
    assert torch.equal(source.working([4, -1, 4]), whole[[4, 6, 4]])
    assert torch.equal(source.working(torch.tensor([1, 0])), whole[[1, 0]])
    assert torch.equal(source.working(3), whole[3:4])
    assert torch.equal(source.working(np.arange(7) % 2 == 0), whole[::2])
    assert source.working(slice(0, 0)).shape == (0, 3, 4, 5)
    whole.zero_()
    assert source.images.any()


def test_floats_come_back_as_they_are() -> None:
    floats = np.random.default_rng(2).normal(0, 3, (3, 2, 2, 2)).astype(np.float32)
    source = Source(floats)
    values = source.working()
    assert (values.numpy() == floats).all()
    values.zero_()
    assert source.images.any()


@pytest.mark.parametrize("index", [7, [-8], [0.5], [[0, 1]], [True, False]])
def test_bad_indices(images: np.ndarray, index: object) -> None:
    with pytest.raises(InputError):
        Source(images).working(index)


def test_subset(images: np.ndarray) -> None:
    source = Source(images, [0, 1, 2, 3, 4, 5, 6], True, class_names=list("abcdefg"), name="toy")
    part = source.subset([5, 0, 5])
    assert (part.images == images[[5, 0, 5]]).all()
    assert part.labels is not None
    assert part.labels.tolist() == [5, 0, 5]
    assert (part.hflip, part.class_names, part.name) == (True, source.class_names, "toy")
    for view in (source.subset(slice(2, 6)), source.subset([2, 3, 4, 5]), source.subset(range(2, 6))):
        assert np.shares_memory(view.images, images)
        assert (view.images == images[2:6]).all()
    assert not np.shares_memory(source.subset(slice(0, 7, 2)).images, images)
    assert (source.subset(slice(None, None, -1)).images == images[::-1]).all()
    with pytest.raises(InputError, match="at least one"):
        source.subset([])


def test_pixel_range_and_flips(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "BLOCK_BYTES", 130)  # several blocks, the last one short
    source = Source(images)
    working = source.working()
    low, high = source.pixel_range()
    assert torch.equal(low, working.amin(0))
    assert torch.equal(high, working.amax(0))
    both = torch.cat([working, working.flip(-1)])
    low, high = source.with_hflip(True).pixel_range()
    assert torch.equal(low, both.amin(0))
    assert torch.equal(high, both.amax(0))
    low.zero_()
    assert torch.equal(source.with_hflip(True).pixel_range()[0], both.amin(0))
    floats = Source(working)
    assert torch.equal(floats.pixel_range()[1], working.amax(0))


def test_fingerprint(images: np.ndarray, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Source(images, [0] * 7).fingerprint()
    assert len(first) == 64
    np.save(tmp_path / "x.npy", images)
    monkeypatch.setattr(checks_module, "BLOCK_BYTES", 130)
    same = Source(np.load(tmp_path / "x.npy", mmap_mode="r"), [0] * 7, True, class_names=["a"], name="other")
    assert same.fingerprint() == first == same.with_hflip(False).fingerprint()
    changed = images.copy()
    changed[6, 2, 3, 4] ^= 1
    others = [
        Source(changed, [0] * 7),
        Source(images, [0] * 6 + [1]),
        Source(images),
        Source(images.reshape(7, 3, 5, 4), [0] * 7),
        Source(images.astype(np.float32), [0] * 7),
        Source(images[:6], [0] * 6),
    ]
    assert len({first, *(other.fingerprint() for other in others)}) == 7


def test_describe(images: np.ndarray) -> None:
    facts = describe(Source(images, [0, 2, 2, 2, 2, 2, 2], class_names=["a", "b", "c"]))
    assert facts["count"] == 7
    assert facts["size"] == {"height": 4, "width": 5}
    assert facts["classes"] == [
        {"number": 0, "name": "a", "count": 1},
        {"number": 1, "name": "b", "count": 0},
        {"number": 2, "name": "c", "count": 6},
    ]
    assert facts["range"]["stored"] == [int(images.min()), int(images.max())]
    assert facts["range"]["working"][1] == pytest.approx(images.max() / 127.5 - 1)
    spread = (images.max(0).astype(float) - images.min(0)) / 127.5
    assert facts["pixel_ranges"]["mean"] == pytest.approx(spread.mean(), abs=1e-6)
    assert facts["pixel_ranges"]["min"] == pytest.approx(spread.min(), abs=1e-6)
    assert facts["cache"] is None
    assert facts["rule"] is None


def test_images_keep_the_names_of_their_files(tmp_path):
    for name in ("b/2.png", "a/1.png", "a/3.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 100).save(tmp_path / "set" / name)
    for _ in range(2):  # decoded, then from the cache
        source = Source.open(tmp_path / "set")
        assert source.files.tolist() == ["a/1.png", "a/3.png", "b/2.png"]
    assert source.subset([2, 0]).files.tolist() == ["b/2.png", "a/1.png"]
    assert source.with_hflip(True).files.tolist() == source.files.tolist()
    assert Source.open("digits").files is None
