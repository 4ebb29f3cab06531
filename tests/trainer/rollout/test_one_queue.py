"""All engines take from one queue: none idles while another one has more than it draws at once."""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.rollout.engine_messages import Asked, Drawn
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.vllm_sampler import AGREE, VLLMSampler

RESPONSES = 12


class OneOfTwo(Peers):
    """A rank of two whose numbers come from one counter."""

    world = 2

    def __init__(self, rank: int, numbers: Callable[[], int]) -> None:
        self.rank = rank
        self._numbers = numbers

    def queue(self, name: str) -> Callable[[], int]:
        return self._numbers


class OneAtATime:
    """An engine that draws what it was asked for, one by one, once it is let."""

    def __init__(self, begins: Event) -> None:
        self.asked: list[Asked] = []
        self._begins = begins

    def call(self, method: str, *arguments: Any) -> int:
        return {"attach": 0, "cache_tokens": 1}[method]

    def add(self, asked: Sequence[Asked]) -> None:
        self.asked += asked

    def drawn(self) -> list[Drawn]:
        assert self._begins.wait(60)
        return [Drawn(self.asked[-1].number, (5,), (0.0,), "length")]


def test_what_one_engine_cannot_begin_the_other_one_draws_in_order(
    tmp_path: Path, tiny_model: Path
) -> None:
    """The first engine is in the middle of its first response until all others are done."""
    others_are_done, at_once = Event(), Event()
    at_once.set()
    engines = [OneAtATime(others_are_done), OneAtATime(at_once)]
    numbers = count().__next__
    requests = [SampleRequest("p", (5, 6), n, n) for n in range(RESPONSES)]
    heard: list[list[Completion]] = [[], []]

    def draw(rank: int) -> None:
        peers: Any = OneOfTwo(rank, numbers)
        engine: Any = engines[rank]
        journal = ResponseJournal(Journal(tmp_path / "journal"), rank)
        journal.drawn_from("weights", {})
        sampler = VLLMSampler(
            engine,
            load_tokenizer(tiny_model),
            engines=2,
            number=rank,
            sequences=1,
            longest=64,
            limit=AGREE["float32"],
            vocabulary=98,
            journal=journal,
            peers=peers,
        )
        sampler.generate(requests, SamplingParams(1.0, 1.0, 1), heard[rank].extend)

    first = Thread(target=draw, args=(0,))
    first.start()
    draw(1)
    others_are_done.set()
    first.join(60)
    drawn = [[c.request.sample for c in of_rank] for of_rank in heard]
    assert drawn == [[0], list(range(1, RESPONSES))]


class Short:
    """An engine whose cache is for 30 sequences of the longest kind, and whose responses are as
    short as can be."""

    def __init__(self) -> None:
        self.under_way: list[Asked] = []
        self.begun: list[int] = []

    def call(self, method: str, *arguments: Any) -> int:
        return {"attach": 0, "cache_tokens": 20 * LONGEST, "sleep": 0}[method]

    def add(self, asked: Sequence[Asked]) -> None:
        if asked and not self.under_way:
            self.begun.append(len(asked))
        self.under_way += asked

    def drawn(self) -> list[Drawn]:
        return [Drawn(self.under_way.pop(0).number, (5,), (0.0,), "length")]


LONGEST = 64


def test_a_drawing_begins_with_as_many_as_the_one_before_has_shown_room_for(
    tiny_model: Path,
) -> None:
    """Also where no push lies between them, as in a measurement."""
    engine: Any = Short()
    sampler = VLLMSampler(
        engine,
        load_tokenizer(tiny_model),
        engines=1,
        number=0,
        sequences=256,
        longest=LONGEST,
        limit=AGREE["float32"],
        vocabulary=98,
        journal=None,
        peers=ALONE,
    )
    requests = [SampleRequest("p", (5, 6), n, n) for n in range(1000)]
    for _ in range(2):
        drawn = sampler.generate(requests, SamplingParams(1.0, 1.0, 62), lambda done: None)
        assert len(drawn) == len(requests)
    assert engine.begun == [30, 256]
