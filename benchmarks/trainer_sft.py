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
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.contest import Answer, Contestant, in_turns, taken_of
from benchmarks.intervals import median_interval
from benchmarks.peers.environments import HERE, environment
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
MODES = ("padded", BY_LENGTH, "wrapped", "bfd", "bfd, row by row")
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
"""Of successive turns. Within one the arms' documents even out and the machine is the same for all;
a stall moves one block of twelve, and so hardly their median."""
RATE, DECAY = 1.0e-4, 0.01
"""Of both AdamWs."""
WARM_UP = 1
"""Further turns before those that count, on further documents."""


def sft_section(subject: Subject, turns: int) -> dict[str, Any]:
    """One model, so many steps of each arm."""
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
    steps = turns + WARM_UP
    contestants = [
        _ours(subject, arm, model, data, steps)
        if arm in LAYOUTS
        else _peer(subject, arm, model, (documents, spare), turns)
        for arm in subject.sft_arms
    ]
    done = in_turns(contestants, steps, f"{subject.name}, turns")
    return {
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "documents": len(documents),
        "meanTokens": round(fmean(d["tokens"] for d in documents), 1),
        "turns": turns,
        **figures_of(done),
    }


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
    documents: Sequence[dict[str, Any]], size: int
) -> list[dict[str, Any]]:
    """What grouping by length comes to with a large set of documents: each batch of `size` has
    neighbours in length, and batches come in any order."""
    ordered = sorted(documents, key=lambda d: -d["tokens"])
    batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    random.Random("batches").shuffle(batches)
    return [document for batch in batches for document in batch]


def figures_of(done: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Rates, and ours over TRL's, from what each arm told of its turns: medians over blocks, with
    their 95 % intervals. `whole` is all tokens by all seconds, which one stall decides.

    Raises RuntimeError where the arms' documents had other numbers of tokens.
    """
    counted = {arm: answers[WARM_UP:] for arm, answers in done.items()}
    tokens = {arm: round(sum(map(_tokens, answers))) for arm, answers in counted.items()}
    if max(tokens.values()) > (1 + FARTHEST) * min(tokens.values()):
        raise RuntimeError(f"arms differ in their documents' tokens: {tokens}")
    rates = {arm: [_rate(block) for block in _blocks(answers)] for arm, answers in counted.items()}
    return {
        "tokensPerSecond": {
            arm: {"whole": round(_rate(answers), 1), **median_interval(rates[arm], 1)}
            for arm, answers in counted.items()
        },
        "blocks": len(rates[OURS]),
        "documentTokens": tokens,
        "taken": taken_of(done),
        "paddingShare": round(fmean(a["metrics"]["padding_share"] for a in counted[OURS]), 4),
        "times": {
            ours: {
                mode: median_interval(
                    [a / b for a, b in zip(rates[ours], rates[mode], strict=True)]
                )
                for mode in MODES
                if mode in rates
            }
            for ours in LAYOUTS
            if ours in rates
        },
    }


def best_without_cuts(subject: dict[str, Any]) -> str:
    """TRL's fastest mode that leaves documents whole."""
    times = subject["times"][OURS]
    return min((m for m in times if m not in CUTS), key=lambda m: float(times[m]["median"]))


def _blocks(answers: Sequence[Answer]) -> Iterator[Sequence[Answer]]:
    """Successive turns in BLOCKS parts of like size, or one by one where there are fewer."""
    parts = min(BLOCKS, len(answers))
    ends = [len(answers) * n // parts for n in range(parts + 1)]
    return (answers[low:high] for low, high in pairwise(ends))


def _rate(answers: Sequence[Answer]) -> float:
    """Tokens a second."""
    return sum(map(_tokens, answers)) / sum(a["seconds"] for a in answers)


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


def _ours(subject: Subject, arm: str, model: Path, data: Path, steps: int) -> Contestant:
    settings = stage_settings(subject.example, "sft")["sft"]
    settings |= {
        "budget": {"steps": steps + 1},  # so that the last turn does not end with publishing
        "layout": LAYOUTS[arm],
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "tokensPerMicroBatch": ROW * subject.sft_rows,
        "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
        "optimizer": {"learningRate": RATE, "weightDecay": DECAY},
        "saving": {"minutesAtRisk": 600},
    }
    name = f"sft-{LAYOUTS[arm]}"
    file = stage_file(STORE, {"sft": settings}, name=name, model=model, data=data)
    command = (sys.executable, "-m", "benchmarks.trainer_ours", str(begun_anew(file)))
    log = BUILD / "logs" / f"ours-{name}.log"
    return Contestant(arm, command, log, contestants_environment())


def _peer(
    subject: Subject,
    mode: str,
    model: Path,
    some: tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]],
    turns: int,
) -> Contestant:
    """some: the documents that count, and the spare ones."""
    documents, spare = some
    name = mode.replace(", ", "-").replace(" ", "-")
    rows = subject.sft_rows
    packed = not mode.startswith("padded")
    # As many tokens in a step as ours: rows where they are packed, documents where they are not.
    batch = rows if packed else len(documents) // turns
    accumulated = batch if mode == "bfd, row by row" else 1
    if mode == BY_LENGTH:
        documents = in_batches_of_like_length(documents, batch)
    first = len(documents) // turns * WARM_UP
    documents = [*spare[:first], *documents, *(spare[first:] if packed else ())]
    request = written(
        BUILD / f"trl-sft-{name}.json",
        {
            "kind": "sft",
            "mode": mode,
            "model": str(model),
            "output": str(BUILD / "trl"),
            "seed": 0,
            "steps": turns + WARM_UP,
            "settings": {
                "learning_rate": RATE,
                "weight_decay": DECAY,
                "max_length": ROW,
                "per_device_train_batch_size": batch // accumulated,
                "gradient_accumulation_steps": accumulated,
            },
            "rows": [{"prompt": d["prompt"], "completion": d["answer"]} for d in documents],
        },
    )
    command = (str(environment("trl")), str(HERE / "train_trl.py"), str(request))
    log = BUILD / "logs" / f"trl-sft-{name}.log"
    return Contestant(mode, command, log, contestants_environment())


def _tokens(answer: Answer) -> float:
    """Tokens of the documents of one turn."""
    if "metrics" not in answer:
        return float(answer["tokens"])
    row = answer["metrics"]
    return float(row["tokens_per_second"] * row["train_seconds"])
