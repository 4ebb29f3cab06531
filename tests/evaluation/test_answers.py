"""Drawing and checking in batches: what a stop costs, and that verdicts never fall behind."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from acereason_trainer.config.common import Telemetry, Verifier
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.dataset import Row
from acereason_trainer.evaluation.answers import Examined, Examiner, Rewarders
from acereason_trainer.evaluation.batches import Question, in_batches
from acereason_trainer.evaluation.journal import GradedAnswer, attempt_journal
from acereason_trainer.evaluation.kept_samples import kept_samples
from acereason_trainer.evaluation.results import SetTally
from acereason_trainer.launch.watchdog import read_progress
from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.protocol import Weights
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rollout.protocol import Completion, OnBatch, SampleRequest, SamplingParams
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import StageFailure, StopFlag, Stopped
from acereason_trainer.telemetry.recorder import Recorder

from tests.ranks_in_threads import on_two_ranks

PARAMS = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=8)


@dataclass
class ScriptedSampler:
    """Writes each request's seed; stops where it is told to."""

    stop_after: int = 10**9
    drawn: list[SampleRequest] = field(default_factory=list)
    version: int = 0

    def push(self, policy: Weights, version: int) -> None:
        raise NotImplementedError

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        if len(self.drawn) >= self.stop_after:
            raise Stopped
        self.drawn += requests
        done = [Completion(r, (1, 2), (-0.1, -0.2), "stop", str(r.seed)) for r in requests]
        on_batch(done[::-1])
        return done


NO_VERDICT = Grade(Verdict.INFRA_ERROR, None)


@dataclass
class ParityRewarder:
    """Right where the seed is even; does not get to some problems."""

    closed: bool = False
    not_to: Sequence[str] = ()

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        grade = Grade(Verdict.CORRECT, 1.0) if int(response) % 2 == 0 else Grade(Verdict.WRONG, 0.0)
        grade = NO_VERDICT if row["problem"] in self.not_to else grade
        future: Future[Grade] = Future()
        future.set_result(grade)
        return future

    def close(self) -> None:
        self.closed = True


@dataclass
class LateRewarder(ParityRewarder):
    """Its verdicts come when they are let."""

    open: list["Future[Grade]"] = field(default_factory=list)

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        self.open.append(Future())
        return self.open[-1]


def asked(problems: int, samples: int) -> list[Question]:
    rows = [Row(f"p{i}", {"problem": str(i), "answer": "0"}) for i in range(problems)]
    return [
        Question(r, SampleRequest(r.id, (i, 5), n, draw_seed("key", r.id, n)), "set")
        for i, r in enumerate(rows)
        for n in range(samples)
    ]


def examine(work_dir: Path, sampler: ScriptedSampler, **changed: Any) -> list[GradedAnswer]:
    """All answers of 5 problems with 2 samples each, in batches of 4."""
    return [a for examined in batches(work_dir, sampler, **changed) for a in examined.answers]


def batches(
    work_dir: Path,
    sampler: ScriptedSampler,
    *,
    rewarder: ParityRewarder | None = None,
    telemetry: Telemetry | None = None,
    stop: StopFlag | None = None,
    grace_seconds: float = 30,
    peers: Peers = ALONE,
    **changed: Any,
) -> list[Examined]:
    """The same, batch by batch."""
    work_dir.mkdir(parents=True, exist_ok=True)
    settings = telemetry or Telemetry()
    rewarders = Rewarders(lambda domain, verifier: rewarder or ParityRewarder(), Verifier())
    with Recorder(
        work_dir, total=10, unit="answers", settings=settings, key="k", leads=peers.leads
    ) as recorder:
        recorder.start()
        examiner = Examiner(
            sampler,
            rewarders,
            PARAMS,
            attempt_journal(work_dir, peers.rank),
            recorder,
            stop or StopFlag(),
            grace_seconds,
            peers=peers,
            **changed,
        )
        return list(examiner.examined(in_batches(asked(5, 2), 4)))


def drawn_again(sampler: ScriptedSampler) -> list[int]:
    """Which of all answers, by their numbers."""
    numbers = {q.request.seed: n for n, q in enumerate(asked(5, 2))}
    return [numbers[request.seed] for request in sampler.drawn]


def test_answers_come_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    answers = examine(tmp_path / "1", ScriptedSampler())
    assert [(a.row_id, a.sample) for a in answers] == [
        (q.row.id, q.request.sample) for q in asked(5, 2)
    ]
    assert [a.correct for a in answers] == [q.request.seed % 2 == 0 for q in asked(5, 2)]


def test_a_stopped_measurement_goes_on_without_drawing_an_answer_again(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        examine(tmp_path / "1", ScriptedSampler(stop_after=8))
    second = ScriptedSampler()
    answers = examine(tmp_path / "2", second)
    assert drawn_again(second) == [8, 9]
    assert answers == examine(tmp_path / "straight", ScriptedSampler())


@pytest.mark.parametrize(("together", "again"), [(1, [1, 6]), (2, [0, 1, 6, 7])])
def test_what_is_drawn_together_is_drawn_again_together(
    tmp_path: Path, together: int, again: list[int]
) -> None:
    """Two answers are lost: lines that a bad disk has damaged."""
    straight = examine(tmp_path / "1", ScriptedSampler())
    file = tmp_path / "1/answers/0.jsonl"
    lost = [f"{asked(5, 2)[n].request.seed:016x}" for n in (1, 6)]
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(f"{ln[:40]}\n" if ln[2:18] in lost else ln for ln in lines))
    second = ScriptedSampler()
    assert examine(tmp_path / "2", second, drawn_together=together) == straight
    assert drawn_again(second) == again


def test_a_line_that_a_crash_has_cut_off_costs_its_answer_and_the_next_one(tmp_path: Path) -> None:
    """A container that is started again appends to what the crash has left."""
    straight = examine(tmp_path / "1", ScriptedSampler())
    file = tmp_path / "1/answers/0.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0][:-20], *lines[1:]]))
    again = ScriptedSampler()
    assert examine(tmp_path / "1", again) == straight
    assert len(again.drawn) == 2
    third = ScriptedSampler()
    assert examine(tmp_path / "2", third) == straight
    assert third.drawn == []


def test_an_answer_that_could_not_be_checked_is_drawn_and_checked_again(tmp_path: Path) -> None:
    first = examine(tmp_path / "1", ScriptedSampler(), rewarder=ParityRewarder(not_to=["3"]))
    assert [a.row_id for a in first if not a.checked] == ["p3", "p3"]
    second = ScriptedSampler()
    answers = examine(tmp_path / "2", second)
    assert all(a.checked for a in answers)
    assert drawn_again(second) == [6, 7]


def test_a_measurement_ends_soon_where_its_checker_does_not_work(tmp_path: Path) -> None:
    sampler, broken = ScriptedSampler(), ParityRewarder(not_to=["0", "1", "2"])
    with pytest.raises(StageFailure, match="4 responses of 4 could not be checked") as failure:
        examine(tmp_path / "1", sampler, rewarder=broken)
    assert failure.value.code == ExitCode.TEMPORARY
    assert len(sampler.drawn) == 8, "the batch that hid the wait, and none after it"


def test_a_checker_that_breaks_late_is_seen_as_soon(tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="4 responses of 4 could not be checked"):
        examine(tmp_path / "1", ScriptedSampler(), rewarder=ParityRewarder(not_to=["2", "3"]))


def test_few_answers_that_never_get_a_verdict_end_no_attempt_that_goes_on(tmp_path: Path) -> None:
    """They are all that is left of their batch; the set's figures say whether they are too many."""
    never = ParityRewarder(not_to=["3"])
    examine(tmp_path / "1", ScriptedSampler(), rewarder=never)
    second = ScriptedSampler()
    answers = examine(tmp_path / "2", second, rewarder=never)
    assert drawn_again(second) == [6, 7]
    assert [a.row_id for a in answers if not a.checked] == ["p3", "p3"]


def test_what_is_checked_is_kept_whatever_ends_the_attempt(tmp_path: Path) -> None:
    class Dies(ScriptedSampler):
        """As its engine does, when the second batch is drawn: verdicts have come by then."""

        def generate(
            self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
        ) -> list[Completion]:
            if self.drawn:
                for future in rewarder.open:
                    future.set_result(Grade(Verdict.WRONG, 0.0))
                raise StageFailure(ExitCode.TEMPORARY, "SamplerDied", "it is gone")
            return super().generate(requests, params, on_batch)

    rewarder = LateRewarder()
    with pytest.raises(StageFailure, match="it is gone"):
        examine(tmp_path / "1", Dies(), rewarder=rewarder)
    second = ScriptedSampler()
    examine(tmp_path / "2", second)
    assert drawn_again(second) == [4, 5, 6, 7, 8, 9]


def test_a_stop_is_heard_where_all_is_found(tmp_path: Path) -> None:
    examine(tmp_path / "1", ScriptedSampler())
    asked_to = StopFlag()
    asked_to._on_signal(signal.SIGTERM, None)
    with pytest.raises(Stopped):
        examine(tmp_path / "2", ScriptedSampler(), stop=asked_to)


def test_the_time_left_is_that_of_what_is_still_to_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten answers eight are found, and each of the others takes a second."""
    with pytest.raises(Stopped):
        examine(tmp_path / "1", ScriptedSampler(stop_after=8))
    now = [0.0]
    monkeypatch.setattr("acereason_trainer.telemetry.recorder.time.monotonic", lambda: now[0])

    class Slow(ScriptedSampler):
        def generate(
            self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
        ) -> list[Completion]:
            done = []
            for request in requests:
                now[0] += 1.0
                done += super().generate([request], params, on_batch)
            return done

    examine(tmp_path / "2", Slow())
    progress = read_progress(tmp_path / "2" / "progress.json")
    assert progress is not None
    assert (progress.step, progress.rate, progress.seconds_left) == (10, 1.0, 0.0)


def test_the_speed_of_generation_is_that_of_what_this_attempt_drew(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        batches(tmp_path / "1", ScriptedSampler(stop_after=8))
    found, _, drawn = batches(tmp_path / "2", ScriptedSampler())
    speed = "generated_tokens_per_second"
    assert found.metrics().keys() == drawn.metrics().keys() - {speed}
    assert drawn.metrics()[speed] == pytest.approx(4 / drawn.seconds)


class SlowRewarder(LateRewarder):
    """Asks for a stop as soon as it has an answer to check."""

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        if not self.open:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().submit(row, response)


@pytest.fixture
def stop() -> Iterator[StopFlag]:
    """Set by a real SIGTERM to this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    flag = StopFlag()
    flag.listen()
    yield flag
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("verdicts_come", "grace", "kept"),
    [(False, 0.2, 0), (True, 600.0, 4)],
    ids=["never", "within the grace"],
)
def test_a_stop_is_seen_while_verdicts_are_waited_for(
    tmp_path: Path, stop: StopFlag, verdicts_come: bool, grace: float, kept: int
) -> None:
    rewarder = SlowRewarder()

    def grade_all() -> None:
        for future in rewarder.open:
            future.set_result(Grade(Verdict.WRONG, 0.0))

    class LetsVerdictsCome(ScriptedSampler):
        """Verdicts come by themselves, some time after the stop."""

        def generate(self, *request: Any) -> list[Completion]:
            done = super().generate(*request)
            if verdicts_come:
                Thread(target=grade_all).start()
            return done

    work_dir = tmp_path / "1"  # attempts look into the directories beside their own
    journal = attempt_journal(work_dir)
    rewarders = Rewarders(lambda domain, verifier: rewarder, Verifier())
    with Recorder(work_dir, total=10, unit="answers", settings=Telemetry(), key="k") as recorder:
        recorder.start()
        examiner = Examiner(LetsVerdictsCome(), rewarders, PARAMS, journal, recorder, stop, grace)
        with pytest.raises(Stopped):
            list(examiner.examined(in_batches(asked(5, 2), 4)))
    assert len(attempt_journal(work_dir).find([q.request for q in asked(5, 2)])) == kept


class Awaited(Future[Grade]):
    """A verdict that never comes, and that tells when it is waited for."""

    def __init__(self, waited_for: Callable[[], None]) -> None:
        super().__init__()
        self._waited_for = waited_for

    def result(self, timeout: float | None = None) -> Grade:
        self._waited_for()
        return super().result(timeout)


@dataclass
class NeverRewarder(ParityRewarder):
    """Gives no verdict, and tells when one is waited for."""

    waited_for: Callable[[], None] = lambda: None

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        return Awaited(self.waited_for)


@pytest.mark.parametrize(
    ("ends_with", "said"),
    [
        (None, ["Stopped", "Stopped"]),
        (StageFailure(ExitCode.TEMPORARY, "VerifierGone", "it is gone"), ["VerifierGone"] * 2),
        (KeyError("a mistake of ours"), ["LostPeer", "KeyError"]),
    ],
    ids=["is stopped", "fails", "breaks"],
)
def test_a_rank_that_waits_for_verdicts_ends_when_the_other_one_ends(
    tmp_path: Path, ends_with: Exception | None, said: list[str]
) -> None:
    """Its own never come; it was not asked to stop itself, and has hours of grace."""
    second, stop_of_second = LateRewarder(), StopFlag()

    def second_ends() -> None:
        if ends_with is None:
            stop_of_second._on_signal(signal.SIGTERM, None)
            return
        for future in second.open:
            if not future.done():
                future.set_exception(ends_with)

    first = NeverRewarder(waited_for=second_ends)

    def end_of(peers: Peers) -> str:
        try:
            examine(
                tmp_path / "1",
                ScriptedSampler(),
                rewarder=first if peers.leads else second,
                stop=StopFlag() if peers.leads else stop_of_second,
                grace_seconds=36000 if peers.leads else 0.1,
                peers=peers,
            )
        except StageFailure as failure:
            return failure.reason
        except (Stopped, KeyError) as e:
            return type(e).__name__
        return "went on"

    assert on_two_ranks(end_of) == said


def test_rollouts_of_a_batch_are_dumped_where_asked_for(tmp_path: Path) -> None:
    examine(tmp_path / "1", ScriptedSampler(), telemetry=Telemetry(dump_rollouts_every=2))
    assert [p.name for p in (tmp_path / "1" / "rollouts").iterdir()] == ["step-000002.jsonl"]


def test_a_checker_is_started_for_each_domain_that_occurs_and_closed() -> None:
    made: dict[str, ParityRewarder] = {}

    def make(domain: Any, verifier: Verifier) -> ParityRewarder:
        return made.setdefault(domain, ParityRewarder())

    rewarders = Rewarders(make, Verifier())
    assert made == {}
    rewarders.submit(Row("m", {"problem": "p", "answer": "1"}), "2").result()
    assert list(made) == ["math"]
    rewarders.submit(Row("c", {"problem": "p", "tests": []}), "2").result()
    rewarders.close()
    assert [r.closed for r in made.values()] == [True, True]


def answer(row_id: str, sample: int, reward: float | None, **more: Any) -> GradedAnswer:
    verdict = {1.0: Verdict.CORRECT, 0.0: Verdict.WRONG, None: Verdict.INFRA_ERROR}[reward]
    values = {"tokens": 10, "truncated": False, "text": "", "detail": "", **more}
    return GradedAnswer(row_id, sample, verdict, reward, **values)


def test_a_sets_figures() -> None:
    tally = SetTally("math", ["p", "q"], 2)
    tally.add([answer("p", 0, 1.0), answer("p", 1, 0.0, tokens=30, truncated=True)])
    tally.add([answer("q", 0, 1.0), answer("q", 1, 1.0)])
    result = tally.result([1, 2])
    assert result.accuracy == 0.75
    assert result.standard_error == pytest.approx(0.25)
    assert result.pass_at == {"1": 0.75, "2": 1.0}
    assert (result.truncated_share, result.mean_tokens) == (0.25, 15)
    assert result.verdicts == {"correct": 3, "wrong": 1}
    assert result.correct == {"p": 1, "q": 2}


def test_an_answer_that_could_not_be_checked_counts_neither_way() -> None:
    ids = [f"p{i}" for i in range(50)]
    tally = SetTally("math", ids, 2)
    tally.add(answer(i, n, 0.0 if n else 1.0) for i in ids[1:] for n in range(2))
    tally.add([answer("p0", 0, None), answer("p0", 1, 1.0)])
    result = tally.result([1, 2])
    assert result.accuracy == pytest.approx((49 * 0.5 + 1) / 50)
    assert result.unchecked == {"p0": 1}
    assert list(result.pass_at) == ["1"], "pass@2 needs two verdicts for each problem"


@pytest.mark.parametrize(
    ("unchecked", "why"), [([0, 1], "a whole problem"), ([0, 2, 4], "more than one in a hundred")]
)
def test_a_broken_checker_gives_no_result(unchecked: list[int], why: str) -> None:
    tally = SetTally("math", [f"p{i}" for i in range(100)], 2)
    tally.add(answer(f"p{n // 2}", n % 2, None if n in unchecked else 1.0) for n in range(200))
    with pytest.raises(StageFailure, match="could not be checked") as failure:
        tally.result([])
    assert failure.value.code == ExitCode.TEMPORARY


@pytest.mark.parametrize(
    ("right", "wrong", "limit", "expected", "why"),
    [
        (10, 10, 6, (3, 3), "half and half"),
        (10, 1, 6, (5, 1), "few wrong ones"),
        (1, 10, 6, (1, 5), "few right ones"),
        (2, 1, 6, (2, 1), "few answers"),
        (10, 10, 0, (0, 0), "none wanted"),
    ],
)
def test_kept_answers_show_both_sides(
    right: int, wrong: int, limit: int, expected: tuple[int, int], why: str
) -> None:
    rows = [Row(f"p{i}", {"problem": str(i), "answer": "1"}) for i in range(right + wrong)]
    answers = [answer(row.id, 0, float(i < right)) for i, row in enumerate(rows)]
    kept = kept_samples("math", rows, answers, limit, lambda row: f"<{row.problem}>")
    verdicts = [sample["verdict"] for sample in kept]
    assert (verdicts.count("correct"), verdicts.count("wrong")) == expected
    assert len({sample["id"] for sample in kept}) == sum(expected)
    assert all(sample["prompt"] == f"<{sample['problem']}>" for sample in kept)
