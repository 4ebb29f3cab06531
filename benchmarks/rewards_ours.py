"""One round of our own rewarder, behind the same request and answer as the peers (peers/timed.py).

A case at a time, as the peers do it, gives the latencies. All cases at once, as a training step
hands them over, gives the seconds; each way has a rewarder of its own, so nothing is remembered.
"""

import json
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.protocol import Grade, Rewarder
from acereason_trainer.rewards.rewarder import make_rewarder

Case = dict[str, Any]


def main() -> None:
    """Grade the request's cases twice."""
    request_file, answer_file = map(Path, sys.argv[1:3])
    request = json.loads(request_file.read_text())
    domain, workers = request["domain"], request["workers"]
    latencies = _each(make_rewarder(domain, Verifier(service="local", workers=workers)), request)
    seconds, grades = _at_once(
        make_rewarder(domain, Verifier(service="local", workers=workers)), request
    )
    answer = {
        "versions": {},
        "seconds": seconds,
        "latencies": latencies,
        "verdicts": [str(grade.verdict) for grade in grades],
    }
    answer_file.write_text(json.dumps(answer))


def _each(rewarder: Rewarder, request: Case) -> list[float]:
    _warm_up(rewarder, request["warmUp"])
    latencies = []
    for case in request["cases"]:
        began = time.perf_counter()
        rewarder.submit(case, case["response"]).result()
        latencies.append(time.perf_counter() - began)
    rewarder.close()
    return latencies


def _at_once(rewarder: Rewarder, request: Case) -> tuple[float, list[Grade]]:
    _warm_up(rewarder, request["warmUp"])
    began = time.perf_counter()
    futures: list[Future[Grade]] = [rewarder.submit(c, c["response"]) for c in request["cases"]]
    grades = [future.result() for future in futures]
    seconds = time.perf_counter() - began
    rewarder.close()
    return seconds, grades


def _warm_up(rewarder: Rewarder, cases: list[Case]) -> None:
    """Start the workers, which is once for a training run."""
    for future in [rewarder.submit(case, case["response"]) for case in cases]:
        future.result()


if __name__ == "__main__":
    main()
