import json
import os

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import EnvironmentFailure, InputError, Optimal, PSPCSquare, edm_sigmas, sample
from smalti.analysis.forward import draw_images, draw_noise, forward_batch, forward_z
from smalti.analysis.reverse import reverse_z
from smalti.analysis.z_sets import ZSet
from smalti.core.noise import standard_normal
from stand_ins import Counts


@pytest.fixture
def source():
    return random_source(40, (2, 5, 6), labels=True)


def test_forward_is_image_plus_noise(source):
    drawn = forward_batch(source, 0.5, 7, 3, range(4))
    numbers, clean = draw_images(source, 7, 3, range(4))
    assert torch.equal(drawn.clean, clean)
    assert torch.equal(clean, source.working(numbers))
    assert drawn.labels.tolist() == (numbers % 2).tolist()
    noise = draw_noise(7, 3, range(4), source.shape)
    assert torch.equal(drawn.z, (clean.double() + 0.5 * noise).float())


def test_draws_depend_on_seed_level_and_number_alone(source):
    whole = forward_batch(source, 1.0, 0, 0, range(10))
    parts = torch.cat([forward_batch(source, 1.0, 0, 0, range(low, low + 2)).z for low in range(0, 10, 2)])
    assert torch.equal(whole.z, parts)
    longer = forward_z(source, [2.0, 1.0], 12)
    assert torch.equal(longer.z[:, :5], forward_z(source, [2.0, 1.0], 5).z)
    for other in (forward_batch(source, 1.0, 1, 0, range(10)), forward_batch(source, 1.0, 0, 1, range(10))):
        assert not torch.equal(other.clean, whole.clean)
        assert not torch.equal(other.z - other.clean, whole.z - whole.clean)
    sampled = standard_normal(0, range(10), source.shape)
    assert not torch.isclose(draw_noise(0, 0, range(10), source.shape), sampled).any(), "samples start elsewhere"


def test_images_are_uniform_and_flips_count():
    source = random_source(8, (1, 4, 4))
    numbers, _ = draw_images(source, 0, 0, range(4000))
    assert np.abs(np.bincount(numbers, minlength=8) / 500 - 1).max() < 0.15
    same, clean = draw_images(source.with_hflip(True), 0, 0, range(4000))
    flipped = (clean == source.working(same).flip(-1)).flatten(1).all(1)
    assert ((clean == source.working(same)).flatten(1).all(1) ^ flipped).all()
    assert abs(float(flipped.double().mean()) - 0.5) < 0.04


def test_large_seeds_are_seeds(source):
    a, b = (forward_batch(source, 1.0, seed, 0, range(8)) for seed in (2**64 - 1, 2**64 - 2))
    assert not torch.equal(a.clean, b.clean)
    assert not torch.equal(standard_normal(2**64 - 1, [0], (3,)), standard_normal(2**64 - 2, [0], (3,)))
    assert not torch.equal(standard_normal(2**64 - 1, [0], (3,)), standard_normal(0, [0], (3,)))


def test_reverse_is_the_states_of_sampling(source):
    denoiser = PSPCSquare(source)
    found = reverse_z(denoiser, n=5, seed=3, steps=6, batch_size=2, progress=False)
    states = sample(denoiser, n=5, steps=6, seed=3, batch_size=2, progress=False).states
    assert torch.equal(found.z, states[:-1])
    assert torch.equal(found.z[0], (80 * standard_normal(3, range(5), source.shape)).float())
    assert torch.equal(found.sigmas, edm_sigmas(6))
    assert (len(found), found.n, found.process) == (6, 5, "reverse")
    whole = reverse_z(denoiser, n=5, seed=3, steps=6, progress=False)
    assert torch.allclose(found.z, whole.z, atol=1e-4)


def test_reverse_goes_on_after_a_kill(source, tmp_path):
    inner = Optimal(source)
    whole = reverse_z(Counts(inner), n=6, steps=4, batch_size=2, progress=False)
    counted = []
    with pytest.raises(KeyboardInterrupt):
        reverse_z(Counts(inner, stop=17), n=6, steps=4, batch_size=2, keep=tmp_path, progress=counted.append)
    assert counted == [8, 8], "two batches of 7 calls are finished"
    rest = Counts(inner)
    again = reverse_z(rest, n=6, steps=4, batch_size=2, keep=tmp_path, progress=counted.append)
    assert rest.calls == 7
    assert torch.equal(again.z, whole.z)
    assert sum(counted) == 16 + 24
    with pytest.raises(InputError, match="keeps another computation"):
        reverse_z(Counts(inner), n=6, seed=1, steps=4, batch_size=2, keep=tmp_path, progress=False)


def test_saved_and_loaded(source, tmp_path):
    made = forward_z(source, [3.0, 0.5, 0.1], 4, seed=2, labelled=True)
    made.save(tmp_path / "a" / "z.npy")
    array = np.load(tmp_path / "a" / "z.npy", allow_pickle=False)
    assert (array.shape, array.dtype) == ((3, 4, 2, 5, 6), np.float32)
    for memory_map in (True, False):
        loaded = ZSet.load(tmp_path / "a" / "z.npy", memory_map=memory_map)
        assert torch.equal(loaded.z, made.z)
        assert torch.equal(loaded.sigmas, made.sigmas)
        assert torch.equal(loaded.labels, made.labels)
        assert (loaded.process, dict(loaded.about), loaded.digest()) == ("forward", dict(made.about), made.digest())
    assert json.loads((tmp_path / "a" / "z.json").read_text())["about"]["seed"] == 2
    assert "3 levels from sigma 3 to 0.1, 4 z of 2x5x6 each" in repr(made)


def test_half_of_a_set_is_never_read_as_a_set(tmp_path, monkeypatch):
    """A writing that is cut off at any moment leaves the set before, the new one, or what is refused."""
    z = torch.arange(18.0).reshape(2, 1, 1, 3, 3)
    old, new = ZSet(z, [3.0, 2.0]), ZSet(z + 1, [2.0, 1.0])
    replace = os.replace
    for before in (None, old):
        for cut in (0, 1):
            folder = tmp_path / f"{before is None}-{cut}"
            if before is not None:
                before.save(folder / "z.npy")
            left = [cut]

            def stopping(source, target, left=left):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                replace(source, target)

            monkeypatch.setattr(os, "replace", stopping)
            with pytest.raises(KeyboardInterrupt):
                new.save(folder / "z.npy")
            monkeypatch.setattr(os, "replace", replace)
            if before is not None and cut == 0:
                assert ZSet.load(folder / "z.npy").digest() == old.digest()
            else:
                with pytest.raises(InputError, match=r"check the path|its writing was cut off"):
                    ZSet.load(folder / "z.npy")
            new.save(folder / "z.npy")
            assert ZSet.load(folder / "z.npy").digest() == new.digest()


def test_a_changed_byte_is_seen_and_files_of_older_versions_are_read(tmp_path):
    ZSet(torch.zeros(2, 1, 1, 3, 3), [3.0, 2.0]).save(tmp_path / "z.npy")
    record = json.loads((tmp_path / "z.json").read_text())
    content = bytearray((tmp_path / "z.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "z.npy").write_bytes(content)
    with pytest.raises(InputError, match="it was damaged"):
        ZSet.load(tmp_path / "z.npy")
    for changed in ({"sigmas": [3.5, 2.0]}, {"process": "forwarc"}, {"about": {"seed": 1}}, {"labels": [[1], [2]]}):
        (tmp_path / "z.json").write_text(json.dumps(record | changed))
        with pytest.raises(InputError, match=r"z.json was changed"):
            ZSet.load(tmp_path / "z.npy")
    del record["sha256"], record["seal"]
    (tmp_path / "z.json").write_text(json.dumps(record))
    assert ZSet.load(tmp_path / "z.npy").sigmas.tolist() == [3.0, 2.0]


@pytest.mark.parametrize(
    "text",
    [
        "1" * 5000, "[" * 100_000, "null", "[]", '{"shape": 1}', "\ud800", "NaN",
        *(json.dumps({"sigmas": sigmas}) for sigmas in ([1], [[1], [2]], "ab", None, {"a": 1}, [True, 1], [10**400, 1], ["1", "2"])),
        *(json.dumps({"labels": labels}) for labels in (1, "a", [[1], [2, 3]], [[1.5], [2]], [[10**30], [1]], [["a"], [1]], [1, 2], {})),
        *(json.dumps({"process": process}) for process in (None, 1, ["z"], "\u001b[31m", "\ud800")),
        *(json.dumps({"about": about}) for about in (None, 1, [], "text")),
        *(json.dumps({"sha256": digest}) for digest in (None, 1, "00")),
        *(json.dumps({"shape": shape}) for shape in (None, [1, 1, 1, 3, 3], "2", {})),
        '{"sigmas": [NaN, 1]}', '{"sigmas": [1, Infinity]}', '{"more": 1}',
    ],
)  # fmt: skip
def test_a_json_that_is_none_of_a_set_is_one_line(text, tmp_path):
    ZSet(torch.zeros(2, 1, 1, 3, 3), [3.0, 2.0]).save(tmp_path / "z.npy")
    path = tmp_path / "z.json"
    if text.startswith("{"):
        record = json.loads(path.read_text()) | json.loads(text)
        del record["seal"]  # so that what it says is looked at
        text = json.dumps(record)
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(InputError) as raised:
        ZSet.load(tmp_path / "z.npy")
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_said(source, tmp_path):
    """By the system itself: files of this process may have a kilobyte."""
    resource = pytest.importorskip("resource")
    z = forward_z(source, [1.0], 40)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(EnvironmentFailure, match=r"z\.npy: the file is larger than the disk or a limit"):
            z.save(tmp_path / "z.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_files_of_others(tmp_path):
    z = np.random.default_rng(0).normal(size=(3, 2, 1, 4, 4))
    np.save(tmp_path / "theirs.npy", z)
    found = ZSet.load(tmp_path / "theirs.npy")
    assert torch.equal(found.sigmas, edm_sigmas(3))
    assert (found.process, found.z.dtype) == ("theirs", torch.float32)
    assert ZSet.load(tmp_path / "theirs.npy", [3, 2, 1]).sigmas.tolist() == [3, 2, 1]
    np.save(tmp_path / "big.npy", z.astype(">f4"))
    assert torch.equal(ZSet.load(tmp_path / "big.npy").z, found.z)


def test_bad_files(tmp_path):
    def saved(array, name="z.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    good = np.zeros((2, 1, 1, 3, 3), np.float32)
    for array, message in (
        (good[0], r"must be \(levels, n, C, H, W\)"),
        (good[:, :0], "not empty"),
        (good.astype(int), "has dtype int64"),
        (np.where(np.arange(9).reshape(3, 3) == 4, np.nan, good), "NaN or infinite values at level 0"),
        (np.array([{}], object), "not a .npy file of numbers"),
    ):
        with pytest.raises(InputError, match=message):
            ZSet.load(saved(array))
    np.savez(tmp_path / "z.npz", z=good)
    with pytest.raises(InputError, match=r"npz archive"):
        ZSet.load(tmp_path / "z.npz")
    with pytest.raises(InputError, match="check the path"):
        ZSet.load(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"not a .npy file"):
        ZSet.load(tmp_path / "text.npy")
    for shape in ("(1,(2,)", "(True,2)", "(-1,2)", "(10**12,)", "(9" + 30 * "9" + ",)", "((((", "None"):  # bounded, too
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
        (tmp_path / "odd.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for memory_map in (True, False):
            with pytest.raises(InputError, match=r"odd.npy is not a .npy file of numbers"):
                ZSet.load(tmp_path / "odd.npy", memory_map=memory_map)
    (tmp_path / "zip.npy").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match=r"zip.npy is not a .npy file of numbers"):
        ZSet.load(tmp_path / "zip.npy")
    with pytest.raises(InputError, match=r"z.npy: z has 2 levels and there are 3 sigmas"):
        ZSet.load(saved(good), [3, 2, 1])
    ZSet(torch.zeros(2, 1, 1, 3, 3), torch.tensor([2.0, 1.0])).save(tmp_path / "own.npy")
    with pytest.raises(InputError, match="not those of"):
        ZSet.load(tmp_path / "own.npy", [3, 1])
    saved(good[:1], "own.npy")  # of another shape
    with pytest.raises(InputError, match="does not belong"):
        ZSet.load(tmp_path / "own.npy")
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(InputError, match="repair or remove it"):
        ZSet.load(tmp_path / "own.npy")


def test_bad_sets(source):
    z = torch.zeros(2, 3, 1, 4, 4)
    for sigmas in ([1.0, -1.0], [], [1.0, float("nan")], "no"):
        with pytest.raises(InputError, match="sigmas must be"):
            ZSet(z, sigmas)
    with pytest.raises(InputError, match="one for each level"):
        ZSet(z, [1.0])
    with pytest.raises(InputError, match="labels must be integers"):
        ZSet(z, [2.0, 1.0], labels=torch.zeros(2))
    with pytest.raises(InputError, match=r"saved as .npy"):
        ZSet(z, [2.0, 1.0]).save("z.npz")
    with pytest.raises(InputError, match="needs a source with classes"):
        forward_z(random_source(4, (1, 4, 4)), labelled=True)
    with pytest.raises(InputError, match="n must be at least 1"):
        forward_z(source, n=0)
    with pytest.raises(InputError, match="strictly"):
        reverse_z(Optimal(source), [1.0, 2.0], 2)
