"""Peak memory of one forward and backward pass at a large vocabulary.

Runs in the peers' environments: torch and transformers only. One process for each arm, since what
an allocator keeps of one arm would serve the next.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

LAYERS, HIDDEN = 1, 256
"""Next to nothing, so that the peak is the loss's."""


def measured(log_probs_of: Callable[[Any], Callable[[Tensor], Tensor]]) -> None:
    """Measure what `log_probs_of(model)` takes for the sizes in the arguments; prints JSON.

    Arguments: rows, tokens of a row, vocabulary. `log_probs_of(model)` gives log p of every token
    but the first of each row, for tokens [R, T].
    """
    rows, width, vocabulary = map(int, sys.argv[1:4])
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make_model: Any = Qwen2ForCausalLM  # transformers and torch declare few types
    model = make_model(config).to(device).eval()
    tokens = torch.randint(vocabulary, (rows, width), device=device)
    log_probs = log_probs_of(model)
    torch.autograd.backward(-log_probs(tokens[:1, :8]).sum())  # lazy imports, gradients' memory
    began, before = time.perf_counter(), _reset(device)
    loss = -log_probs(tokens).sum()
    torch.autograd.backward(loss)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "peakMib": round((_peak(device) - before) / 2**20),
                "seconds": round(seconds, 2),
                "loss": float(loss.detach()) / (rows * (width - 1)),
            }
        )
    )


def _reset(device: torch.device) -> int:
    """Begin a new peak; bytes in use now."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])
