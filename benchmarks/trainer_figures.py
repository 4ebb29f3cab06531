"""What is told of the trainer's figures: sentences and tables."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from benchmarks.trainer_goals import Result, missed, sft_way_in_contest, way_in_contest
from benchmarks.trainer_grpo import PEER
from benchmarks.trainer_peer_modes import DIVIDED
from benchmarks.trainer_profile import MODEL
from benchmarks.trainer_sft import CUTS, OURS, best_without_cuts

LEARNS = (
    "The final reward of SmolLM2-135M is compared in a contest of its own, from a start at which "
    "it learns. There are fewer responses of advantage 0, so these times are not those of above:"
)
QUIET = 0.1
"""Of the machine that others may take while a part is measured."""


def tables(result: Result) -> list[str]:
    """Sentences and a table for each section that was measured."""
    made: dict[str, Callable[[Result], list[str]]] = {
        "grpo": _grpo_told,
        "reward": lambda reward: [LEARNS, *_grpo_told(reward)],
        "peerWays": lambda ways: _peer_ways_told(
            ways, {m: way_in_contest(found) for m, found in result.get("grpo", {}).items()}
        ),
        "sft": _sft_told,
        "peerSftWays": lambda ways: _peer_sft_ways_told(
            ways,
            {(m, mode): sft_way_in_contest(result, m, mode) for m in ways for mode in DIVIDED},
        ),
        "loss": _loss_told,
        "push": _push_told,
        "checkpoint": _checkpoint_told,
        "resume": _resume_told,
        "profile": _profile_told,
        "gpu": _gpu_told,
    }
    told = [part for name, tell in made.items() if result.get(name) for part in tell(result[name])]
    failed = result.get("failed", {})
    left_out = [part for part in result.get("missing", ()) if part not in failed]
    told += [f"Not measured, {part}: {why}." for part, why in failed.items()]
    told += _others_told(result.get("measured", {}))
    return [*told, *([f"Not measured yet: {', '.join(left_out)}."] if left_out else [])]


def _others_told(measured: Result) -> list[str]:
    shares = {part: m["othersShare"] for part, m in measured.items() if "othersShare" in m}
    if not shares:
        return []
    listed = ", ".join(
        f"{part} {_percent(share)}" + (" (**disturbed**)" if share > QUIET else "")
        for part, share in shares.items()
    )
    return [f"Of the machine, work of others took meanwhile: {listed}."]


def _taken_told(models: Result) -> str:
    waiting = max(t["waitingCores"] for m in models.values() for t in m["taken"].values())
    memory = "; ".join(
        f"{model}: " + ", ".join(f"{a} {t['peakMib'] / 1024:.1f}" for a, t in m["taken"].items())
        for model, m in models.items()
    )
    return (
        f"Who waits for its turn takes {_percent(waiting)} of a core at most. Largest memory, in "
        f"GiB: {memory}."
    )


def told(result: Result) -> list[str]:
    """The block of docs/performance.md."""
    sentences = [f"Missed: {sentence}." for sentence in missed(result["goals"])]
    what = " of what was measured" if result.get("failed") or result.get("missing") else ""
    return [*tables(result), *(sentences or [f"Every goal{what} is met."])]


def told_in_short(result: Result) -> list[str]:
    """The README's block: how many times TRL's time is ours, step by step."""
    rows = [["a step of", "model", "ours", "TRL", "TRL's time over ours"]]
    for section, where in (("grpo", ""), ("reward", ", where it learns")):
        for model, found in result.get(section, {}).items():
            way = way_in_contest(found)
            for arm, times in found["times"].items():
                rows.append(["GRPO", f"{model}{where}", arm, way, _with_interval(times)])
    for model, found in result["sft"].items():
        for mode in (best_without_cuts(found), *CUTS):
            times = found["times"][OURS][mode]
            rows.append(["SFT", model, OURS, mode, _with_interval(times)])
    number = len(missed(result["goals"]))
    return [
        "Both trainers take turns at every step, on the same prompts or documents, TRL in the "
        "fastest of its ways. Of GRPO's, medians and quartiles over turns; of SFT's, medians and "
        "95 % intervals over blocks of turns, against its best mode that cuts no document and "
        f"against {' and '.join(CUTS)}, which cuts them.",
        _markdown(rows),
        f"{number} of {len(result['goals'])} goals that the command checks are missed; "
        "docs/performance.md names them, with the final rewards and the rest of what was measured."
        if number
        else f"All {len(result['goals'])} goals that the command checks are met.",
    ]


def _grpo_told(grpo: Result) -> list[str]:
    head = ["model", "", "s per step", "TRL's time over ours", "drawn", "trained", "final reward"]
    rows = [head]
    for model, found in grpo.items():
        for arm in [a for a in found["stepSeconds"] if a != PEER] + [PEER]:
            times = found["times"].get(arm)
            rewards = found["finalReward"][arm]
            rows.append(
                [
                    model,
                    arm,
                    _spread(found["stepSeconds"][arm], ".3g"),
                    "" if times is None else _with_interval(times),
                    f"{found['tokensPerStep'][arm]:,}",
                    f"{found['trainedTokensPerStep'][arm]:,}",
                    ", ".join(f"{r:.3f}" for r in rewards),
                ]
            )
    return [
        "GRPO: seconds of a step (median, ± half of the distance between the quartiles), both "
        "trainers taking turns at every step on the same prompts; TRL's time over ours is the "
        "median over turns, with its quartiles. Drawn and trained: tokens of a step, and of its "
        "backward pass. Final reward: mean of the last third of the steps, by seed.",
        *_left_out(grpo),
        _markdown(rows),
        _taken_told(grpo),
        *_differences(grpo),
        *_profile(grpo),
    ]


def _left_out(grpo: Result) -> list[str]:
    shares = [
        f"{100 * (1 - found['trainedTokensPerStep'][arm] / found['tokensPerStep'][arm]):.0f} % of "
        f"them ({model}, {arm})"
        for model, found in grpo.items()
        for arm in found["times"]
    ]
    return [
        "Responses of advantage 0 have no gradient. Ours leaves them out of the backward pass, "
        f"{' and '.join(shares)} by tokens, TRL does not: so much of the difference is the "
        "algorithm's, and not the engineering's."
    ]


def _differences(grpo: Result) -> list[str]:
    what = "Final reward, ours less TRL's, with its 95 % interval over seeds"
    told = []
    for model, found in grpo.items():
        if not found["rewardDifference"]:
            continue
        arms = "; ".join(
            f"{arm}: {d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f}, "
            f"{d['high'] - d['low']:.3f} wide; {_signs(found, arm)})"
            for arm, d in found["rewardDifference"].items()
        )
        first = fmean(steps[0] for of in found["rewards"].values() for steps in of)
        gained = (
            f"the first step's reward was {first:.2f}, and {found['rewardGained']:.3f} were gained "
            f"in {found['turns']} steps"
        )
        few = "" if found["comparesRewards"] else ", too few for the difference to say much"
        told.append(f"{what}, {model}, {found['seeds']} seeds: {arms}; {gained}{few}.")
    return told


def _signs(found: Result, arm: str) -> str:
    """Of how many seeds ours ends higher, and of how many lower."""
    pairs = list(zip(found["finalReward"][PEER], found["finalReward"][arm], strict=True))
    higher, lower = (sum(s * (b - a) > 0 for a, b in pairs) for s in (1, -1))
    return f"higher with {higher} seeds, lower with {lower}"


def _profile(grpo: Result) -> list[str]:
    names = {
        "generate_seconds": "draw",
        "reward_wait_seconds": "wait for verdicts",
        "train_seconds": "train",
        "push_seconds": "push",
    }
    rows = [["our step", "", *names.values()]]
    for model, found in grpo.items():
        for arm, phases in found["phases"].items():
            rows.append([model, arm, *(_milliseconds(phases[p]) for p in names)])
    return ["Where our step's time goes, medians by phase:", _markdown(rows)]


def _peer_ways_told(ways: Result, in_contest: Mapping[str, str]) -> list[str]:
    """in_contest: by model, the way in which TRL took part."""
    told = []
    for model, found in ways.items():
        medians = {mode: float(s["median"]) for mode, s in found["seconds"].items()}
        fastest_first = sorted(medians, key=lambda mode: medians[mode])
        listed = "; ".join(f"{mode}, {medians[mode]:.3g} s" for mode in fastest_first)
        way = in_contest.get(model)
        unknown = "" if way in medians else ", which is none of these"
        chosen = "" if way is None else f" In the contest it has: {way}{unknown}."
        failed = "".join(f" {m} does not work here: {why}." for m, why in found["failed"].items())
        told.append(
            f"TRL's ways to make a step of {model}, the fastest first, medians of a few steps of "
            f"each alone: {listed}.{chosen}{failed}"
        )
    return told


def _peer_sft_ways_told(
    ways: Result, in_contest: Mapping[tuple[str, str], str | None]
) -> list[str]:
    """in_contest: by model and mode, how TRL's batch was divided."""
    told = []
    for model, found in ways.items():
        rows = [["TRL's mode", "the fastest first, document tokens/s", "in the contest"]]
        for mode, rates in found["tokensPerSecond"].items():
            medians = {way: float(rate["median"]) for way, rate in rates.items()}
            fastest_first = sorted(medians, key=lambda way: -medians[way])
            listed = "; ".join(f"{way}, {medians[way]:,.0f}" for way in fastest_first)
            way = in_contest[model, mode]
            unknown = "" if way is None or way in medians else ", which is none of these"
            rows.append([mode, listed, f"{way or ''}{unknown}"])
        failed = "".join(f" {w} does not work here: {why}." for w, why in found["failed"].items())
        told += [
            f"TRL's ways to divide the batch of an SFT step of {model} into parts, one optimizer "
            f"step of all; {found['turns']} turns of each alone, medians over blocks.{failed}",
            _markdown(rows),
        ]
    return told


def _sft_told(sft: Result) -> list[str]:
    arms = list(dict.fromkeys(arm for found in sft.values() for arm in found["tokensPerSecond"]))
    rows = [["document tokens/s", *arms]]
    for model, found in sft.items():
        rates = found["tokensPerSecond"]
        rows.append([model, *(f"{rates[a]['median']:,.0f}" if a in rates else "" for a in arms)])
        for arm, times in found["times"].items():
            cells = (_with_interval(times[a]) if a in times else "" for a in arms)
            rows.append([f"{arm}, times", *cells])
    how = "; ".join(
        f"{model}: {found['turns']} turns in {found['blocks']} blocks, "
        f"{min(found['documentTokens'].values()):,} to {max(found['documentTokens'].values()):,} "
        "tokens of documents in an arm"
        for model, found in sft.items()
    )
    return [
        "SFT on documents of log-normal length in rows of 512 tokens: ours against TRL's modes, "
        "taking turns at every step over one set of documents. Medians over blocks of turns; in "
        "parentheses the 95 % interval of ours over TRL's, whose lower end the goals go by. "
        f"{' and '.join(CUTS)} cuts documents, the others don't. {how}.",
        _markdown(rows),
        _nearest_told(sft),
        _taken_told(sft),
    ]


def _nearest_told(sft: Result) -> str:
    """Each model's smallest ratio: what is said of all modes must hold for it."""
    nearest = []
    for model, found in sft.items():
        times = found["times"][OURS]
        mode = min(times, key=lambda name: float(times[name]["median"]))
        nearest.append(f"{mode} for {model}, {_with_interval(times[mode])} times")
    return f"The mode of TRL's that comes nearest to ours: {'; '.join(nearest)}."


def _loss_told(loss: Result) -> list[str]:
    rows = [["loss and its gradient", *loss["peakMib"]]]
    rows.append(["peak memory", *(f"{v:,} MiB" for v in loss["peakMib"].values())])
    rows.append(["seconds", *(f"{v:.1f}" for v in loss["seconds"].values())])
    return [
        f"{loss['tokens']:,} tokens at a vocabulary of {loss['vocabulary']:,}, float32; ours and "
        f"TRL's compute the entropy, too; medians of {loss['rounds']} processes of each:",
        _markdown(rows),
    ]


def _push_told(push: Result) -> list[str]:
    if "notMeasured" in push:
        return [f"A push of weights to vLLM: not measured; {push['notMeasured']}."]
    rates = push["megabytesPerSecond"]
    return [
        f"A push of {push['model']}'s weights to vLLM ({push['megabytes']:,.0f} MB in float32) "
        f"takes {push['seconds']['median']:.2f} s, which is {_spread(rates['push'], ',.0f')} MB/s: "
        "summed, copied through shared memory, loaded and checked by a probe. One copy in memory "
        f"makes {_spread(rates['copy'], ',.0f')} MB/s.{_made_of(push)}"
    ]


def _made_of(push: Result) -> str:
    """Nothing of a result of before its parts were timed."""
    return f" Of a push's time, {_shares(push['shares'])}." if "shares" in push else ""


def _checkpoint_told(found: Result) -> list[str]:
    rates = found["megabytesPerSecond"]
    rows = [["", *rates], ["MB/s", *(_spread(rates[name], ",.0f") for name in rates)]]
    times = {name: _with_interval(ratios) for name, ratios in found["times"].items()}
    return [
        f"A checkpoint of {found['mib']:,} MiB in {found['shards']} files, {found['rounds']} "
        "rounds; medians with their quartiles. Copies begin with nothing and end flushed to the "
        "disk: by hand, or by publishing, which hashes them too. Hashes are of files in memory, "
        f"ours by {found['threads']['ours']} threads on as many cores as there are.",
        _markdown(rows),
        f"Publishing is {times['publish']} times as fast as doing all that by hand, verifying "
        f"{times['verify']} times as fast as one sha256sum and {times['verifyOverOpenssl']} times "
        "as one openssl.",
        *_over_fastest(found, times),
    ]


def _over_fastest(found: Result, times: Mapping[str, str]) -> list[str]:
    """Nothing of a result of before openssl was tried in parallel: the fastest was not in it."""
    if "fastest" not in found:
        return []
    by_hand, hashing = (found["fastest"][what] for what in ("publish", "verify"))
    return [
        f"Of {found['threads']['parallel']} processes that hash a file each, the fastest is "
        f"{hashing}: verifying is {times['verifyOverFastest']} times as fast. Publishing is "
        f"{times['publishOverFastest']} times as fast as {by_hand}."
    ]


def _resume_told(found: Result) -> list[str]:
    seconds, drawing = found["secondsToNextStep"], found.get("generateSeconds")
    drawn = (
        f"{drawing['median']:.1f} s of that are the step's drawing, since its rollouts were taken "
        "out of the journal"
        if drawing
        else "its rollouts were in the journal and not drawn anew"
    )
    return [
        f"A killed stage of the 0.6M model has made its next step {seconds['median']:.1f} s after "
        f"it was started again (middle half: {seconds['low']:.1f} to {seconds['high']:.1f} s, "
        f"{found['kills']} kills); {drawn}; loading torch and transformers alone takes "
        f"{found['importSeconds']['median']:.1f} s."
    ]


def _profile_told(profile: Result) -> list[str]:
    sft = profile["sft"]
    how = (
        f"Shares of the passes are those seen by a profiler, which made them "
        f"{sft['slowedByProfiler']:.2f} times as long."
        if "slowedByProfiler" in sft
        else "Operations were timed under a profiler, which slows them, and the whole without one."
    )
    of_sft = (
        f"Where a step of SFT goes (the 0.6M, packed): of {sft['millisecondsPerStep']:.0f} ms, "
        f"{_shares(sft['shares'])}. {how}"
    )
    if "vllm" not in profile:
        return [of_sft]
    vllm = profile["vllm"]
    beside = 100 * (1 - vllm["shares"][MODEL])
    return [
        of_sft,
        f"Where vLLM's drawing goes (the 0.6M, {vllm['responses']} responses at once): of "
        f"{vllm['millisecondsPerStep']:.1f} ms for one token of each, {_shares(vllm['shares'])}. "
        f"So {beside:.0f} % is not the model's own arithmetic.",
    ]


def _shares(shares: Mapping[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in ordered)


def _gpu_told(gpu: Result) -> list[str]:
    if "notMeasured" in gpu:
        return [f"On a GPU: not measured; {gpu['notMeasured']}."]
    head = ["", "SFT, tokens/s", "MFU", "RL, tokens/s", "MFU", "drawn/s", "trained/s"]
    seconds = ["seconds of an RL step", "all", "push and sleep", "draw", "wait", "train"]
    rates, phases = [head], [seconds]
    for shape, found in gpu["shapes"].items():
        sft, rl = found["sft"], found["rl"]
        rates.append(
            [
                shape,
                f"{sft['documentTokensPerSecond']:,.0f}",
                _percent(sft["mfu"]),
                f"{rl['deviceTokensPerSecond']:,.0f}",
                _percent(rl["mfu"]),
                f"{rl['drawnTokensPerSecond']:,.0f}",
                f"{rl['trainedTokensPerSecond']:,.0f}",
            ]
        )
        phases.append(
            [shape, f"{rl['stepSeconds']:.2f}", *(f"{s:.2f}" for s in rl["seconds"].values())]
        )
    return [
        f"On one {gpu['device']}, random weights in {gpu['dtype']}, {gpu['sampler']} drawing "
        "beside the trainer; responses have the lengths that chance gives them:",
        _markdown(rates),
        _markdown(phases),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


def _with_interval(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f} %"


def _spread(figures: Mapping[str, float], form: str) -> str:
    half = 50 * (figures["high"] - figures["low"]) / figures["median"]
    return f"{figures['median']:{form}} ±{half:.0f} %"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
