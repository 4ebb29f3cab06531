"""The process in which vLLM runs, beside the rank that starts it (engine_client.py).

A process of its own, since vLLM changes the one it runs in (threads, allocator, process groups),
and since its death must not be the trainer's. It carries out the methods of `Engine` that it is
asked for, and draws while there is something to draw.

    python -m acereason_trainer.rollout.vllm_engine DESCRIPTOR PARENT
"""

import math
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import active_children
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from acereason_trainer.policy.amx import make_bfloat16_safe
from acereason_trainer.processes import die_with_parent
from acereason_trainer.rollout.engine_messages import Asked, Drawn, EngineSettings, Failed
from acereason_trainer.rollout.engine_serving import serve
from acereason_trainer.rollout.vllm_weights import BACKEND, WorkerExtension
from acereason_trainer.rollout.weight_buckets import Piece

MOST_OF_AN_ERROR = 500
"""Characters of it that are told; the log has all."""
FORGETS_WEIGHTS = 2
"""vLLM's level of sleep that gives back weights and cache, and keeps no copy of them in host
memory: whoever wakes it pushes."""
DRIVER = Path("/dev/nvidiactl")
"""There where GPUs are given to a container. A driver that then does not answer is a node's fault,
and not one of the settings."""


class Engine:
    """vLLM, as far as a sampler needs it."""

    def start(self, settings: EngineSettings) -> None:
        """Make the engine with weights of no meaning, and put it to sleep. Raises ValueError where
        vLLM finds the settings wrong, or the device too full."""
        if current_platform.is_unspecified() and not DRIVER.exists():
            raise ValueError(
                "no GPU is given to this process, and this build of vLLM runs on nothing else; ask "
                "for nvidia.com/gpu in the stage's resources, or use sampler: transformers"
            )
        self._stop_tokens = list(settings.stop_tokens)
        on_gpu = current_platform.is_cuda_alike()
        self._vllm: Any = LLMEngine.from_engine_args(
            EngineArgs(
                model=settings.model,
                hf_overrides=settings.overrides,
                generation_config="vllm",
                load_format="dummy",
                skip_tokenizer_init=True,
                dtype=settings.dtype,
                seed=0,
                max_model_len=settings.tokens,
                max_num_seqs=settings.sequences,
                tensor_parallel_size=settings.tensor_parallel,
                distributed_executor_backend="mp" if settings.tensor_parallel > 1 else "uni",
                gpu_memory_utilization=settings.memory_share,
                kv_cache_memory_bytes=settings.cache_bytes,
                enforce_eager=not on_gpu,
                # On a CPU a response has the stream of its own seed only while prompts are read
                # whole: each part of a prompt draws from its generator, and a CPU's cannot be set
                # back ("CPU Generator does not use offset"). On a GPU vLLM makes a number from the
                # seed and the token's place.
                enable_chunked_prefill=None if on_gpu else False,
                enable_sleep_mode=on_gpu,
                enable_prefix_caching=True,
                # With temperature, and without what top-p would have made of it at top-p 1.
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                weight_transfer_config=WeightTransferConfig(backend=BACKEND),
                worker_extension_cls=f"{WorkerExtension.__module__}.{WorkerExtension.__name__}",
            )
        )
        self.sleep()

    def attach(self, path: str, size: int) -> None:
        """Where buckets of weights will be."""
        told = {"path": path, "size": size}
        self._vllm.collective_rpc("init_weight_transfer_engine", args=(told,))

    def cache_tokens(self) -> int:
        """Tokens that the cache has room for."""
        return int(self._vllm.vllm_config.cache_config.kv_cache_size_tokens)

    def begin_push(self) -> None:
        """Make room for weights."""
        self._vllm.wake_up(["weights"])
        self._vllm.collective_rpc("start_weight_update")

    def take_bucket(self, pieces: Sequence[Piece]) -> None:
        """Load what the memory holds."""
        self._vllm.collective_rpc("update_weights", args=({"pieces": list(pieces)},))

    def end_push(self) -> None:
        """The weights are complete: nothing that was computed from others stays."""
        self._vllm.collective_rpc("finish_weight_update")
        self._vllm.wake_up(["kv_cache"])
        if not self._vllm.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied after a push")

    def sleep(self) -> None:
        """Give the GPU's memory back. On a CPU vLLM draws no more, but keeps its memory."""
        self._vllm.sleep(FORGETS_WEIGHTS)

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """log p of each token after the first, at temperature 1."""
        params = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, ignore_eos=True
        )
        for number, sequence in enumerate(sequences):
            prompt = {"prompt_token_ids": list(sequence)}
            self._vllm.add_request(f"probe-{number}", prompt, params)
        found: dict[str, list[float]] = {}
        while self._vllm.has_unfinished_requests():
            for output in self._vllm.step():
                if output.finished:
                    places = zip(output.prompt_logprobs, output.prompt_token_ids, strict=True)
                    found[output.request_id] = [
                        place[token].logprob for place, token in places if place is not None
                    ]
        return [found[f"probe-{number}"] for number in range(len(sequences))]

    def add(self, asked: Sequence[Asked]) -> None:
        """Draw these, too."""
        for one in asked:
            params = SamplingParams(
                temperature=one.temperature,
                top_p=one.top_p,
                seed=one.seed,
                max_tokens=one.max_tokens,
                stop_token_ids=self._stop_tokens,
                ignore_eos=True,  # the trainer's own stop tokens count, and no other
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            prompt = {"prompt_token_ids": list(one.prompt)}
            self._vllm.add_request(str(one.number), prompt, params)

    @property
    def has_started(self) -> bool:
        """Whether `start` has come to its end."""
        return hasattr(self, "_vllm")

    @property
    def draws(self) -> bool:
        """Whether there is something to draw."""
        return self.has_started and self._vllm.has_unfinished_requests()

    def step(self) -> tuple[Drawn, ...]:
        """One token for every response that is being drawn; those that are done."""
        return tuple(_drawn(output) for output in self._vllm.step() if output.finished)


def _drawn(output: Any) -> Drawn:
    """Raises RuntimeError for a response that vLLM gave up: what it is cut to is no draw."""
    response = output.outputs[0]
    if response.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a response by {response.finish_reason!r}")
    return Drawn(
        number=int(output.request_id),
        tokens=tuple(response.token_ids),
        # vLLM gives NaN now and then where p is 1.
        logprobs=tuple(
            0.0 if math.isnan(p) else p
            for p in (response.logprobs.logprobs[i] for i in response.logprobs.start_indices)
        ),
        finish=response.finish_reason,
    )


def main() -> None:
    """Serve the trainer at the other end of a socket."""
    trainer = Connection(int(sys.argv[1]))
    # Workers of several GPUs are forks: one that outlives this process would keep it open.
    os.register_at_fork(after_in_child=trainer.close)
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal it is meant for the trainer
    make_bfloat16_safe()
    engine = Engine()
    try:
        serve(trainer, engine)
    except Exception as e:
        error = " ".join(f"{type(e).__name__}: {e}".split())
        refused = isinstance(e, ValueError) and not engine.has_started
        trainer.send(Failed(error[:MOST_OF_AN_ERROR], refused=refused))
        raise
    for worker in active_children():  # of several GPUs: what they hold is free when they are gone
        worker.kill()
        worker.join()
    os._exit(0)  # the engine has nothing to keep, and its own end takes seconds


if __name__ == "__main__":
    main()
