"""What a checkpoint costs: publishing against `cp`, `sync` and hashing by hand, verifying against
hashing alone; by sha256sum and by openssl, one process of each and as many as there are cores.

A checkpoint is a folder of shards of random bytes, as large as a small model's. A trainer writes
it, and publishing moves it into the store, hashes every byte and flushes all of it to the disk. So
what is timed of both sides begins with files that are not there and ends with files that no power
cut takes back: `cp` in the place of the trainer's writing, then either `sync` and `sha256sum`, or
publishing. Verifying hashes every byte of files that are in memory, as sha256sum does.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from acereason_trainer.artifacts.hashing import THREADS
from acereason_trainer.artifacts.store import DirectoryStore

from benchmarks.intervals import quartiles
from benchmarks.progress import Steps
from benchmarks.trainer_models import BUILD

SHARDS = 4
KEY = f"sft-{0:032x}"
MIB = 2**20
PLAIN, BY_HAND, PUBLISHED = "cp, sync", "cp, sync, sha256sum", "cp, publish"
ONE, ONE_OPENSSL, VERIFY = "sha256sum", "openssl", "verify"
TOOLS = {
    "sha256sum in parallel": ("sha256sum",),
    "openssl in parallel": ("openssl", "dgst", "-sha256"),
}
"""As many processes as there are cores, a file each."""
IN_PARALLEL = tuple(f"{PLAIN}, {tool}" for tool in TOOLS)
"""PLAIN, BY_HAND, these and PUBLISHED are ways from a folder to a flushed copy of it; all but the
first know its digests, too. ONE, ONE_OPENSSL, TOOLS and VERIFY are ways to the digests of files in
memory."""


def checkpoint_section(mib: int, rounds: int) -> dict[str, Any]:
    """MB/s of each, over `rounds` rounds of `mib` MiB; every arm has its turn in every round."""
    root = BUILD / "files"
    shutil.rmtree(root, ignore_errors=True)
    found, steps = [], Steps("rounds", rounds)
    try:
        shards = _shards(root / "source", mib)
        for number in range(rounds):
            found.append(_round(root, shards, number))
            steps.done()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    seconds = {name: [one[name] for one in found] for name in found[0]}
    threads = {"ours": min(THREADS, SHARDS), "parallel": _cores()}
    told = {"mib": mib, "shards": SHARDS, "rounds": rounds, "threads": threads}
    return {**told, **figures_of(mib, seconds)}


def figures_of(mib: int, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """MB/s of each, and ours against what does the same by hand, round by round: by one sha256sum
    and one openssl, and by whichever of TOOLS is the fastest."""
    megabytes = mib * MIB / 1e6
    by_hand, hashing = _fastest(seconds, IN_PARALLEL), _fastest(seconds, TOOLS)
    return {
        "fastest": {"publish": by_hand, "verify": hashing},
        "megabytesPerSecond": {
            name: quartiles([megabytes / s for s in values], 1) for name, values in seconds.items()
        },
        "times": {
            "publish": quartiles(_ratios(seconds[BY_HAND], seconds[PUBLISHED])),
            "publishOverFastest": quartiles(_ratios(seconds[by_hand], seconds[PUBLISHED])),
            "verify": quartiles(_ratios(seconds[ONE], seconds[VERIFY])),
            "verifyOverOpenssl": quartiles(_ratios(seconds[ONE_OPENSSL], seconds[VERIFY])),
            "verifyOverFastest": quartiles(_ratios(seconds[hashing], seconds[VERIFY])),
        },
    }


def _fastest(seconds: Mapping[str, list[float]], ways: Iterable[str]) -> str:
    return min(ways, key=lambda way: median(seconds[way]))


def _round(root: Path, shards: list[Path], number: int) -> dict[str, float]:
    """Seconds of each, once; who begins moves on by one from round to round."""
    source, store = root / "source", DirectoryStore(root / "store")
    ways = (PLAIN, BY_HAND, *IN_PARALLEL, PUBLISHED)
    copies = {way: root / way.replace(", ", "-").replace(" ", "-") for way in ways}
    work: dict[str, Callable[[], object]] = {
        PLAIN: lambda: _flushed_copy(source, copies[PLAIN]),
        BY_HAND: lambda: _hashed(_flushed_copy(source, copies[BY_HAND])),
        **{
            way: partial(_copied_and_hashed, source, copies[way], tool)
            for way, tool in zip(IN_PARALLEL, TOOLS.values(), strict=True)
        },
        PUBLISHED: lambda: _published(source, copies[PUBLISHED], store),
    }
    first = number % len(work)
    arms = list(work)
    seconds = {arm: _timed(work[arm]) for arm in [*arms[first:], *arms[:first]]}
    seconds = {arm: seconds[arm] for arm in arms}
    checks: dict[str, Callable[[], object]] = {
        ONE: lambda: _hashed(shards),
        ONE_OPENSSL: lambda: _run(["openssl", "dgst", "-sha256", *map(str, shards)]),
        **{name: partial(_hashed_in_parallel, shards, tool) for name, tool in TOOLS.items()},
        VERIFY: lambda: store.hashed(f"artifacts/{KEY}"),
    }
    for check in reversed(checks) if number % 2 else checks:
        seconds[check] = _timed(checks[check])
    for folder in [*copies.values(), root / "store"]:
        shutil.rmtree(folder, ignore_errors=True)
    return seconds


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(theirs, ours, strict=True)]


def _timed(work: Callable[[], object]) -> float:
    os.sync()  # what was written before is nobody's to flush
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
    return paths


def _copied(source: Path, to: Path) -> list[Path]:
    _run(["cp", "-r", str(source), str(to)])
    return sorted(to.iterdir())


def _flushed_copy(source: Path, to: Path) -> list[Path]:
    files = _copied(source, to)
    _run(["sync", *map(str, files), str(to)])
    return files


def _published(source: Path, to: Path, store: DirectoryStore) -> None:
    _copied(source, to)
    store.publish(to, key=KEY, kind="model", parents={}, producer=None)


def _hashed(files: list[Path]) -> None:
    _run(["sha256sum", *map(str, files)])


def _copied_and_hashed(source: Path, to: Path, tool: Sequence[str]) -> None:
    _hashed_in_parallel(_flushed_copy(source, to), tool)


def _hashed_in_parallel(files: list[Path], tool: Sequence[str]) -> None:
    given = "".join(f"{file}\0" for file in files)
    command = ["xargs", "-0", "-n1", f"-P{_cores()}", *tool]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, input=given, text=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
