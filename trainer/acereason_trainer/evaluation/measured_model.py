"""A model that is measured and not trained: weights to draw from, no optimizer."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.policy.forward import Scoring, logprobs_of
from acereason_trainer.policy.loading import check_context, load_config, load_model
from acereason_trainer.rollout.making import make_sampler
from acereason_trainer.rollout.protocol import Sampler
from acereason_trainer.stage import StageContext


class MeasuredModel:
    """The weights of an artifact's directory. Every rank has them, as long as it needs them."""

    def __init__(self, directory: Path, loading: ModelLoading) -> None:
        self._directory = directory
        self._loading = loading
        self._model = load_model(directory, loading)

    @property
    def model(self) -> Any:
        """The torch module, in evaluation mode; on its device until room is made."""
        return self._model

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by its name in a checkpoint."""
        return ((name, p.detach()) for name, p in self._model.named_parameters())

    @torch.no_grad()
    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """log p of each token after the first, at temperature 1."""
        scoring = Scoring(self._model, recompute=False, layout="padded")
        return logprobs_of(scoring, sequences, self._model.device, "padded")

    def make_room(self) -> None:
        """Leave the GPU to an engine. In the host's memory the weights are a map of their files,
        one for all ranks, where the files have the number format asked for."""
        if self._model.device.type == "cpu":
            return
        del self._model
        self._model = load_model(self._directory, self._loading, torch.device("cpu"))
        torch.cuda.empty_cache()

    def take_room(self) -> None:
        """Nothing comes back: a model that is measured is handed over once."""


@contextmanager
def drawing_from(
    context: StageContext, settings: Evaluate | PassRate, tokenizer: Any, longest_prompt: int
) -> Iterator[Sampler]:
    """A sampler that draws from the stage's model, with an engine of its own where it has one.

    All ranks call it. longest_prompt: in tokens. Raises StageFailure where the model cannot read
    as much, or the engine does not take it on.
    """
    longest = longest_prompt + settings.max_response_tokens
    config = load_config(context.model_dir, settings.loading)
    check_context(config, longest, settings.loading)
    with closing(make_sampler(context, settings, config, tokenizer, longest)) as sampler:
        sampler.push(MeasuredModel(context.model_dir, settings.loading), version=0)
        yield sampler
