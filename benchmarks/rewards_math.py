"""Math pairs a second, latencies and verdicts: ours beside math-verify's.

The pairs are math-verify's own test pairs and as many generated ones, of which it is known what the
verdict must be. Every pair of which the two checkers say different things must stand in
peers/math_verify_disagreements.json with the reason.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.environments import HERE, source
from benchmarks.rewards_contest import Case, Rounds, contest, math_contestants, percentile, spread
from benchmarks.rewards_pairs import Pair, generated_pairs
from benchmarks.rewards_peer_pairs import pairs_of_math_verify

DISAGREEMENTS = HERE / "math_verify_disagreements.json"
OWN, GENERATED = "math-verify's own", "generated"
NAMES = ("reference", "answer", "ours")
"""Of what tells one disagreement from another."""
Result = dict[str, Any]


def math_section(rounds: int, generated: int) -> Result:
    """Pairs a second, latencies and verdicts of both checkers."""
    pairs = {
        OWN: pairs_of_math_verify(source("math_verify", "math-verify")),
        GENERATED: generated_pairs(generated),
    }
    sets = {name: [_math_case(p) for p in those] for name, those in pairs.items()}
    warm_up = [_math_case(p) for p in generated_pairs(20, seed=1, lane="symbolic")]
    done = contest(math_contestants(), "math", sets, warm_up, rounds)
    listed = json.loads(DISAGREEMENTS.read_text())
    every = [p for those in pairs.values() for p in those]
    said = {name: [v for s in sets for v in by_set[s].verdicts[0]] for name, by_set in done.items()}
    return {
        "versions": done["math-verify"][OWN].versions,
        "sets": {name: _math_figures(done, name, len(cases)) for name, cases in sets.items()},
        **{name: _latencies(list(by_set.values())) for name, by_set in done.items()},
        "changing": sum(len(done["ours"][name].changing) for name in sets),
        "agreement": agreement(every, said["ours"], said["math-verify"], listed),
        "generatedMistakes": {
            name: _mistakes(pairs[GENERATED], by_set[GENERATED].verdicts[0])
            for name, by_set in done.items()
        },
    }


def _math_case(pair: Pair) -> Case:
    return {"answer": pair.reference, "response": pair.response}


def _math_figures(done: Mapping[str, Mapping[str, Rounds]], name: str, count: int) -> Result:
    rates = {c: spread([count / s for s in rounds[name].seconds], 1) for c, rounds in done.items()}
    return {
        "pairs": count,
        "pairsPerSecond": rates,
        "times": round(rates["ours"]["median"] / rates["math-verify"]["median"], 2),
        **{c: _latencies([rounds[name]]) for c, rounds in done.items()},
    }


def _latencies(rounds: Sequence[Rounds]) -> dict[str, float]:
    values = [seconds for r in rounds for seconds in r.latencies]
    shares = {"p50Ms": 0.5, "p90Ms": 0.9, "p99Ms": 0.99}
    return {name: round(1000 * percentile(values, share), 3) for name, share in shares.items()}


def agreement(
    pairs: Sequence[Pair],
    ours: Sequence[str],
    theirs: Sequence[str],
    listed: Sequence[Mapping[str, Any]],
) -> Result:
    """Where the two checkers differ, which differences have no listed reason, which are gone.

    listed: [{reason, pairs: [{reference, answer, ours}]}]; `ours` is our verdict, `correct` or
    `wrong`, and theirs is the other.
    """
    reasons = {
        (p["reference"], p["answer"], p["ours"]): entry["reason"]
        for entry in listed
        for p in entry["pairs"]
    }
    differing = [
        (p.reference, p.answer, "correct" if our == "correct" else "wrong")
        for p, our, their in zip(pairs, ours, theirs, strict=True)
        if (our == "correct") != (their == "correct")
    ]
    by_reason = Counter(reasons[d] for d in differing if d in reasons)
    return {
        "pairs": len(pairs),
        "disagreements": len(differing),
        "byReason": dict(by_reason.most_common()),
        "unlisted": [dict(zip(NAMES, d, strict=True)) for d in differing if d not in reasons],
        "listedButAgreed": [
            dict(zip(NAMES, d, strict=True)) for d in reasons if d not in differing
        ],
    }


def _mistakes(pairs: Sequence[Pair], verdicts: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs made to be right or wrong of which a checker says something else."""
    return [
        {"reference": p.reference, "answer": p.answer, "right": p.right, "verdict": v}
        for p, v in zip(pairs, verdicts, strict=True)
        if (v == "correct") != p.right
    ]
