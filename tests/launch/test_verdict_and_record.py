"""The pure parts: one code over all ranks, a record that fits, torchrun's variables."""

import json
import math
from pathlib import Path

import pytest
from acereason_trainer.config.stage_file import ResultRecord
from acereason_trainer.launch.ranks import BadEnvironment, placement
from acereason_trainer.launch.record import few_metrics, fitted
from acereason_trainer.launch.verdict import Circumstances, RankEnd, verdict
from acereason_trainer.termination_log import LARGEST_RECORD
from attempts import an_attempt
from hypothesis import given
from hypothesis import strategies as st

CODES = st.sampled_from([0, 1, 2, 65, 75, 76, 78, 143, -9, -11, -15])
ORDER = [78, 65, "user", 76, 75, 143, 0]


@given(st.lists(CODES, min_size=1, max_size=8), st.randoms())
def test_the_order_in_which_ranks_end_does_not_change_the_code(codes: list[int], order) -> None:
    ends = [RankEnd(rank, code) for rank, code in enumerate(codes)]
    shuffled = ends[:]
    order.shuffle(shuffled)
    seen = Circumstances(published=False)
    kinds = [
        "user" if c not in ORDER else c
        for c in (verdict(ends, seen).code, verdict(shuffled, seen).code)
    ]
    assert kinds[0] == kinds[1]


@given(st.lists(CODES, min_size=1, max_size=8))
def test_published_is_done_whatever_the_ranks_say(codes: list[int]) -> None:
    ends = [RankEnd(rank, code) for rank, code in enumerate(codes)]
    assert verdict(ends, Circumstances(published=True, stop_requested=True)).code == 0


def test_of_equal_failures_the_first_is_reported() -> None:
    ends = [RankEnd(2, 1, last_line="the cause"), RankEnd(0, 1, last_line="lost a peer")]
    assert verdict(ends, Circumstances(published=False)).rank == 2


LOST = RankEnd(0, 75, reason="LostPeer", message="another rank is gone: Connection closed by peer")
TORN = "remote process exited or there was a network error"


GIVEN_UP = RankEnd(0, 75, reason="StateGivenUp", message="the first rank has given this state up")


@pytest.mark.parametrize(
    "lost", [LOST, RankEnd(0, -6, collective=TORN), GIVEN_UP], ids=["gloo", "nccl", "no state"]
)
@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (RankEnd(1, -9), "Killed"),
        (RankEnd(1, 75, reason="SamplerDied", message="the engine is gone"), "SamplerDied"),
    ],
    ids=["killed from outside", "its engine died"],
)
def test_who_lost_a_peer_or_its_state_says_less_than_the_peer_though_it_ends_first(
    lost: RankEnd, cause: RankEnd, reason: str
) -> None:
    for ends in ([lost, cause], [cause, lost]):
        end = verdict(ends, Circumstances(published=False))
        assert (end.code, end.reason, end.rank) == (75, reason, 1)


def test_a_lost_peer_says_more_than_being_killed_by_the_launcher() -> None:
    end = verdict([RankEnd(1, -9, ended_by_us=True), LOST], Circumstances(published=False))
    assert (end.code, end.reason, end.rank) == (75, "LostPeer", 0)


def test_a_kill_for_memory_is_the_users_and_says_what_to_lower() -> None:
    end = verdict([RankEnd(3, -9)], Circumstances(published=False, memory_kills=1))
    assert (end.code, end.reason) == (137, "OutOfMemory")
    assert "resources.limits.memory" in end.message


def test_a_samplers_engine_that_is_killed_for_memory_is_the_users_too() -> None:
    gone = RankEnd(0, 75, reason="SamplerDied", message="the process of the engine is gone")
    killed = verdict([gone], Circumstances(published=False, memory_kills=1))
    assert (killed.code, killed.reason) == (137, "OutOfMemory")
    assert gone.message in killed.message
    assert "resources.limits.memory" in killed.message
    assert verdict([gone], Circumstances(published=False)).code == 75


def test_a_gpu_out_of_memory_is_named() -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    end = verdict([RankEnd(0, 1, last_line=line)], Circumstances(published=False))
    assert (end.code, end.reason) == (1, "OutOfMemory")


def test_what_the_launcher_killed_is_not_the_ranks_fault() -> None:
    ends = [RankEnd(0, 75), RankEnd(1, -9, ended_by_us=True)]
    assert verdict(ends, Circumstances(published=False)).code == 75


def test_what_the_artifact_says_wins_and_no_more_is_told_than_a_record_holds() -> None:
    came_to = {f"accuracy/{i}": 0.5 for i in range(63)} | {"broken": math.nan}
    told = few_metrics(came_to, {"accuracy/0": 0.9, "reward": 0.1, "loss": 0.2})
    assert len(told) == 64
    assert (told["accuracy/0"], told["reward"]) == (0.5, 0.1)
    assert "broken" not in told


@given(
    st.text(max_size=4000),
    st.text(max_size=4000),
    st.dictionaries(
        st.text(max_size=30), st.floats(allow_nan=False, allow_infinity=False), max_size=64
    ),
)
def test_a_record_always_fits_and_reads_back(message: str, log: str, metrics: dict) -> None:
    record = ResultRecord(exit_code=1, message=message, log_tail=log, metrics=metrics)
    content = fitted(record)
    assert len(content) <= LARGEST_RECORD
    read = ResultRecord.parse_json(content)
    assert log.encode("utf-8", "replace").decode().endswith(read.log_tail)


def test_a_huge_unicode_log_gives_a_record_that_fits(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    assert attempt.launch("unicode").returncode == 1
    content = (attempt.work_dir / "result.json").read_bytes()
    assert len(content) <= LARGEST_RECORD
    tail = attempt.record.log_tail
    assert tail.endswith("the end\n")
    assert set(tail.split(" the end")[0]) <= set("界🔥é")
    assert 1800 <= len(tail.encode()) <= 2048


def test_ranks_get_torchruns_variables(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, ranks=2)
    assert attempt.launch("environment", "1", OMP_NUM_THREADS="3").returncode == 0
    for rank in (0, 1):
        seen = json.loads((attempt.work_dir / f"environment-{rank}").read_text())
        assert seen["RANK"] == seen["LOCAL_RANK"] == str(rank)
        assert seen["WORLD_SIZE"] == seen["LOCAL_WORLD_SIZE"] == "2"
        assert (seen["MASTER_ADDR"], seen["OMP_NUM_THREADS"]) == ("127.0.0.1", "3")
        assert int(seen["MASTER_PORT"]) > 0


def test_several_nodes_meet_where_the_environment_says() -> None:
    environment = {"JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "leader", "MASTER_PORT": "29500"}
    place = placement(environment, nodes=2, ranks_per_node=4)
    assert place.variables(3)["RANK"] == "7"
    assert place.variables(3)["WORLD_SIZE"] == "8"
    assert place.variables(3)["MASTER_ADDR"] == "leader"
    assert place.suffix == "-1"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "JOB_COMPLETION_INDEX, MASTER_ADDR, MASTER_PORT"),
        ({"JOB_COMPLETION_INDEX": "0", "MASTER_ADDR": "a"}, "MASTER_PORT"),
        ({"JOB_COMPLETION_INDEX": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "below 2"),
        ({"JOB_COMPLETION_INDEX": "0", "MASTER_ADDR": "a", "MASTER_PORT": "x"}, "MASTER_PORT 'x'"),
    ],
)
def test_several_nodes_without_their_variables_are_told_which(
    environment: dict[str, str], named: str
) -> None:
    with pytest.raises(BadEnvironment, match=named):
        placement(environment, nodes=2, ranks_per_node=1)


def test_logs_come_to_stdout_on_a_cluster_with_the_ranks_number(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, ranks=2)
    done = attempt.launch("exit", "1", ACEREASON_LOG_STDOUT="1")
    assert "[0] last words\n" in done.stdout
