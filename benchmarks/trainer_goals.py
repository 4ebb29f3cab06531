"""What the trainer must show, each as a figure of the result and a bound."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.rewards_goals import Goal
from benchmarks.trainer_grpo import PEER
from benchmarks.trainer_peer_modes import parts_told, way_of
from benchmarks.trainer_sft import CUTS, OURS

Result = Mapping[str, Any]
FARTHEST = 0.15
"""To which the interval of the difference between final rewards may reach on either side, by what
training has gained. A wider one would hold 0 although one trainer had learned much less."""
SAME_SPEED = 1.1
"""Times another's seconds: a few steps of each tell no smaller difference."""
SAME_LOSS = 1e-5
"""What float32 leaves of a mean over thousands of tokens."""
AGAINST_HASHES = {
    "publishing, times doing it by hand": "publish",
    "publishing, times doing it by hand with the fastest hashes in parallel": "publishOverFastest",
    "verifying, times the speed of sha256sum": "verify",
    "verifying, times the speed of the fastest hashes in parallel": "verifyOverFastest",
}


def goals_of(result: Result) -> list[dict[str, Any]]:
    """Every goal of what was measured, judged."""
    return [goal.judged(dict(result)) for goal in _goals(result)]


def missed(goals: Sequence[Result]) -> list[str]:
    """A sentence for each goal that is not met."""
    return [f"{g['goal']}: {g['measured']:g}, must be {g['asked']}" for g in goals if not g["met"]]


def _goals(result: Result) -> Iterator[Goal]:
    for section in ("grpo", "reward"):
        for model, found in result.get(section, {}).items():
            yield from _goals_of_grpo(section, model, found)
    for model in result.get("peerWays", {}):
        contests = (result.get(section, {}).get(model) for section in ("grpo", "reward"))
        for way in dict.fromkeys(way_in_contest(found) for found in contests if found):
            name = f"{model}: TRL's step in the contest over its fastest way's"
            yield Goal("peerWays", name, _slower_than_fastest(model, way), at_most=SAME_SPEED)
    for model, found in result.get("peerSftWays", {}).items():
        for mode in found["tokensPerSecond"]:
            if (way := sft_way_in_contest(result, model, mode)) is not None:
                name = f"{model}, {mode}: TRL's fastest way's speed over that in the contest"
                faster = _faster_than_contest(model, mode, way)
                yield Goal("peerSftWays", name, faster, at_most=SAME_SPEED)
    for model in result.get("sft", {}):
        name = f"{model}: times TRL's best mode that cuts no document, at least"
        yield Goal("sft", name, _sft_best(model), at_least=1.2)
        name = f"{model}: times TRL's wrapped, at least"
        yield Goal("sft", name, _sft(model, "wrapped"), at_least=1)
    if "loss" in result:
        yield Goal("loss", "peak memory over TRL's", lambda r: _peak(r, PEER), at_most=1)
        yield Goal("loss", "peak memory over torch's", lambda r: _peak(r, "plain torch"), at_most=1)
        yield Goal("loss", "difference of the losses, by ours", _disagreement, at_most=SAME_LOSS)
    if "checkpoint" in result:
        for name, figure in AGAINST_HASHES.items():
            yield Goal("checkpoint", name, _median(figure), at_least=1)


def _goals_of_grpo(section: str, model: str, found: Result) -> Iterator[Goal]:
    for arm in found["times"]:
        yield Goal(section, f"{model}, {arm}: times TRL's speed", _step(model, arm), at_least=1)
        yield Goal(section, f"{model}, {arm}: half of TRL's time", _step(model, arm), at_least=2)
    for arm in found["rewardDifference"] if found["comparesRewards"] else ():
        name = f"{model}, {arm}: distance from 0 of the reward difference's interval"
        yield Goal(section, name, _reward(model, arm), at_most=0)
        name = f"{model}, {arm}: that interval's farther end by the reward gained"
        yield Goal(section, name, _farther_end(model, arm), at_most=FARTHEST)


def _step(model: str, arm: str) -> Callable[[dict[str, Any]], float]:
    return lambda grpo: float(grpo[model]["times"][arm]["median"])


def _reward(model: str, arm: str) -> Callable[[dict[str, Any]], float]:
    """0 where the interval holds 0."""

    def distance(grpo: dict[str, Any]) -> float:
        found = grpo[model]["rewardDifference"][arm]
        return max(0.0, float(found["low"]), -float(found["high"]))

    return distance


def _farther_end(model: str, arm: str) -> Callable[[dict[str, Any]], float]:
    """100 where nothing was gained."""

    def farther(grpo: dict[str, Any]) -> float:
        found, gained = grpo[model]["rewardDifference"][arm], grpo[model]["rewardGained"]
        end = max(abs(found["low"]), abs(found["high"]))
        return min(end / gained, 100.0) if gained > 0 else 100.0

    return farther


def _sft(model: str, mode: str) -> Callable[[dict[str, Any]], float]:
    """The interval's lower end: what chance may have given does not count."""
    return lambda sft: float(sft[model]["times"][OURS][mode]["low"])


def _sft_best(model: str) -> Callable[[dict[str, Any]], float]:
    """Of all modes that cut nothing: which is TRL's best is chance, too."""

    def lowest(sft: dict[str, Any]) -> float:
        times = sft[model]["times"][OURS]
        return min(float(t["low"]) for mode, t in times.items() if mode not in CUTS)

    return lowest


def _disagreement(loss: dict[str, Any]) -> float:
    losses = loss["loss"]
    return max(abs(float(value) / float(losses["ours"]) - 1) for value in losses.values())


def _median(figure: str) -> Callable[[dict[str, Any]], float]:
    return lambda checkpoint: float(checkpoint["times"][figure]["median"])


def way_in_contest(found: Result) -> str:
    """In which TRL took part in a contest of one model."""
    return way_of(found["peerCache"], found["peerPerDeviceBatch"])


def _slower_than_fastest(model: str, way: str) -> Callable[[dict[str, Any]], float]:
    """100 where the way in the contest is none of those that were measured."""

    def slower(ways: dict[str, Any]) -> float:
        medians = {mode: float(s["median"]) for mode, s in ways[model]["seconds"].items()}
        return medians[way] / min(medians.values()) if way in medians else 100.0

    return slower


def sft_way_in_contest(result: Result, model: str, mode: str) -> str | None:
    """How TRL's batches of the mode were divided in the contest that is told; None where the mode
    was in none. A result of before they could be divided names no parts: there was one."""
    found = result.get("sft", {}).get(model)
    if not found or mode not in found["times"][OURS]:
        return None
    return parts_told(found.get("parts", {}).get(mode, 1))


def _faster_than_contest(model: str, mode: str, way: str) -> Callable[[dict[str, Any]], float]:
    """100 where the way in the contest is none of those that were measured."""

    def faster(ways: dict[str, Any]) -> float:
        rates = {w: float(r["median"]) for w, r in ways[model]["tokensPerSecond"][mode].items()}
        return max(rates.values()) / rates[way] if way in rates else 100.0

    return faster


def _peak(loss: dict[str, Any], arm: str) -> float:
    return float(loss["peakMib"]["ours"] / loss["peakMib"][arm])
