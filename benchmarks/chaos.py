"""`make chaos`: kill a run and everything it started at random moments; nothing may change.

The run is carried out once undisturbed. Then again in a store of its own: SIGKILL to the runner,
its stages and all their processes together, at moments drawn from a seed, each time starting the
same command again. At the end, whatever the run made must be equal bit for bit: the digest and the
files of every artifact, and every row of metrics.jsonl and results.json, except for what measures
time. Exit 0 where all is equal, 1 where something differs (it is named), 2 for a wrong run file.

Without arguments it is the quickstart with the values of chaos.yaml: shorter stages that save their
state every few seconds, so that kills fall into all of them and each life goes on from the last.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.telemetry.metrics import is_timing

from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
SETTINGS = ROOT / "benchmarks" / "chaos.yaml"
MARK = "ACEREASON_CHAOS"
"""Environment variable by which every process of a run is found, whoever its parent is now."""
LOOK = 0.2
"""Seconds between two looks at how far a run is."""
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
    if options.values is None:
        options.values = [SETTINGS] if options.file == QUICKSTART else []
    command = [sys.executable, "-m", "acereason_operator.cli.main", "run", str(options.file)]
    command += [word for text in options.set for word in ("--set", text)]
    command += [word for file in options.values for word in ("--values", str(file))]
    with tempfile.TemporaryDirectory(prefix="acereason-chaos-") as directory:
        print("undisturbed ...", flush=True)
        began = time.monotonic()
        if code := _to_the_end(command, Path(directory, "calm")):
            print(f"the undisturbed run ended with {code}; correct it first", file=sys.stderr)
            return code
        seconds = time.monotonic() - began
        print(f"undisturbed: {seconds:.0f} s. {options.kills} kills ...", flush=True)
        lives = Lives(random.Random(options.seed), seconds / options.kills)
        kills: list[Killed] = []
        differences: list[str] = []
        calm = _made(Path(directory, "calm"))
        rounds = itertools.count()
        while len(kills) < options.kills:  # a run that outruns its kills is done once more
            stormy = Path(directory, f"stormy-{next(rounds)}")
            kills += _disturbed(command, stormy, options.kills - len(kills), lives)
            differences += _differences(calm, _made(stormy))
        attempts = _attempts(stormy)
    _write(options, seconds, kills, attempts, differences)
    for difference in differences:
        print(difference, file=sys.stderr)
    verdict = "DIFFERENT" if differences else "all equal, bit for bit"
    print(f"{len(kills)} kills, {sum(attempts.values())} attempts: {verdict}")
    return 1 if differences else 0


@dataclass
class Lives:
    """How long each life lasts. Most begin to count when the run has moved on, so that every life
    leaves something to go on from and kills fall into all stages; each fourth counts from its start
    and often ends within it."""

    draw: random.Random
    mean_seconds: float
    number: int = 0

    def end(self, process: "subprocess.Popen[bytes]", store: Path) -> int | None:
        """Wait until a life is over; its exit code if it ended by itself before."""
        self.number += 1
        before = _steps(store)
        while self.number % 4 and _steps(store) == before:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK)
        try:
            return process.wait(self.draw.uniform(0, 2) * self.mean_seconds)
        except subprocess.TimeoutExpired:
            return None


def _to_the_end(command: Sequence[str], store: Path) -> int:
    with _started(command, store) as process:
        return process.wait()


def _disturbed(
    command: Sequence[str], store: Path, most_kills: int, lives: Lives
) -> Iterator[Killed]:
    """Start and kill until the run is done or there were so many kills; then it may end."""
    for _ in range(most_kills):
        began = time.monotonic()
        with _started(command, store) as process:
            code = lives.end(process, store)
            if code is None:
                lifetime, running = time.monotonic() - began, list(_running(store))
                killed = Killed(round(lifetime, 2), running, _kill_all(process))
                print(f"killed after {lifetime:.1f} s: {', '.join(running)}", flush=True)
                yield killed
                continue
        break
    else:
        code = _to_the_end(command, store)
    if code:
        raise SystemExit(f"the disturbed run in {store} ended with {code}")


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


def _steps(store: Path) -> list[tuple[str, int]]:
    """How far each stage is, as its status says."""
    stages = _status(store).get("stages", [])
    return [(stage["name"], stage["step"]) for stage in stages if stage["step"]]


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
        row = ""
        if isinstance(a, list) and isinstance(b, list):
            unequal = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
            first = next(unequal, min(len(a), len(b)))
            row, a, b = f" row {first}", a[first : first + 1], b[first : first + 1]
        yield f"{place}{row}: undisturbed {str(a)[:200]}, disturbed {str(b)[:200]}"


def _write(
    options: argparse.Namespace,
    seconds: float,
    kills: Sequence[Killed],
    attempts: Mapping[str, int],
    differences: Sequence[str],
) -> None:
    result = {
        "run": _name(options.file),
        "set": options.set,
        "values": [_name(file) for file in options.values],
        "seed": options.seed,
        "undisturbedSeconds": round(seconds, 1),
        "kills": [
            {"afterSeconds": k.after_seconds, "running": k.running, "processes": k.processes}
            for k in kills
        ],
        "attempts": attempts,
        "differences": list(differences),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(options.out)


def _name(file: Path) -> str:
    """Below the project where it is there: a result names no machine's directories."""
    path = file.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


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
        default=QUICKSTART,
        metavar="FILE",
        help="run file (default: the quickstart)",
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument(
        "--values",
        action="append",
        type=Path,
        metavar="FILE",
        help="(default: chaos.yaml for the quickstart)",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "chaos.json", metavar="FILE"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
