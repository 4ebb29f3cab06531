"""Whatever becomes of the service or the way to it: no wrong verdict, none lost, nothing frozen."""

import gc
import http.server
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder, remote
from acereason_trainer.rewards.jobs import CodeJob, MathJob, Setup
from acereason_trainer.rewards.outstanding import ACCEPTED_TRIES
from acereason_trainer.rewards.problem_tests import Test
from acereason_trainer.rewards.wire import SERVICE, About, Trouble
from acereason_trainer.stage import StageFailure

from tests.rewards import waiting_programs
from tests.rewards.waiting_programs import WAITS, tell, waits
from tests.verifier.services import (
    CUT,
    Respond,
    ServiceProcess,
    a_false_service,
    a_network_before,
    a_service,
    children_of,
    packed_tests,
)
from tests.waiting import held, wait_for

LONG = 200.0
"""Seconds that nothing here takes, on a machine that does other things too."""


@contextmanager
def a_rewarder(
    url: str, patience_seconds: float = LONG, limits: CodeLimits | None = None
) -> Iterator[Rewarder]:
    code = limits or CodeLimits()
    verifier = Verifier(service=url, patience_seconds=patience_seconds, code=code)
    with closing(make_rewarder("code", verifier)) as rewarder:
        yield rewarder


def row(number: int, padding: int = 0) -> dict[str, object]:
    return {"tests": [{"stdin": "x" * padding, "stdout": str(number)}]}


def printing(number: int, first: str = "") -> str:
    return f"</think>\n```python\n{first}\nprint({number})\n```"


def ask(rewarder: Rewarder, number: int, *, padding: int = 0) -> list[tuple[bool, Future[Grade]]]:
    """Right and wrong programs for as many problems: (right, verdict to come)."""
    asked = []
    for n in range(number):
        problem = row(n, padding)
        for answer in (n, n + 1):
            asked.append((answer == n, rewarder.submit(problem, printing(answer))))
    return asked


def assert_all_told_apart(asked: Sequence[tuple[bool, "Future[Grade]"]]) -> None:
    found = [grade.result(LONG).verdict for _, grade in asked]
    assert found == [Verdict.CORRECT if right else Verdict.WRONG for right, _ in asked]


def wait_for_jobs(service: ServiceProcess, *, running: int, waiting: int = 0) -> None:
    """Until the service has begun so many, and has accepted so many more; the client may have asked
    for some of them twice by then."""

    def counts() -> tuple[float, ...]:
        return tuple(service.metric(n, kind="code") for n in ("running_jobs", "queue_jobs"))

    def accepted() -> bool:
        runs, waits = counts()
        return runs == running and waits >= waiting

    wait_for(accepted, "the jobs to be accepted", counts)


def two_workers(service: ServiceProcess, rewarder: Rewarder) -> list[int]:
    """Both workers of a service; the second one starts when the first is busy."""
    with held(service.workers("code")):
        asked = ask(rewarder, 1)
        wait_for(lambda: len(service.workers("code")) == 2, "the second worker")
    assert_all_told_apart(asked)
    return service.workers("code")


def a_waiting_program(service: ServiceProcess, other_than: int = 0) -> tuple[int, int]:
    """One that waits until it is told, and the worker in whose sandbox it does."""

    def found() -> list[tuple[int, int]]:
        return [
            (program, worker)
            for worker in service.workers("code")
            for sandbox in children_of(worker)
            for program in children_of(sandbox)
            if program != other_than and waits(program)
        ]

    # A second one may wait, too: on a busy machine the client asks for the same again.
    seen: list[tuple[int, int]] = []

    def some() -> bool:
        seen.extend(found())
        return bool(seen)

    wait_for(some, "a program to wait")
    return seen[0]


def test_a_worker_that_is_killed_costs_a_retry_and_no_verdict() -> None:
    with (
        a_service() as service,
        a_rewarder(service.url, limits=waiting_programs.LIMITS) as rewarder,
    ):
        asked = ask(rewarder, 1)
        assert_all_told_apart(asked)
        slow = rewarder.submit(row(5), printing(5, WAITS))
        program, worker = a_waiting_program(service)
        assert service.metric("running_jobs", kind="code") >= 1
        os.kill(worker, signal.SIGKILL)
        again, _ = a_waiting_program(service, other_than=program)
        tell(again)
        assert slow.result(LONG).verdict is Verdict.CORRECT
        assert service.metric("workers_lost_total", kind="code") == 1


def test_a_worker_that_hangs_is_overtaken_by_another() -> None:
    with (
        a_service(code_workers=2) as service,
        a_rewarder(service.url, limits=waiting_programs.LIMITS) as rewarder,
    ):
        assert_all_told_apart(ask(rewarder, 15))
        slow = rewarder.submit(row(5), printing(5, WAITS))
        program, hung = a_waiting_program(service)
        before = service.metric("verdicts_total", kind="code", verdict="correct")
        os.kill(hung, signal.SIGSTOP)
        # The worker is killed for it only after minutes.
        again, other = a_waiting_program(service, other_than=program)
        assert other != hung
        tell(again)
        assert slow.result(LONG).verdict is Verdict.CORRECT
        assert service.metric("verdicts_total", kind="code", verdict="correct") == before + 1


def test_a_queue_that_is_full_only_takes_longer() -> None:
    with a_service(queue=4) as service, a_rewarder(service.url) as rewarder:
        assert_all_told_apart(ask(rewarder, 60))
        assert service.metric("rejected_total", status="429") > 0


def test_a_service_that_is_killed_and_comes_back_loses_nothing() -> None:
    """It forgot all tests, too; they are uploaded again."""
    with a_service(code_workers=2) as service, a_rewarder(service.url) as rewarder:
        with held(two_workers(service, rewarder)):
            asked = ask(rewarder, 30)
            # Of 60, two have their verdicts already.
            wait_for_jobs(service, running=4, waiting=54)
            service.kill()
        assert sum(f.done() for _, f in asked) == 2
        asked += ask(rewarder, 40, padding=1)
        service.start()
        assert_all_told_apart(asked)
        assert service.metric("test_uploads_total") > 0


def test_a_service_that_stays_away_masks_answers_until_it_is_back() -> None:
    with a_service() as service:
        with a_rewarder(service.url) as rewarder:
            assert_all_told_apart(ask(rewarder, 1))
        service.kill()
        with a_rewarder(service.url, patience_seconds=2) as rewarder:
            answer = printing(7)
            grade = rewarder.submit(row(7), answer).result(LONG)
            assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
            assert f"the verifier at {service.url} gave no sign of life for 2 s" in grade.detail
            service.start()

            def is_correct() -> bool:
                return rewarder.submit(row(7), answer).result(LONG).verdict is Verdict.CORRECT

            # On a busy machine the service itself may take longer than that.
            wait_for(is_correct, "a verdict")


def test_a_service_that_is_not_there_yet_is_waited_for() -> None:
    with a_service() as service:
        service.kill()
        with a_rewarder(service.url) as rewarder:
            asked = ask(rewarder, 2)
            service.start()
            assert_all_told_apart(asked)


def test_a_slow_network_takes_time_and_no_verdicts() -> None:
    with (
        a_service() as service,
        a_network_before(service) as (url, network),
        a_rewarder(url) as rewarder,
    ):
        network.delay, network.piece = 0.02, 1 << 14
        assert_all_told_apart(ask(rewarder, 4, padding=100_000))


@pytest.mark.parametrize("after", [10, 250, 400], ids=["headers", "first line", "some lines"])
def test_answers_that_are_cut_off_are_asked_for_again(after: int) -> None:
    with (
        a_service() as service,
        a_network_before(service) as (url, network),
        a_rewarder(url) as rewarder,
    ):
        # Of more, the same job might be in three: then it is given up.
        network.cut_after, network.most_cuts = after, 4
        assert_all_told_apart(ask(rewarder, 6))
        assert network.cuts == 4


@pytest.mark.slow
def test_connections_into_which_everything_vanishes_are_given_up() -> None:
    """20 s: a stream is silent for 15 s before it counts as dead."""
    with (
        a_service() as service,
        a_network_before(service) as (url, network),
        a_rewarder(url) as rewarder,
    ):
        assert_all_told_apart(ask(rewarder, 1))
        network.swallow, before = True, network.connections
        asked = ask(rewarder, 5)
        wait_for(lambda: network.connections > before, "a connection to vanish")
        network.swallow = False
        assert_all_told_apart(asked)


def test_a_service_that_is_stopped_finishes_what_it_took() -> None:
    with (
        a_service(code_workers=2, grace_seconds=LONG) as service,
        a_rewarder(service.url) as rewarder,
    ):
        with held(two_workers(service, rewarder)):
            asked = ask(rewarder, 11)
            # Of 22, two have their verdicts already.
            wait_for_jobs(service, running=4, waiting=16)
            service.send(signal.SIGTERM)
            wait_for(lambda: service_is_stopping(service), "the stop to begin")
            late = ask(rewarder, 12)[22:]
        assert_all_told_apart(asked)
        assert service.exit_code() == 0
        assert not any(f.done() for _, f in late)
        service.start()
        assert_all_told_apart(late)


def service_is_stopping(service: ServiceProcess) -> bool:
    status, sentence = service.get("/readyz")
    return status == 503 and sentence == b"the service is stopping\n"


def test_what_the_grace_period_is_too_short_for_is_left_to_the_successor() -> None:
    with a_service(grace_seconds=0.3) as service, a_rewarder(service.url) as rewarder:
        assert_all_told_apart(ask(rewarder, 1))
        with held(service.workers("code")):
            asked = ask(rewarder, 4)
            wait_for_jobs(service, running=2, waiting=4)
            service.send(signal.SIGTERM)
            assert service.exit_code() == 0
        assert sum(f.done() for _, f in asked) == 2
        service.start()
        assert_all_told_apart(asked)


def test_tests_that_the_service_has_no_room_for_are_uploaded_again_and_again() -> None:
    with a_service(tests_mib=1) as service, a_rewarder(service.url) as rewarder:
        for _ in range(2):
            assert_all_told_apart(ask(rewarder, 4, padding=600_000))
        assert service.metric("test_uploads_total") >= 4
        assert service.metric("tests_bytes") <= 1 << 20


def test_one_answer_that_cannot_be_taken_keeps_no_other_from_its_verdict() -> None:
    with a_service(body_mib=1) as service, a_rewarder(service.url) as rewarder:
        too_large = rewarder.submit(row(0), printing(0, "#" * (1 << 20)))
        assert_all_told_apart(ask(rewarder, 2))
        grade = too_large.result(LONG)
        assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
        assert "too large" in grade.detail


def test_closing_leaves_nobody_waiting() -> None:
    with a_service() as service, held(service.workers("code")):
        with a_rewarder(service.url) as rewarder:
            pending = rewarder.submit(row(1), printing(1))
            wait_for_jobs(service, running=1)
        assert pending.result(LONG).verdict is Verdict.INFRA_ERROR
    assert not [t for t in threading.enumerate() if t.name == "verifier-client"]


@pytest.mark.parametrize("status", [200, 404])
def test_an_address_where_somebody_else_answers_is_a_wrong_setting(status: int) -> None:
    class SomebodyElse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), SomebodyElse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            a_rewarder(f"http://127.0.0.1:{server.server_port}") as rewarder,
            pytest.raises(StageFailure, match="not as acereason-verifier does") as e,
        ):
            rewarder.submit(row(1), printing(1))
        server.shutdown()
    assert e.value.code == ExitCode.BAD_CONFIGURATION


class Clock:
    """Stands still until it is told what time it is."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


@contextmanager
def a_client(
    url: str,
    *,
    seconds: float = 60.0,
    patience: float = LONG,
    deadline: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Any]:
    """deadline: of a request, instead of the sum of both. clock: for all that it waits for."""
    setup = Setup("math", Verifier(patience_seconds=patience))
    with closing(remote.RemotePool(setup, url, seconds)) as client:
        client._deadline = deadline or client._deadline
        client._loop.time = clock or client._loop.time
        client.open()
        yield client


def answers(asked: Mapping[str, Any]) -> Iterator[bytes]:
    for job in asked["jobs"]:
        yield b'{"id": "%s", "verdict": "correct", "reward": 1.0}\n' % job["id"].encode()


@pytest.mark.parametrize(
    "pieces", [[], [b"\n", CUT], [b"<html>\n"]], ids=["nothing", "a heartbeat", "no answer"]
)
def test_a_job_that_is_accepted_and_never_answered_is_given_up(pieces: list[bytes]) -> None:
    """Each acceptance is a sign of life, so patience alone would never end."""
    requests = 0

    def respond(_: Mapping[str, Any]) -> Iterator[bytes]:
        nonlocal requests
        requests += 1
        yield from pieces

    with a_false_service(respond) as url, a_client(url) as client:
        grade = client.submit(MathJob("1", "2")).result(LONG)
    assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
    assert grade.detail == f"the verifier at {url} accepted it 3 times and never answered"
    assert requests == ACCEPTED_TRIES == 3


def test_a_program_that_ends_the_service_costs_no_other_one_its_verdict() -> None:
    def respond(asked: Mapping[str, Any]) -> Iterator[bytes]:
        yield b"\n"
        if any(job["answer"] == "poison" for job in asked["jobs"]):
            yield CUT
        yield from answers(asked)

    with a_false_service(respond) as url, a_client(url) as client:
        poison = client.submit(MathJob("poison", "2"))
        others = [client.submit(MathJob(str(n), "2")) for n in range(40)]
        assert {other.result(LONG).verdict for other in others} == {Verdict.CORRECT}
        assert poison.result(LONG).verdict is Verdict.INFRA_ERROR


def test_a_request_that_only_ever_says_it_goes_on_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "_SLACK_SECONDS", 0.0)
    ended = threading.Event()

    def respond(_: Mapping[str, Any]) -> Iterator[bytes]:
        for _ in itertools.count():
            yield b"\n"
            ended.wait(0.05)

    with a_false_service(respond) as url, a_client(url, deadline=0.5) as client:
        grade = client.submit(MathJob("1", "2")).result(LONG)
        ended.set()
    assert grade.verdict is Verdict.INFRA_ERROR
    assert "never answered" in grade.detail


def test_a_request_that_is_answered_slowly_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 s for a batch, in requests that end after 1.1 s without a verdict."""
    monkeypatch.setattr(remote, "_SLACK_SECONDS", 0.0)
    monkeypatch.setattr(remote, "_REQUESTS", 1)
    requests, clock = 0, Clock()
    asked: list[Future[Grade]] = []
    all_asked = threading.Event()

    def respond(request: Mapping[str, Any]) -> Iterator[bytes]:
        nonlocal requests
        requests += 1
        assert all_asked.wait(LONG)
        for job, line in zip(request["jobs"], answers(request), strict=True):
            clock.now += 0.125
            yield line
            asked[int(job["answer"])].result(LONG)  # before time goes on

    with (
        a_false_service(respond) as url,
        a_client(url, seconds=0.1, patience=1, clock=clock) as client,
    ):
        asked += [client.submit(MathJob(str(n), "2")) for n in range(17)]
        all_asked.set()
        assert {job.result(LONG).verdict for job in asked} == {Verdict.CORRECT}
    assert requests == 2


def test_an_upload_that_is_not_read_is_tried_again_and_ends_with_the_client(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what others left
    caplog.clear()
    monkeypatch.setattr(remote, "_SLACK_SECONDS", 0.0)
    uploads, over = threading.Semaphore(0), threading.Event()

    class ReadsNothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, About(service=SERVICE, version="0").model_dump_json())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(404, Trouble(error="unknown", unknown_tests=["0" * 32]).model_dump_json())

        def do_PUT(self) -> None:
            uploads.release()
            over.wait(LONG)

        def _say(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    packed = packed_tests(Test("x" * (16 << 20), "1"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ReadsNothing) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        setup = Setup("code", Verifier(patience_seconds=LONG))
        url = f"http://127.0.0.1:{server.server_port}"
        client = remote.RemotePool(setup, url, seconds=1.0)
        client._deadline = 1.0  # and not as long as its patience
        client.open()
        grade = client.submit(CodeJob("", packed.digest, packed.content))
        assert uploads.acquire(timeout=LONG) and uploads.acquire(timeout=LONG)
        client.close()
        over.set()
        server.shutdown()
    assert grade.result(LONG).verdict is Verdict.INFRA_ERROR
    gc.collect()
    assert "destroyed" not in caplog.text


def test_a_job_that_comes_while_a_fault_ends_the_client_is_not_waited_for_in_vain() -> None:
    """It was handed to an event loop that ran no more and did not say so yet."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with a_false_service(answers) as url, a_client(url) as client:
            # No request can hold half of a surrogate pair.
            pending = [client.submit(MathJob("\ud800", "2"))]
            with pytest.raises(ValueError, match="surrogates"):
                while True:
                    pending.append(client.submit(MathJob("1", "2")))
    finally:
        sys.setswitchinterval(before)
    assert isinstance(pending[0].exception(LONG), ValueError)
    assert all(future.done() for future in pending)


def test_the_longest_patience_is_no_longer_than_a_request_may_take() -> None:
    with a_false_service(answers) as url, a_client(url, patience=86400) as client:
        assert client.submit(MathJob("1", "2")).result(LONG).verdict is Verdict.CORRECT


def test_a_page_of_something_in_between_is_no_sign_of_life(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page: Respond = lambda _: iter([b"<html>\n"])  # noqa: E731
    clock = Clock()
    with (
        a_false_service(page, "text/html") as url,
        a_client(url, patience=2, clock=clock) as client,
    ):
        pending = client.submit(MathJob("1", "2"))
        wait_for(lambda: f"{url} answers 200 with text/html" in caplog.text, "the page")
        clock.now += 2.1
        grade = pending.result(LONG)
    assert grade.verdict is Verdict.INFRA_ERROR
    assert "gave no sign of life for 2 s: it answers 200 with text/html" in grade.detail
