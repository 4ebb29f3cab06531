"""vLLM loads a published model as it is, for whoever serves it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acereason_trainer.config.exit_codes import ExitCode
from transformers import AutoConfig, AutoTokenizer, Qwen2ForCausalLM

from tests.stage_attempts import published
from tests.trainer.rollout.vllm_models import LONGEST, a_model
from tests.trainer.test_several_ranks import a_prepared_stage, launched

PROMPTS = ["2 + 2 =", "A much longer question, with words?", "x"]
NEW_TOKENS = 40
SETTINGS: dict[str, Any] = {
    "optimizer": {"learningRate": 1e-3},
    "budget": {"steps": 2},
    "rowTokens": 96,
    "rowsPerStep": 3,
    "tokensPerMicroBatch": 288,
    "prompting": {"template": "plain"},
}
# A base so small that a model with another one says something else within a few tokens.
CONTEXT = {"ropeTheta": 300.0, "maxPositionEmbeddings": 2 * LONGEST}
APART = {"float32": 1e-4, "bfloat16": 0.1}
"""Nats, mean over the tokens of the prompts."""
SERVED = """
import json, sys
from vllm import LLM, SamplingParams

folder, told, out = sys.argv[1:]
asked = json.loads(told)
llm = LLM(
    folder,
    dtype=asked["dtype"],  # as the folder has it: vLLM would make bfloat16 of float32
    enforce_eager=True,
    kv_cache_memory_bytes=50_000_000,
    max_num_seqs=4,
    distributed_executor_backend="uni",
)
greedy = SamplingParams(temperature=0, max_tokens=asked["tokens"], prompt_logprobs=0)
drawn = llm.generate(asked["prompts"], greedy)
scores = [
    [place[token].logprob for place, token in zip(d.prompt_logprobs, d.prompt_token_ids) if place]
    for d in drawn
]
longest = llm.llm_engine.model_config.max_model_len
with open(out, "w") as file:
    texts = [d.outputs[0].text for d in drawn]
    limits = llm.llm_engine.model_config.get_diff_sampling_param()
    json.dump({"texts": texts, "scores": scores, "longest": longest, "limits": limits}, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tied", "dtype", "ranks"),
    [(True, "float32", 1), (False, "bfloat16", 1), (False, "float32", 2)],
)
def test_vllm_says_of_a_published_folder_what_transformers_says(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tied: bool,
    dtype: str,
    ranks: int,
) -> None:
    """20 to 60 s each: vLLM starts, in a process of its own, which it changes. Two ranks have the
    weights in shares, with ZeRO-3."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = a_model(tmp_path / "model", tiny_model, tied=tied)
    (model / "generation_config.json").write_text('{"eos_token_id": 1, "max_new_tokens": 7}')
    told = {**SETTINGS, "loading": {"dtype": dtype, **CONTEXT}}
    stage = a_prepared_stage(tmp_path / "store", model, "sft", ranks, **told)
    assert launched(stage).exit_code == ExitCode.DONE
    _, folder = published(stage)
    expected = said_by_transformers(folder)
    assert expected != said_by_transformers(folder, rope_theta=10_000.0), "or the base says nothing"

    out = tmp_path / "said.json"
    asked = json.dumps({"prompts": PROMPTS, "tokens": NEW_TOKENS, "dtype": dtype})
    subprocess.run(
        [sys.executable, "-c", SERVED, str(folder), asked, str(out)],
        check=True,
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
    )
    said = json.loads(out.read_text())
    assert said["longest"] == 2 * LONGEST
    assert said["limits"] == {}, "the base's"
    assert dtype == "bfloat16" or said["texts"] == expected
    theirs, ours = np.concatenate(said["scores"]), np.concatenate(scored_by_transformers(folder))
    assert np.abs(theirs - ours).mean() < APART[dtype]


def scored_by_transformers(folder: Path) -> list[np.ndarray[Any, Any]]:
    """log p of each token of the prompts after the first."""
    model: Any = Qwen2ForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scored = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0, :-1].float(), -1)
        scored.append(logprobs.gather(1, ids[0, 1:, None])[:, 0].numpy())
    return scored


def said_by_transformers(folder: Path, **rope: Any) -> list[str]:
    """Greedy, up to the end that the folder's generation config names; with other rope settings,
    where some are told."""
    config = AutoConfig.from_pretrained(folder)
    config.rope_parameters |= rope
    model: Any = Qwen2ForCausalLM.from_pretrained(folder, config=config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        seen = torch.ones_like(ids)
        drawn = model.generate(ids, attention_mask=seen, do_sample=False, max_new_tokens=NEW_TOKENS)
        said.append(str(tokenizer.decode(drawn[0, ids.shape[1] :], skip_special_tokens=True)))
    return said
