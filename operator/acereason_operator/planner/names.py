"""Deterministic names of Jobs: whoever decides the same attempt twice names the same Job."""

from hashlib import sha256

from acereason_operator.planner.observed import Phase

LONGEST = 57
"""An Indexed Job's pods have host names `<job>-<index>`; with an index below 10,000 they stay
within a DNS label's 63 characters."""


def job_name(run: str, uid: str, stage: str, attempt: int, phase: Phase) -> str:
    """`<run>-<stage>-<attempt>-<prepare|train>`, at most 57 characters.

    A hash of run, uid and stage follows where the run has a uid (two runs called `a` and `a-b` in
    one namespace must not meet in one name), and where the plain name is too long, which is cut.
    """
    tail = f"{attempt}-{phase.lower()}"
    plain = f"{run}-{stage}-{tail}"
    if not uid and len(plain) <= LONGEST:
        return plain
    mark = sha256(f"{uid}/{run}/{stage}".encode()).hexdigest()[:8]
    room = LONGEST - len(tail) - len(mark) - 2
    return f"{f'{run}-{stage}'[:room].rstrip('-')}-{tail}-{mark}"
