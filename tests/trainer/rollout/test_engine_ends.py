"""What a stage makes of the words with which its vLLM engine ends, and of a stop while it draws."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rollout import engine_client
from acereason_trainer.rollout.engine_client import EngineClient, failure_of
from acereason_trainer.rollout.engine_messages import Asked, Drawn, EngineSettings, Failed
from acereason_trainer.stage import StageFailure, StopFlag, Stopped

from tests.python_path import python_path

ENGINE = "the vLLM engine of rank 3"
SETTINGS = EngineSettings(
    model="none",
    overrides={},
    dtype="float32",
    tokens=8,
    stop_tokens=(1,),
    sequences=1,
    tensor_parallel=1,
    memory_share=0.5,
    cache_bytes=None,
)
FULL = (
    "ValueError: Free memory on device cuda:0 (12.5/79.19 GiB) on startup is less than desired GPU "
    "memory utilization (0.7, 55.43 GiB). Decrease GPU memory utilization or reduce GPU memory "
    "used by other processes."
)
SHORT = (
    "ValueError: To serve at least one request with the model's max seq len (34816), (1.86 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (0.9 GiB)."
)


@pytest.mark.parametrize(
    ("told", "code", "reason"),
    [
        (Failed(FULL, refused=True), ExitCode.TEMPORARY, "NoRoomForSampler"),
        (
            Failed(FULL.replace("Free", "Available").replace("GPU", "CPU"), refused=True),
            ExitCode.TEMPORARY,
            "NoRoomForSampler",
        ),
        (Failed(SHORT, refused=True), ExitCode.BAD_CONFIGURATION, "SamplerRefused"),
        (Failed("ValueError: of a step", refused=False), ExitCode.TEMPORARY, "SamplerDied"),
    ],
)
def test_a_full_device_is_tried_again_and_a_wrong_setting_is_not(
    told: Failed, code: ExitCode, reason: str
) -> None:
    """The sentences are those of vLLM 0.32."""
    failure = failure_of(ENGINE, told)
    assert (failure.code, failure.reason) == (code, reason)
    assert told.error in failure.message
    assert code == ExitCode.BAD_CONFIGURATION or failure.message.startswith(ENGINE)


class StopsWhenTold(StopFlag):
    """A SIGTERM that comes at a chosen look."""

    looks_left: int | None = None

    def check(self) -> None:
        if self.looks_left is not None:
            self.looks_left -= 1
            if self.looks_left < 0:
                raise Stopped


@pytest.fixture
def stop() -> StopsWhenTold:
    return StopsWhenTold()


@pytest.fixture
def engine(stop: StopsWhenTold, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineClient]:
    """The client of an engine that does what a test asks for (an_engine.py)."""
    monkeypatch.setattr(engine_client, "ENGINE", "tests.trainer.rollout.an_engine")
    monkeypatch.setenv("PYTHONPATH", python_path(Path(__file__).parents[3]))
    client = EngineClient(SETTINGS, rank=3, gpus=[], patience=300, check_stop=stop.check)
    yield client
    client.close()


def asked(number: int, tokens: int) -> Asked:
    """A response of so many tokens, to a prompt of as many."""
    return Asked(number, (70_000,) * tokens, 0, 1.0, 1.0, tokens)


def test_a_stop_is_heard_within_a_call(engine: EngineClient, stop: StopsWhenTold) -> None:
    """As those of a push are, which may take the whole patience."""
    stop.looks_left = 1
    with pytest.raises(Stopped):
        engine.call("hang")


def test_an_engine_that_hangs_is_gone_when_it_is_closed(
    engine: EngineClient, stop: StopsWhenTold, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = engine.call("process")
    stop.looks_left = 1
    with pytest.raises(Stopped):
        engine.call("hang")
    monkeypatch.setattr(engine_client, "END_SECONDS", 0.1)
    engine.close()
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("waits", ["for an answer", "for responses", "in a collective"])
def test_an_engine_that_says_nothing_is_ended_and_a_failure(
    engine: EngineClient, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = engine.call("process")
    if waits != "in a collective":
        monkeypatch.setattr(engine, "_patience", 0.5)
    with pytest.raises(StageFailure, match=f"{ENGINE} gave no sign of life for 0.5 s") as failure:
        if waits == "for responses":
            engine.drawn()
        engine.call("hang", at_most=0.5 if waits == "in a collective" else 600)
    assert (failure.value.code, failure.value.reason) == (ExitCode.TEMPORARY, "SamplerSilent")
    its_own = waits != "in a collective"  # whose limit no setting raises
    assert ("vllm.patienceSeconds may be too short" in failure.value.message) is its_own
    engine.close()
    assert not Path(f"/proc/{process}").exists()


def test_an_engine_that_dies_is_a_failure(engine: EngineClient) -> None:
    with pytest.raises(StageFailure, match=f"the process of {ENGINE} is gone") as failure:
        engine.call("die")
    assert (failure.value.code, failure.value.reason) == (ExitCode.TEMPORARY, "SamplerDied")


@pytest.mark.timeout(120)
def test_an_engine_that_dies_and_leaves_a_worker_is_a_failure_at_once(
    engine: EngineClient,
) -> None:
    """The worker keeps the socket open. The limit is far below the patience of 300 s."""
    worker = engine.call("worker")
    try:
        with pytest.raises(StageFailure, match=f"the process of {ENGINE} is gone") as failure:
            engine.call("die")
    finally:
        os.kill(worker, signal.SIGKILL)
    assert failure.value.reason == "SamplerDied"


@pytest.mark.timeout(120)
def test_an_engine_that_reads_nothing_holds_nobody_who_asks_it(
    engine: EngineClient, stop: StopsWhenTold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is handed over than a socket holds. The limit is for a write that would never end."""
    monkeypatch.setattr(engine_client, "END_SECONDS", 0.1)
    os.kill(engine.call("process"), signal.SIGSTOP)
    engine.add([asked(number, 200_000) for number in range(4)])
    stop.looks_left = 1
    with pytest.raises(Stopped):
        engine.drawn()
    engine.close()


def test_an_engine_that_dies_at_a_stop_is_no_failure(
    engine: EngineClient, stop: StopsWhenTold
) -> None:
    """The stop comes when the engine is waited for already, and gone."""
    process = engine.call("process")
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    stop.looks_left = 1
    with pytest.raises(Stopped):
        engine.drawn()


def test_what_an_engine_has_drawn_is_there_at_a_stop_without_waiting(
    engine: EngineClient, stop: StopsWhenTold
) -> None:
    engine.add([asked(number, 3) for number in range(2)])
    stop.looks_left = 0
    with pytest.raises(Stopped):
        engine.drawn()
    drawn: list[Drawn] = []
    while len(drawn) < 2:  # it comes by itself
        drawn += engine.done()
    assert [d.number for d in drawn] == [0, 1]


@pytest.mark.timeout(120)
def test_prompts_and_responses_that_are_handed_over_at_once_do_not_wait_for_each_other(
    engine: EngineClient,
) -> None:
    """Each more than a socket holds. The limit is for the wait that would have no end."""
    for number in range(4):
        engine.add([asked(number, 200_000)])
    drawn: list[Drawn] = []
    while len(drawn) < 4:
        drawn += engine.drawn()
    assert [d.number for d in drawn] == [0, 1, 2, 3]
