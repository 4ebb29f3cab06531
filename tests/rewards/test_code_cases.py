"""What becomes of a program: right ones pass however they are written, no other one does.

The cases stand in code_cases.yaml. They go through `acereason grade`, with every wall there is.
"""

import json
import subprocess
import sys

import pytest

from tests.rewards.code_cases import Case, code_cases

CASES = code_cases()


@pytest.fixture(scope="module")
def verdicts() -> dict[str, dict[str, object]]:
    """By what a case pins. One process grades them all: about 25 s on two cores, most of it for
    programs that have to run into their limits."""
    lines = [json.dumps({**case, "id": case["pins"], "kind": "code"}) + "\n" for case in CASES]
    done = subprocess.run(
        [sys.executable, "-m", "acereason_trainer.rewards"],
        input="".join(lines),
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    return {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["pins"])
def test_a_program_gets_its_verdict(verdicts: dict[str, dict[str, object]], case: Case) -> None:
    """The first one takes as long as all of them: about 25 s."""
    found = verdicts[case["pins"]]
    assert (found["verdict"], found["reward"]) == (
        case["verdict"],
        int(case["verdict"] == "correct"),
    ), found["detail"]


def test_each_case_pins_something_of_its_own() -> None:
    assert len(CASES) >= 80
    assert len({case["pins"] for case in CASES}) == len(CASES)
