"""Stands in the place of a rank: publishes what its stage's key says, after doing as it is told.

The environment variable STAND_IN (a stage's `env`) holds words:

    wait            be ready, then wait for a file `go` in the stage's directory, or for SIGTERM
    stubborn        the same, and ignore SIGTERM
    fail            end with 1
    fail-first      end with 1 in the first attempt
    complain        say already before it waits why it will fail
    refuse          end with 78 and a sentence
    pause           take two seconds
    random          publish something else each time
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.read_stage_file import read_stage_file
from acereason_trainer.config.stage_file import OUTPUT_KIND

file = read_stage_file(Path(sys.argv[-1]))
work_dir = Path(file.store) / file.work_dir
told = os.environ.get("STAND_IN", "").split()
TOTAL = 3


def progress(step: int) -> None:
    text = json.dumps(
        {"step": step, "total": TOTAL, "rate": 2.0, "secondsLeft": 1.0, "metrics": {"loss": 0.5}}
    )
    (work_dir / ".progress").write_text(text)
    (work_dir / ".progress").replace(work_dir / "progress.json")


def wait() -> None:
    stopped = []
    ignored = "stubborn" in told
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignored else lambda *_: stopped.append(1))
    (work_dir / "ready").write_text(str(os.getpid()))
    while not (work_dir.parent / "go").exists():
        if stopped:
            sys.exit(143)
        time.sleep(0.02)


def publish() -> None:
    assert file.prepared is not None
    result = work_dir / "export"
    result.mkdir(exist_ok=True)
    kind = OUTPUT_KIND[file.settings.kind]
    name = {"data": "rows.jsonl", "model": "model.txt", "evaluation": "answers.txt"}[kind]
    (result / name).write_text(json.dumps({"problem": file.prepared.key}) + "\n")
    if "random" in told:
        (result / "random.txt").write_text(os.urandom(8).hex())
    (result / "threads.txt").write_text(os.environ["OMP_NUM_THREADS"])
    DirectoryStore(Path(file.store)).publish(
        result,
        key=file.prepared.key,
        kind=kind,
        records=["threads.txt"],
        parents={},
        producer=None,
        step=TOTAL,
        metrics={"accuracy/math": 0.612, "standardError/math": 0.029, "problems/math": 240.0}
        if kind == "evaluation"
        else {"loss": 0.5},
    )


progress(1)
print(f"attempt {file.attempt} of {file.stage} begins", flush=True)
if "complain" in told:
    print("the data is not what it should be", flush=True)
if {"wait", "stubborn"} & set(told):
    wait()
if "fail" in told or ("fail-first" in told and file.attempt == 1):
    print("the data is not what it should be")
    sys.exit(1)
if "refuse" in told:
    (work_dir / "rank-0.failure.json").write_text(
        json.dumps({"exitCode": 78, "reason": "BadData", "message": "line 4 has no answer"})
    )
    sys.exit(78)
if "pause" in told:
    time.sleep(2)
progress(TOTAL)
publish()
