"""The first minutes on a GPU, in one run: see docs/howto/gpu.md.

    PYTHONPATH=src python tools/gpu --out FOLDER [--minutes 9] [--data .carry/cifar10-train.pack] [--device cuda] [--quick]

Environment; every denoiser against float64; the speed table; memory; three trainings with the minutes that are left. Everything is written
as soon as it is known, a stage that fails is reported and the next goes on, and it ends in time. Leaves at most eight files: report.md,
results.json, ddpmpp.safetensors, ncsnpp.safetensors, dit.safetensors, samples.png, loss.csv, trainers.log.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# fractions of all of the time at which the stages end; what is left is for the trainings
UNTIL = {"environment": 0.05, "correctness": 0.28, "speed": 0.5, "memory": 0.53}
DATA = Path(".carry/cifar10-train.pack")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu", description="the first minutes on a GPU, in one run")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-out"), help="folder for what it leaves"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="all of the time there is")
    parser.add_argument(
        "--data", default=str(DATA), help="what smalti opens; the embedded digits where there is no such file"
    )
    parser.add_argument("--device", default="cuda", help="cuda; cpu rehearses in Triton's interpreter")
    parser.add_argument("--quick", action="store_true", help="sizes for a rehearsal: one step each")
    parser.add_argument("--limit", type=int, default=None, help="images")
    parser.add_argument("--no-training", action="store_true", help="measure only")
    given = parser.parse_args(arguments)
    if given.device == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")

    import torch

    if given.device != "cpu" and not torch.cuda.is_available():
        print("gpu: there is no CUDA device here; --device cpu --quick rehearses", file=sys.stderr)
        return 2
    device = torch.device(given.device)

    from correctness import correctness
    from machine import environment
    from speed import memory, speed
    from stages import Clock, Report
    from training import Trainings

    clock = Clock(given.minutes)
    report = Report(given.out, clock)
    report.run("environment", UNTIL["environment"], lambda s: environment(s, device, given.quick))
    with tempfile.TemporaryDirectory(prefix="smalti-gpu-") as work:
        source = _source(given.data, 8 if given.quick and given.limit is None else given.limit, Path(work))
        trainings = None
        try:
            if not given.no_training:
                trainings = Trainings(Path(work), given.out, source, device, given.quick, clock)
            report.run("correctness", UNTIL["correctness"], lambda s: correctness(s, source, device, given.quick))
            if trainings is not None:
                trainings.pause()
            report.run("speed", UNTIL["speed"], lambda s: speed(s, source, device, given.quick))
            report.run("memory", UNTIL["memory"], lambda s: memory(s, source, device, given.quick))
            if trainings is not None:
                trainings.go_on()
                report.run("training", 1.0, lambda s: trainings.stage(s, given.out))
                logs = [
                    f"== {name}\n{(Path(work) / name / 'log.txt').read_text(errors='replace')[-100_000:]}"
                    for name in trainings.processes
                ]
                (given.out / "trainers.log").write_text("\n".join(logs))
        finally:
            if trainings is not None:
                trainings.end()
            report.write()
    failed = [row["network"] for row in report.stages.get("training", {"rows": []})["rows"] if row["exit"] != 0]
    bad = [name for name, stage in report.stages.items() if "error" in stage]
    wrong = [row for row in report.stages["correctness"]["rows"] if row["verdict"] != "right"]
    print(
        f"{given.out}: {len(bad)} stages failed, {len(wrong)} denoisers are not right, {clock.now():.0f} s", flush=True
    )
    return 1 if bad or wrong or failed else 0


def _source(data: str, limit: int | None, work: Path):  # type: ignore[no-untyped-def]
    import smalti
    from pack import unpack

    path = Path(data)
    if not path.exists():
        print(f"gpu: no {data}; the embedded digits in its place", flush=True)
        return smalti.Source.open("digits", limit=limit)
    if path.suffix == ".pack":
        unpack(path, work / "images.zip")
        path = work / "images.zip"
    return smalti.Source.open(path, limit=limit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
