"""GRPO as in AceReason 1.0 section 3: one optimizer step for each batch of rollouts.

Strictly on-policy by construction: the batch is drawn from the weights that it then changes, once.
So there is no old-logprob pass, no ratio, no clip, no reference model, no KL and no entropy bonus.
"""

from collections.abc import Sequence
from contextlib import closing
from statistics import fmean

from acereason_trainer.checkpoints import Checkpoints
from acereason_trainer.config.rl import RL
from acereason_trainer.dataset import Domain
from acereason_trainer.peers import Peers
from acereason_trainer.policy.flops import machinery_of
from acereason_trainer.policy.loading import check_context, load_config, load_tokenizer
from acereason_trainer.policy.making import make_policy
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.publishing import publish_model
from acereason_trainer.rewards import make_rewarder
from acereason_trainer.rewards.protocol import Rewarder
from acereason_trainer.rl.batches import advantages_of, assemble, masked
from acereason_trainer.rl.checkpoint_choice import BestWeights, choice_record
from acereason_trainer.rl.curriculum import Curriculum, planned_steps
from acereason_trainer.rl.drawing import Drawing, probe_metrics, validation_metrics
from acereason_trainer.rl.health import alarms_of, as_metrics, end_if_unhealthy
from acereason_trainer.rl.invariants import check_rollouts
from acereason_trainer.rl.measure import mean_lengths, mean_reward, measure, solved, vitals
from acereason_trainer.rl.prompts import Problems, problems_of
from acereason_trainer.rl.rollouts import Means
from acereason_trainer.rollout.journal import attempt_journal
from acereason_trainer.rollout.making import make_sampler
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.recorder import Recorder


def run(context: StageContext) -> None:
    """Carry out a `mathRL` or `codeRL` stage."""
    stage, kind = context.file.settings.settings, context.file.settings.kind
    assert isinstance(stage, RL)
    domain: Domain = "math" if kind == "mathRL" else "code"
    key, name = context.prepared.key, (context.prepared.key, context.prepared.salt)
    tokenizer = load_tokenizer(context.model_dir)
    problems = problems_of(context, stage, domain, tokenizer)
    total = planned_steps(len(problems.prompts), stage)
    config = load_config(context.model_dir, stage.loading)
    longest = problems.longest + stage.max_response_tokens
    check_context(config, longest, stage.loading)
    journal = attempt_journal(context.work_dir)
    sampler = make_sampler(context, stage, config, tokenizer, longest, journal)
    policy = make_policy(context, stage, total)
    window = stage.health.window if stage.health else None
    with (
        closing(rewarder_of(stage, domain, context.peers)) as rewarder,
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
        closing(sampler),  # innermost: there is no room for the state of a stop beside an engine
    ):
        means = Means(sampler, rewarder, recorder, context.check_alone, peers=context.peers)
        machinery = machinery_of(
            context.model_dir, context.peers.world, stage.loading, stage.telemetry
        )
        drawing = Drawing(stage, means, name, machinery)
        best = BestWeights(context, recorder)
        state = train(context, stage, problems, policy, drawing, checkpoints, best, recorder)
        publish_chosen(context, stage, problems, policy, state, best, recorder)


def train(
    context: StageContext,
    stage: RL,
    problems: Problems,
    policy: Policy,
    drawing: Drawing,
    checkpoints: Checkpoints,
    best: BestWeights,
    recorder: Recorder,
) -> Curriculum:
    """Steps until the stage's stop rule holds; returns the last state."""
    resumed, prompts = checkpoints.resume(), problems.prompts
    state = Curriculum.parse(resumed.loop) if resumed.loop else Curriculum()
    while True:
        context.check_stop()
        drawing.push(policy)
        state = drawing.choose_temperature_once(state, prompts)
        state = drawing.validate_if_due(state, problems)
        state = best.kept(state, stage, policy)
        if state.finished(prompts, stage):
            drawing.record_end(state)
            return state
        rollouts = drawing.step(state, prompts)
        advantages = advantages_of(rollouts, stage)
        check_rollouts(rollouts, advantages, stage)
        batch = assemble(rollouts, advantages, stage, state.temperature_now(stage))
        with recorder.phase("train"):
            update = policy.step(batch)
        metrics = measure(rollouts, advantages, masked(rollouts, stage), update)
        after = state.after_step(
            prompts,
            stage,
            solved=solved(rollouts),
            lengths=mean_lengths(rollouts),
            reward=mean_reward(rollouts.flat),
            refilled=sum(rollouts.refills),
            vitals=vitals(metrics),
        )
        alarms = alarms_of(after, update, stage)
        metrics |= as_metrics(alarms, stage)
        drawing.record(state, rollouts, batch, metrics, prompts_left=len(state.active(prompts)))
        end_if_unhealthy(alarms)
        state = after
        checkpoints.completed(state.step, state.dump())


def publish_chosen(
    context: StageContext,
    stage: RL,
    problems: Problems,
    policy: Policy,
    state: Curriculum,
    best: BestWeights,
    recorder: Recorder,
) -> None:
    """Publish the weights of the best validation where the stage asks for them, or else the last
    ones; then nobody needs the others."""
    state, published = best.published(state, stage)
    publish_model(
        context,
        policy,
        recorder,
        step=published.step,
        metrics={
            "dropped_prompts": float(problems.too_long),
            **reward_metric(state.rewards[: published.step]),
            **probe_metrics(state),
            **validation_metrics(published.measured),
        },
        export=best.export(published.place) if published.place else None,
        records=choice_record(stage, state, published, problems.held_out),
    )
    best.forget()


def reward_metric(rewards: Sequence[float]) -> dict[str, float]:
    """Mean reward of the last steps that led to the published weights, where there were any."""
    return {"reward": fmean(rewards[-10:])} if rewards else {}


def rewarder_of(stage: RL, domain: Domain, peers: Peers) -> Rewarder:
    """Who checks for one rank: the ranks of a machine share the verifier's workers."""
    verifier = stage.verifier.shared_by(peers.local_world)
    return make_rewarder(domain, verifier, stage.reward, require_think=stage.prompting.thinks)
