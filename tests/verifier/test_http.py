"""What the service answers to whoever asks, by the letter of its interface."""

import hashlib
import http.client
import json
import re
from collections.abc import Iterator

import pytest
from acereason_trainer.rewards.problem_tests import Test

from tests.verifier.services import ServiceProcess, a_service, packed_tests
from tests.waiting import held, wait_for

MATH = {"id": "a", "answer": "x+x", "reference": "2x"}
LOOPS = "while True: pass"


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with a_service(queue=50, body_mib=1) as service:
        yield service


def test_answers_come_as_they_are_done_each_under_its_id(service: ServiceProcess) -> None:
    tests = service.upload(Test("", "1"))
    slow = "import time\ntime.sleep(1)\nprint(1)"
    lines = service.grade(
        "code",
        {"id": "slow", "source": slow, "tests": tests},
        {"id": "quick", "source": "print(1)", "tests": tests},
        {"id": "wrong", "source": "print(2)", "tests": tests},
        verifier={"code": {"secondsPerTest": 30}},
    )
    assert {line["id"]: line["verdict"] for line in lines} == {
        "slow": "correct",
        "quick": "correct",
        "wrong": "wrong",
    }
    assert [line["reward"] for line in lines if line["id"] == "wrong"] == [0.0]


def test_a_stream_is_never_silent_for_long(service: ServiceProcess) -> None:
    """Or else a dead connection looks like a long program."""
    tests = service.upload(Test("", "1"))
    job = {"id": "1", "source": "import time\ntime.sleep(6)\nprint(1)", "tests": tests}
    body = json.dumps({"kind": "code", "jobs": [job]}).encode()
    _, headers, answer = service.ask("POST", "/v1/grade", body)
    assert headers["Content-Type"] == "application/x-ndjson"
    assert answer.startswith(b"\n")
    assert json.loads(answer)["verdict"] == "correct"


def test_what_is_not_graded_within_its_deadline_gets_no_verdict(service: ServiceProcess) -> None:
    tests = service.upload(Test("", "1"))
    jobs = [{"id": str(n), "source": f"{n}\n{LOOPS}", "tests": tests} for n in range(5)]
    limits = {"code": {"secondsPerTest": 2}}
    lines = service.grade("code", *jobs, deadlineSeconds=1, verifier=limits)
    assert [(x["verdict"], x["reward"]) for x in lines] == [("infra_error", None)] * 5
    assert {line["id"] for line in lines} == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ("{}", "kind"),
        ('{"kind": "poetry", "jobs": []}', "'poetry'"),
        ('{"kind": "math", "jobs": []}', "at least 1 item"),
        (
            '{"kind": "math", "jobs": [{"id": "1", "answer": "1"}]}',
            "jobs.0.reference: Field",
        ),
        ('{"kind": "math", "jobs": [{"id": 1, "answer": "1", "reference": "1"}]}', "jobs.0.id"),
        ('{"kind": "code", "jobs": [{"id": "1", "source": "", "tests": "ff"}]}', "jobs.0.tests"),
        ('{"kind": "math", "verifier": {"mathSeconds": -1}, "jobs": []}', "verifier.mathSeconds"),
        (
            '{"kind": "math", "hurry": 1, "jobs": [{"id": "1", "answer": "", "reference": ""}]}',
            "hurry: Extra inputs are not permitted",
        ),
    ],
)
def test_a_malformed_request_is_refused_with_a_sentence(
    service: ServiceProcess, body: str, sentence: str
) -> None:
    status, _, answer = service.ask("POST", "/v1/grade", body.encode())
    assert status == 400
    assert sentence in json.loads(answer)["error"]


def test_ids_that_come_twice_are_refused(service: ServiceProcess) -> None:
    body = json.dumps({"kind": "math", "jobs": [MATH, MATH]}).encode()
    status, _, answer = service.ask("POST", "/v1/grade", body)
    assert (status, json.loads(answer)["error"]) == (
        400,
        'jobs: Value error, the id "a" comes twice; answers are told apart by it',
    )


def test_tests_that_are_not_known_are_named(service: ServiceProcess) -> None:
    known, unknown = service.upload(Test("", "known")), "0" * 32
    jobs = [{"id": t, "source": "print()", "tests": t} for t in (known, unknown)]
    body = json.dumps({"kind": "code", "jobs": jobs}).encode()
    status, _, answer = service.ask("POST", "/v1/grade", body)
    assert status == 404
    assert json.loads(answer)["unknownTests"] == [unknown]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'[["","1",null,null]]', "the content's digest is"),
        (b"no JSON", "no list of tests"),
        (b'[{"stdin": ""}]', "no list of tests"),
        (b'[["", 1, null, null]]', "no list of tests"),
        (b"[]", "no list of tests"),
    ],
)
def test_tests_that_are_not_what_they_say_are_refused(
    service: ServiceProcess, content: bytes, sentence: str
) -> None:
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    name = "0" * 32 if "digest" in sentence else digest
    status, _, answer = service.ask("PUT", f"/v1/tests/{name}", content)
    assert (status, sentence in json.loads(answer)["error"]) == (400, True)


def test_what_is_too_large_is_refused(service: ServiceProcess) -> None:
    large = packed_tests(Test("x" * (1 << 20), ""))
    status, _, answer = service.ask("PUT", f"/v1/tests/{large.digest.hex()}", large.content)
    assert status == 413
    assert "too large" in json.loads(answer)["error"]


def test_a_request_that_can_never_fit_is_refused_and_one_that_may_fit_later_is_told_when(
    service: ServiceProcess,
) -> None:
    tests = service.upload(Test("", "1"))

    def asked(number: int, program: str = LOOPS) -> bytes:
        jobs = [{"id": str(n), "source": f"{n}\n{program}", "tests": tests} for n in range(number)]
        limits = {"code": {"secondsPerTest": 1}}
        request = {"kind": "code", "jobs": jobs, "verifier": limits, "deadlineSeconds": 30}
        return json.dumps(request).encode()

    status, _, answer = service.ask("POST", "/v1/grade", asked(60))
    assert (status, json.loads(answer)["error"]) == (413, "60 jobs in one request; at most 50 fit")
    wait_for(lambda: service.metric("running_jobs", kind="code") == 0, "the end of earlier jobs")
    # Afterwards there are workers for these limits.
    assert service.ask("POST", "/v1/grade", asked(1, "print(1)"))[0] == 200
    before = service.metric("verdicts_total", kind="code", verdict="timeout")
    first, second = (http.client.HTTPConnection("127.0.0.1", service.port) for _ in range(2))
    with held(service.workers("code")):
        first.request("POST", "/v1/grade", asked(45))
        stream = first.getresponse()
        assert stream.status == 200
        status, headers, answer = service.ask("POST", "/v1/grade", asked(20))
        assert status == 429
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert "jobs wait already" in json.loads(answer)["error"]
        stream.close()
        first.close()
        later: list[http.client.HTTPResponse] = []

        def is_taken() -> bool:
            second.request("POST", "/v1/grade", asked(20, "print(1)"))
            response = second.getresponse()
            if response.status == 200:
                later.append(response)
                return True
            return not response.read()

        wait_for(is_taken, "room")
    lines = [json.loads(line) for line in later[0].read().splitlines() if line]
    second.close()
    assert [line["verdict"] for line in lines] == ["correct"] * 20
    # Nobody waited for the others any more: 43 s of looping were not done.
    assert service.metric("verdicts_total", kind="code", verdict="timeout") == before + 2


def test_it_says_who_it_is_and_how_it_is(service: ServiceProcess) -> None:
    status, about = service.get("/v1")
    assert (status, json.loads(about)["service"]) == (200, "acereason-verifier")
    assert service.get("/healthz") == (200, b"ok\n")
    assert service.get("/readyz") == (200, b"ok\n")
    status, answer = service.get("/v2/grade")
    assert (status, json.loads(answer)["error"]) == (404, "GET /v2/grade: Not Found")


def test_every_series_is_there_from_the_start_and_counts(service: ServiceProcess) -> None:
    before = service.metric("verdicts_total", kind="math", verdict="correct")
    refused = service.metric("rejected_total", status="400")
    assert service.grade("math", MATH)[0]["verdict"] == "correct"
    service.ask("POST", "/v1/grade", b"{")
    page = service.get("/metrics")[1].decode()
    names = set(re.findall(r"^# TYPE acereason_verifier_(\w+) ", page, re.M))
    assert names == {
        "verdicts_total",
        "seconds",
        "queue_seconds",
        "rejected_total",
        "test_uploads_total",
        "tests_bytes",
        "queue_jobs",
        "running_jobs",
        "workers",
        "workers_lost_total",
        "walls_missing",
    }
    assert service.metric("verdicts_total", kind="math", verdict="correct") == before + 1
    assert service.metric("rejected_total", status="400") == refused + 1
    assert service.metric("queue_jobs", kind="code") == 0


def test_a_wall_that_is_missing_is_a_figure_of_the_service(service: ServiceProcess) -> None:
    tests = service.upload(Test("", "1"))
    (line,) = service.grade("code", {"id": "1", "source": "print(1)", "tests": tests})
    for wall in ("landlock", "seccomp"):
        assert service.metric("walls_missing", wall=wall) == (wall in line["missingWalls"])
        assert f'walls_missing{{wall="{wall}"}}' in service.get("/metrics")[1].decode()


def test_other_limits_get_workers_of_their_own_and_few_of_them_stay(
    service: ServiceProcess,
) -> None:
    for seconds in range(1, 6):
        (line,) = service.grade("math", MATH, verifier={"mathSeconds": seconds})
        assert line["verdict"] == "correct"
    math = 4
    wait_for(lambda: len(service.workers()) - len(service.workers("code")) == math, "ends of idle")
