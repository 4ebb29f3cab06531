"""GRPO as in AceReason 1.0 section 3: one optimizer step for each batch of rollouts.

Strictly on-policy by construction: the batch is drawn from the weights that it then changes, once.
So there is no old-logprob pass, no ratio, no clip, no reference model, no KL and no entropy bonus.
"""

from collections.abc import Sequence
from contextlib import closing
from statistics import fmean
from typing import Any, Literal

from acereason_trainer.checkpoints import Checkpoints, earlier_journal
from acereason_trainer.config.common import Verifier
from acereason_trainer.config.rl import RL
from acereason_trainer.dataset import read_rows
from acereason_trainer.peers import Peers
from acereason_trainer.policy.health import check_update
from acereason_trainer.policy.loading import check_context, load_tokenizer
from acereason_trainer.policy.making import make_policy
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.publishing import publish_model
from acereason_trainer.rewards import make_rewarder
from acereason_trainer.rl.batches import advantages_of, assemble, masked
from acereason_trainer.rl.curriculum import Curriculum, planned_steps
from acereason_trainer.rl.drawing import Drawing, first_by_name, validation_metrics
from acereason_trainer.rl.health import check_rewards
from acereason_trainer.rl.measure import mean_lengths, mean_reward, measure, solved
from acereason_trainer.rl.prompts import Prompt, select_prompts
from acereason_trainer.rl.rollouts import Means
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.transformers_sampler import TransformersSampler
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder


def run(context: StageContext) -> None:
    """Carry out a `mathRL` or `codeRL` stage."""
    stage, kind = context.file.settings.settings, context.file.settings.kind
    assert isinstance(stage, RL)
    domain: Literal["math", "code"] = "math" if kind == "mathRL" else "code"
    key, name = context.prepared.key, (context.prepared.key, context.prepared.salt)
    tokenizer = load_tokenizer(context.model_dir)
    rows = list(read_rows(context.data_dir))
    prompts, too_long = select_prompts(rows, stage, domain, tokenizer, key)
    held_out = validation_prompts(context, stage, domain, tokenizer)
    total = planned_steps(len(prompts), stage)
    say(
        f"{len(rows):,} rows, {len(prompts):,} prompts after where and mix, {too_long:,} dropped "
        f"as longer than maxPromptTokens, {len(held_out):,} problems for validation"
    )
    policy = make_policy(context, stage, total)
    longest = max(len(p.tokens) for p in (*prompts, *held_out))
    check_context(policy.model.config, longest + stage.max_response_tokens, stage.loading)
    journal = Journal(context.work_dir / "journal", earlier_journal(context))
    sampler = TransformersSampler(
        tokenizer,
        sequences_per_batch=stage.sequences_per_batch,
        check_stop=context.stop.check,
        journal=journal,
    )
    window = stage.health.window if stage.health else None
    with (
        closing(
            make_rewarder(
                domain,
                verifier_of(stage, context.peers),
                stage.reward,
                require_think=stage.prompting.thinks,
            )
        ) as rewarder,
        Recorder(
            context.work_dir,
            total=total,
            unit="steps",
            settings=stage.telemetry,
            key=key,
            leads=context.peers.leads,
        ) as recorder,
        Checkpoints(
            context, stage.saving, policy, recorder, journal, keep_before=window
        ) as checkpoints,
    ):
        means = Means(
            sampler,
            rewarder,
            recorder,
            context.stop.check,
            peers=context.peers,
            sequences_per_batch=stage.sequences_per_batch,
        )
        drawing = Drawing(stage, means, name)
        state = train(stage, prompts, held_out, policy, drawing, checkpoints)
        publish_model(
            context,
            policy,
            recorder,
            step=state.step,
            metrics={
                "dropped_prompts": float(too_long),
                "reward": fmean(state.rewards[-10:] or [0.0]),
                **({"temperature": state.temperature} if state.temperature else {}),
                **validation_metrics(state),
            },
        )


def train(
    stage: RL,
    prompts: Sequence[Prompt],
    held_out: Sequence[Prompt],
    policy: Policy,
    drawing: Drawing,
    checkpoints: Checkpoints,
) -> Curriculum:
    """Steps until the stage's stop rule holds; returns the last state."""
    resumed = checkpoints.resume()
    state = Curriculum.parse(resumed.loop) if resumed.loop else Curriculum()
    while True:
        checkpoints.check_stop()
        drawing.push(policy, version=state.step)
        state = drawing.choose_temperature_once(state, prompts)
        state = drawing.validate_if_due(state, held_out)
        if state.finished(prompts, stage):
            return state
        temperature, step = state.temperature_now(stage), state.step + 1
        rollouts = drawing.step(state, prompts)
        advantages = advantages_of(rollouts, stage)
        with drawing.recorder.phase("train"):
            update = policy.step(assemble(rollouts, advantages, stage, temperature))
        check_update(update, step)
        metrics = measure(rollouts, advantages, masked(rollouts, stage), update)
        drawing.record(step, state, rollouts, metrics, prompts_left=len(state.active(prompts)))
        state = state.after_step(
            prompts,
            stage,
            solved=solved(rollouts),
            lengths=mean_lengths(rollouts),
            reward=mean_reward(rollouts.flat),
        )
        check_rewards(state.rewards, stage.health)
        checkpoints.completed(step, state.dump())


def verifier_of(stage: RL, peers: Peers) -> Verifier:
    """The stage's verifier for one rank: those of a machine share its workers."""
    workers = max(1, stage.verifier.workers // peers.local_world)
    return stage.verifier.model_copy(update={"workers": workers})


def validation_prompts(
    context: StageContext, stage: RL, domain: Literal["math", "code"], tokenizer: Any
) -> list[Prompt]:
    """The problems of `inputs.validation`, at most `maxProblems`.

    Chosen by the run's seed alone, so that stages of a run validate on the same ones.
    """
    ref = context.prepared.inputs.validation
    if stage.validation is None or ref is None:
        return []
    plain = stage.model_copy(update={"where": [], "mix": []})
    rows = list(read_rows(context.input_dir(ref)))
    prompts, _ = select_prompts(rows, plain, domain, tokenizer, context.prepared.key)
    return first_by_name(prompts, stage.validation.max_problems, ("validation", context.file.seed))
