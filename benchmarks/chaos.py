"""`make chaos`: kill a run and everything it started at random moments; nothing may change.

The run is carried out once undisturbed. Then once more in a store of its own: SIGKILL to the runner,
its stages and all their processes together, at moments drawn from a seed, each time starting the
same command again. At the end, whatever the run made must be equal bit for bit: the digest and the
files of every artifact, and every row of metrics.jsonl and results.json, except for what measures
time. Exit 0 where all is equal, 1 where something differs (it is named), 2 for a wrong run file.

    benchmarks/chaos.py [FILE] [--kills 20] [--seed 0] [--values FILE]... [--set PATH=VALUE]...
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.telemetry.metrics import is_timing

ROOT = Path(__file__).resolve().parent.parent
MARK = "ACEREASON_CHAOS"
"""Environment variable by which every process of a run is found, whoever its parent is now."""
TIMES = ("createdAt", "publishSeconds")


@dataclass(frozen=True)
class Killed:
    """One kill."""

    after_seconds: float
    """Since its start."""
    running: list[str]
    """`stage step/total` of what ran."""
    processes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit code."""
    options = _parser().parse_args(arguments)
    command = [sys.executable, "-m", "acereason_operator.cli.main", "run", str(options.file)]
    command += [word for text in options.set for word in ("--set", text)]
    command += [word for file in options.values for word in ("--values", str(file))]
    with tempfile.TemporaryDirectory(prefix="acereason-chaos-") as directory:
        calm, stormy = Path(directory, "calm"), Path(directory, "stormy")
        print("undisturbed ...", flush=True)
        began = time.monotonic()
        if code := _undisturbed(command, calm):
            print(f"the undisturbed run ended with {code}; correct it first", file=sys.stderr)
            return code
        seconds = time.monotonic() - began
        print(f"undisturbed: {seconds:.0f} s. {options.kills} kills ...", flush=True)
        kills = list(_disturbed(command, stormy, options.kills, options.seed, seconds))
        differences = list(_differences(_made(calm), _made(stormy)))
        attempts = _attempts(stormy)
    _write(options, seconds, kills, attempts, differences)
    for difference in differences:
        print(difference, file=sys.stderr)
    verdict = "DIFFERENT" if differences else "all equal, bit for bit"
    print(f"{len(kills)} kills, {sum(attempts.values())} attempts: {verdict}")
    return 1 if differences else 0


def _undisturbed(command: Sequence[str], store: Path) -> int:
    with _started(command, store) as process:
        return process.wait()


def _disturbed(
    command: Sequence[str], store: Path, kills: int, seed: int, seconds: float
) -> Iterator[Killed]:
    """Start and kill until there were so many kills, then let it come to its end.

    Each life lasts 0.2 to 2 times the share of the undisturbed run that one kill stands for, so
    that the moments fall all over the run. A run that ends before its last kill begins again in
    an emptied store... which never happens unless `kills` is far too small for it.
    """
    draw = random.Random(seed)
    for number in range(kills):
        with _started(command, store) as process:
            lifetime = draw.uniform(0.2, 2.0) * seconds / kills
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(lifetime)
                raise SystemExit(
                    f"the run ended (code {code}) before kill {number + 1} of {kills}; use fewer "
                    "kills, a longer run or another seed"
                )
            running = list(_running(store))
            processes = _kill_all(process)
        killed = Killed(round(lifetime, 2), running, processes)
        print(
            f"kill {number + 1}: after {killed.after_seconds} s, {', '.join(running)}", flush=True
        )
        yield killed
    with _started(command, store) as process:
        if code := process.wait():
            raise SystemExit(f"the disturbed run ended with {code}")


@contextlib.contextmanager
def _started(command: Sequence[str], store: Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        [*command, "--store", str(store), "-o", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, MARK: uuid.uuid4().hex, "XDG_STATE_HOME": str(store.parent / "state")},
    )
    try:
        yield process
    finally:
        _kill_all(process)


def _kill_all(process: "subprocess.Popen[bytes]") -> int:
    """Kill a runner and all that carries its mark, until nothing of it is left; how many."""
    killed: set[int] = set()
    mark = _mark_of(process.pid)
    process.kill()
    while mark and (alive := _marked(mark)):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= alive
        time.sleep(0.01)
    process.wait()
    return len(killed | {process.pid})


def _mark_of(pid: int) -> bytes:
    prefix = f"{MARK}=".encode()
    return next((item for item in _environment(pid) if item.startswith(prefix)), b"")


def _marked(mark: bytes) -> set[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid for pid in pids if mark in _environment(pid)}


def _environment(pid: int) -> list[bytes]:
    """Of a process; empty for one that ended, a zombie, or another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _running(store: Path) -> Iterator[str]:
    for stage in _status(store).get("stages", []):
        if stage["state"] in ("Preparing", "Pending", "Running"):
            yield f"{stage['name']} {stage['state']} {stage['step']}/{stage.get('totalSteps', '?')}"


def _status(store: Path) -> dict[str, Any]:
    files = list(store.glob("runs/*/status.json"))
    return dict(json.loads(files[0].read_text())) if files else {}


def _attempts(store: Path) -> dict[str, int]:
    return {stage["name"]: stage["attempts"] for stage in _status(store)["stages"]}


def _made(store: Path) -> dict[str, Any]:
    """All that a run made, by place, without what measures time."""
    artifacts = DirectoryStore(store)
    made: dict[str, Any] = {}
    for stage in _status(store)["stages"]:
        made[f"{stage['name']}: state"] = stage["state"]
        made[f"{stage['name']}: key"] = stage["key"]
        directory = artifacts.directory(stage["artifact"]["uri"])
        manifest = artifacts.manifest(stage["artifact"]["uri"])
        made[f"{stage['name']}: digest"] = manifest.digest
        made[f"{stage['name']}: metrics"] = _timeless(manifest.metrics)
        for entry in manifest.files:
            place = f"{stage['name']}: {entry.path}"
            made[place] = _content(directory / entry.path) if entry.record else entry.sha256
    return made


def _content(record: Path) -> Any:
    """A record file: each row of JSON lines, else its bytes."""
    if record.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in record.read_text().splitlines()]
    if record.suffix == ".json":
        return _timeless(json.loads(record.read_text()))
    return record.read_bytes().hex()


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            k: _timeless(v) for k, v in value.items() if not is_timing(str(k)) and k not in TIMES
        }
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _differences(calm: Mapping[str, Any], stormy: Mapping[str, Any]) -> Iterator[str]:
    for place in dict.fromkeys([*calm, *stormy]):
        a, b = calm.get(place), stormy.get(place)
        if a == b:
            continue
        if isinstance(a, list) and isinstance(b, list):
            rows = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
            row = next(rows, min(len(a), len(b)))
            place, a, b = f"{place} row {row}", a[row : row + 1], b[row : row + 1]
        yield f"{place}: undisturbed {str(a)[:200]}, disturbed {str(b)[:200]}"


def _write(
    options: argparse.Namespace,
    seconds: float,
    kills: Sequence[Killed],
    attempts: Mapping[str, int],
    differences: Sequence[str],
) -> None:
    result = {
        "run": str(options.file),
        "set": options.set,
        "values": [str(file) for file in options.values],
        "seed": options.seed,
        "undisturbedSeconds": round(seconds, 1),
        "kills": [
            {"afterSeconds": k.after_seconds, "running": k.running, "processes": k.processes}
            for k in kills
        ],
        "attempts": attempts,
        "differences": list(differences),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": _processor(),
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("acereason", "torch", "transformers")},
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(options.out)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Kill a run and everything it started at random moments; nothing may change.",
        epilog="example: benchmarks/chaos.py examples/quickstart.yaml "
        "--set stages.sft.sft.budget.steps=300",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=ROOT / "examples" / "quickstart.yaml",
        metavar="FILE",
        help="run file (default: the quickstart)",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--values", action="append", default=[], type=Path, metavar="FILE")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "chaos.json", metavar="FILE"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
