"""Tokens a second of SFT: our packing against TRL's padded, wrapped and bfd, in turns.

Documents have log-normal lengths, as worked answers do, and at most a row's 512 tokens. Every arm
makes as many steps over one set of them, in an order and in rows of its own. Arms that pad take
each once. Arms that pack are given a few more, so that no epoch ends in their turns: its last rows
are left half empty, which is the end of a small set and nothing of a long training. Counted are
tokens of documents, never padding. `wrapped` cuts documents where a row is full; the others don't.
"""

import json
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.contest import Answer, Contestant, in_turns, taken_of, versions_of
from benchmarks.intervals import median_interval
from benchmarks.peers.environments import HERE, environment
from benchmarks.stage_curves import metric
from benchmarks.stage_files import begun_anew, stage_file
from benchmarks.trainer_models import (
    BUILD,
    STORE,
    Subject,
    stage_settings,
    written,
)
from benchmarks.trainer_models import environment as contestants_environment

LAYOUTS = {"ours": "packed", "ours, padded": "padded"}
"""Our arms: what is used by default, and what is for models that cannot be packed."""
OURS = "ours"
ROW = 512
"""Tokens of a row."""
LENGTHS = (4.8, 0.7)
"""Mean and deviation of the logarithm of an answer's tokens: half of them below 120."""
SHORTEST, LONGEST = 16, 440
"""Tokens of an answer; its prompt comes on top."""
CUTS = ("wrapped",)
"""Modes that cut documents."""
BY_LENGTH = "padded, by length"
ROW_BY_ROW = "bfd, row by row"
MODES = ("padded", BY_LENGTH, "wrapped", "bfd", ROW_BY_ROW)
FILLED = 0.98
"""Tokens of the documents by those of the rows that are trained: packing leaves a little room."""
NEAR = 0.01
"""By which the documents' tokens may differ from that."""
FARTHEST = 0.06
"""By which arms may differ in the tokens of their documents: beyond, their steps do not compare.
Rows that are cut full hold some 4 % more than ours, which close with room for no whole document;
of few rows chance makes that more. Rates are by token, and so are not moved by it."""
SPARE_ROWS = 24
"""Of documents beyond those that count: more than our packing holds open at once."""
BLOCKS = 12
"""Of successive turns, at most. Within one the arms' documents even out and the machine is the same
for all; a stall moves one block of twelve, and so hardly their median."""
FEWEST = 3
"""Turns of a block. Of 9 blocks or more the sign test's interval leaves out the smallest and the
largest; of 6 to 8 it ends with them."""
RATE, DECAY = 1.0e-4, 0.01
"""Of both AdamWs."""
WARM_UP = 1
"""Further turns before those that count, on further documents."""


@dataclass(frozen=True)
class Turn:
    """What counts of a turn."""

    seconds: float
    tokens: float
    """Of documents."""


@dataclass(frozen=True)
class Material:
    """What all arms train, and on what."""

    model: Path
    data: Path
    """All documents, as ours reads them."""
    documents: Sequence[dict[str, Any]]
    """Those that count."""
    spare: Sequence[dict[str, Any]]
    turns: int
    """Over which the documents are shared out."""


def sft_section(subject: Subject, turns: int) -> dict[str, Any]:
    """One model, so many steps of each arm."""
    of = material(subject, turns)
    steps = turns + WARM_UP

    def started(arm: str) -> Contestant:
        if arm in LAYOUTS:
            return _ours(subject, arm, of, steps)
        return peer(subject, arm, of, parts_in_contest(subject, arm, of))

    contests = [
        in_turns([started(arm) for arm in arms], steps, f"{subject.name}, {' and '.join(arms)}")
        for arms in subject.sft_contests
    ]
    return {
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "documents": len(of.documents),
        "meanTokens": round(fmean(d["tokens"] for d in of.documents), 1),
        "turns": turns,
        "parts": {
            arm: parts_in_contest(subject, arm, of)
            for arms in subject.sft_contests
            for arm in arms
            if arm in MODES
        },
        **figures_of(contests, subject.sft_rows),
    }


def material(subject: Subject, turns: int) -> Material:
    """Documents that fill so many turns, and the model to train on them."""
    from acereason_trainer.policy.loading import load_tokenizer

    model = _with_weights(subject)
    tokenizer = load_tokenizer(model)
    room = FILLED * ROW * subject.sft_rows * turns
    source = _documents(subject, tokenizer)
    documents = whole_steps(source, room, turns)
    more = math.ceil(len(documents) / turns / subject.sft_rows)
    spare = list(islice(source, more * (SPARE_ROWS + WARM_UP * subject.sft_rows)))
    data = BUILD / f"sft-{subject.name}.jsonl"
    data.write_text("".join(json.dumps(_row(d)) + "\n" for d in [*documents, *spare]))
    return Material(model, data, documents, spare, turns)


def batch_of(subject: Subject, mode: str, of: Material) -> int:
    """Documents of a step of TRL's where they are padded, and rows where they are packed: as many
    tokens as in one of ours."""
    return len(of.documents) // of.turns if mode.startswith("padded") else subject.sft_rows


def divisors(number: int) -> list[int]:
    """Into how many like parts so much can be divided."""
    return [n for n in range(1, number + 1) if number % n == 0]


def parts_in_contest(subject: Subject, mode: str, of: Material) -> int:
    """In how many parts TRL trains on a step's batch in the contest: those that the subject names,
    or fewer where they do not divide it, as of a short contest, whose batch is another."""
    named = subject.sft_rows if mode == ROW_BY_ROW else subject.sft_parts.get(mode, 1)
    return max(n for n in divisors(batch_of(subject, mode, of)) if n <= named)


def whole_steps(
    documents: Iterator[dict[str, Any]], room: float, turns: int
) -> list[dict[str, Any]]:
    """Successive documents of so many tokens, or nearly, that can be shared out to turns evenly."""
    found, tokens = [], 0
    for document in documents:
        found.append(document)
        tokens += document["tokens"]
        number = max(turns, round(room * len(found) / tokens / turns) * turns)
        while len(found) > number:
            tokens -= found.pop(0)["tokens"]
        if len(found) == number and abs(tokens - room) <= NEAR * room:
            return found
    raise ValueError(f"no {turns} steps of the documents have {room:g} tokens")


def in_batches_of_like_length(
    documents: Sequence[dict[str, Any]], size: int, blocks: int
) -> list[dict[str, Any]]:
    """What grouping by length comes to with a large set of documents: each batch of `size` has
    neighbours in length, and batches come in any order. A large set has all lengths in every
    stretch, so each of the successive `blocks` has batches of all."""
    ordered = sorted(documents, key=lambda d: -d["tokens"])
    batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    rng = random.Random("batches")
    alike = [batches[i : i + blocks] for i in range(0, len(batches), blocks)]
    for some in alike:
        rng.shuffle(some)
    dealt = list(chain.from_iterable(alike))
    found = []
    for number in range(blocks):
        block = dealt[number::blocks]
        rng.shuffle(block)
        found += list(chain.from_iterable(block))
    return found


def figures_of(contests: Sequence[Mapping[str, Sequence[Answer]]], rows: int) -> dict[str, Any]:
    """Rates, and ours over TRL's, from what each arm told of its turns: medians over blocks, with
    their 95 % intervals. `whole` is all tokens by all seconds, which one stall decides. What is
    told of ours alone is that of the first contest, and a ratio is that of two who were in one.

    rows: of a step of ours. Raises RuntimeError where the arms' documents had other numbers of
    tokens.
    """
    counted = [
        {arm: [_turn(a, rows) for a in answers[WARM_UP:]] for arm, answers in done.items()}
        for done in contests
    ]
    arms = list(dict.fromkeys(arm for done in contests for arm in done))
    turns = {arm: next(done[arm] for done in counted if arm in done) for arm in arms}
    tokens = {arm: round(sum(t.tokens for t in turns[arm])) for arm in arms}
    if max(tokens.values()) > (1 + FARTHEST) * min(tokens.values()):
        raise RuntimeError(f"arms differ in their documents' tokens: {tokens}")
    rates = [{arm: _rates(some) for arm, some in done.items()} for done in counted]
    all_answers = {arm: [a for done in contests for a in done.get(arm, ())] for arm in arms}
    padding = [metric(a["metrics"], "padding_share") for a in contests[0][OURS][WARM_UP:]]
    return {
        "peerVersions": versions_of(all_answers),
        "tokensPerSecond": {
            arm: {
                "whole": round(_rate(turns[arm]), 1),
                **median_interval(_rates(turns[arm]), 1),
            }
            for arm in arms
        },
        "blocks": len(rates[0][OURS]),
        "documentTokens": tokens,
        "taken": taken_of(all_answers),
        "paddingShare": round(fmean(padding), 4),
        "times": {
            ours: {
                mode: median_interval([a / b for a, b in zip(of[ours], of[mode], strict=True)])
                for mode in MODES
                for of in rates
                if ours in of and mode in of
            }
            for ours in LAYOUTS
            if ours in arms
        },
    }


def best_without_cuts(subject: dict[str, Any]) -> str:
    """TRL's fastest mode that leaves documents whole."""
    times = subject["times"][OURS]
    whole: list[str] = [mode for mode in times if mode not in CUTS]
    return min(whole, key=lambda mode: float(times[mode]["median"]))


def peers_rate(answers: Sequence[Answer], blocks: int) -> dict[str, float]:
    """Tokens a second of what TRL told of its turns: the median over so many blocks of them."""
    turns = [Turn(a["seconds"], a["tokens"]) for a in answers[WARM_UP:]]
    return median_interval(_rates(turns, blocks), 1)


def blocks_of(turns: int) -> int:
    """As many blocks as so many turns fill."""
    return max(1, min(BLOCKS, turns // FEWEST))


def _blocks(turns: Sequence[Turn], blocks: int) -> Iterator[Sequence[Turn]]:
    """Successive turns in parts of like size."""
    ends = [len(turns) * n // blocks for n in range(blocks + 1)]
    return (turns[low:high] for low, high in pairwise(ends))


def _rates(turns: Sequence[Turn], blocks: int | None = None) -> list[float]:
    """Of each block; of as many as so many turns fill, where no number is given."""
    return [_rate(block) for block in _blocks(turns, blocks or blocks_of(len(turns)))]


def _rate(turns: Sequence[Turn]) -> float:
    """Tokens a second."""
    return sum(t.tokens for t in turns) / sum(t.seconds for t in turns)


def _turn(answer: Answer, rows: int) -> Turn:
    """Of ours, which tells how much of its rows is no document's; or of TRL's, which counts."""
    if "metrics" not in answer:
        return Turn(answer["seconds"], answer["tokens"])
    room = rows * ROW
    return Turn(answer["seconds"], room * (1 - metric(answer["metrics"], "padding_share")))


def _with_weights(subject: Subject) -> Path:
    """A folder that TRL can read, too: random weights are made by our loader alone."""
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.policy.exporting import export_model
    from acereason_trainer.policy.loading import load_model, load_tokenizer

    source = subject.base()
    if not (source / "from_config.json").exists():
        return source
    out = BUILD / "tiny-with-weights"
    out.mkdir(parents=True, exist_ok=True)
    model = load_model(source, ModelLoading(dtype="float32"))
    export_model(model, load_tokenizer(source), out)
    return out


def _documents(subject: Subject, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Prompts and answers made of the example's own, cut to a drawn number of tokens."""
    rng = random.Random(f"sft {subject.name}")
    rows = [json.loads(line) for line in (subject.data / "sft.jsonl").read_text().splitlines()]
    rows = [r for r in rows if r.get("domain") == "math"]
    while True:
        row = rng.choice(rows)
        length = min(max(int(rng.lognormvariate(*LENGTHS)), SHORTEST), LONGEST)
        ids: list[int] = []
        while len(ids) < length:
            text = rng.choice(rows)["response"]
            text = text.replace("<think>", "").replace("</think>", "")
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = tokenizer.decode(ids[:length], skip_special_tokens=True)
        prompt = f"{row['problem']}\n\n\n\n"  # as our `plain` template leaves it, without words
        yield {"problem": row["problem"], "prompt": prompt, "answer": answer,
               "tokens": length + len(tokenizer(prompt)["input_ids"]) + 1}  # fmt: skip


def _row(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "problem": document["problem"],
        "response": document["answer"],
        "domain": "math",
    }


def _ours(subject: Subject, arm: str, of: Material, steps: int) -> Contestant:
    settings = stage_settings(subject.example, "sft")["sft"]
    settings |= {
        "budget": {"steps": steps + 1},  # so that the last turn does not end with publishing
        "layout": LAYOUTS[arm],
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "tokensPerMicroBatch": ROW * subject.sft_rows_at_once,
        "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
        "optimizer": {"learningRate": RATE, "weightDecay": DECAY},
        "saving": {"minutesAtRisk": 600},
    }
    name = f"sft-{LAYOUTS[arm]}"
    file = stage_file(STORE, {"sft": settings}, name=name, model=of.model, data=of.data)
    command = (sys.executable, "-m", "benchmarks.trainer_ours", str(begun_anew(file)))
    log = BUILD / "logs" / f"ours-{name}.log"
    return Contestant(arm, command, log, contestants_environment())


def peer(subject: Subject, mode: str, of: Material, parts: int) -> Contestant:
    """TRL in one of its modes. parts: a divisor of a step's batch, of which it trains on so many
    one after the other; one optimizer step of all, whose loss is the mean over all their tokens."""
    batch = batch_of(subject, mode, of)
    name = f"{mode}, {parts}".replace(", ", "-").replace(" ", "-")
    documents = of.documents
    if mode == BY_LENGTH:
        documents = in_batches_of_like_length(documents, batch, blocks_of(of.turns))
    first = len(documents) // of.turns * WARM_UP
    packed = not mode.startswith("padded")
    documents = [*of.spare[:first], *documents, *(of.spare[first:] if packed else ())]
    request = written(
        BUILD / f"trl-sft-{name}.json",
        {
            "kind": "sft",
            "mode": mode,
            "model": str(of.model),
            "output": str(BUILD / "trl"),
            "seed": 0,
            "steps": of.turns + WARM_UP,
            "settings": {
                "learning_rate": RATE,
                "weight_decay": DECAY,
                "max_length": ROW,
                "per_device_train_batch_size": batch // parts,
                "gradient_accumulation_steps": parts,
            },
            "rows": [{"prompt": d["prompt"], "completion": d["answer"]} for d in documents],
        },
    )
    command = (str(environment("trl")), str(HERE / "train_trl.py"), str(request))
    log = BUILD / "logs" / f"trl-sft-{name}.log"
    return Contestant(mode, command, log, contestants_environment())
