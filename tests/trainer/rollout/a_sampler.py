"""A sampler of the tiny model, over an engine in the place of vLLM's (an_engine.py)."""

from pathlib import Path

from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.vllm_sampler import AGREE, VLLMSampler


def a_sampler(
    engine: EngineClient | None,
    model: Path,
    journal: Path,
    peers: Peers = ALONE,
    limit: float = AGREE["float32"],
) -> VLLMSampler:
    """Of the only engine there is, which a rank without one belongs to."""
    return VLLMSampler(
        engine,
        load_tokenizer(model),
        engines=1,
        number=0,
        sequences=4,
        longest=64,
        limit=limit,
        vocabulary=98,
        journal=ResponseJournal(Journal(journal), peers.rank),
        peers=peers,
    )
