"""What a trainer and the verifier service say to each other: version 1 of the HTTP interface.

    POST /v1/grade            a MathRequest or a CodeRequest; answered by one line of JSON for each
                              job (GradeLine), in the order in which they are done. A blank line
                              says that the work goes on. An id that is missing at the end was not
                              graded: send it again.
    PUT  /v1/tests/<digest>   the packed tests of a problem (problem_tests.pack), under their name
    GET  /v1                  About

Anything else is answered by a Trouble with a status of 400 or above. A job is what jobs.py has: an
answer that was taken out of its response, or a program. The cheap part (extraction, exact
comparison) is the trainer's own, wherever the rest is done.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter

from acereason_trainer.config.common import Verifier
from acereason_trainer.config.model import Model
from acereason_trainer.config.stage_file import settings_for_key
from acereason_trainer.rewards.jobs import CodeJob, Job, MathGrader, MathJob, Setup
from acereason_trainer.rewards.outputs import Comparator
from acereason_trainer.rewards.problem_limits import ProblemLimits
from acereason_trainer.rewards.protocol import Grade, Verdict

SERVICE = "acereason-verifier"
MOST_JOBS = 1024
"""Jobs of one request."""
MOST_SECONDS = 86400.0
"""Longest deadline of a job."""
ANSWERS_TYPE = "application/x-ndjson"
"""Content type of a stream of answers: who sends it has accepted the request."""
HEARTBEAT_SECONDS = 5.0
"""A stream of answers is never silent for longer."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
JobId = Annotated[str, Field(min_length=1, max_length=128)]


class About(Model):
    """Who answers."""

    service: str
    """Always `acereason-verifier`."""
    version: str
    """Of the package: verdicts may differ between versions."""


class Trouble(Model):
    """Why a request was not carried out."""

    error: str
    """One sentence."""
    unknown_tests: list[Digest] = Field(default_factory=list)
    """With 404: upload these and ask again."""


class _Named(Model):
    id: JobId
    """Comes back with the verdict."""


class MathItem(_Named):
    """Two answers to compare."""

    answer: str
    """What stood in the box."""
    reference: str
    """The right answer."""

    def job(self) -> MathJob:
        """As workers take it."""
        return MathJob(self.answer, self.reference)


class Limits(Model):
    """What a problem says about its own limits; unset: as the request's settings say."""

    seconds: float | None = Field(default=None, gt=0)
    """CPU seconds of one test."""
    memory_mib: int | None = Field(default=None, ge=1)
    """Address space in MiB."""
    tolerance: float | None = Field(default=None, ge=0)
    """Absolute or relative error that the problem allows."""


class CodeItem(_Named):
    """A program and the name of what it must do."""

    source: str
    """The program."""
    before: list[str] = Field(default_factory=list)
    """Blocks whose definitions it may use."""
    tests: Digest
    """Names uploaded tests: blake2b of 16 bytes, in hexadecimal digits."""
    limits: Limits = Limits()
    """The problem's own."""

    def job(self) -> CodeJob:
        """As workers take it, without its tests."""
        own = ProblemLimits(self.limits.seconds, self.limits.memory_mib, self.limits.tolerance)
        return CodeJob(self.source, bytes.fromhex(self.tests), None, own, tuple(self.before))


_Item = TypeVar("_Item", bound=_Named)


def _told_apart(jobs: list[_Item]) -> list[_Item]:
    seen: set[str] = set()
    for job in jobs:
        if job.id in seen:
            raise ValueError(f'the id "{job.id}" comes twice; answers are told apart by it')
        seen.add(job.id)
    return jobs


Jobs = Annotated[
    list[_Item], Field(min_length=1, max_length=MOST_JOBS), AfterValidator(_told_apart)
]


class _Request(Model):
    verifier: Verifier = Verifier()
    """Limits. With how many processes is the service's own affair."""
    deadline_seconds: float = Field(default=600.0, gt=0, le=MOST_SECONDS)
    """Of each job from its hand-over to a worker on: what is not graded by then gets an
    infrastructure error. To wait for the hand-over takes as long as it takes."""


class MathRequest(_Request):
    """Answers to compare."""

    kind: Literal["math"]
    math_grader: MathGrader = "training"
    """Who decides whether two answers are the same."""
    jobs: Jobs[MathItem]
    """What to grade."""

    def setup(self) -> Setup:
        """What workers for it are told."""
        return Setup("math", limits_of(self.verifier), math_grader=self.math_grader)


class CodeRequest(_Request):
    """Programs to run."""

    kind: Literal["code"]
    all_tests: bool = False
    """Go on after a program's first failure and say which tests passed."""
    comparator: Comparator = "exact"
    """Who decides whether two outputs are the same."""
    jobs: Jobs[CodeItem]
    """What to grade."""

    def setup(self) -> Setup:
        """What workers for it are told."""
        return Setup(
            "code",
            limits_of(self.verifier),
            all_tests=self.all_tests,
            comparator=self.comparator,
        )


Request = MathRequest | CodeRequest
_REQUEST: TypeAdapter[Request] = TypeAdapter(
    Annotated[MathRequest | CodeRequest, Field(discriminator="kind")]
)
_TESTS = TypeAdapter(
    Annotated[list[tuple[str, str, str | None, float | None]], Field(min_length=1)]
)


class GradeLine(Model):
    """One line of the answer."""

    id: JobId
    """Of the job."""
    verdict: Verdict
    """What became of it."""
    reward: float | None
    """1 or 0; null where there is no verdict."""
    seconds: float = 0.0
    """Time it took to check."""
    detail: str = ""
    """For a human."""
    passed: list[bool] | None = None
    """Code, with `allTests`: outcome of each test."""
    missing_walls: list[str] = Field(default_factory=list)
    """Code: walls around the program that the checker's kernel lacks."""

    def grade(self) -> Grade:
        """As a rewarder gives it."""
        passed = None if self.passed is None else tuple(self.passed)
        walls = tuple(self.missing_walls)
        return Grade(self.verdict, self.reward, self.seconds, self.detail, passed, walls)


def limits_of(verifier: Verifier) -> Verifier:
    """What decides verdicts in these settings, without what says where and how fast."""
    return Verifier.parse(settings_for_key(verifier))


def read_request(body: bytes) -> Request:
    """Raises pydantic.ValidationError."""
    return _REQUEST.validate_json(body, strict=True, by_alias=True, by_name=False)


def write_request(setup: Setup, jobs: Sequence[tuple[str, Job]], deadline_seconds: float) -> bytes:
    """The body that asks for jobs (id, job) under a setup."""
    if setup.kind == "math":
        items = [_math_item(name, job) for name, job in jobs]
        request: Request = MathRequest(
            kind="math",
            math_grader=setup.math_grader,
            verifier=limits_of(setup.verifier),
            deadline_seconds=deadline_seconds,
            jobs=items,
        )
    else:
        request = CodeRequest(
            kind="code",
            verifier=limits_of(setup.verifier),
            deadline_seconds=deadline_seconds,
            all_tests=setup.all_tests,
            comparator=setup.comparator,
            jobs=[_code_item(name, job) for name, job in jobs],
        )
    return request.model_dump_json().encode()


def write_grade_line(name: str, grade: Grade) -> bytes:
    """A GradeLine, with its end."""
    line = GradeLine(
        id=name,
        verdict=grade.verdict,
        reward=grade.reward,
        seconds=grade.seconds,
        detail=grade.detail,
        passed=None if grade.passed is None else list(grade.passed),
        missing_walls=list(grade.missing_walls),
    )
    return line.model_dump_json().encode() + b"\n"


def check_tests(content: bytes) -> None:
    """Raise pydantic.ValidationError for what is no packed tests."""
    _TESTS.validate_json(content, strict=True)


def _math_item(name: str, job: Job) -> MathItem:
    assert isinstance(job, MathJob)
    return MathItem(id=name, answer=job.answer, reference=job.reference)


def _code_item(name: str, job: Job) -> CodeItem:
    assert isinstance(job, CodeJob)
    return CodeItem(
        id=name,
        source=job.source,
        before=list(job.before),
        tests=job.digest.hex(),
        limits=Limits(
            seconds=job.limits.seconds,
            memory_mib=job.limits.memory_mib,
            tolerance=job.limits.tolerance,
        ),
    )
