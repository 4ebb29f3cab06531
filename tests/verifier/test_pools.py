"""Each set of limits costs all its worker processes, so only so many are in use at once."""

import pytest
from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.jobs import Setup
from acereason_trainer.verifier.pools import MOST, Crowded, Pools


def asking_for(seconds: float) -> Setup:
    return Setup("math", Verifier(math_seconds=seconds))


def test_limits_beyond_those_in_use_are_refused_with_a_time_to_ask_again() -> None:
    pools, in_use = Pools(workers=1), {asking_for(n) for n in range(1, MOST + 1)}
    with pytest.raises(Crowded, match="different sets of limits are in use") as refusal:
        pools.require_room(asking_for(99), in_use)
    assert refusal.value.retry_after >= 1


def test_limits_that_are_in_use_already_and_a_last_new_one_are_taken() -> None:
    pools, in_use = Pools(workers=1), {asking_for(n) for n in range(1, MOST + 1)}
    pools.require_room(asking_for(1), in_use)
    pools.require_room(asking_for(99), in_use - {asking_for(1)})
