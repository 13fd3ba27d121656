"""Compile every kernel for Hopper (sm_90) on a machine without a card, as a call on 32 x 32 images would launch it.

    PYTHONPATH=src python tools/gpu/compile_kernels.py [--quick] [--side 32]

Prints registers, spilled bytes, shared memory and what matrix instructions came out; exit status 1 where a kernel does not
compile, or takes more shared memory than there is.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from smalti.engine.triton import masks, separable, whole
from smalti.engine.triton.calls import LOG2E, Elements
from smalti.engine.windows import Centred, Crops, Entries, GaussianWindows

TYPES = {torch.uint8: "*u8", torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32"}
TARGET = GPUTarget("cuda", 90, 32)
PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
SHARED = 227 << 10  # bytes a block may have
failed: list[str] = []


def compile_instead(kernel: JITFunction, *args: object, grid: tuple, warmup: bool, **options: object) -> None:
    """What `JITFunction.run` would launch, compiled."""
    started = time.monotonic()
    constants = {"num_warps": 4, "num_stages": 3}
    constants = {name: options.pop(name, value) for name, value in constants.items()}
    values = dict(zip(kernel.arg_names, args, strict=False)) | options
    constant = [p.name for p in kernel.params if p.is_constexpr]
    kinds = {
        n: TYPES[v.dtype] if isinstance(v, torch.Tensor) else "i32" for n, v in values.items() if n not in constant
    }
    signature = {n: kinds.get(n, "constexpr") for n in kernel.arg_names}
    place = {n: (kernel.arg_names.index(n),) for n in kernel.arg_names}
    aligned = {place[n]: [["tt.divisibility", 16]] for n, kind in kinds.items() if kind.startswith("*")}
    source = ASTSource(kernel, signature, {place[n]: values[n] for n in constant}, aligned)
    name = f"{Path(kernel.fn.__code__.co_filename).stem}.{kernel.fn.__name__}"
    try:
        compiled = triton.compile(source, target=TARGET, options=constants)
    except Exception as error:
        failed.append(name)
        print(f"{name:28} does not compile: {str(error).splitlines()[0][:200]}", flush=True)
        return
    if compiled.metadata.shared > SHARED:
        failed.append(name)
    ptx = compiled.asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(PTXAS), "-v", "-arch=sm_90a", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.findall(r"Used (\d+) registers", said), re.findall(r"(\d+) bytes spill stores", said)
    forms = f"{values.get('REAL', '')} relative={values.get('RELATIVE', '-')}"
    print(
        f"{name:28} {forms:24} warps {constants['num_warps']}  registers {registers[0]:>3}  spilled {spilled[0]:>4}  "
        f"shared {compiled.metadata.shared:>6}  wgmma {ptx.count('wgmma.mma_async'):>3}  mma {ptx.count('mma.sync'):>3}  "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )


def calls(side: int, count: int, quick: bool) -> list[Callable[[], object]]:
    """One call for every kernel and form."""
    shape = (3, side, side)
    images = torch.zeros(count, *shape, dtype=torch.uint8)
    priors = torch.zeros(count, dtype=torch.float64)
    kinds = torch.zeros(1, 3, dtype=torch.int32)
    elements = Elements(images, torch.arange(count), priors, kinds)
    cpu, z = torch.device("cpu"), torch.zeros(2, *shape, dtype=torch.float64)
    scales = torch.full((2,), LOG2E, dtype=torch.float64)
    crops, pixels = Crops(side // 3), Centred(1)

    def boxes(queries, responses, some=elements):  # type: ignore[no-untyped-def]
        windows = separable.Separable(queries.factors(shape), responses.factors(shape), cpu)
        unknown = torch.zeros(2, len(windows), dtype=torch.float64)
        forms = [(False, torch.float32), (True, torch.float32), (False, torch.float64)]
        for relative, real in forms if windows.boxes else forms[:2]:
            yield lambda r=relative, t=real: separable.normalisers(windows, some, z, scales, r, t, "tf32x3")
            yield lambda r=relative, t=real: separable.numerator(windows, some, z, scales, unknown, r, t, "tf32x3")

    def shifted(windows):  # type: ignore[no-untyped-def]
        moves = torch.tensor([[0, 0, 1], [1, 2, 3]], dtype=torch.int32)
        admitted = torch.ones(2, len(windows.anchors(shape)), dtype=torch.uint8)
        return Elements(images, torch.arange(count), priors, moves, admitted)

    def full(some):  # type: ignore[no-untyped-def]
        for relative, real in ((True, torch.float32), (False, torch.float32), (False, torch.float64)):
            yield lambda r=relative, t=real: whole.logits(some, z, scales, r, t, "tf32x3")
            values = torch.zeros(2, count * len(some.kinds), dtype=real)
            yield lambda v=values: whole.numerator(some, v, torch.zeros(2, 1, dtype=torch.float64), "tf32x3")

    def masked(queries, responses):  # type: ignore[no-untyped-def]
        windows = masks.Masked(queries, responses, cpu)
        unknown = torch.zeros(2, len(windows), dtype=torch.float64)
        for relative in (True, False):
            yield lambda r=relative: masks.normalisers(windows, elements, z, scales, r, "tf32x3")
            yield lambda r=relative: masks.numerator(windows, elements, z, scales, unknown, r, "tf32x3")

    own = torch.ones(side * side, 1, side, side)
    every = [*boxes(crops, crops), *full(elements), *masked(own, own)]
    if not quick:
        plain = Elements(images.float(), torch.arange(count), priors, kinds)
        every += [*boxes(Centred(3), pixels, shifted(pixels)), *boxes(GaussianWindows(2.0), pixels), *full(plain)]
        every += [*masked(own, "pixels"), *masked(torch.ones(3 * side * side, *shape), "entries")]
        assert len(Entries().anchors(shape)) == 3 * side * side
    return every


if __name__ == "__main__":
    print(f"triton {triton.__version__}, sm_90", flush=True)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="without shifts, float images, Gaussians and single pixels"
    )
    parser.add_argument("--side", type=int, default=32, help="of the images, pixels")
    given = parser.parse_args()
    JITFunction.run = compile_instead
    for call in calls(given.side, 100, given.quick):
        call()
    sys.exit(1 if failed else 0)
