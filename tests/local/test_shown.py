"""What `acereason` shows of a run while it goes, and after."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import termios

from acereason_operator.local.processes import RANK_COMMAND
from laptops import DATA, EVAL, RANK, SFT, Laptop, told

from tests.waiting import wait_for


def test_every_line_of_json_output_is_an_event_and_the_last_one_has_the_status(
    laptop: Laptop,
) -> None:
    runner = laptop.has(told(DATA, "wait"), told(SFT, "fail-first"), EVAL).run()
    out = laptop.said_until(runner, '"progress"')
    laptop.lets_go("data")
    out += laptop.rest_of(runner)
    events = [json.loads(line) for line in out.splitlines()]
    assert {"stage", "progress", "message", "end"} == {event["event"] for event in events}
    states = [e["state"] for e in events if e["event"] == "stage" and e["stage"] == "sft"]
    assert states[:2] == ["Preparing", "Pending"] and states[-1] == "Complete"
    assert "BackingOff" in states
    last = events[-1]
    assert (last["event"], last["exitCode"], last["status"]["state"]) == ("end", 0, "Complete")
    assert last["results"][2]["metrics"]["accuracy/math"] == 0.612


def test_a_terminal_gets_a_bar_for_each_running_stage(laptop: Laptop) -> None:
    laptop.has(told(DATA, "wait"))
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (40, 120))
    process = subprocess.Popen(
        [sys.executable, "-m", "acereason_operator.cli.main", "run", str(laptop.file)],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={
            **os.environ,
            RANK_COMMAND: json.dumps(RANK),
            "XDG_STATE_HOME": str(laptop.root / "state"),
        },
    )
    laptop.processes.append(process)  # type: ignore[arg-type]
    os.close(stderr)
    seen = b""
    os.set_blocking(terminal, False)

    def shows(text: bytes) -> bool:
        nonlocal seen
        with contextlib.suppress(OSError):  # nothing there yet, or nobody writes any more
            seen += os.read(terminal, 65536)
        return text in seen

    laptop.ready("data")
    wait_for(lambda: shows(b"1/3 steps, 2/s, 1s left, loss 0.5"), "the bar")
    assert b"data:  33%|" in seen
    laptop.lets_go("data")
    wait_for(lambda: shows(b"data: Complete"), "the end of the stage")
    assert process.wait() == 0
    os.close(terminal)


def test_logs_follow_a_stage_over_its_attempts_to_its_end(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "complain wait fail-first"), SFT).run()
    laptop.ready("data")
    logs = laptop.start("logs", "data", "-f", "--store", "store")
    said = laptop.said_until(logs, "the data is not")
    laptop.lets_go("data")
    laptop.end_of(runner)
    said += laptop.rest_of(logs)
    assert "==> attempt 1, rank-0.log <==\nattempt 1 of data begins\nthe data is not" in said
    assert "==> attempt 2, rank-0.log <==\nattempt 2 of data begins" in said
    assert "attempt 2" not in laptop.says("logs", "data", "--attempt", "1", "--store", "store")


def test_the_store_of_the_last_run_is_known_to_the_other_verbs(laptop: Laptop) -> None:
    laptop.has(DATA).runs("--store", str(laptop.root / "elsewhere"))
    assert "demo  Complete" in laptop.says("status")
    assert "curate-" in laptop.says("artifacts", "list")


def test_plan_tells_what_is_kept_and_reused_and_what_is_not_known_yet(laptop: Laptop) -> None:
    laptop.has(DATA, SFT, EVAL)
    before = json.loads(laptop.says("plan", str(laptop.file), "-o", "json"))
    assert [(s["verdict"], s["key"] is not None) for s in before] == [
        ("run", True), ("run", False), ("run", False)
    ]  # fmt: skip
    assert before[1]["inputs"] == {"model": "random weights", "data": "stage data"}
    assert not laptop.store.exists(), "looking writes nothing"
    laptop.runs("--until", "sft")
    after = json.loads(laptop.says("plan", str(laptop.file), "-o", "json"))
    assert [s["verdict"] for s in after] == ["keep", "keep", "run"]
    assert after[1]["key"] == laptop.stage("sft").key and after[2]["key"] is not None
    other = json.loads(
        laptop.says("plan", str(laptop.file), "-o", "json", "--set", "metadata.name=other")
    )
    assert [(s["verdict"], s["key"]) for s in other] == [
        ("reuse", after[0]["key"]), ("reuse", after[1]["key"]), ("run", after[2]["key"])
    ]  # fmt: skip
    edited = json.loads(
        laptop.says("plan", str(laptop.file), "-o", "json", "--set", "stages.sft.sft.rowTokens=64")
    )
    assert [s["verdict"] for s in edited] == ["keep", "run", "run"]
    (laptop.root / "train.jsonl").unlink()
    assert json.loads(laptop.says("plan", str(laptop.file), "-o", "json")) == after, (
        "what was read is in the store"
    )


def test_a_stopped_run_says_so_in_status(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "wait")).run()
    laptop.ready("data")
    assert "Running" in laptop.says("status", "demo", "--store", "store")
    runner.terminate()
    laptop.end_of(runner, 143)
    said = laptop.says("status", "demo", "--store", "store")
    assert "run demo: Stopped" in said and "data   Stopped  1" in said
    assert "suspend" not in said, "nobody wrote that into the run"
