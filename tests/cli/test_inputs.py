import pickle

import numpy as np
import pytest
import torch

from smalti.cli.inputs import load_z, parse_labels
from smalti.core.errors import InputError

SHAPE = (1, 4, 4)


@pytest.mark.parametrize(("dtype", "kept"), [("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8")])
def test_floating_arrays_are_read(dtype, kept, tmp_path):
    z = np.linspace(-1, 1, 32).reshape(2, *SHAPE).astype(dtype)
    np.save(tmp_path / "z.npy", z)
    got, digest = load_z(tmp_path / "z.npy", SHAPE)
    assert got.numpy().dtype == np.dtype(kept)
    assert np.array_equal(got.numpy(), z)
    assert len(digest) == 64


def test_one_image_is_a_batch(tmp_path):
    np.save(tmp_path / "z.npy", np.ones(SHAPE))
    assert load_z(tmp_path / "z.npy", SHAPE)[0].shape == torch.Size([1, *SHAPE])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 1, 4, 5)), r"z.npy: z has shape \(2, 1, 4, 5\)"),
        (np.zeros((0, *SHAPE)), "no images"),
        (np.zeros((2, *SHAPE), int), "dtype int64"),
        (np.full((2, *SHAPE), np.inf), r"z.npy: z\[0\] has NaN or infinite"),
        (np.array([{}]), "z.npy holds Python objects; save an array of floating numbers instead"),
    ],
)
def test_bad_arrays_are_named(array, says, tmp_path):
    np.save(tmp_path / "z.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=says):
        load_z(tmp_path / "z.npy", SHAPE)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*check the path"):
        load_z(tmp_path / "z.npy", SHAPE)
    (tmp_path / "z.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"not a .npy file"):
        load_z(tmp_path / "z.npy", SHAPE)
    np.savez(tmp_path / "z.npz", z=np.zeros(SHAPE))
    with pytest.raises(InputError, match="npz archive"):
        load_z(tmp_path / "z.npz", SHAPE)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_not_executed(tmp_path):
    (tmp_path / "z.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"not a .npy file"):
        load_z(tmp_path / "z.npy", SHAPE)


NAMES = ("cat", "dog", "0")


@pytest.mark.parametrize(
    ("text", "labels"),
    [(None, None), ("dog", [1] * 5), ("1", [1] * 5), ("cat, dog", [0, 1, 0, 1, 0]), ("2,cat,1", [2, 0, 1, 2, 0])],
)
def test_labels_are_cycled(text, labels):
    assert parse_labels(text, 5, NAMES, 3) == labels


def test_a_name_wins_over_a_number():
    assert parse_labels("0", 1, NAMES, 3) == [2]
    assert parse_labels("0", 1, None, 3) == [0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dgo", "did you mean 'dog'"),
        ("3", "numbers 0 to 2, or names: cat, dog, 0"),
        ("-1", "no class '-1'"),
        ("cat,,dog", "no class ''"),
        ("1,1,1,1,1,1", "6 entries for 5"),
    ],
)
def test_bad_labels_are_named(text, says):
    with pytest.raises(InputError, match=says):
        parse_labels(text, 5, NAMES, 3)


def test_data_without_classes():
    with pytest.raises(InputError, match="the data, or the network, has no classes; leave it out"):
        parse_labels("1", 5, None, None)
