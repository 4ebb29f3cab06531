"""One round of a contestant: the cases it is given, one after another, each with its time.

Runs in the peers' environments: the standard library only. Started as `python SCRIPT REQUEST
ANSWER`; both are JSON files, so that nothing that is printed on the way gets into the answer.

    request  {"warmUp": [case, ...], "cases": [case, ...]}
    answer   {"versions": {...}, "seconds": all cases, "latencies": [s, ...], "verdicts": [...]}
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def one_after_another(grade: Callable[[dict[str, Any]], bool], packages: list[str]) -> None:
    """Grade the request's cases; verdicts are `correct` and `wrong`."""
    request_file, answer_file = map(Path, sys.argv[1:3])
    request = json.loads(request_file.read_text())
    for case in request["warmUp"]:
        grade(case)
    latencies, verdicts = [], []
    for case in request["cases"]:
        began = time.perf_counter()
        right = grade(case)
        latencies.append(time.perf_counter() - began)
        verdicts.append("correct" if right else "wrong")
    answer = {
        "versions": {name: version(name) for name in packages},
        "seconds": sum(latencies),
        "latencies": latencies,
        "verdicts": verdicts,
    }
    answer_file.write_text(json.dumps(answer))
