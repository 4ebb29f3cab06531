"""vLLM loads a published model as it is, for whoever serves it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.exit_codes import ExitCode
from transformers import AutoConfig, AutoTokenizer, Qwen2ForCausalLM

from tests.stage_attempts import a_stage, attempt, published, write_rows
from tests.trainer.rollout.vllm_models import LONGEST, a_model

PROMPTS = ["2 + 2 =", "A much longer question, with words?", "x"]
NEW_TOKENS = 40
SETTINGS = {
    "sft": {
        "optimizer": {"learningRate": 1e-3},
        "budget": {"steps": 2},
        "rowTokens": 96,
        "rowsPerStep": 3,
        "tokensPerMicroBatch": 288,
        "prompting": {"template": "plain"},
        # A base so small that a model with another one says something else within a few tokens.
        "loading": {
            "dtype": "float32",
            "ropeTheta": 300.0,
            "maxPositionEmbeddings": 2 * LONGEST,
        },
    }
}
SERVED = """
import json, sys
from vllm import LLM, SamplingParams

folder, told, out = sys.argv[1:]
asked = json.loads(told)
llm = LLM(
    folder,
    dtype="float32",  # as the folder has it: vLLM would make bfloat16 of that
    enforce_eager=True,
    kv_cache_memory_bytes=50_000_000,
    max_num_seqs=4,
    distributed_executor_backend="uni",
)
greedy = SamplingParams(temperature=0, max_tokens=asked["tokens"])
found = [output.outputs[0].text for output in llm.generate(asked["prompts"], greedy)]
longest = llm.llm_engine.model_config.max_model_len
with open(out, "w") as file:
    json.dump({"texts": found, "longest": longest}, file)
"""


@pytest.mark.slow
def test_vllm_says_of_a_published_folder_what_transformers_says(
    tmp_path: Path, tiny_model: Path
) -> None:
    """20 to 60 s: vLLM starts, in a process of its own, which it changes."""
    model = a_model(tmp_path / "model", tiny_model, tied=True)
    rows = [{"problem": f"{n} + {n}?", "response": f"{n} and {n}"} for n in range(12)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    stage = a_stage(tmp_path / "store", SETTINGS, model=model, data=data)
    assert attempt(stage) == ExitCode.DONE
    _, folder = published(stage)
    expected = said_by_transformers(folder)
    assert expected != said_by_transformers(folder, rope_theta=10_000.0), "or the base says nothing"

    out = tmp_path / "said.json"
    asked = json.dumps({"prompts": PROMPTS, "tokens": NEW_TOKENS})
    subprocess.run(
        [sys.executable, "-c", SERVED, str(folder), asked, str(out)],
        check=True,
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"},
    )
    said = json.loads(out.read_text())
    assert said == {"texts": expected, "longest": 2 * LONGEST}


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
