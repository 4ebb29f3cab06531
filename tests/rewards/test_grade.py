"""`acereason grade`: one line in, one line out, in the same order, whatever the lines are."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest


def grade(*cases: object, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Verdicts of the cases; text stands for itself."""
    lines = [case if isinstance(case, str) else json.dumps(case) for case in cases]
    done = verb(*options, given="".join(line + "\n" for line in lines))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


GRADE = [sys.executable, "-m", "acereason_operator.cli.main", "grade"]


def verb(*options: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*GRADE, *options],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def math(response: str, answer: object = "1/2", **more: object) -> dict[str, object]:
    return {"id": "m", "kind": "math", "response": response, "answer": answer, **more}


def code(source: str, *tests: object, **more: object) -> dict[str, object]:
    response = f"```python\n{source}\n```"
    return {"id": "c", "kind": "code", "response": response, "tests": list(tests), **more}


ECHO = {"stdin": "x", "stdout": "x"}


def test_each_line_gets_its_line_in_the_same_order() -> None:
    found = grade(
        math(r"\boxed{0.5}") | {"id": "a"},
        code("import time\ntime.sleep(0.5)\nprint(input())", ECHO) | {"id": 2},
        math("no idea") | {"id": "c"},
        code("print(1)", ECHO) | {"id": "d"},
        code("def f(a, b):\n    return a + b", {"call": "f", "args": [1, [2]], "expected": 3}),
        code("def f(a, b):\n    return a + b", {"call": "f", "args": [1, 2], "expected": 3}),
    )
    assert [(line["id"], line["verdict"], line["reward"]) for line in found] == [
        ("a", "correct", 1),
        (2, "correct", 1),
        ("c", "format", 0),
        ("d", "wrong", 0),
        ("c", "runtime_error", 0),
        ("c", "correct", 1),
    ]
    assert [type(line["reward"]) for line in found] == [int] * 6
    assert list(found[0]) == ["id", "verdict", "reward", "seconds", "detail"]
    assert found[1]["seconds"] >= 0.5


BAD_LINES = [
    ("nope", None, "is not JSON"),
    ("", None, "is not JSON"),
    ("[1]", None, "is a list; it must be one object"),
    ("[" * 100_000, None, "is not JSON"),
    ({"kind": "math", "response": "r", "answer": "1"}, None, 'there is no "id"'),
    (math("r") | {"kind": "prose"}, "m", "\"kind\" is 'prose'"),
    (math("r") | {"response": 5}, "m", '"response" is a number'),
    (math("r", answer=None), "m", '"answer" is missing'),
    (math(r"\boxed{1}", answer="  "), "m", '"answer" is blank'),
    (math(r"\boxed{1}", answer="x\ud800"), "m", "it must be a right answer"),
    ('{"id": 1e999, "kind": "math", "response": "1", "answer": "1"}', None, '"id" is inf'),
    ('{"id": NaN, "kind": "math", "response": "1", "answer": "1"}', None, '"id" is nan'),
    (code("1", {"stdin": "\ud800", "stdout": "x"}), "c", "half a surrogate pair"),
    (code("1"), "c", "tests"),
    (code("1") | {"tests": "x"}, "c", "tests are text"),
    (code("1", {"stdin": "x"}), "c", "tests[0] must be an object of one of the forms"),
    (code("1", {"call": "f", "args": 3, "expected": 1}), "c", "tests[0].args is a number"),
    (code("1", {"call": "f g", "args": [], "expected": 1}), "c", "`function` or `Class.method`"),
    (code("1", {"stdin": ["x"], "stdout": "x"}), "c", "tests[0].stdin is a list"),
    (code("1", ECHO, time_limit="2 s"), "c", "\"time_limit\" is '2 s'"),
    (code("1", ECHO, time_limit=0), "c", '"time_limit" is 0'),
    (code("1", ECHO, memory_limit=True), "c", '"memory_limit" is True'),
    (code("1", ECHO, starter=5), "c", "starter"),
]


def test_a_malformed_line_gets_a_sentence_and_the_rest_goes_on() -> None:
    found = grade(*(line for line, _, _ in BAD_LINES), math(r"\boxed{0.5}"))
    assert len(found) == len(BAD_LINES) + 1
    for (_, name, sentence), line in zip(BAD_LINES, found, strict=False):
        assert (line["id"], line["verdict"], line["reward"]) == (name, "infra_error", None)
        assert sentence in line["detail"]
    assert found[-1]["verdict"] == "correct"


def test_limits_are_the_cases_own() -> None:
    burn = "import time\nwhile time.process_time() < 1.3: pass\nprint(input())"
    hold = "x = bytearray(200 << 20)\nprint(input())"
    found = grade(
        code(burn, ECHO, time_limit=1),
        code(burn, ECHO, time_limit=3),
        code(hold, ECHO, memory_limit=100),
        code(hold, ECHO, memory_limit=400),
    )
    assert [line["verdict"] for line in found] == ["timeout", "correct", "memory", "correct"]


@pytest.mark.parametrize(
    ("options", "verdicts"),
    [
        (
            (),
            {
                r"So \boxed{0.5}": "correct",
                r"\boxed{0.5}</think> \boxed{1}": "wrong",
                r"\boxed{0.5}</think> so": "format",
            },
        ),
        (
            ("--require-think",),
            {
                r"So \boxed{0.5}": "format",
                r"\boxed{1}</think> \boxed{0.5}": "correct",
            },
        ),
    ],
)
def test_without_the_tag_all_of_a_response_counts_unless_it_is_asked_for(
    options: tuple[str, ...], verdicts: dict[str, str]
) -> None:
    found = grade(*map(math, verdicts), options=options)
    assert [line["verdict"] for line in found] == list(verdicts.values())


def test_files_are_read_and_written(tmp_path: Path) -> None:
    cases, verdicts = tmp_path / "cases.jsonl", tmp_path / "verdicts.jsonl"
    cases.write_text(json.dumps(math(r"\boxed{0.5}")))
    done = verb("--in", str(cases), "--out", str(verdicts))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 of 1 correct\n"
    assert json.loads(verdicts.read_text())["reward"] == 1


def test_a_refused_or_failing_grade_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    cases, verdicts = tmp_path / "cases.jsonl", tmp_path / "verdicts.jsonl"
    cases.write_text(json.dumps(math(r"\boxed{0.5}")) + "\n")
    verdicts.write_text("of an earlier time\n")
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    onto_itself = verb("--in", str(cases), "--out", str(cases))
    assert onto_itself.returncode == 2 and "is the input" in onto_itself.stderr
    failing = verb("--in", str(cases), "--out", str(verdicts), "--reward", "no.such:function")
    assert failing.returncode == 2 and "Traceback" not in failing.stderr
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_an_output_that_has_no_room_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            GRADE, input=json.dumps(math("no")), stdout=full, stderr=PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
    done = verb("--out", "/dev/full", given=json.dumps(math("no")))
    assert done.returncode == 2
    assert done.stderr == "error: /dev/full cannot be written: No space left on device\n"


def test_where_nobody_reads_on_it_ends_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        GRADE, input=json.dumps(math("no")), stdout=write, stderr=PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_an_output_that_was_left_behind_half_written_stands_in_nobodys_way(tmp_path: Path) -> None:
    """In a container a process has the same number each time."""
    verdicts = tmp_path / "verdicts.jsonl"
    command = shlex.join([*GRADE, "--out", str(verdicts)])
    line = f"touch {tmp_path}/.verdicts.jsonl.$$; umask 027; exec {command}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], input=json.dumps(math("no")), text=True, check=False
    )
    assert done.returncode == 0
    assert json.loads(verdicts.read_text())["verdict"] == "format"
    assert verdicts.stat().st_mode & 0o777 == 0o640


def test_every_test_is_run_where_all_are_asked_for() -> None:
    case = code("print('x')", ECHO, {"stdin": "y", "stdout": "y"}, ECHO)
    found = grade(case, options=("--all-tests",))
    assert found[0]["passed"] == [True, False, True]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--in", "/no/such/file"), "/no/such/file cannot be opened"),
        (("--out", "/no/such/directory/file"), "/no/such/directory is no directory"),
        (("--workers", "0"), "0 is no number of processes; give 1 to 4096"),
        (
            ("--seconds-per-test", "0"),
            "0 is no time limit; give seconds, up to 600",
        ),
        (("--seconds-per-test", "-1"), "-1 is no time limit; give seconds, up to 600"),
        (("cases.jsonl",), "unrecognized arguments"),
    ],
)
def test_a_wrong_option_is_a_sentence(options: tuple[str, ...], sentence: str) -> None:
    done = verb(*options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_a_sentence_and_an_exit_code() -> None:
    process = subprocess.Popen(
        GRADE, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True,
        # A job in the background would inherit that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads)
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(math(r"\boxed{0.5}")) + "\n")
    process.stdin.flush()
    process.stdin.write(json.dumps(math(r"\boxed{\sqrt{2}}", r"\sqrt 3")) + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["verdict"] == "correct"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "interrupted: not every line was graded\n")
