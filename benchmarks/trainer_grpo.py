"""Steps of GRPO, ours and TRL's in turns: the same prompts in the same order, the same settings.

What a step is: draw 8 responses to each prompt, check them, one backward pass and one optimizer
step. Both trainers start from the same SFT checkpoint with each of the seeds, so that what they
have learned at the end can be compared, too, where they take enough steps to have learned something
(ENOUGH_TO_LEARN): an interval that is wider than what was gained would hold 0 whatever happened.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

from acereason_trainer.config.rl import RL
from acereason_trainer.config.stage_file import StageFile

from benchmarks.contest import Answer, Contestant, in_turns, taken_of, versions_of
from benchmarks.intervals import paired_difference, quartiles
from benchmarks.peers.environments import HERE, environment
from benchmarks.stage_curves import metric
from benchmarks.stage_files import begun_anew, context_of, stage_file
from benchmarks.trainer_models import (
    BUILD,
    STORE,
    Subject,
    stage_settings,
    start_checkpoint,
    written,
)
from benchmarks.trainer_models import environment as contestants_environment

OURS, PEER = "ours", "TRL"
SAMPLERS = {OURS: "transformers", "ours, vLLM": "vllm"}
UNLIKE = ("validation", "dynamicSampling", "dropSolved", "where")
"""Settings of a stage by which it would draw what TRL is not given."""
PHASES = ("generate_seconds", "reward_wait_seconds", "train_seconds", "push_seconds")
Contest = Mapping[str, Sequence[Answer]]
"""What each arm told of its turns."""
WARM_UP = 1
"""First steps of a process that are not counted: caches, lazy imports."""
ENOUGH_TO_LEARN = 20
"""Steps of a seed from which on final rewards are compared. 4 of the 135M model take minutes and
gain next to nothing."""
END = 3
"""The last 1/3 of the steps is where the final reward is taken from: one step is noisy."""


def grpo_section(
    subject: Subject, seeds: int, turns: int, sft_steps: int | None = None
) -> dict[str, Any]:
    """One model. sft_steps: of the start checkpoint, where it need not be able to do much."""
    start = start_checkpoint(subject, sft_steps)
    together = [[arm] for arm in arms_here()] if subject.one_by_one else [arms_here()]
    by_seed = [
        [_contest(subject, start, seed, turns, arms) for arms in together] for seed in range(seeds)
    ]
    per_device = peer_settings(subject, _stage(subject, start, 0, turns, OURS))
    return {
        "settings": _told(_settings(subject, turns, OURS)),
        "peerPerDeviceBatch": per_device["per_device_train_batch_size"],
        "peerCache": subject.peer_cache,
        "turns": turns,
        "seeds": seeds,
        **figures_of(by_seed),
    }


def figures_of(contests: Sequence[Sequence[Contest]]) -> dict[str, Any]:
    """Seconds, tokens and rewards from what each arm told of its turns: the contests of each seed,
    in each of which TRL took part. What is told of TRL alone is that of the first, and a ratio is
    that of two who were in one contest."""
    by_seed = [{a: s for contest in reversed(of) for a, s in contest.items()} for of in contests]
    arms = [*(a for of in contests[0] for a in of if a != PEER), PEER]
    seconds = {a: [s for done in by_seed for s in _seconds(done[a])] for a in arms}
    rewards = {a: [_final_reward(done[a]) for done in by_seed] for a in arms}
    turns = len(by_seed[0][PEER])
    return {
        "peerVersions": versions_of(contests[0][0]),
        "taken": taken_of({a: [x for done in by_seed for x in done[a]] for a in arms}),
        "stepSeconds": {a: quartiles(seconds[a]) for a in arms},
        "times": {
            a: _times([contest for of in contests for contest in of if a in contest], a)
            for a in arms
            if a != PEER
        },
        "phases": {a: _phases([done[a] for done in by_seed]) for a in arms if a != PEER},
        "tokensPerStep": {a: round(_tokens(by_seed, a)) for a in arms},
        "trainedTokensPerStep": {a: round(_trained(by_seed, a)) for a in arms},
        "rewards": {
            a: [[round(reward_of(x), 4) for x in done[a]] for done in by_seed] for a in arms
        },
        "finalReward": {a: [round(r, 4) for r in rewards[a]] for a in arms},
        "rewardGained": round(_gained(by_seed, rewards), 4),
        "comparesRewards": turns >= ENOUGH_TO_LEARN,
        "rewardDifference": {
            a: asdict(paired_difference(rewards[PEER], rewards[a]))
            for a in arms
            if a != PEER and len(by_seed) > 1
        },
    }


def _contest(subject: Subject, start: Path, seed: int, turns: int, arms: Sequence[str]) -> Contest:
    """These arms and TRL, in turns."""
    file = _stage(subject, start, seed, turns, OURS)
    assert file.prepared is not None
    contestants = []
    for arm in arms:
        own = _stage(subject, start, seed, turns, arm, key=file.prepared.key)
        command = [sys.executable, "-m", "benchmarks.trainer_ours", str(begun_anew(own))]
        contestants.append(_contestant(arm, command))
    what = f"{subject.name}, seed {seed}, {' and '.join(arms)}, turns"
    done = in_turns([*contestants, peer(subject, start, seed, turns)], turns, what)
    require_prompts(done, rows_in_order(file, turns))
    return done


def peer(
    subject: Subject,
    start: Path,
    seed: int,
    turns: int,
    changed: Mapping[str, Any] | None = None,
    *,
    needs: str = "trl",
    log: str = PEER,
) -> Contestant:
    """TRL on the prompts of our steps. changed: of its settings. needs: the environment that it
    runs in. log: what to call its log."""
    file = _stage(subject, start, seed, turns, OURS)
    request = written(
        BUILD / "trl-grpo.json",
        {
            "kind": "grpo",
            "model": str(start),
            "output": str(BUILD / "trl"),
            "seed": seed,
            "steps": turns,
            "settings": {**peer_settings(subject, file), **(changed or {})},
            "rows": rows_in_order(file, turns),
        },
    )
    command = [str(environment(needs)), str(HERE / "train_trl.py"), str(request)]
    return _contestant(PEER, command, log)


def _contestant(name: str, command: Sequence[str], log: str | None = None) -> Contestant:
    called = (log or name).replace(", ", "-").replace(" ", "-").lower()
    return Contestant(name, command, BUILD / "logs" / f"{called}.log", contestants_environment())


def arms_here() -> list[str]:
    """Our samplers that this environment has."""
    known = str(RL.model_fields["sampler"].annotation)
    return [
        arm
        for arm, engine in SAMPLERS.items()
        if engine == "transformers" or (f"'{engine}'" in known and find_spec(engine))
    ]


def _settings(subject: Subject, turns: int, arm: str) -> dict[str, Any]:
    """The example's first math stage, with what TRL can do too: nothing masked, one denominator.

    Raises RuntimeError where the example asks for what TRL cannot do."""
    example = stage_settings(subject.example, "math-1")["mathRL"]
    if unlike := [name for name in UNLIKE if name in example]:
        raise RuntimeError(f"math-1 of {subject.example} has {unlike}, which TRL's steps have not")
    return {
        **example,
        "overlong": {"mode": "penalize"},
        "loss": {"normalizer": "batch"},
        "mix": [],
        "stop": {"steps": turns},
        "saving": {"minutesAtRisk": 600},
        **({"sampler": SAMPLERS[arm]} if SAMPLERS[arm] != "transformers" else {}),
        **subject.rl,
    }


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in ("saving", "stop", "mix")}


def _stage(
    subject: Subject, start: Path, seed: int, turns: int, arm: str, key: str | None = None
) -> StageFile:
    return stage_file(
        STORE,
        {"mathRL": _settings(subject, turns, arm)},
        name=f"grpo-{SAMPLERS[arm]}",
        model=start,
        data=subject.data / "rl-math.jsonl",
        seed=seed,
        key=key,
    )


def peer_settings(subject: Subject, file: StageFile) -> dict[str, Any]:
    """The same for TRL, under its own names."""
    stage = file.settings.math_rl
    assert stage is not None and stage.group_size.fixed is not None
    responses = stage.prompts_per_step * stage.group_size.fixed
    per_device = min(subject.per_device, responses)
    return {
        "learning_rate": stage.optimizer.learning_rate,
        "adam_beta1": stage.optimizer.betas[0],
        "adam_beta2": stage.optimizer.betas[1],
        "weight_decay": stage.optimizer.weight_decay,
        "max_grad_norm": stage.optimizer.grad_clip,
        "temperature": stage.temperature.fixed,
        "num_generations": stage.group_size.fixed,
        "max_completion_length": stage.max_response_tokens,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": responses // per_device,
        "cache_implementation": subject.peer_cache,
    }


def rows_in_order(file: StageFile, turns: int) -> list[dict[str, Any]]:
    """The prompts of every step, as our loop will draw them."""
    from acereason_trainer.dataset import read_rows
    from acereason_trainer.policy.loading import load_tokenizer
    from acereason_trainer.prompting import prompt_text
    from acereason_trainer.rl.curriculum import Curriculum
    from acereason_trainer.rl.prompts import select_prompts

    context, stage = context_of(file), file.settings.math_rl
    assert stage is not None
    tokenizer = load_tokenizer(context.model_dir)
    key, salt = context.prepared.key, context.prepared.salt
    prompts, _ = select_prompts(list(read_rows(context.data_dir)), stage, "math", tokenizer, key)
    rows, state = [], Curriculum()
    for _ in range(turns):
        rows += [
            {
                "id": p.id,
                "prompt": prompt_text(p.row, stage.prompting, tokenizer),
                "tokens": list(p.tokens),
                "answer": str(p.row.data["answer"]),
            }
            for p in state.next_prompts(prompts, stage, (key, salt))
        ]
        state = state.after_step(prompts, stage, solved={}, lengths={}, reward=0.0)
    return rows


def require_prompts(done: Contest, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises RuntimeError where an arm has not drawn each step's prompts, as TRL was given them.

    Ours tells of each prompt once, when it is new, so those of earlier steps are left out."""
    for arm, answers in done.items():
        size, before = len(rows) // len(answers), set[str]()
        for number, answer in enumerate(answers):
            given = {row["id"] for row in rows[number * size : (number + 1) * size]}
            if set(answer["prompts"]) - before != given - before:
                raise RuntimeError(f"{arm} drew other prompts in step {number + 1} than was given")
            before |= given


# --- figures --------------------------------------------------------------------------------------


def _seconds(answers: Sequence[Answer]) -> list[float]:
    return [a["seconds"] for a in answers[WARM_UP:]]


def reward_of(answer: Answer) -> float:
    """Mean reward of a step, ours or TRL's."""
    return float(answer["metrics"]["reward"] if "metrics" in answer else answer["reward"])


def _final_reward(answers: Sequence[Answer]) -> float:
    return fmean(reward_of(a) for a in answers[-max(1, len(answers) // END) :])


def _gained(
    by_seed: Sequence[Mapping[str, Sequence[Answer]]], final: Mapping[str, Sequence[float]]
) -> float:
    """Mean final reward less that of the first step, which all arms draw from one model."""
    first = [reward_of(answers[0]) for done in by_seed for answers in done.values()]
    return fmean(r for rewards in final.values() for r in rewards) - fmean(first)


def _times(by_seed: Sequence[Mapping[str, Sequence[Answer]]], arm: str) -> dict[str, float]:
    """TRL's seconds over ours, step by step: two steps of one turn saw the same machine."""
    return quartiles(
        [
            peer / ours
            for done in by_seed
            for ours, peer in zip(_seconds(done[arm]), _seconds(done[PEER]), strict=True)
        ]
    )


def _phases(runs: Sequence[Sequence[Answer]]) -> dict[str, float]:
    """Median seconds of each phase of our steps."""
    rows = [a["metrics"] for run in runs for a in run[WARM_UP:]]
    return {p: round(median(metric(row, p) for row in rows), 5) for p in PHASES}


def _tokens(by_seed: Sequence[Mapping[str, Sequence[Answer]]], arm: str) -> float:
    """Generated tokens of a step: with different ones, seconds would not compare."""
    return fmean(
        a["tokens"] if "tokens" in a else _generated(a["metrics"])
        for done in by_seed
        for a in done[arm][WARM_UP:]
    )


def _trained(by_seed: Sequence[Mapping[str, Sequence[Answer]]], arm: str) -> float:
    """Tokens that a step's backward pass is over: TRL's is over all that it has drawn."""
    return fmean(
        a["tokens"] if "tokens" in a else a["metrics"]["trained_tokens"]
        for done in by_seed
        for a in done[arm][WARM_UP:]
    )


def _generated(row: Mapping[str, float]) -> float:
    return row["response_tokens"] * row["prompts"] * row["group_size"]
