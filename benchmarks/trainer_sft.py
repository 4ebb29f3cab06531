"""Tokens a second of SFT: our packing against TRL's padded, wrapped and bfd, in turns.

Documents have log-normal lengths, as worked answers do, and at most a row's 512 tokens. Counted are
tokens of documents, never padding. `wrapped` cuts documents where a row is full; the others don't.
"""

import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.contest import Answer, Contestant, in_turns
from benchmarks.intervals import quartiles
from benchmarks.peers.environments import HERE, environment
from benchmarks.stage_files import path_of, stage_file
from benchmarks.trainer_models import (
    BUILD,
    STORE,
    Subject,
    stage_settings,
    written,
)
from benchmarks.trainer_models import environment as contestants_environment

LAYOUTS = {"ours": "auto", "ours, packed": "packed"}
"""Our arms: `auto` is padded on a CPU and packed on a GPU."""
OURS = "ours"
ROW = 512
"""Tokens of a row."""
LENGTHS = (4.8, 0.7)
"""Mean and deviation of the logarithm of an answer's tokens: half of them below 120."""
SHORTEST, LONGEST = 16, 440
"""Tokens of an answer; its prompt comes on top."""
CUTS = ("wrapped",)
"""Modes that cut documents."""
MODES = ("padded", "padded, by length", "wrapped", "bfd", "bfd, row by row")
WARM_UP = 1


def sft_section(subjects: Sequence[Subject], turns: int | None) -> dict[str, Any]:
    """Each model; turns: where another number than the subject's is wanted."""
    return {s.name: _of_subject(s, turns or s.sft_turns) for s in subjects}


def _of_subject(subject: Subject, turns: int) -> dict[str, Any]:
    from acereason_trainer.policy.loading import load_tokenizer

    print(f"  {subject.name} ...", flush=True)
    model = _with_weights(subject)
    tokenizer = load_tokenizer(model)
    # Enough for every arm: the most that a step can hold is a full row of the shortest.
    documents = list(islice(_documents(subject, tokenizer), 40 * subject.sft_rows * turns))
    mean = fmean(d["tokens"] for d in documents)
    data = BUILD / f"sft-{subject.name}.jsonl"
    data.write_text("".join(json.dumps(_row(d)) + "\n" for d in documents))
    contestants = [_ours(subject, arm, model, data, turns) for arm in LAYOUTS]
    contestants += [_peer(subject, mode, model, documents, mean, turns) for mode in MODES]
    done = in_turns(contestants, turns)
    return {
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "meanTokens": round(mean, 1),
        "turns": turns,
        **figures_of(done),
    }


def figures_of(done: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Rates, and ours over TRL's, from what each arm told of its turns."""
    rates = {arm: [_rate(a) for a in answers[WARM_UP:]] for arm, answers in done.items()}
    return {
        "tokensPerSecond": {arm: quartiles(values, 1) for arm, values in rates.items()},
        "paddingShare": round(fmean(a["metrics"]["padding_share"] for a in done[OURS]), 4),
        "times": {
            ours: {
                mode: quartiles([a / b for a, b in zip(rates[ours], rates[mode], strict=True)])
                for mode in MODES
            }
            for ours in LAYOUTS
        },
    }


def best_without_cuts(subject: dict[str, Any]) -> str:
    """TRL's fastest mode that leaves documents whole."""
    rates = subject["tokensPerSecond"]
    return max((m for m in MODES if m not in CUTS), key=lambda m: rates[m]["median"])


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


def _ours(subject: Subject, arm: str, model: Path, data: Path, turns: int) -> Contestant:
    settings = stage_settings(subject.example, "sft")["sft"]
    settings |= {
        "budget": {"steps": turns + 1},  # so that the last turn does not end with publishing
        "layout": LAYOUTS[arm],
        "rowTokens": ROW,
        "rowsPerStep": subject.sft_rows,
        "tokensPerMicroBatch": ROW * subject.sft_rows,
        "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
        "optimizer": {"learningRate": 1.0e-4},
        "saving": {"minutesAtRisk": 600},
    }
    name = f"sft-{LAYOUTS[arm]}"
    file = stage_file(STORE, {"sft": settings}, name=name, model=model, data=data)
    command = (sys.executable, "-m", "benchmarks.trainer_ours", str(path_of(file)))
    log = BUILD / "logs" / f"ours-{name}.log"
    return Contestant(arm, command, log, contestants_environment())


def _peer(
    subject: Subject,
    mode: str,
    model: Path,
    documents: Sequence[dict[str, Any]],
    mean: float,
    turns: int,
) -> Contestant:
    name = mode.replace(", ", "-").replace(" ", "-")
    rows = subject.sft_rows
    packed = not mode.startswith("padded")
    # As many tokens in a step as ours: rows where they are packed, documents where they are not.
    batch = rows if packed else max(1, round(rows * ROW / mean))
    accumulated = batch if mode == "bfd, row by row" else 1
    request = written(
        BUILD / f"trl-sft-{name}.json",
        {
            "kind": "sft",
            "mode": mode,
            "model": str(model),
            "output": str(BUILD / "trl"),
            "seed": 0,
            "steps": turns,
            "settings": {
                "learning_rate": 1.0e-4,
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


def _rate(answer: Answer) -> float:
    """Document tokens a second."""
    if "metrics" not in answer:
        return float(answer["tokens"] / answer["seconds"])
    row = answer["metrics"]
    return float(row["tokens_per_second"] * row["train_seconds"] / answer["seconds"])
