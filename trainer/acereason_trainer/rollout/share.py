"""Which requests of a drawing an engine has under way: its share, of which it is dealt the first.

Requests are numbered, longest expected first. Each engine is dealt some of them in turn, as many as
each has room for at once; the others are one queue, from which all engines take as their responses
end: none idles while another one has more than it can begin.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice, takewhile

CROWD = 1.5
"""How many times the responses that would fill its cache at their full length an engine has under
way. They are half as long, on average; too many, and those that lose their place wait at this
engine while another one has nothing left to do."""


@dataclass
class Capacity:
    """How many responses an engine has under way at once."""

    cache_tokens: int
    sequences: int
    """That it decodes at once at most."""
    tokens_each: float
    """A prompt and its response, on average, as far as is known before a drawing."""

    def at_once(self, tokens: int = 0, ended: int = 0, under_way: int = 1) -> int:
        """How many there is room for.

        tokens: of a drawing's responses that have ended, with their prompts. Those that are under
        way are taken to be as long as was known before it: the first to end are short.
        """
        each = (tokens + under_way * self.tokens_each) / (ended + under_way)
        return max(1, min(self.sequences, int(CROWD * self.cache_tokens / each)))


@dataclass
class Share:
    """Of one engine in one drawing."""

    requests: int
    """Of the drawing."""
    engine: int
    engines: int
    dealt: int
    """To each engine, the same number at all of them: so no two begin one request."""
    capacity: Capacity
    take: Callable[[], int]
    """The queue of all engines: 0, 1, 2 ... of those that nobody was dealt."""
    under_way: set[int] = field(default_factory=set, init=False)
    _tokens: int = field(default=0, init=False)
    _ended: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._even = -(-self.requests // self.engines)
        self._dealt = min(self.dealt, self._even)
        left = (self._dealt * self.engines + self.take() for _ in count())
        self._queue: Iterator[int] = takewhile(lambda number: number < self.requests, left)

    def begin(self) -> list[int]:
        """What the engine draws first. Where it has drawn shorter responses since all agreed on
        what is dealt, it takes more; not more than its even part, or others had nothing to do."""
        self.under_way |= set(
            range(self.requests)[self.engine : self._dealt * self.engines : self.engines]
        )
        self._fill(min(self.capacity.at_once(), self._even))
        return sorted(self.under_way)

    def go_on(self, ended: Mapping[int, int]) -> list[int]:
        """What the engine begins in the place of what has ended; more, where responses turn out to
        be shorter than was known. ended: tokens of the prompt and the response, by request."""
        self.under_way -= set(ended)
        self._ended += len(ended)
        self._tokens += sum(ended.values())
        room = self.capacity.at_once(self._tokens, self._ended, len(self.under_way))
        return self._fill(max(self._dealt, room))

    def _fill(self, wanted: int) -> list[int]:
        more = list(islice(self._queue, max(0, wanted - len(self.under_way))))
        self.under_way |= set(more)
        return more
