"""Stands in the place of a rank: does one thing that a rank may do, as its arguments say.

fake_rank.py BEHAVIOUR [ARGUMENT] STAGE_FILE
"""

import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

behaviour, argument, stage_file = sys.argv[1], sys.argv[2], Path(sys.argv[-1])
work_dir = stage_file.parent
rank = os.environ["RANK"]


def publish() -> None:
    # Imported where they are used: they take longer than all that other ranks do.
    from acereason_trainer.artifacts.store import DirectoryStore
    from acereason_trainer.config.read_stage_file import read_stage_file

    file = read_stage_file(stage_file)
    assert file.prepared is not None
    result = work_dir / "export"
    result.mkdir(exist_ok=True)
    (result / "rows.jsonl").write_text('{"problem": "1 + 1"}\n')
    DirectoryStore(Path(file.store)).publish(
        result,
        key=file.prepared.key,
        kind="data",
        parents={},
        producer=None,
        metrics={"accuracy/math": 0.25},
    )


def progress(step: int, phase: str = "train") -> None:
    temporary = work_dir / ".progress"
    temporary.write_text(json.dumps({"step": step, "phase": phase, "metrics": {"reward": 0.5}}))
    temporary.replace(work_dir / "progress.json")


def set_clock(seconds: float) -> None:
    """Of the launcher that goes by it (launcher_by_clock.py)."""
    temporary = work_dir / ".clock"
    temporary.write_text(str(seconds))
    temporary.replace(work_dir / "clock")


def say_ready() -> None:
    (work_dir / f"ready-{rank}").write_text(str(os.getpid()))


def wait_for_term() -> None:
    # Blocked since before the handler matters: no wake-up can be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    say_ready()
    signal.sigwait({signal.SIGTERM})


def ignore_term() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_ready()
    while True:
        signal.pause()


match behaviour:
    case "exit":
        if rank == "0":
            print("last words")
            sys.exit(int(argument))
        wait_for_term()
        sys.exit(143)
    case "exits":  # one code for each rank, at the same moment
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say_ready()
        while len(list(work_dir.glob("ready-*"))) < int(os.environ["WORLD_SIZE"]):
            time.sleep(0.01)
        sys.exit(int(argument.split(",")[int(rank)]))
    case "fail":
        (work_dir / f"rank-{rank}.failure.json").write_text(
            json.dumps({"exitCode": 76, "reason": "RewardCollapse", "message": "the reward fell"})
        )
        if argument == "hang":
            ignore_term()
        if argument:
            os.kill(os.getpid(), getattr(signal, argument))
        sys.exit(76)
    case "publish":
        progress(7)
        publish()
    case "kill-self":
        os.kill(os.getpid(), getattr(signal, argument))
    case "hung-collective":  # what torch does when NCCL's limit has passed
        print(
            "[rank1]: ProcessGroupNCCL.cpp:683: [Rank 1] Watchdog caught collective operation "
            "timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE) ran for 600000 milliseconds",
            flush=True,
        )
        print("Fatal Python error: Aborted\n" + "  File x in y\n" * 500, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    case "segfault":
        ctypes.string_at(0)
    case "publish-on-term":
        wait_for_term()
        publish()
        sys.exit(int(argument))
    case "stop-on-term":
        wait_for_term()
        sys.exit(143)
    case "ignore-term":
        ignore_term()
    case "hang-after-a-step":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for seconds in itertools.count():
            progress(3)  # signs of life, no progress
            set_clock(seconds)
            time.sleep(0.02)
    case "steps":  # so many, of 4 s each; the launcher looks at every fifth or so
        for step in range(int(argument)):
            progress(step)
            set_clock(4 * step)
            time.sleep(0.1)
        publish()
    case "orphan":  # leaves a process of its own session behind
        script = "import os, time\nos.setsid()\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout is not None
        (work_dir / "orphan").write_bytes(child.stdout.readline())
        publish()
    case "unicode":
        sys.stdout.buffer.write("界🔥é".encode() * 200_000 + b"\xff\xfe the end\n")
        sys.exit(1)
    case "environment":
        (work_dir / f"environment-{rank}").write_text(json.dumps(dict(os.environ)))
        if rank == argument:
            publish()
    case _:
        raise ValueError(behaviour)
