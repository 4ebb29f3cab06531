"""What a checkpoint costs: publishing against `cp` and `sync`, verifying against `sha256sum`.

A checkpoint is a folder of shards of random bytes, as large as a small model's. Publishing moves it
into the store, hashes every byte and flushes all of it to the disk; verifying hashes every byte.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.store import DirectoryStore

from benchmarks.intervals import quartiles
from benchmarks.trainer_models import BUILD

SHARDS = 4
KEY = f"sft-{0:032x}"
MIB = 2**20


def checkpoint_section(mib: int, rounds: int) -> dict[str, Any]:
    """MB/s of each, over `rounds` rounds of `mib` MiB; every arm has its turn in every round."""
    root = BUILD / "files"
    shutil.rmtree(root, ignore_errors=True)
    found = []
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds} ...", flush=True)
        try:
            found.append(_round(root, mib))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    seconds = {name: [one[name] for one in found] for name in found[0]}
    megabytes = mib * MIB / 1e6
    return {
        "mib": mib,
        "shards": SHARDS,
        "rounds": rounds,
        "megabytesPerSecond": {
            name: quartiles([megabytes / s for s in values], 1) for name, values in seconds.items()
        },
        "times": {
            "publish": quartiles(_ratios(seconds["cp and sync"], seconds["publish"])),
            "verify": quartiles(_ratios(seconds["sha256sum"], seconds["verify"])),
        },
    }


def _round(root: Path, mib: int) -> dict[str, float]:
    """Seconds of each, once."""
    source, copy, store = root / "source", root / "copy", DirectoryStore(root / "store")
    shards = _shards(source, mib)
    return {
        "cp and sync": _timed(lambda: _copied(source, copy)),
        "publish": _timed(
            lambda: store.publish(copy, key=KEY, kind="model", parents={}, producer=None)
        ),
        "sha256sum": _timed(lambda: _run(["sha256sum", *map(str, shards)])),
        "verify": _timed(lambda: store.hashed(f"artifacts/{KEY}")),
    }


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(theirs, ours, strict=True)]


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _shards(folder: Path, mib: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"model-{n}-of-{SHARDS}.safetensors" for n in range(1, SHARDS + 1)]
    block = os.urandom(MIB)
    for path in paths:
        with path.open("wb") as out:
            for _ in range(mib // SHARDS):
                out.write(block)
    _run(["sync", *map(str, paths)])
    return paths


def _copied(source: Path, to: Path) -> None:
    _run(["cp", "-r", str(source), str(to)])
    _run(["sync", *map(str, to.iterdir())])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
