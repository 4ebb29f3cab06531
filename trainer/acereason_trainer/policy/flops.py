"""How much arithmetic a model's tokens are, and how much a device could do: what MFU is made of.

The usual account: 2 operations for each weight that a token is multiplied with, and causal
attention; three times that for training, whose backward pass is two forward passes. What is
computed again to save memory counts for nothing.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig

from acereason_trainer.config.common import ModelLoading, Telemetry

PEAKS = {
    "B200": 2250.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "GH200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
}
"""Dense bfloat16 TFLOP/s by words of the device's name, as NVIDIA's data sheets have them."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Configurations of models of which a token meets a part only."""


@dataclass(frozen=True)
class Machinery:
    """What a stage's steps run on."""

    devices: int
    """Ranks."""
    arithmetic: "Arithmetic | None"
    """Of the model; None: not known."""
    peak_flops: float | None
    """Operations per second of one device; None: not known."""


@dataclass(frozen=True)
class Arithmetic:
    """Floating-point operations of one dense decoder."""

    weights: int
    """Weights that each token is multiplied with: all matrices but a look-up table."""
    attention: int
    """Layers x heads x size of a head."""

    def reading(self, length: int) -> float:
        """A forward pass over so many tokens, from the first one on."""
        return 2.0 * self.weights * length + 2.0 * self.attention * length**2

    def writing(self, prompt: int, response: int) -> float:
        """Drawing a response to a prompt that is read already."""
        return self.reading(prompt + response) - self.reading(prompt)

    def training(self, lengths: Iterable[int]) -> float:
        """Forward and backward passes over sequences of these lengths."""
        return 3.0 * sum(map(self.reading, lengths))


def machinery_of(
    directory: Path, devices: int, loading: ModelLoading, telemetry: Telemetry
) -> Machinery:
    """So many devices of this one's kind, with the model of a directory."""
    return Machinery(devices, arithmetic_of(directory), peak_flops(loading, telemetry))


def arithmetic_of(directory: Path) -> Arithmetic | None:
    """Of a model in Hugging Face form; None for a mixture of experts, which this account is not
    for, and for random weights that are still to be made. Reads the headers of its weights
    alone."""
    config = AutoConfig.from_pretrained(directory).get_text_config()
    if any((getattr(config, name, None) or 0) > 1 for name in EXPERTS):
        return None
    shapes = {n: s for file in directory.glob("*.safetensors") for n, s in _shapes(file).items()}
    if not shapes:
        return None
    looked_up = "lm_head.weight" in shapes  # a tied table is the head's matrix too
    matrices = (
        shape
        for name, shape in shapes.items()
        if len(shape) == 2 and not (looked_up and name.endswith("embed_tokens.weight"))
    )
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Arithmetic(
        weights=sum(rows * columns for rows, columns in matrices),
        attention=config.num_hidden_layers * heads * head_size,
    )


def peak_flops(loading: ModelLoading, telemetry: Telemetry) -> float | None:
    """Operations per second of which this device is capable; None where nobody said."""
    if telemetry.peak_tflops is not None:
        return telemetry.peak_tflops * 1e12
    if loading.dtype != "bfloat16" or not torch.cuda.is_available():
        return None
    return peak_of(torch.cuda.get_device_name())


def peak_of(device: str) -> float | None:
    """Operations per second of a device by its name; None for one that is not in the table, and
    for a part of one (MIG)."""
    words = set(re.split(r"[\s-]+", device))
    if "MIG" in words:
        return None
    return next((p * 1e12 for name, p in PEAKS.items() if words.issuperset(name.split())), None)


def _shapes(file: Path) -> dict[str, list[int]]:
    """Of each tensor in a safetensors file, by name."""
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    return {name: told["shape"] for name, told in header.items() if name != "__metadata__"}
