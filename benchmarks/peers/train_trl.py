"""TRL 1.16 as a contestant: GRPO and SFT in the fastest modes of it that work here.

Started as `python train_trl.py REQUEST`, a JSON file:

    {"kind": "grpo", "model": folder, "output": folder, "seed": n, "steps": n,
     "settings": {...}, "rows": [{"id", "prompt", "tokens", "answer"}, ...]}   in steps' order
    {"kind": "sft", ..., "mode": one of SFT_MODES, "rows": [{"prompt", "completion"}, ...]}

What is the same for both trainers (dtype, loss, beta 0, sampling, lengths, optimizer) comes in
`settings`; what is TRL's own stands here. How it draws comes there, too: the benchmark's parts
`peer-modes-MODEL` measure which of its ways is the fastest.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from boxed import boxed
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerState,
)
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from turns import Turns

VERSIONS = {name: version(name) for name in ("trl", "torch", "transformers")}
SFT_MODES: dict[str, dict[str, Any]] = {
    "padded": {"packing": False},
    "padded, by length": {"packing": False},
    "wrapped": {"packing": True, "packing_strategy": "wrapped"},
    "bfd": {"packing": True, "packing_strategy": "bfd"},
    "bfd, row by row": {"packing": True, "packing_strategy": "bfd"},
}
"""Ways in which TRL fills a batch. By length: the rows come grouped, as `group_by_length` would do
with a large set of documents (it looks at 50 batches at once; here are fewer). On a CPU, which has
no attention over documents of different lengths, bfd's batch is one long masked row; a row at a
time, accumulated, is less of it."""
ALL: dict[str, Any] = {
    "bf16": False,
    "gradient_checkpointing": False,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "report_to": "none",
    "logging_strategy": "no",
    "save_strategy": "no",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "shuffle_dataset": False,
}
"""Float32, nothing computed twice, no log, no file."""
GRPO: dict[str, Any] = {
    "beta": 0.0,
    "num_iterations": 1,
    "loss_type": "dapo",  # by all tokens of the step, as our `normalizer: batch`
    "scale_rewards": "group",
    "top_p": 1.0,
    "top_k": 0,
    "mask_truncated_completions": False,  # as our `overlong: penalize`
}


class TakesTurns(TrainerCallback):
    """Tells what an optimizer step was and waits for the next turn, in one place: fetching the next
    batch is of a turn, as everything between two steps of ours is."""

    def __init__(self, turns: Turns, seen: dict[str, Any]) -> None:
        self._turns = turns
        self._seen = seen

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._turns.over()
        self._turns.wait()

    def on_step_end(self, _: Any, state: TrainerState, *__: Any, **___: Any) -> None:
        self._turns.over(step=state.global_step, versions=VERSIONS, **self._seen)
        self._seen.clear()
        self._turns.wait()


def main() -> None:
    """Train until there are no more turns."""
    turns = Turns()
    request = json.loads(Path(sys.argv[1]).read_text())
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(request["model"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    seen: dict[str, Any] = {}
    make = grpo if request["kind"] == "grpo" else sft
    trainer = make(request, model, tokenizer, seen)
    trainer.add_callback(TakesTurns(turns, seen))
    trainer.train()


def options(request: dict[str, Any]) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        **ALL,
        **request["settings"],
        "output_dir": request["output"],
        "seed": request["seed"],
        "max_steps": request["steps"],
        "use_cpu": not torch.cuda.is_available(),
    }


def grpo(request: dict[str, Any], model: Any, tokenizer: Any, seen: dict[str, Any]) -> GRPOTrainer:
    """GRPO over the request's prompts, in their order."""
    rows = request["rows"]
    if any(tokenizer(text=r["prompt"])["input_ids"] != r["tokens"] for r in rows):
        raise SystemExit("TRL would read other tokens in these prompts than we do")

    def reward(
        completions: list[str],
        completion_ids: list[list[int]],
        answer: list[str],
        id: list[str],
        **_: Any,
    ) -> list[float]:
        whole = [ids[-1] == tokenizer.eos_token_id for ids in completion_ids]
        rewards = [
            float(ended and boxed(text) == right)
            for text, ended, right in zip(completions, whole, answer, strict=True)
        ]
        seen["reward"] = sum(rewards) / len(rewards)
        seen["tokens"] = sum(map(len, completion_ids))
        seen["prompts"] = sorted(set(id))
        return rewards

    return GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        args=GRPOConfig(**GRPO, **options(request)),
        train_dataset=Dataset.from_list(
            [{k: r[k] for k in ("id", "prompt", "answer")} for r in rows]
        ),
    )


class CountingSFT(SFTTrainer):
    """Counts the tokens of documents that it trains on."""

    seen: dict[str, Any]

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        mask = inputs.get("attention_mask")
        real = inputs["input_ids"].numel() if mask is None else int(mask.sum())
        self.seen["tokens"] = self.seen.get("tokens", 0) + real
        return super().training_step(model, inputs, *rest)


def sft(request: dict[str, Any], model: Any, tokenizer: Any, seen: dict[str, Any]) -> SFTTrainer:
    """SFT on the answers alone, in one of the modes."""
    trainer = CountingSFT(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            # In the order of the request, so that each document comes once.
            train_sampling_strategy="sequential",
            **SFT_MODES[request["mode"]],
            **options(request),
        ),
        train_dataset=Dataset.from_list(request["rows"]),
    )
    trainer.seen = seen
    return trainer


if __name__ == "__main__":
    main()
