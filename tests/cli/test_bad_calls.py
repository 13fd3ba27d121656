"""Bad calls of every command: one short line, exit 2, and nothing left.

One rule: everything that can be checked is checked before the output folder is touched."""

import os
import shlex

import numpy as np
import pytest

from smalti.cli import main
from smalti.core.run_record import RunRecord

LONG = "x" * 5000
DATA = "--data digits --limit 40"
BAD = f"""
info ''
info ' '
info {LONG}
info fifo
info /dev/zero
info endless.npy
info digits --resolution {"9" * 400}
info digits --limit 0
info digits --classes ,
info digits --classes {LONG}
info 'a\x1b[31mb'
info digits --layout {LONG}
networks fifo
networks ''
networks {LONG}
networks 'a\x1b[31m'
bench --only ''
bench --only {LONG}
bench --out file
bench --limit 5
denoise {DATA} --sigma 1 --out ''
denoise {DATA} --sigma 1 --out=
denoise {DATA} --sigma 1 --out file
denoise {DATA} --sigma 1 --out file/x --denoiser ''
denoise {DATA} --sigma 1 --denoiser ''
denoise {DATA} --sigma 1 --denoiser {LONG}
denoise {DATA} --sigma 1 --denoiser pspc-square:patch_size={LONG}
denoise {DATA} --sigma 1 --denoiser pspc-square:patch_size={"9" * 5000}
denoise {DATA} --sigma 1 --denoiser pspc-square:patch_size=99999999999999999999
denoise {DATA} --sigma 1 --denoiser pspc-square:5
denoise {DATA} --sigma 1 --denoiser pspc-square:patch_size=3 --param patch_size=3
denoise {DATA} --sigma 1 --denoiser closed-form-diffusion:smoothing=nan
denoise {DATA} --sigma 1 --param schedule=fifo
denoise {DATA} --sigma 1 --param schedule=/dev/zero
denoise {DATA} --sigma 1 --denoiser pspc-square:schedule=fifo
denoise {DATA} --sigma 1 --param {LONG}
denoise {DATA} --sigma 1e-300
denoise {DATA} --sigma 1e300
denoise {DATA} --sigma inf
denoise {DATA} --sigma 1 --input fifo
denoise {DATA} --sigma 1 --input /dev/zero
denoise {DATA} --sigma 1 --input .
denoise {DATA} --sigma 1 --input file
denoise {DATA} --sigma 1 -n {10**12}
denoise {DATA} --sigma 1 --batch-size {10**12}
denoise {DATA} --sigma 1 --seed {2**64}
denoise {DATA} --sigma 1 --labels {LONG}
denoise {DATA} --sigma 1 --network fifo
denoise {DATA} --sigma 1 --network {LONG}
denoise {DATA} --level {10**30}
sample {DATA} --rho 1e-5
sample {DATA} --rho 1e9
sample {DATA} --rho nan
sample {DATA} --sigma-max 1e308
sample {DATA} --sigma-max inf
sample {DATA} --sigma-min 0
sample {DATA} --sigma-min 1e-300
sample {DATA} --sigma-min 3 --sigma-max 2
sample {DATA} --steps {10**12}
sample {DATA} -n {10**12}
sample {DATA} -n -3
sample {DATA} --init fifo
sample {DATA} --init {LONG}
sample {DATA} --denoiser optimal:window=3
sample {DATA} --network ddpmpp-digits:window=3
sample {DATA} --network ddpmpp-digits --param window=3
sample {DATA} --data ''
sample {DATA} --out '\x07bell' --steps 0
error {DATA} --denoiser gaussian --sigma-max 1e308
error {DATA} --denoiser gaussian --sigma-min 1e-300
error {DATA} --denoiser gaussian --sigmas 1e308
error {DATA} --denoiser gaussian --sigmas ''
error {DATA} --denoiser gaussian --sigmas 1,,2
error {DATA} --denoiser gaussian --levels {10**9}
error {DATA} --denoiser gaussian -n {10**12}
error {DATA} --denoiser ''
error {DATA} --network ''
error {DATA} --network fifo
transforms {DATA} --denoiser gaussian --sigma 1e300
transforms {DATA} --denoiser gaussian --sigma nan
transforms {DATA} --denoiser gaussian --shift {10**30}
transforms {DATA} --denoiser gaussian --box {LONG}
transforms {DATA} --denoiser gaussian --box 0,0,{10**30},1
transforms {DATA} --denoiser gaussian --box 0,0,0,0
transforms {DATA} --denoiser gaussian --shown 0
transforms {DATA} --denoiser gaussian --input fifo
sensitivity {DATA} --denoiser gaussian --pixels ''
sensitivity {DATA} --denoiser gaussian --pixels {LONG}
sensitivity {DATA} --denoiser gaussian --pixels grid:{10**30}
sensitivity {DATA} --denoiser gaussian --levels 0
sensitivity {DATA} --denoiser gaussian --sigmas 1e-300
compare {DATA} --network ''
compare {DATA} --network ddpmpp-digits --z-set fifo
compare {DATA} --network ddpmpp-digits --levels {10**9}
compare {DATA} --network ddpmpp-digits --process {LONG}
calibrate {DATA} --candidates ''
calibrate {DATA} --candidates nan
calibrate {DATA} --candidates 1e400
calibrate {DATA} --candidates {LONG}
calibrate {DATA} --denoiser pspc-square:patch_size=3
calibrate {DATA} --sigmas 1e308
calibrate {DATA} --held-out {10**12}
train {DATA} --preset tiny --param model_channels=7
train {DATA} --preset tiny --param model_channels=0
train {DATA} --preset tiny --param model_channels=-32
train {DATA} --preset {LONG}
train {DATA} --preset tiny --ema 0
train {DATA} --preset tiny --ema nan
train {DATA} --preset tiny --lr inf
train {DATA} --preset tiny --device cpu:99
train {DATA} --preset tiny --device meta
train {DATA} --preset tiny --device {LONG}
train {DATA} --preset tiny --part 1/2000
train {DATA} --preset tiny --part 0/2
train {DATA} --preset tiny --part {LONG}
train {DATA} --preset tiny --threads {10**9}
train {DATA} --preset tiny --batch-size {10**12}
train {DATA} --preset tiny --steps {10**30}
train {DATA} --preset tiny --dropout 1
train {DATA} --preset tiny --dropout nan
train {DATA} --preset tiny --label-dropout 2
train {DATA} --preset tiny --augment -1
train {DATA} --preset tiny --minutes 0
train {DATA} --preset tiny --minutes nan
train {DATA} --preset tiny --sample-every -1
train {DATA} --preset tiny --sample-every 1 --steps 1000000000
train {DATA} --preset tiny --checkpoint-every 0
train {DATA} --preset tiny --validate-every -1
train {DATA} --preset tiny --held-out -1
train {DATA} --preset tiny --held-out 40
train {DATA} --preset tiny --warmup -1
train {DATA} --preset tiny --label-dropout 0.5
train {DATA} --preset tiny --validate-every 9
train --data digits --limit 1 --preset tiny --conditional --held-out 1
reproduce {DATA} --budget 1e300
reproduce {DATA} --budget nan
reproduce {DATA} --only ''
reproduce {DATA} --only {LONG}
reproduce {DATA} --sscd fifo
reproduce {DATA} --half fifo --half fifo
reproduce {DATA} -n {10**12}
demo --seed -1
demo --out ''
nothing
{LONG}
--{LONG}
"""


@pytest.fixture
def here(tmp_path, monkeypatch, own_cache):
    """A folder with a pipe, a file, and an array that is a link to an endless device."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    (tmp_path / "file").write_text("mine")
    os.symlink("/dev/zero", "endless.npy")
    return tmp_path


@pytest.mark.parametrize("line", BAD.strip().splitlines(), ids=lambda line: line[:60])
def test_one_line_and_nothing_left(line, here, capsys):
    words = shlex.split(line)
    if words[0] not in ("info", "networks", "bench", "demo") and not any(w.startswith("--out") for w in words):
        words += ["--out", "new/out"]
    before = sorted(path.name for path in here.iterdir())
    code = main(words)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err[:300]
    assert err.startswith("smalti: error: ")
    assert err.count("\n") == 1
    assert len(err) < 900, "what was typed is cut"
    assert "bug" not in err
    assert "disk is not full" not in err
    assert err.rstrip("\n").isprintable()
    assert "x" * 90 not in err
    assert "9" * 90 not in err
    assert sorted(path.name for path in here.iterdir()) == before, "nothing is left behind"


@pytest.mark.parametrize(
    "text", ["{", "[" * 50_000, '{"command": 7}', '{"command": "sample", "status": [], "key": 3}', "7", "\x00"]
)
@pytest.mark.parametrize("command", ["denoise --sigma 1 -n 2", "reproduce"])
def test_a_strange_record_is_a_line(text, command, here, capsys):
    (here / "o").mkdir()
    (here / "o" / "run.json").write_text(text)
    code = main([*shlex.split(command), *shlex.split(DATA), "--out", "o"])
    err = capsys.readouterr().err
    assert code == 2
    assert "bug" not in err
    assert err.count("\n") == 1
    assert RunRecord.read(here / "o") in ({}, {"command": 7}, {"command": "sample", "status": [], "key": 3})


def test_long_paths_of_what_is_there_are_said_whole(here, capsys):
    deep = here / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    np.save(deep / "x.npy", np.zeros((3, 1, 4, 4)))
    assert main(["denoise", "--data", str(deep / "x.npy"), "--sigma", "1", "--input", str(deep), "--out", "o"]) == 2
    assert str(deep) in capsys.readouterr().err
