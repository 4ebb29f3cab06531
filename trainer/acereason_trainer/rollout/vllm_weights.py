"""How vLLM's workers take on pushed weights: a backend of its weight-transfer API.

Buckets come through memory that is shared with the trainer (weight_buckets.py), on a GPU as on a
CPU and for any number of workers. vLLM loads them layer by layer in the form of a checkpoint, so
that it splits, fuses and repacks them as it did at the start. Its workers import this file by the
name of `WorkerExtension`, which registers the backend.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
from vllm.model_executor.model_loader.reload.utils import get_tensor_load_numel

from acereason_trainer.rollout.weight_buckets import Arrivals, Piece, SharedMemory

BACKEND = "acereason_shared_memory"
# It would warn at every push of modules that a checkpoint has nothing for (a tied output matrix,
# rotations); what is missing in earnest shows in the probe.
logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
# And on a CPU, each time, of a sleep that gives no memory back.
logging.getLogger("vllm.v1.worker.cpu_worker").setLevel(logging.ERROR)


@dataclass
class MemoryOfTrainer(WeightTransferInitInfo):
    """Where buckets will be found."""

    path: str
    size: int


@dataclass
class Bucket(WeightTransferUpdateInfo):
    """What the memory holds now."""

    pieces: list[Piece]


class SharedMemoryTransfer(WeightTransferEngine[MemoryOfTrainer, Bucket]):
    """Loads buckets into one worker's share of the model."""

    init_info_cls = MemoryOfTrainer
    update_info_cls = Bucket
    supports_draft_weight_update = False

    def init_transfer_engine(self, init_info: MemoryOfTrainer) -> None:
        """Open the trainer's memory."""
        self._memory = SharedMemory.of_another(init_info.path, init_info.size)

    def start_weight_update(self) -> None:
        """A new push begins."""
        self._arrivals = Arrivals(self.device)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Take a bucket on; when this returns, the trainer may fill it again."""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Bucket) -> None:
        """Load the weights that the bucket has made whole."""
        model: Any = self.model
        model.load_weights(self._arrivals.of(update_info.pieces, self._memory))

    def finish_weight_update(self) -> None:
        """Bring what is not loaded weight by weight up to date.

        Raises RuntimeError where something did not come: vLLM would go on with its old weights, or
        with what its memory held before.
        """
        missing = [*self._arrivals.begun, *_without_weights(self.model, tied=self._tied)]
        if missing:
            raise RuntimeError(f"a push ended without all weights of {', '.join(missing[:5])}")
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu" and self._tied:
            # On CPUs the output matrix is a repacked copy, also where it is tied to the embedding,
            # and reloading the embedding leaves that copy as it was (vLLM 0.32).
            head: Any = self.model.lm_head
            head.quant_method.process_weights_after_loading(head)

    @property
    def _tied(self) -> bool:
        """Whether input and output share one matrix."""
        return bool(self.model_config.hf_text_config.tie_word_embeddings)

    def shutdown(self) -> None:
        """Let go of the trainer's memory."""
        if hasattr(self, "_memory"):
            self._memory.close()


def _without_weights(model: Any, *, tied: bool) -> Iterator[str]:
    """Layers of which a push has loaded nothing, or not all."""
    for name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        size = sum(get_tensor_load_numel(p) for p in layer.parameters(recurse=False))
        # One that is whole can take on no more; scales of attention are in no checkpoint.
        if not info.can_load() or not size or is_deferred_attention_layer(layer):
            continue
        if tied and isinstance(layer, ParallelLMHead):
            continue
        # Its rows are padded, and a worker's share of them may be padding alone.
        if not isinstance(layer, VocabParallelEmbedding) or not info.loaded_weights:
            yield name


WeightTransferEngineFactory.register_engine(BACKEND, SharedMemoryTransfer)


class WorkerExtension:
    """Adds nothing to a worker but the import of this file."""
