"""Reading where stages are: little is asked of what answers, and nothing is believed of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from acereason_operator.runtime import progress
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.progress import ProgressReader, Source
from acereason_trainer.config.stage_file import Progress
from aiohttp import web

from tests.waiting import PATIENCE

RUN = ("default", "r")
SAID = Progress(step=7, total=100, metrics={"reward": 0.5})


@dataclass
class Rank:
    """What listens on rank 0's port."""

    body: bytes = field(default_factory=lambda: SAID.model_dump_json(by_alias=True).encode())
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    port: int = 0
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(3600 if self.hangs else 0.01)
        finally:
            self.at_once -= 1
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@asynccontextmanager
async def serving(rank: Rank) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_get("/{path:.*}", rank.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rank.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


@dataclass
class Reading:
    """A reader, and what it told."""

    reader: ProgressReader
    metrics: Metrics
    changed: list[tuple[str, str]]

    def reads(self, result: str) -> float:
        """Reads with a result, so far."""
        value = self.metrics.registry.get_sample_value(
            "acereason_progress_reads_total", {"result": result}
        )
        return value or 0.0


@asynccontextmanager
async def reading(every: float = 0.05) -> AsyncIterator[Reading]:
    changed: list[tuple[str, str]] = []
    metrics = Metrics()
    reader = ProgressReader(every, changed.append, metrics)
    try:
        yield Reading(reader, metrics, changed)
    finally:
        await reader.stop()


async def until(holds: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # type: ignore[operator]
            await asyncio.sleep(0.01)


def of(rank: Rank, job: str = "uid-1") -> frozenset[Source]:
    return frozenset({Source(job, "r-sft-1-train-0", "127.0.0.1", rank.port)})


def test_a_step_is_read_and_the_run_is_looked_at_once_for_it() -> None:
    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.reads("read") >= 3)
            assert seen.reader.last("uid-1") == SAID
            assert seen.changed == [RUN], "the same step is no news"
            first = seen.reader.since("uid-1")
            assert first is not None
            rank.body = SAID.model_copy(update={"step": 8}).model_dump_json(by_alias=True).encode()
            await until(lambda: len(seen.changed) == 2)
            assert first < seen.reader.since("uid-1")
            seen.reader.follow(RUN, frozenset())
            assert seen.reader.since("uid-1") is None

    asyncio.run(story())


BAD = {
    "a redirect is not followed": Rank(status=302, headers={"Location": "http://127.0.0.1:1/x"}),
    "an error": Rank(status=500),
    "something else than progress": Rank(body=b'{"hello": 1}'),
    "no JSON": Rank(body=b"\xff\xfe"),
    "more than 16 KiB": Rank(body=b" " * 20_000),
    "a negative step": Rank(body=b'{"step": -1}'),
}


@pytest.mark.parametrize("rank", BAD.values(), ids=BAD.keys())
def test_what_is_no_progress_is_not_believed_and_is_no_error(rank: Rank) -> None:
    async def story() -> None:
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.reads("unreachable") + seen.reads("unreadable") >= 2)
            assert seen.reader.last("uid-1") is None
            assert seen.changed == []

    asyncio.run(story())


def test_the_last_step_stands_while_a_rank_does_not_answer() -> None:
    async def story() -> None:
        rank = Rank()
        async with reading() as seen:
            async with serving(rank):
                seen.reader.follow(RUN, of(rank))
                await until(lambda: seen.reads("read") >= 1)
            await until(lambda: seen.reads("unreachable") >= 2)
            assert seen.reader.last("uid-1") == SAID

    asyncio.run(story())


def test_a_rank_that_stops_answering_is_told_of_after_three_reads_and_until_it_answers() -> None:
    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.changed)
            rank.status = 500
            await until(lambda: len(seen.changed) == 2)
            assert seen.reads("unreadable") == progress.FAILURES
            told = seen.reader.unknown("uid-1")
            assert told == (
                f"pod r-sft-1-train-0 at 127.0.0.1:{rank.port}: it answers 500 to GET /progress"
            )
            await until(lambda: seen.reads("unreadable") > 2 * progress.FAILURES)
            assert len(seen.changed) == 2, "the same trouble is no news"
            assert seen.reader.last("uid-1") == SAID
            rank.status = 200
            await until(lambda: len(seen.changed) == 3)
            assert seen.reader.unknown("uid-1") == ""

    asyncio.run(story())


def test_a_rank_that_never_answered_may_be_loading_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But not for ever."""
    rank = Rank(status=404)

    async def story(reads: int) -> str | None:
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.reads("unreadable") >= reads)
            return seen.reader.unknown("uid-1")

    assert asyncio.run(story(2 * progress.FAILURES)) is None
    monkeypatch.setattr(progress, "LOADING", 0.0)
    assert "404" in (asyncio.run(story(progress.FAILURES + 1)) or "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "; try: let the operator reach that port; a NetworkPolicy may be in its way"),
        (b"<html>Hello</html>", "it answers with something else than its progress: b'<html>Hello"),
        (b" " * 20_000, "it answers with more than 16384 bytes"),
    ],
    ids=["nothing listens", "another server", "a flood"],
)
def test_only_where_nothing_answers_a_network_policy_is_suspected(
    body: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOADING", 0.0)

    async def story() -> None:
        async with reading() as seen:
            rank = Rank()
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(serving(rank))
                if body is None:
                    await stack.aclose()
                else:
                    rank.body = body
                seen.reader.follow(RUN, of(rank))
                await until(lambda: seen.reader.unknown("uid-1"))
            told = seen.reader.unknown("uid-1") or ""
            assert said in told
            assert ("NetworkPolicy" in told) == (body is None)

    asyncio.run(story())


def test_a_job_that_is_no_longer_followed_is_not_told_of() -> None:
    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.changed)
            rank.status = 500
            await until(lambda: seen.reader.unknown("uid-1"))
            seen.reader.follow(RUN, frozenset())
            assert seen.reader.unknown("uid-1") is None

    asyncio.run(story())


def test_a_rank_that_hangs_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TIMEOUT", progress.aiohttp.ClientTimeout(total=0.05))

    async def story() -> None:
        rank = Rank(hangs=True)
        async with serving(rank), reading() as seen:
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.reads("unreachable") >= 2)

    asyncio.run(story())


def test_a_job_that_is_no_longer_followed_is_no_longer_asked() -> None:
    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            before = asyncio.all_tasks()
            seen.reader.follow(RUN, of(rank))
            (asking,) = asyncio.all_tasks() - before
            await until(lambda: seen.reads("read") >= 1)
            seen.reader.follow(RUN, frozenset())
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([asking])
            assert seen.reader.last("uid-1") is None

    asyncio.run(story())


def test_once_stopped_nothing_is_followed_until_it_goes_on() -> None:
    """A reconcile that was under way may ask for it late."""

    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            await seen.reader.stop()
            before = asyncio.all_tasks()
            seen.reader.follow(RUN, of(rank))
            assert asyncio.all_tasks() == before
            seen.reader.go_on()
            seen.reader.follow(RUN, of(rank))
            await until(lambda: seen.reads("read") >= 1)

    asyncio.run(story())


def test_few_are_asked_at_once() -> None:
    async def story() -> None:
        rank = Rank()
        async with serving(rank), reading() as seen:
            for i in range(200):
                seen.reader.follow(("default", f"r{i}"), of(rank, f"uid-{i}"))
            await until(lambda: seen.reads("read") >= 400)
            assert rank.most_at_once <= progress.AT_ONCE

    asyncio.run(story())
