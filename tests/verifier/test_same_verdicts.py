"""Answers get the same verdicts from a service as from workers on this machine."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.__main__ import main as grade
from acereason_trainer.rewards.jobs import Setup
from acereason_trainer.rewards.placement import SERVICE_VARIABLE, pool_for, service_url
from acereason_trainer.rewards.pool import WorkerPool

from tests.verifier.services import ServiceProcess, a_service

LIMITS = CodeLimits(seconds_per_test=1, memory_mib=256, output_kib=4)
Domain = Literal["math", "code"]


class Case(NamedTuple):
    why: str
    domain: Domain
    row: Mapping[str, Any]
    answer: str
    verdict: Verdict
    tests: Literal["to the first failure", "all"] = "to the first failure"


def boxed(text: str) -> str:
    return rf"so</think> \boxed{{{text}}}"


def program(source: str) -> str:
    return f"so</think>\n```python\n{source}\n```"


ECHO = {"tests": [{"stdin": "ü 1\n", "stdout": "ü 1\n"}, {"stdin": "b", "stdout": "b"}]}
DOUBLE = {"tests": [{"call": "f", "args": [21], "expected": 42}]}

CASES = [
    Case("equal as text", "math", {"answer": "42"}, boxed("42"), Verdict.CORRECT),
    Case("equal by sympy", "math", {"answer": r"2\sqrt2"}, boxed(r"\sqrt 8"), Verdict.CORRECT),
    Case("unequal by sympy", "math", {"answer": r"2\sqrt2"}, boxed(r"\sqrt 7"), Verdict.WRONG),
    Case("no box", "math", {"answer": "1"}, "so</think> 1", Verdict.FORMAT),
    Case("never ended its reasoning", "math", {"answer": "1"}, r"\boxed{1}", Verdict.FORMAT),
    Case("all of two right", "code", ECHO, program("print(input())"), Verdict.CORRECT, "all"),
    Case("one of two right", "code", ECHO, program("print('b')"), Verdict.WRONG, "all"),
    Case("right program", "code", ECHO, program("print(input())"), Verdict.CORRECT),
    Case("wrong program", "code", ECHO, program("print(1)"), Verdict.WRONG),
    Case("right call", "code", DOUBLE, program("def f(x): return 2 * x"), Verdict.CORRECT),
    Case("wrong call", "code", DOUBLE, program("def f(x): return 43"), Verdict.WRONG),
    Case("half a surrogate", "code", ECHO, program("'\ud800'"), Verdict.RUNTIME_ERROR),
    Case("half a surrogate", "math", {"answer": "x+1"}, boxed("x\ud800+1"), Verdict.WRONG),
    Case("raises", "code", ECHO, program("1 / 0"), Verdict.RUNTIME_ERROR),
    Case("never ends", "code", ECHO, program("while True: pass"), Verdict.TIMEOUT),
    Case("fills memory", "code", ECHO, program("x = 'x' * 10**9"), Verdict.MEMORY),
    Case("floods", "code", ECHO, program("print('x' * 10**6)"), Verdict.OUTPUT_LIMIT),
    Case("no program", "code", ECHO, "so</think> print(1)", Verdict.FORMAT),
    Case(
        "the problem's own tolerance",
        "code",
        {"tests": [{"stdin": "", "stdout": "0.5"}], "tolerance": 0.01},
        program("print(0.501)"),
        Verdict.CORRECT,
    ),
    Case(
        "the problem's own time",
        "code",
        {"tests": [{"stdin": "", "stdout": ""}], "time_limit": 3},
        program("import time\nwhile time.process_time() < 1.5: pass"),
        Verdict.CORRECT,
    ),
]


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with a_service(code_workers=2) as service:
        yield service


@pytest.fixture(scope="module")
def rewarders(service: ServiceProcess) -> Iterator[Mapping[tuple[str, bool, Domain], Rewarder]]:
    """By place, whether all tests are asked for, and domain."""
    with ExitStack() as stack:
        yield {
            (place, all_tests, domain): stack.enter_context(
                closing(make_rewarder(domain, verifier, all_tests=all_tests))
            )
            for place, verifier in (
                ("local", Verifier(service="local", workers=2, code=LIMITS)),
                ("remote", Verifier(service=service.url, code=LIMITS)),
            )
            for all_tests in (False, True)
            for domain in ("math", "code")
        }


def compared(grade: Grade) -> Grade:
    return dataclasses.replace(grade, seconds=0.0)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_a_service_and_this_machine_agree(
    rewarders: Mapping[tuple[str, bool, Domain], Rewarder], case: Case
) -> None:
    here, there = (
        rewarders[place, case.tests == "all", case.domain].submit(case.row, case.answer)
        for place in ("local", "remote")
    )
    assert here.result(200).verdict is case.verdict
    assert compared(there.result(200)) == compared(here.result(200))


def test_the_same_answer_is_asked_for_once(service: ServiceProcess) -> None:
    before = service.metric("verdicts_total", kind="code", verdict="correct")
    with closing(make_rewarder("code", Verifier(service=service.url))) as rewarder:
        futures = [rewarder.submit(ECHO, f"{n}" + program("print(input())")) for n in range(20)]
        assert {f.result(200).verdict for f in futures} == {Verdict.CORRECT}
    assert service.metric("verdicts_total", kind="code", verdict="correct") == before + 1


@pytest.mark.parametrize(
    ("setting", "variable", "expected"),
    [
        ("auto", None, None),
        ("auto", "", None),
        ("auto", "http://verifier:8321", "http://verifier:8321"),
        ("local", "http://verifier:8321", None),
        ("http://mine:1", "http://verifier:8321", "http://mine:1"),
    ],
)
def test_the_stage_file_or_the_cluster_says_who_checks(
    setting: str, variable: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SERVICE_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(SERVICE_VARIABLE, variable)
    assert service_url(Verifier(service=setting)) == expected


def test_a_reward_of_ones_own_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVICE_VARIABLE, "http://verifier:8321")
    assert isinstance(pool_for(Setup("custom", Verifier(), function="a:b")), WorkerPool)


def test_cases_from_a_file_can_be_graded_by_a_service(
    service: ServiceProcess, tmp_path: Path
) -> None:
    cases = [
        {"id": n, "kind": case.domain, "response": case.answer, **case.row}
        for n, case in enumerate(CASES)
        if case.tests != "all"
    ]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases))
    before = service.metric("verdicts_total", kind="code", verdict="correct")
    verdicts = {
        place: graded(tmp_path, options)
        for place, options in (("here", ()), ("there", ("--remote", service.url)))
    }
    assert verdicts["there"] == verdicts["here"]
    assert service.metric("verdicts_total", kind="code", verdict="correct") > before


def graded(directory: Path, options: Sequence[str]) -> list[tuple[int, str, float | None]]:
    out = directory / "verdicts.jsonl"
    files = ("--in", str(directory / "cases.jsonl"), "--out", str(out))
    subprocess.run(
        [sys.executable, "-m", "acereason_trainer.rewards", *files, "--require-think", *options],
        check=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return [(line["id"], line["verdict"], line["reward"]) for line in lines]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--remote", "verifier:8321"), "write one as in http://verifier:8321"),
        (("--remote", "http://v:1", "--reward", "a:b"), "it cannot be used with --remote"),
    ],
)
def test_a_wrong_place_is_a_sentence(
    options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        grade(list(options))
    assert e.value.code == 2
    assert sentence in capsys.readouterr().err
