"""Tokens a second of SFT: our packing against TRL's padded, wrapped and bfd, in turns.

Documents have log-normal lengths, as worked answers do, and at most a row's 512 tokens. Every arm
is given the same ones, as many as it trains on in its turns: each passes over them once, in an
order and in rows of its own, and its rate is all its documents' tokens by all its seconds. Counted
are tokens of documents, never padding. `wrapped` cuts documents where a row is full; the others
don't.
"""

import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.contest import Answer, Contestant, in_turns
from benchmarks.intervals import quartiles
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
FILLED = 0.97
"""Tokens of the documents by those of the rows that are trained: packing leaves a little room, and
nobody is to leave documents out."""
RATE, DECAY = 1.0e-4, 0.01
"""Of both AdamWs."""
WARM_UP = 1
"""Further turns before those that count: on the documents at the end of an arm's order."""


def sft_section(subject: Subject, turns: int) -> dict[str, Any]:
    """One model, so many steps of each arm."""
    from acereason_trainer.policy.loading import load_tokenizer

    model = _with_weights(subject)
    tokenizer = load_tokenizer(model)
    room = FILLED * ROW * subject.sft_rows * turns
    documents = whole_steps(_documents(subject, tokenizer), room, turns)
    data = BUILD / f"sft-{subject.name}.jsonl"
    data.write_text("".join(json.dumps(_row(d)) + "\n" for d in documents))
    steps = turns + WARM_UP
    contestants = [
        _ours(subject, arm, model, data, steps)
        if arm in LAYOUTS
        else _peer(subject, arm, model, documents, turns)
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
    """Documents of so many tokens at most, as many as can be shared out to the turns evenly."""
    found, tokens = [], 0
    for document in documents:
        tokens += document["tokens"]
        if tokens > room:
            break
        found.append(document)
    return found[: len(found) // turns * turns]


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
    """Rates, and ours over TRL's, from what each arm told of its turns.

    `whole` is that of all turns together; the quartiles are of single turns, which hold other
    documents with every arm.
    """
    counted = {arm: answers[WARM_UP:] for arm, answers in done.items()}
    whole = {
        arm: sum(map(_tokens, answers)) / sum(a["seconds"] for a in answers)
        for arm, answers in counted.items()
    }
    return {
        "tokensPerSecond": {
            arm: {
                "whole": round(whole[arm], 1),
                **quartiles([_tokens(a) / a["seconds"] for a in answers], 1),
            }
            for arm, answers in counted.items()
        },
        "documentTokens": {
            arm: round(sum(map(_tokens, answers))) for arm, answers in counted.items()
        },
        "paddingShare": round(fmean(a["metrics"]["padding_share"] for a in counted[OURS]), 4),
        "times": {
            ours: {mode: round(whole[ours] / whole[mode], 4) for mode in MODES if mode in whole}
            for ours in LAYOUTS
            if ours in whole
        },
    }


def best_without_cuts(subject: dict[str, Any]) -> str:
    """TRL's fastest mode that leaves documents whole."""
    rates = subject["tokensPerSecond"]
    whole = [m for m in MODES if m in rates and m not in CUTS]
    return max(whole, key=lambda m: rates[m]["whole"])


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
    documents: Sequence[dict[str, Any]],
    turns: int,
) -> Contestant:
    name = mode.replace(", ", "-").replace(" ", "-")
    rows = subject.sft_rows
    packed = not mode.startswith("padded")
    # As many tokens in a step as ours: rows where they are packed, documents where they are not.
    batch = rows if packed else len(documents) // turns
    accumulated = batch if mode == "bfd, row by row" else 1
    if mode == BY_LENGTH:
        documents = in_batches_of_like_length(documents, batch)
    if not packed:
        documents = [*documents[-batch * WARM_UP :], *documents]
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
