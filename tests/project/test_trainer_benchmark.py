"""The trainer's benchmark's own decisions: turns, intervals, goals, and what is told of them."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contest, trainer, trainer_peer_modes, trainer_sft
from benchmarks.code_identity import code_identity, remove_others
from benchmarks.contest import (
    Answer,
    Contestant,
    OutOfTurn,
    in_short,
    in_turns,
    taken_of,
    versions_of,
)
from benchmarks.intervals import median_interval, paired_difference, quartiles, resampled_interval
from benchmarks.kept_result import SAME, kept, measured_at, write
from benchmarks.others_share import SET_CHILD_SUBREAPER, OthersShare
from benchmarks.progress import Parts, Steps
from benchmarks.stage_files import begun_anew, path_of, stage_file
from benchmarks.trainer import (
    PARTS,
    RESULT,
    arguments,
    measured_on,
    missing_of,
    require_commit,
    shortcomings,
    still_told,
)
from benchmarks.trainer_figures import told, told_in_short
from benchmarks.trainer_files import (
    IN_PARALLEL,
    ONE,
    ONE_OPENSSL,
    PUBLISHED,
    TOOLS,
    VERIFY,
    checkpoint_section,
)
from benchmarks.trainer_files import figures_of as figures_of_files
from benchmarks.trainer_goals import goals_of, missed
from benchmarks.trainer_gpu import rl_figures, sft_figures
from benchmarks.trainer_gpu_shapes import SHAPES, documents
from benchmarks.trainer_grpo import PHASES, require_prompts
from benchmarks.trainer_grpo import figures_of as figures_of_steps
from benchmarks.trainer_models import SUBJECTS, TINY, Subject
from benchmarks.trainer_peer_modes import (
    CONTINUOUS,
    DIVIDED,
    VLLM,
    peer_sft_modes_section,
    way_of,
    why_not,
)
from benchmarks.trainer_peer_modes import modes as ways
from benchmarks.trainer_profile import kind_of, shares_of, timed, with_rest
from benchmarks.trainer_push import TIMED
from benchmarks.trainer_push import figures_of as figures_of_pushes
from benchmarks.trainer_push import parts_of as parts_of_a_push
from benchmarks.trainer_resume import forget_rollouts
from benchmarks.trainer_sft import (
    BY_LENGTH,
    LAYOUTS,
    MODES,
    ROW,
    ROW_BY_ROW,
    Material,
    batch_of,
    best_without_cuts,
    blocks_of,
    divisors,
    figures_of,
    in_batches_of_like_length,
    parts_in_contest,
    peers_rate,
    whole_steps,
)
from benchmarks.vllm_quickstart import ARMS, agree, mean_mismatch, probe_differences, require_two
from benchmarks.vllm_quickstart import figures_of as figures_of_accuracy
from benchmarks.vllm_quickstart import told as told_of_accuracy

ROWS = 8
PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
STEPS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from turns import Turns
turns = Turns()
turns.over()
print("what a library prints is no answer")
for step in range(1, 100):
    turns.wait()
    turns.over(step=step, at=time.monotonic(), name=sys.argv[2])
"""
DIES = "import sys; sys.exit('no such model')"


def contestant(name: str, program: str, tmp_path: Path) -> Contestant:
    command = [sys.executable, "-c", program, str(PEERS), name]
    return Contestant(name, command, tmp_path / f"{name}.log", {})


def test_contestants_step_one_after_the_other_and_begin_in_turn(tmp_path: Path) -> None:
    done = in_turns([contestant(name, STEPS, tmp_path) for name in ("a", "b")], 3, "turns")
    steps = sorted((step["at"], name) for name, answers in done.items() for step in answers)
    assert [name for _, name in steps] == ["a", "b", "b", "a", "a", "b"]


def test_a_contestant_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"b ended with 1(.|\n)*no such model"):
        in_turns([contestant("a", STEPS, tmp_path), contestant("b", DIES, tmp_path)], 1, "turns")


def test_a_contestant_that_dies_while_another_steps_is_told(tmp_path: Path) -> None:
    dies = STEPS.replace("range(1, 100)", "range(1, 2)")
    with pytest.raises(RuntimeError, match="b ended"):
        in_turns([contestant("a", STEPS, tmp_path), contestant("b", dies, tmp_path)], 3, "turns")


SLEEPS = STEPS.replace("turns.wait()", "turns.wait(); time.sleep(0.3)")


def test_what_a_contestant_takes_while_it_waits_is_known(tmp_path: Path) -> None:
    named = [("idle", STEPS), ("slow", SLEEPS)]
    done = in_turns([contestant(n, program, tmp_path) for n, program in named], 3, "turns")
    taken = taken_of(done)
    assert taken["idle"]["waitingCores"] < 0.1
    assert taken["idle"]["peakMib"] > 1


def test_a_contestant_that_computes_while_it_waits_is_refused(tmp_path: Path) -> None:
    spins = "turns.over()\nthreading.Thread(target=spin, daemon=True).start()\n"
    busy = STEPS.replace("import sys, time", "import sys, threading, time")
    busy = "def spin():\n    while True: pass\n" + busy.replace("turns.over()\n", spins, 1)
    named = [("busy", busy), ("slow", SLEEPS)]
    with pytest.raises(OutOfTurn, match=r"busy took [01]\.\d\d cores while it waited"):
        in_turns([contestant(n, program, tmp_path) for n, program in named], 4, "turns")


@pytest.mark.parametrize("seconds", [0, 0.1], ids=["in one breath", "a little later"])
def test_a_contestant_that_does_not_wait_is_refused(tmp_path: Path, seconds: float) -> None:
    hasty = STEPS.replace("turns.wait()", f"time.sleep({seconds})").replace("100", "9")
    with pytest.raises(OutOfTurn, match="hasty does not wait"):
        in_turns([contestant("hasty", hasty, tmp_path), contestant("b", SLEEPS, tmp_path)], 3, "")


def test_a_contestant_that_tells_of_another_step_is_refused(tmp_path: Path) -> None:
    skips = STEPS.replace("step=step", "step=2 * step")
    with pytest.raises(OutOfTurn, match="a told of step 2 in turn 1"):
        in_turns([contestant("a", skips, tmp_path)], 1, "turns")
    with pytest.raises(OutOfTurn, match="b told of step none in turn 1"):
        in_turns([contestant("b", STEPS.replace("step=step, ", ""), tmp_path)], 1, "turns")


def test_peers_tell_of_one_set_of_versions() -> None:
    def of(*versions: str) -> dict[str, list[dict[str, Any]]]:
        return {"ours": [{}], **{f"TRL {v}": [{"versions": {"trl": v}}] for v in versions}}

    assert versions_of(of("1.16")) == {"trl": "1.16"}
    for several in (of(), of("1.16", "1.17")):
        with pytest.raises(RuntimeError, match="peers tell of versions"):
            versions_of(several)


@pytest.fixture
def adopts_orphans() -> Iterator[OthersShare]:
    """As the driver of the benchmark does."""
    yield OthersShare()
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)  # other tests look at orphans


LEAVES_AN_ENGINE = """
import subprocess, sys
engine = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid); "
engine += "sys.stdout.flush(); p.wait()"
started = subprocess.Popen([sys.executable, "-c", engine], stdout=subprocess.PIPE)
left = [started.pid, int(started.stdout.readline())]
""" + STEPS.replace("at=time.monotonic()", "left=left")


@pytest.mark.usefixtures("adopts_orphans")
def test_what_a_contestant_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """What it has started and what that has started in turn, to the last entry of theirs."""
    done = in_turns([contestant("a", LEAVES_AN_ENGINE, tmp_path)], 1, "turns")
    (left,) = [answer["left"] for answer in done["a"]]
    assert len(left) == 2
    assert [pid for pid in left if Path(f"/proc/{pid}").exists()] == []


def test_what_we_take_of_the_machine_is_no_others(adopts_orphans: OthersShare) -> None:
    def of_children() -> float:
        times = os.times()  # asking for the time is the system's work, and here that is most of it
        return times.children_user + times.children_system

    share, deadline = adopts_orphans, time.monotonic() + 120
    leaves_work = (
        "import subprocess, sys, os; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"
    )
    works = "import time\nwhile time.process_time() < 0.5: pass"
    before = of_children()
    subprocess.run([sys.executable, "-c", leaves_work, works], check=True)
    while of_children() - before < 0.5 and time.monotonic() < deadline:
        time.sleep(0.1)
        assert 0 <= share.so_far() <= 1
    assert of_children() - before >= 0.5, "an orphan's work is counted as ours"


def test_a_contestant_that_is_killed_is_told_in_one_sentence(tmp_path: Path) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RuntimeError) as error:
        in_turns([contestant("a", killed, tmp_path)], 1, "turns")
    log = tmp_path / "a.log"
    told_of_it = f"a was killed by SIGKILL, as where memory is full (all of its log: {log})"
    assert in_short(str(error.value)) == told_of_it


def test_of_a_log_the_last_line_is_told() -> None:
    assert in_short("TRL ended with 1 (log):\nTraceback\nno such model.\n") == (
        "TRL ended with 1 (log): no such model"
    )


def test_a_contestant_that_hangs_ends_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "PATIENCE", 0.2)
    hangs = "import sys; sys.stdin.read()"
    with pytest.raises(RuntimeError, match=r"a said nothing for 0\.2 s"):
        in_turns([contestant("a", hangs, tmp_path)], 1, "turns")


def test_one_step_that_was_held_up_moves_no_figure() -> None:
    assert quartiles([1.0, 1.1, 1.2, 1.3, 60.0]) == {"median": 1.2, "low": 1.1, "high": 1.3}
    assert quartiles([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_a_difference_is_taken_seed_by_seed() -> None:
    # What the seeds differ by is far more than what the arms do.
    found = paired_difference([0.1, 0.5, 0.9], [0.2, 0.6, 1.0])
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)
    assert found.is_clear


def test_an_interval_is_students_t() -> None:
    found = paired_difference([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    assert not paired_difference([0.0] * 3, [-1.0, 2.0, 3.0]).is_clear


def test_what_seeds_differ_by_is_in_the_interval() -> None:
    problems = [0.0, 0.25, -0.25] * 40
    alike = resampled_interval([problems] * 3)
    apart = resampled_interval([[d + shift for d in problems] for shift in (-0.1, 0.0, 0.1)])
    assert -0.05 < alike[0] < 0 < alike[1] < 0.05
    assert apart[0] < -0.08
    assert apart[1] > 0.08


def test_vllms_accuracy_is_told_with_its_seeds_and_problems() -> None:
    arm = {"accuracy": 97.0, "standardError": 0.8, "mismatchKl": 2.34e-9}
    seeds = [
        {"seed": n, **dict.fromkeys(ARMS, arm), "differences": [0.05, -0.05]} for n in range(3)
    ]
    figures = figures_of_accuracy(seeds)
    assert (figures["problems"], figures["difference"]) == (2, 0.0)
    table, sentence = told_of_accuracy({"seeds": seeds, "figures": figures | {"low": -2.67}})
    assert "| 2.3e-09, 2.3e-09, 2.3e-09 |" in table
    assert "95 % over 3 seeds and 2 problems by a bootstrap of seeds and problems" in sentence
    assert "the wider of two intervals; as asked for" in sentence
    assert sentence.endswith("By the interval's low end vLLM loses 2.7 points at most.")
    gains = told_of_accuracy({"seeds": seeds, "figures": figures | {"low": 0.5}})[-1]
    assert gains.endswith("vLLM loses 0.0 points at most.")
    rounded = {"accuracy": 97.0, "standardError": 0.8, "mismatch_kl": 0.0}
    earlier = [{"seed": 0, **dict.fromkeys(ARMS, rounded)}]
    assert "| below 5e-07 |" in told_of_accuracy({"seeds": earlier, "figures": figures})[0]


def test_a_mismatch_however_small_is_told() -> None:
    rows = [{"mismatch_kl": 1.234e-9}, {"mismatch_kl": 3.456e-9}]
    assert mean_mismatch(rows) == 2.35e-9
    with pytest.raises(RuntimeError, match="mismatch_kl of a step is no number"):
        mean_mismatch([*rows, {"mismatch_kl": None}])


def test_how_far_an_engine_is_from_the_trainer_is_told_and_judged() -> None:
    rows = [{"probe_difference": 1.26e-6}, {"probe_difference": 2.51e-6}, {"reward": 1.0}]
    found = probe_differences(rows)
    assert found == {"pushes": 2, "probeDifference": 2.51e-6}
    assert probe_differences([{"reward": 1.0}]) == {}
    arm = {"accuracy": 97.0, "standardError": 0.8, "mismatchKl": 2.3e-09}
    seed = {"transformers": arm, "vllm": arm | found, "differences": [0.0]}
    sentence = told_of_accuracy({"seeds": [seed, seed], "figures": figures_of_accuracy([seed])})[-1]
    assert sentence.startswith("After each of 4 pushes")
    assert "2.5e-06 nats from the trainer's at most" in sentence
    assert sentence.endswith("(as asked for).")
    assert agree([seed])
    assert not agree([seed, {"vllm": found | {"probeDifference": 2e-4}}])
    assert not agree([{"vllm": arm}])


def test_arms_that_share_an_artifact_compare_nothing() -> None:
    require_two({"transformers": "artifacts/a", "vllm": "artifacts/b"})
    with pytest.raises(RuntimeError, match="transformers and vllm are one artifact, artifacts/a"):
        require_two({"transformers": "artifacts/a", "vllm": "artifacts/a"})


def test_of_two_intervals_of_few_seeds_the_wider_counts() -> None:
    apart = [{"differences": [shift] * 40} for shift in (-0.05, 0.0, 0.05)]
    figures = figures_of_accuracy(apart)
    assert figures["interval"] == "Student's t over seeds"
    assert (figures["low"], figures["high"]) == (-12.42, 12.42)
    alone = figures_of_accuracy(apart[:1])
    assert alone["interval"] == "a bootstrap of seeds and problems"


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


IN_CONTEST = "static cache, 64 at once"
TAKEN = {arm: {"waitingCores": 0.01, "peakMib": 1536} for arm in ("ours", "TRL")}
OF_SFT = {
    "taken": TAKEN,
    "turns": 96,
    "blocks": 12,
    "documentTokens": {"ours": 960_000, "wrapped": 970_000},
    "parts": {BY_LENGTH: 2, "wrapped": 1, ROW_BY_ROW: 8},
}


def a_result(
    *,
    times: float = 2.5,
    low: float = -0.005,
    gained: float = 0.2,
    turns: int = 30,
    sft: float = 1.3,
) -> dict[str, Any]:
    """What a run measures, reduced to what goals and tables read."""
    modes = dict.fromkeys(MODES, spread(sft))
    rates = {"ours": spread(1000.0), **{mode: spread(1000 / sft) for mode in modes}}
    result: dict[str, Any] = {
        "grpo": {
            "0.6M": {
                "times": {"ours": spread(times)},
                "stepSeconds": {"ours": spread(1.0), "TRL": spread(times)},
                "tokensPerStep": {"ours": 9000, "TRL": 9100},
                "taken": TAKEN,
                "trainedTokensPerStep": {"ours": 4500, "TRL": 9100},
                "rewards": {"ours": [[0.4, 0.8], [0.5, 0.9], [0.6, 0.7]], "TRL": [[0.3, 0.9]] * 3},
                "finalReward": {"ours": [0.8, 0.9, 0.7], "TRL": [0.8, 0.8, 0.9]},
                "rewardDifference": {"ours": {"mean": 0.0, "low": low, "high": 0.02}},
                "rewardGained": gained,
                "comparesRewards": turns >= 20,
                "peerPerDeviceBatch": 64,
                "peerCache": "static",
                "turns": turns,
                "seeds": 3,
                "phases": {
                    "ours": {
                        "generate_seconds": 0.7,
                        "reward_wait_seconds": 0.0,
                        "train_seconds": 0.3,
                        "push_seconds": 1e-5,
                    }
                },
            }
        },
        "peerWays": {
            "0.6M": {
                "seconds": {way: spread(3.0 if way == IN_CONTEST else 4.0) for way in ways(TINY)},
                "failed": {},
            }
        },
        "sft": {"0.6M": {"times": {"ours": modes}, "tokensPerSecond": rates, **OF_SFT}},
        "peerSftWays": {
            "0.6M": {
                "turns": 24,
                "tokensPerSecond": {
                    BY_LENGTH: {"at once": spread(950.0), "in 2 parts": spread(1000.0)},
                    "wrapped": {"at once": spread(1000.0), "in 2 parts": spread(900.0)},
                },
                "failed": {},
            }
        },
        "loss": {
            "tokens": 4096,
            "rounds": 3,
            "loss": {"ours": 11.98, "TRL": 11.98, "plain torch": 11.98},
            "vocabulary": 151936,
            "peakMib": {"ours": 1200, "TRL": 1300, "plain torch": 8000},
            "seconds": {"ours": 15.0, "TRL": 37.0, "plain torch": 14.0},
        },
        "push": {
            "model": "SmolLM2-135M",
            "megabytes": 538.1,
            "seconds": spread(0.5),
            "megabytesPerSecond": {"push": spread(1076), "copy": spread(5000)},
            "shares": {"the sum": 0.2, "vLLM's loading": 0.8},
        },
        "checkpoint": {
            "mib": 1024,
            "shards": 4,
            "rounds": 6,
            "threads": {"ours": 4, "parallel": 2},
            "fastest": {
                "publish": "cp, sync, openssl in parallel",
                "verify": "openssl in parallel",
            },
            "times": {
                "publish": spread(1.2),
                "publishOverFastest": spread(1.1),
                "verify": spread(7.5),
                "verifyOverFastest": spread(1.02),
                "verifyOverOpenssl": spread(2.0),
            },
            "megabytesPerSecond": {"cp, publish": spread(400), "verify": spread(600)},
        },
        "resume": {
            "kills": 4,
            "secondsToNextStep": spread(15.0),
            "generateSeconds": spread(1.25),
            "importSeconds": spread(9.0),
        },
        "gpu": {"notMeasured": "there is no GPU on the machine that measured"},
    }
    result["goals"] = goals_of(result)
    return result


def a_turn(seconds: float, tokens: int) -> dict[str, Any]:
    """Of ours: which share of its rows no document fills."""
    return {"seconds": seconds, "metrics": {"padding_share": 1 - tokens / (ROWS * ROW)}}


def a_peers_turn(seconds: float, tokens: int) -> dict[str, Any]:
    return {"seconds": seconds, "tokens": tokens, "versions": {"trl": "1.16"}}


def turns_of_sft(blocks: int) -> dict[str, Any]:
    """Blocks of turns that are unlike, after a first one that counts nothing; TRL takes twice as
    long, and its bfd as long as we do, but with the turns of each block in the other order."""
    block = [(1.0, 4000), (2.0, 2000)] * 2
    turns = [(9.0, 100), *block * blocks]
    done: dict[str, Any] = {arm: [a_turn(*turn) for turn in turns] for arm in LAYOUTS}
    done |= {m: [a_peers_turn(2 * s, n) for s, n in turns] for m in MODES}
    swapped = [(9.0, 100), *block[::-1] * blocks]
    return {**done, "bfd": [a_peers_turn(*turn) for turn in swapped]}


def test_a_rate_is_that_of_blocks_without_the_first_turn() -> None:
    found = figures_of([turns_of_sft(12)], ROWS)
    assert found["tokensPerSecond"]["ours"]["whole"] == 2000
    medians = {m: times["median"] for m, times in found["times"]["ours"].items()}
    assert medians == {m: 1.0 if m == "bfd" else 2.0 for m in MODES}
    assert set(found["documentTokens"].values()) == {144_000}
    assert best_without_cuts(found) == "bfd"
    assert found["peerVersions"] == {"trl": "1.16"}


def test_sfts_arms_are_timed_against_ours_in_their_own_contest() -> None:
    def contest(mode: str, ours: float, theirs: float) -> dict[str, Any]:
        return {"ours": [a_turn(ours, 4000)] * 28, mode: [a_peers_turn(theirs, 4000)] * 28}

    found = figures_of([contest("wrapped", 1.0, 2.0), contest("bfd", 2.0, 8.0)], ROWS)
    medians = {m: times["median"] for m, times in found["times"]["ours"].items()}
    assert medians == {"wrapped": 2.0, "bfd": 4.0}
    rates = {arm: rate["median"] for arm, rate in found["tokensPerSecond"].items()}
    assert rates == {"ours": 4000, "wrapped": 2000, "bfd": 500}
    assert found["blocks"] == 9


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_every_block_of_sft_has_several_turns_and_every_contest_ours(subject: Subject) -> None:
    assert subject.sft_turns % blocks_of(subject.sft_turns) == 0
    assert subject.sft_turns / blocks_of(subject.sft_turns) >= 3
    assert all("ours" in arms for arms in subject.sft_contests)


def test_a_stall_of_the_machine_on_one_arm_decides_nothing() -> None:
    done = turns_of_sft(12)
    done["ours"][5]["seconds"] = 90.0
    found = figures_of([done], ROWS)
    assert found["tokensPerSecond"]["ours"]["whole"] < 1000
    assert found["times"]["ours"]["wrapped"] == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_arms_on_other_documents_are_not_compared() -> None:
    done = turns_of_sft(12)
    done["wrapped"][3]["tokens"] += 12_000
    with pytest.raises(RuntimeError, match="differ in their documents' tokens"):
        figures_of([done], ROWS)


def test_a_medians_interval_is_between_two_of_the_values() -> None:
    # Of 12, the 3rd and the 10th: (1 + 12 + 66) / 4096 is outside on either side, under 2.5 %.
    found = median_interval([float(n) for n in range(1, 13)])
    assert found == {"median": 6.5, "low": 3.0, "high": 10.0}
    assert median_interval([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert median_interval([1.0]) == {"median": 1.0, "low": 1.0, "high": 1.0}


def test_a_rate_of_trls_is_that_of_as_many_blocks_as_are_asked_for() -> None:
    block = [(1.0, 4000), (3.0, 4000)] * 4
    answers = [a_peers_turn(*turn) for turn in [(9.0, 100), *block * 3]]
    assert peers_rate(answers, 3) == {"median": 2000, "low": 2000, "high": 2000}
    assert peers_rate(answers, 24)["high"] == 4000


def some_material(turns: int, each: int) -> Material:
    documents = [d | {"prompt": f"{d['n']}?", "answer": "."} for d in some_documents(turns * each)]
    return Material(Path("model"), Path("data"), documents[each:], documents[:each], turns - 1)


def test_a_batch_is_divided_as_the_subject_says_or_into_fewer_parts() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    of = some_material(turns=4, each=10)
    divided = replace(TINY, sft_parts={BY_LENGTH: 5, "wrapped": 2})
    assert [parts_in_contest(divided, m, of) for m in MODES] == [1, 5, 2, 1, TINY.sft_rows]
    shorter = some_material(turns=4, each=9)
    assert parts_in_contest(divided, BY_LENGTH, shorter) == 3


@pytest.mark.parametrize("mode", DIVIDED)
def test_a_divided_batch_is_the_same_step_on_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def started(name: str, command: list[str], *_: Any) -> dict[str, Any]:
        assert name == mode
        found: dict[str, Any] = json.loads(Path(command[-1]).read_text())
        return found

    monkeypatch.setattr(trainer_sft, "BUILD", tmp_path)
    monkeypatch.setattr(trainer_sft, "environment", lambda _: "python")
    monkeypatch.setattr(trainer_sft, "Contestant", started)
    of = some_material(turns=4, each=12)
    batch = batch_of(TINY, mode, of)
    requests: list[Any] = [trainer_sft.peer(TINY, mode, of, parts) for parts in divisors(batch)]
    sizes = [
        (s["per_device_train_batch_size"], s["gradient_accumulation_steps"])
        for s in (request.pop("settings") for request in requests)
    ]
    assert sizes == [(batch // parts, parts) for parts in divisors(batch)]
    assert len(sizes) > 2
    assert all(request == requests[0] for request in requests)


TELLS_OF_SFT = STEPS.replace("name=sys.argv[2]", "tokens=4000, versions={'trl': '1.16'}")


def test_of_each_way_to_divide_a_batch_the_rate_or_the_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(_: Subject, mode: str, __: Material, parts: int) -> Contestant:
        ends = "import sys; sys.exit('no memory')" if parts == 1 else TELLS_OF_SFT
        return contestant(f"{mode} {parts}".replace(", ", " "), ends, tmp_path)

    of = some_material(turns=10, each=4)
    monkeypatch.setattr(trainer_peer_modes, "material", lambda *_: of)
    monkeypatch.setattr(trainer_peer_modes, "sft_peer", started)
    found = peer_sft_modes_section(TINY)
    assert found["turns"] == of.turns
    assert {mode: list(rates) for mode, rates in found["tokensPerSecond"].items()} == {
        BY_LENGTH: ["in 2 parts", "in 4 parts"],
        "wrapped": ["in 2 parts", "in 4 parts", "in 8 parts"],
    }
    assert all(r["low"] > 0 for rates in found["tokensPerSecond"].values() for r in rates.values())
    assert list(found["failed"]) == [f"{mode}, at once" for mode in DIVIDED]
    assert all(why.endswith("no memory") for why in found["failed"].values())
    assert found["peerVersions"] == {"trl": "1.16"}


def some_documents(number: int) -> list[dict[str, Any]]:
    return [{"tokens": 20 + (37 * n) % 101, "n": n} for n in range(number)]


def test_every_document_is_in_one_batch_with_those_of_its_length() -> None:
    ordered = in_batches_of_like_length(some_documents(60), 6, blocks=2)
    assert sorted(d["n"] for d in ordered) == list(range(60))
    batches = [sorted(d["tokens"] for d in ordered[i : i + 6]) for i in range(0, 60, 6)]
    assert all(low[-1] <= high[0] for low, high in pairwise(sorted(batches)))
    assert batches != sorted(batches, reverse=True), "the longest are not the first steps"
    by_length = sorted(batches)
    for block in (batches[:5], batches[5:]):
        assert sorted(by_length.index(b) // 2 for b in block) == [0, 1, 2, 3, 4]


def test_no_document_is_lost_where_blocks_do_not_come_out_even() -> None:
    ordered = in_batches_of_like_length(some_documents(66), 6, blocks=3)
    assert sorted(d["n"] for d in ordered) == list(range(66))


def test_documents_are_as_many_as_the_steps_can_share_evenly() -> None:
    found = whole_steps(iter(some_documents(200)), room=1500.0, turns=4)
    assert len(found) % 4 == 0
    assert [d["n"] for d in found] == list(range(found[0]["n"], found[-1]["n"] + 1))
    assert sum(d["tokens"] for d in found) == pytest.approx(1500, rel=0.01)


def a_step(seconds: float, reward: float, *, ours: bool) -> dict[str, Any]:
    if not ours:
        return {**a_peers_turn(seconds, 900), "reward": reward}
    told = {"reward": reward, "response_tokens": 30.0, "prompts": 4.0, "group_size": 8.0,
            "trained_tokens": 600.0, **dict.fromkeys(PHASES, 0.2)}  # fmt: skip
    return {"seconds": seconds, "metrics": told}


def test_what_a_run_gains_is_its_last_third_less_its_first_step() -> None:
    rewards = [0.2, 0.3, 0.4, 0.5, 0.6, 0.8]
    of_a_seed = {
        arm: [a_step(2.0 if arm == "TRL" else 1.0, r, ours=arm != "TRL") for r in rewards]
        for arm in ("ours", "TRL")
    }
    found = figures_of_steps([[of_a_seed]] * 3)
    assert found["rewardGained"] == pytest.approx(0.5)
    assert found["times"]["ours"]["median"] == 2.0
    assert found["tokensPerStep"] == {"ours": 960, "TRL": 900}
    assert found["trainedTokensPerStep"] == {"ours": 600, "TRL": 900}
    assert not found["comparesRewards"], "of 6 steps nobody learns enough"
    assert figures_of_steps([[{a: s * 4 for a, s in of_a_seed.items()}]] * 3)["comparesRewards"]


def test_an_arm_is_timed_against_trl_in_its_own_contest() -> None:
    def contest(arm: str, trl: float) -> dict[str, Any]:
        return {
            arm: [a_step(1.0, 0.5, ours=True)] * 3,
            "TRL": [a_step(trl, 0.5, ours=False)] * 3,
        }

    found = figures_of_steps([[contest("ours", 2.0), contest("ours, vLLM", 3.0)]] * 2)
    assert list(found["stepSeconds"]) == ["ours", "ours, vLLM", "TRL"]
    medians = {arm: times["median"] for arm, times in found["times"].items()}
    assert medians == {"ours": 2.0, "ours, vLLM": 3.0}
    assert found["stepSeconds"]["TRL"]["median"] == 2.0


def test_publishing_is_held_against_what_does_as_much() -> None:
    seconds = {
        "cp, sync": [1.0],
        "cp, sync, sha256sum": [3.0],
        "cp, sync, sha256sum in parallel": [2.5],
        "cp, sync, openssl in parallel": [1.5],
        "cp, publish": [2.0],
        "sha256sum": [2.0],
        "sha256sum in parallel": [1.25],
        "openssl": [1.5],
        "openssl in parallel": [0.75],
        "verify": [1.0],
    }
    found = figures_of_files(1000, seconds)
    assert {what: times["median"] for what, times in found["times"].items()} == {
        "publish": 1.5,
        "publishOverFastest": 0.75,
        "verify": 2.0,
        "verifyOverFastest": 0.75,
        "verifyOverOpenssl": 1.5,
    }
    assert found["fastest"]["verify"] == "openssl in parallel"
    found = figures_of_files(1000, seconds | {"sha256sum in parallel": [0.5]})
    assert found["fastest"]["verify"] == "sha256sum in parallel"
    assert found["times"]["verifyOverFastest"]["median"] == 0.5
    assert found["megabytesPerSecond"]["verify"]["median"] == pytest.approx(1048.6)


def test_every_way_to_hash_a_checkpoint_has_its_turn_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.trainer_files.BUILD", tmp_path)
    found = checkpoint_section(mib=4, rounds=2)
    rates = found["megabytesPerSecond"]
    assert {*TOOLS, *IN_PARALLEL, ONE, ONE_OPENSSL, VERIFY, PUBLISHED} < set(rates)
    assert min(rate["low"] for rate in rates.values()) > 0
    assert list(tmp_path.iterdir()) == []


def test_where_openssl_was_not_tried_in_parallel_nothing_is_said_of_the_fastest() -> None:
    result = a_result()
    assert any("the fastest is openssl in parallel: verifying is 1.02" in p for p in told(result))
    del result["checkpoint"]["fastest"]
    assert not any("the fastest is" in part for part in told(result))


def test_a_resumed_step_is_told_with_its_drawing() -> None:
    result = a_result()
    assert any("1.2 s of that are the step's drawing" in part for part in told(result))
    del result["resume"]["generateSeconds"]
    assert any("were in the journal and not drawn anew" in part for part in told(result))


def test_a_restart_finds_no_rollouts_to_use_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(RuntimeError, match="journal is not there"):
        forget_rollouts(tmp_path)
    journal.mkdir()
    (journal / "batch").write_text("[]")
    forget_rollouts(tmp_path)
    assert list(journal.iterdir()) == []


def test_a_start_uses_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    model.mkdir()
    (model / "config.json").write_text("{}")
    data.write_text('{"problem": "1 + 1?", "answer": "2"}\n')
    file = stage_file(tmp_path / "store", {"mathRL": {}}, name="rl", model=model, data=data)
    told = path_of(file).read_bytes()
    journal = path_of(file).parent / "journal"
    journal.mkdir()
    (journal / "1.json").write_text("[]")
    assert begun_anew(file).read_bytes() == told
    assert not journal.exists()


def a_machine(**changed: str) -> dict[str, Any]:
    return {**dict.fromkeys((*SAME, "commit"), "one"), "date": "2026-01-01", **changed}


def test_parts_of_one_commit_stand_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results" / "trainer.json"
    assert kept(path, a_machine()) == {}
    write(path, {"machine": a_machine(), "loss": 1})
    assert kept(path, a_machine(date="2026-01-02"))["loss"] == 1
    assert kept(path, a_machine(commit="another")) == {}
    assert kept(path, a_machine(processor="another")) == {}
    elsewhere = a_machine(processor="another", commit="another")
    assert kept(path, elsewhere, each_says=True)["loss"] == 1


def test_parts_say_which_commit_and_machine_they_are_of() -> None:
    here = {"cores": 2, "processor": "P", "versions": {"torch": "2"}}
    early, late = (
        {"commit": c, "date": d, "machine": here}
        for c, d in (("aa", "2026-01-01"), ("bb", "2026-02-01"))
    )
    result: dict[str, Any] = {"machine": {**here, "commit": "bb", "date": "2026-02-01"}}
    assert measured_at(result) == ("2026-02-01", "on 2 cores (P), torch 2, at bb")
    result["measured"] = {"loss": late, "push": late}
    assert measured_at(result) == ("2026-02-01", "on 2 cores (P), torch 2, at bb")
    result["measured"]["push"] = early
    assert measured_at(result) == (
        "2026-01-01 to 2026-02-01",
        "on 2 cores (P), torch 2, at bb (loss) and at aa (push)",
    )
    result["measured"]["push"] = {**late, "machine": {**here, "processor": "Q"}}
    assert measured_at(result) == (
        "2026-02-01",
        "on 2 cores (P), torch 2, at bb (loss); on 2 cores (Q), torch 2, at bb (push)",
    )


def test_a_part_that_lacks_what_is_told_today_is_left_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = a_measured_result()
    del result["loss"]["seconds"]
    kept_parts = still_told(result)
    assert "loss" not in kept_parts
    assert "loss is left behind" in capsys.readouterr().out
    assert kept_parts["push"] == result["push"]
    assert kept_parts["measured"]["push"] == result["measured"]["push"]
    assert "loss" not in kept_parts["measured"]


def test_parts_that_are_measured_anew_are_dropped_first_and_no_others() -> None:
    result = a_measured_result() | {"failed": {"push": "no room", "resume": "no room"}}
    stay = still_told(result, anew=["loss", "push"])
    assert {"loss", "push"}.isdisjoint(stay)
    assert {"loss", "push"}.isdisjoint(stay["measured"])
    assert stay["peerWays"] == result["peerWays"]
    assert stay["failed"] == {"resume": "no room"}


def test_what_a_whole_start_has_not_measured_is_said() -> None:
    result = {"goals": [], "failed": {"push": "no room"}, "missing": ["push", "reward-A"]}
    assert shortcomings(result, whole=False) == ["failed: push"]
    said = ["failed: push", "not measured: reward-A; measure it with --only"]
    assert shortcomings(result, whole=True) == said


def a_measured_result() -> dict[str, Any]:
    at = {"commit": "one", "date": "2026-01-01", "machine": a_machine()}
    measured = {name: {**at, "method": part.method} for name, part in PARTS.items()}
    return {**a_result(), "machine": a_machine(), "measured": measured}


def test_a_part_that_was_measured_in_another_way_is_left_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = a_measured_result() | {"modes": "of a part that is none any more"}
    result["measured"]["sft-0.6M"]["method"] -= 1
    del result["measured"]["grpo-0.6M"]["method"]
    del result["measured"]["push"]["machine"]
    kept_parts = still_told(result)
    assert {"sft", "grpo", "push", "modes"}.isdisjoint(kept_parts)
    assert kept_parts["peerWays"] == result["peerWays"]
    said = capsys.readouterr().out
    assert "sft-0.6M is left behind: an older commit has measured it otherwise (method 1" in said
    assert "grpo-0.6M is left behind" in said
    assert "push is left behind: an older commit has measured it otherwise (it names no" in said


def test_the_readme_has_each_arms_times_against_trls_nearest_mode_and_the_one_that_cuts() -> None:
    result = a_result()
    result["reward"] = result["grpo"]
    times = result["sft"]["0.6M"]["times"]["ours"]
    result["sft"]["0.6M"]["times"]["ours"] = times | {"bfd": spread(1.1), "wrapped": spread(1.4)}
    _, table, goals = told_in_short({**result, "goals": goals_of(result)})
    steps = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [(s[0], s[1], s[3], s[4][:4]) for s in steps] == [
        ("| GRPO", "0.6M", IN_CONTEST, "2.50"),
        ("| GRPO", "0.6M, where it learns", IN_CONTEST, "2.50"),
        ("| SFT", "0.6M", "bfd", "1.10"),
        ("| SFT", "0.6M", "wrapped", "1.40"),
    ]
    assert goals.startswith("1 of ")


def test_figures_of_code_that_changed_meanwhile_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "measured_on", lambda: a_machine(commit="one-dirty"))
    require_commit("one-dirty")
    with pytest.raises(RuntimeError, match="the code changed meanwhile, from one to one-dirty"):
        require_commit("one")


@pytest.mark.parametrize("less", [["--small"], ["--turns", "3"], ["--shape", "tiny"]], ids=str)
def test_what_measures_otherwise_leaves_the_committed_result_alone(less: list[str]) -> None:
    assert arguments([]).out == RESULT
    assert arguments(less).out is None
    assert arguments([*less, "--out", "mine.json"]).out == Path("mine.json")


def test_parts_of_other_numbers_of_threads_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(threads: int) -> dict[str, Any]:
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        return {"commit": "0123456789ab", "date": "2026-11-23", "machine": measured_on()}

    cores = measured_on()["cores"]
    measured = {"loss": here(cores), "push": here(cores + 1)}
    _, places = measured_at({"measured": measured})
    every, other = places.split("; ")
    assert "threads" not in every and every.endswith("(loss)")
    assert f", threads: {cores + 1}, torch" in other and other.endswith("(push)")


@pytest.mark.parametrize("commit", ["0123456789ab-dirty", "unknown"])
def test_what_is_no_commits_code_keeps_no_parts(tmp_path: Path, commit: str) -> None:
    path = tmp_path / "trainer.json"
    write(path, {"machine": a_machine(commit=commit), "loss": 1})
    assert kept(path, a_machine(commit=commit), each_says=True) == {}
    assert kept(path, a_machine(), each_says=True) == {}


def test_the_time_that_is_left_goes_by_what_parts_took(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    parts = Parts({"a": 2, "b": 10}, clock=lambda: now)
    parts.begin("a")
    now = 360.0
    parts.end("a")
    parts.begin("b")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "[1 of 2] a: about 2 min; 12 min to the end of all"
    assert second == "[2 of 2] b: about 30 min; 30 min to the end of all"


def test_steps_are_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    steps = Steps("turns", 4, clock=lambda: now)
    for _ in range(4):
        now += 10.0
        steps.done()
    assert capsys.readouterr().out == "  turns: 2 of 4, 20 s left\n"


def test_other_code_has_another_identity(tmp_path: Path) -> None:
    file = tmp_path / "arms.py"
    file.write_text("STEPS = 20")
    before = code_identity(file)
    assert code_identity(file) == before
    file.write_text("STEPS = 21")
    assert code_identity(file) != before


def test_what_other_code_has_left_goes_and_what_is_elsewhere_stays(tmp_path: Path) -> None:
    for name in ("store/today", "store/before/artifacts", "peers"):
        (tmp_path / name).mkdir(parents=True)
    remove_others(tmp_path / "store" / "today")
    remove_others(tmp_path / "not there yet" / "today")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["today"]
    assert (tmp_path / "peers").exists()


def test_a_gpus_figures_are_medians_of_its_steps() -> None:
    rows = [{"tokens_per_second": 100.0, "step_seconds": s, "mfu": 0.5} for s in (1.0, 2.0, 9.0)]
    found = sft_figures(rows)
    assert (found["mfu"], found["stepSeconds"], found["paddingShare"]) == (0.5, 2.0, None)
    step = {"step_seconds": 4.0, "trained_tokens": 500.0, "mfu": 0.2}
    step |= dict.fromkeys(PHASES, 2.0)
    told = rl_figures([step])
    assert (told["trainedTokensPerSecond"], told["mfu"], told["idleShare"]) == (250.0, 0.2, None)
    assert told["seconds"]["train"] == 2.0


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_that_no_step_tells_is_not_nothing(phase: str) -> None:
    step = {"step": 2.0, "trained_tokens": 500.0, **dict.fromkeys(PHASES, 2.0)}
    del step[phase]
    with pytest.raises(RuntimeError, match=f"step 2.0 of a stage tells no {phase}"):
        rl_figures([step])


def test_documents_of_a_shape_fit_its_rows_and_are_enough() -> None:
    for shape in SHAPES.values():
        lengths = [len(d) + shape.prompt + 1 for d in documents(shape)]
        assert max(lengths) <= shape.row
        assert sum(lengths) > shape.row * shape.rows * shape.steps
        assert len(set(lengths)) > 5


def test_all_goals_can_be_met() -> None:
    assert missed(a_result()["goals"]) == []
    assert told(a_result())[-1] == "Every goal is met."


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        ({"times": 1.5}, ["0.6M, ours: half of TRL's time: 1.5, must be at least 2"]),
        ({"low": 0.01}, ["interval: 0.01, must be at most 0"]),
        ({"low": -0.04}, ["farther end by the reward gained: 0.2, must be at most 0.15"]),
        ({"gained": -0.1}, ["by the reward gained: 100, must be at most 0.15"]),
        ({"low": -0.1, "turns": 5}, []),
        ({"sft": 1.1}, ["best mode that cuts no document, at least: 1.1, must be at least 1.2"]),
    ],
    ids=[
        "faster, but not by half",
        "another reward",
        "an interval that reaches too far to one side",
        "nothing was learned",
        "too few steps to compare what was learned",
        "packing gains too little",
    ],
)
def test_what_is_not_reached_is_said(changed: dict[str, Any], sentences: list[str]) -> None:
    found = missed(a_result(**changed)["goals"])
    assert len(found) == len(sentences)
    assert all(sentence in f for sentence, f in zip(sentences, found, strict=True))


def test_a_part_that_failed_is_told() -> None:
    result = a_result() | {"failed": {"loss": "TRL ended (all of its log: trl.log)"}}
    assert "Not measured, loss: TRL ended (all of its log: trl.log)." in told(result)


def test_a_part_that_others_disturbed_is_marked() -> None:
    measured = {"loss": {"othersShare": 0.02}, "push": {"othersShare": 0.25}}
    sentence = "work of others took meanwhile: loss 2.0 %, push 25.0 % (**disturbed**)."
    assert any(sentence in part for part in told(a_result() | {"measured": measured}))


def test_trls_fastest_way_is_to_be_in_the_contest() -> None:
    result = a_result()
    seconds = {IN_CONTEST: spread(6.0), "growing cache, 32 at once": spread(4.0)}
    result["peerWays"]["0.6M"] = {"seconds": seconds, "failed": {CONTINUOUS: "no such cache"}}
    goal = "peerWays: 0.6M: TRL's step in the contest over its fastest way's"
    assert missed(goals_of(result)) == [f"{goal}: 1.5, must be at most 1.1"]
    page = "\n".join(told(result))
    assert f"growing cache, 32 at once, 4 s; {IN_CONTEST}, 6 s." in page
    assert f"In the contest it has: {IN_CONTEST}." in page
    assert "continuous batching does not work here: no such cache." in page

    result["grpo"]["0.6M"]["peerPerDeviceBatch"] = 16
    assert missed(goals_of(result)) == [f"{goal}: 100, must be at most 1.1"]
    page = "\n".join(told(result))
    assert "In the contest it has: static cache, 16 at once, which is none of these." in page

    del result["grpo"]
    assert missed(goals_of(result)) == []
    assert not any("In the contest" in sentence for sentence in told(result))


def test_trls_fastest_way_to_divide_a_batch_is_to_be_in_the_contest() -> None:
    result = a_result()
    mode = "0.6M, padded, by length"
    goal = f"peerSftWays: {mode}: TRL's fastest way's speed over that in the contest"
    row = "| padded, by length | in 2 parts, 1,000; at once, 950 |"
    assert f"{row} in 2 parts |" in "\n".join(told(result))

    result["sft"]["0.6M"]["parts"] = {BY_LENGTH: 1, "wrapped": 2}
    assert missed(goals_of(result)) == [
        "peerSftWays: 0.6M, wrapped: TRL's fastest way's speed over that in the contest: 1.111, "
        "must be at most 1.1"
    ]
    result["sft"]["0.6M"]["parts"] = {BY_LENGTH: 11, "wrapped": 1}
    assert missed(goals_of(result)) == [f"{goal}: 100, must be at most 1.1"]
    assert f"{row} in 11 parts, which is none of these |" in "\n".join(told(result))

    del result["sft"]
    result["peerSftWays"]["0.6M"]["failed"] = {"wrapped, in 8 parts": "no memory"}
    assert missed(goals_of(result)) == []
    page = "\n".join(told(result))
    assert f"{row}  |" in page
    assert "24 turns of each alone" in page
    assert "wrapped, in 8 parts does not work here: no memory." in page


def test_a_contest_of_before_batches_were_divided_had_them_at_once() -> None:
    result = a_result()
    del result["sft"]["0.6M"]["parts"]
    assert missed(goals_of(result)) == []
    assert "| in 2 parts, 1,000; at once, 950 | at once |" in "\n".join(told(result))
    del result["peerSftWays"]
    assert not any(goal["goal"].startswith("peerSftWays") for goal in goals_of(result))
    assert "in the contest |" not in "\n".join(told(result))


def test_a_mode_that_is_in_no_contest_has_no_goal() -> None:
    result = a_result()
    del result["sft"]["0.6M"]["times"]["ours"][BY_LENGTH]
    names = [goal["goal"] for goal in goals_of(result) if "peerSftWays" in goal["goal"]]
    assert len(names) == 1
    assert "wrapped" in names[0]


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_a_way_that_draws_with_vllm_has_an_environment_like_the_others(subject: Subject) -> None:
    def versions(environment: str) -> set[str]:
        lines = (PEERS / f"{environment}.txt").read_text().splitlines()
        alike = ("trl", "torch", "transformers", "accelerate", "datasets", "tokenizers")
        return {line for line in lines if line.split("==")[0] in alike}

    needs = {name: way.needs for name, way in ways(subject).items()}
    assert needs.pop(VLLM) == "trl-vllm"
    assert set(needs.values()) == {"trl"}
    assert versions("trl-vllm") == versions("trl")
    assert len(versions("trl")) == 6


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_the_way_in_the_contest_is_one_of_those_that_are_tried(subject: Subject) -> None:
    assert way_of(subject.peer_cache, subject.per_device) in ways(subject)


def test_what_is_no_fault_of_a_way_ends_its_part() -> None:
    full = RuntimeError("TRL was killed by SIGKILL, as where memory is full (all of its log: l):\n")
    assert why_not(full).startswith("TRL was killed by SIGKILL")
    packed = "[rank0]: AttributeError: 'Parameter' object has no attribute 'weight_loader'"
    assert why_not(RuntimeError(f"TRL ended with 1 (log):\nTraceback\n{packed}")).endswith(packed)
    for kind in ("ImportError", "TypeError", "AttributeError"):
        error = RuntimeError(f"TRL ended with 1 (all of its log: l):\nTraceback\n{kind}: no such")
        with pytest.raises(RuntimeError, match="no such"):
            why_not(error)


def test_arms_that_draw_other_prompts_are_not_compared() -> None:
    rows = [{"id": name} for name in "abcdab"]
    theirs: list[Answer] = [{"prompts": list(names)} for names in ("ba", "cd", "ab")]
    ours: list[Answer] = [*theirs[:2], {"prompts": []}]  # tells of each when it is new
    require_prompts({"ours": ours, "TRL": theirs}, rows)
    for wrong in (["c"], ["c", "e"], ["c", "d", "e"]):
        with pytest.raises(RuntimeError, match="ours drew other prompts in step 2"):
            require_prompts({"TRL": theirs, "ours": [ours[0], {"prompts": wrong}, ours[2]]}, rows)


def test_of_a_run_that_was_cut_not_every_goal_is_met() -> None:
    result = a_result() | {"missing": ["loss", "grpo-SmolLM2-135M"], "failed": {"loss": "gone"}}
    assert told(result)[-3:] == [
        "Not measured, loss: gone.",
        "Not measured yet: grpo-SmolLM2-135M.",
        "Every goal of what was measured is met.",
    ]


def test_a_model_with_few_of_the_modes_is_told_beside_one_with_all() -> None:
    result = a_result()
    few = ("ours", "wrapped", "bfd, row by row")
    rates = {arm: spread(1000.0 if arm == "ours" else 500.0) for arm in few}
    times = {"ours": dict.fromkeys(few[1:], spread(2.0))}
    result["sft"]["135M"] = {"times": times, "tokensPerSecond": rates, **OF_SFT}
    assert missed(goals_of(result)) == []
    assert best_without_cuts(result["sft"]["135M"]) == "bfd, row by row"
    assert "| 135M | 1,000 |  |  | 500 |  | 500 |" in "\n".join(told(result))


PUSHED = dict.fromkeys(TIMED, 0.1) | {"_send_weights": 0.5}


def test_a_pushs_rate_is_that_of_all_its_bytes() -> None:
    rows = [{"push_seconds": s} for s in (0.5, 0.5, 2.0)]
    begun = [{n: 7 + step * s for n, s in PUSHED.items()} for step in range(4)]
    found = figures_of_pushes(10**9, rows, [0.1], begun)
    assert found["megabytesPerSecond"]["push"]["median"] == 2000
    assert found["megabytesPerSecond"]["copy"]["median"] == 10_000
    assert (found["megabytes"], found["pushes"]) == (1000, 3)
    assert found["shares"]["the sum"] == 0.1
    with pytest.raises(RuntimeError, match="3 pushes around 3 steps"):
        figures_of_pushes(10**9, rows, [0.1], begun[1:])


def test_a_push_is_told_by_its_parts() -> None:
    parts = parts_of_a_push(PUSHED, 1.2)
    assert {name: round(seconds, 9) for name, seconds in parts.items()} == {
        "the sum": 0.1,
        "vLLM's loading": 0.3,
        "copies into shared memory": 0.3,
        "the probe, vLLM's": 0.1,
        "the probe, the trainer's": 0.1,
        "vLLM's sleep": 0.1,
        "the rest": 0.2,
    }
    with pytest.raises(RuntimeError, match="score: took no time"):
        parts_of_a_push(PUSHED | {"score": 0.0}, 1.2)
    with pytest.raises(RuntimeError, match="more than the whole"):
        parts_of_a_push(PUSHED | {"take_bucket": 0.5}, 9.0)
    result = a_result()
    sentence = "makes 5,000 ±0 % MB/s. Of a push's time, vLLM's loading 80 %, the sum 20 %."
    assert any(sentence in part for part in told(result))
    del result["push"]["shares"]
    assert not any("Of a push's time" in part for part in told(result))


def test_parts_that_are_not_there_are_known() -> None:
    there = {"sft": {"0.6M": {"turns": 1}}, "grpo": {}, "loss": {"tokens": 1}}
    assert missing_of(there) == [n for n in PARTS if n not in ("sft-0.6M", "loss")]


def test_a_reward_that_takes_hours_is_missing_until_it_is_asked_for() -> None:
    asked_for = [name for name, part in PARTS.items() if part.asked_for]
    assert asked_for == ["reward-SmolLM2-135M"]
    assert asked_for[0] in missing_of({"grpo": {"SmolLM2-135M": {"turns": 3}}})
    assert asked_for[0] not in missing_of({"reward": {"SmolLM2-135M": {"turns": 20}}})


def test_a_profile_is_told_with_the_largest_share_first() -> None:
    kinds = [kind_of(n) for n in ("aten::mm", "aten::mul", "aten::_scaled_dot_product_x", "Mul0")]
    assert kinds == ["matrix products", "other arithmetic", "attention", None]
    shares = shares_of({"a": 1.0, "the model": 3.0})
    assert shares == {"a": 0.25, "the model": 0.75}
    sft = {"millisecondsPerStep": 160.0, "slowedByProfiler": 1.07, "shares": shares}
    profile: dict[str, dict[str, Any]] = {
        "sft": sft,
        "vllm": {"responses": 256, "steps": 112, "millisecondsPerStep": 9.5, "shares": shares},
    }
    page = told(a_result() | {"profile": profile})
    assert any("of 160 ms, the model 75 %, a 25 %." in sentence for sentence in page)
    assert any("which made them 1.07 times as long" in sentence for sentence in page)
    drawing = "of 9.5 ms for one token of each, the model 75 %, a 25 %. So 25 % is not the model's"
    assert any(drawing in sentence for sentence in page)
    alone = told(a_result() | {"profile": {"sft": profile["sft"]}})
    assert not any("ms for one token" in sentence for sentence in alone)
    del sft["slowedByProfiler"]
    mixed = told(a_result() | {"profile": {"sft": sft}})
    assert any("timed under a profiler, which slows them" in part for part in mixed)


def test_parts_of_a_profile_are_there_and_no_more_than_the_whole() -> None:
    assert with_rest({"a": 1.0, "b": 2.0}, ["a", "b"], 4.0, "rest")["rest"] == 1.0
    with pytest.raises(RuntimeError, match="b: took no time"):
        with_rest({"a": 1.0}, ["a", "b"], 4.0, "rest")
    with pytest.raises(RuntimeError, match=r"0\.5 s more than the whole of 2\.5 s"):
        with_rest({"a": 1.0, "b": 2.0}, ["a", "b"], 2.5, "rest")


def test_a_part_is_timed_also_where_it_raises() -> None:
    class Engine:
        def fails(self) -> None:
            raise KeyError

    parts: defaultdict[str, float] = defaultdict(float)
    timed(Engine, "fails", "failing", parts)
    with pytest.raises(KeyError):
        Engine().fails()
    assert parts["failing"] > 0


def test_every_section_that_was_measured_is_told() -> None:
    page = "\n".join(told(a_result()))
    for figure in (
        "2.50 (2.50 to 2.50)",
        "50 % of them (0.6M, ours)",
        "higher with 1 seeds, lower with 1",
        "the first step's reward was 0.40",
        "| 1,000 |",
        "1,200 MiB",
        "400 ±0 %",
        "15.0 s",
        "comes nearest to ours: padded for 0.6M, 1.30 (1.30 to 1.30) times.",
        "700 ms",
    ):
        assert figure in page
    assert "takes 0.50 s, which is 1,076 ±0 % MB/s" in page
    assert "On a GPU: not measured; there is no GPU" in page
    assert "MFU" not in page
