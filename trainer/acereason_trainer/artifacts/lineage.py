"""Where an artifact came from: the graph of parent digests, followed to the imported sources."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from acereason_trainer.artifacts.errors import NotFound
from acereason_trainer.artifacts.manifest import Manifest, Producer
from acereason_trainer.artifacts.store import ARTIFACTS, Store


@dataclass(frozen=True)
class Ancestor:
    """An artifact and what it was made from."""

    role: str
    """What its child read it as (`model`, `data`, …); empty for the artifact that was asked for."""
    digest: str
    """Tree digest."""
    manifest: Manifest | None
    """None where the store no longer has it."""
    parents: tuple["Ancestor", ...] = ()
    """By role, as the manifest lists them."""


class Ambiguous(Exception):
    """A name stands for several artifacts."""

    def __init__(self, name: str, keys: list[str]) -> None:
        super().__init__(f"{name} stands for {len(keys)} artifacts: {', '.join(keys)}; name one")
        self.keys = keys


def find(store: Store, name: str) -> Manifest:
    """The artifact that a person means: its key, the start of its key or digest, or run/stage.

    Of several that a stage published, the newest. Raises NotFound or Ambiguous.
    """
    manifests = [manifest for _, manifest in store.all()]
    if made := [m for m in manifests if m.producer and name == _stage(m.producer)]:
        return max(made, key=lambda m: m.created_at)
    start = _hex(name.removeprefix(f"{ARTIFACTS}/"))
    meant = [m for m in manifests if m.key.startswith(start) or _hex(m.digest).startswith(start)]
    if not meant or not start:
        raise NotFound(Path(ARTIFACTS, start))
    if len(meant) > 1:
        raise Ambiguous(name, [m.key for m in meant])
    return meant[0]


def lineage(store: Store, manifest: Manifest) -> Ancestor:
    """The artifact with all its ancestors.

    A stage may publish exactly what it read, so one digest can have several artifacts: the parent
    is then the newest that is older than the child and not its descendant.
    """
    by_digest: dict[str, list[Manifest]] = {}
    for _, other in store.all():
        by_digest.setdefault(other.digest, []).append(other)
    open_keys: set[str] = set()
    done: dict[str, Ancestor] = {}

    def follow(child: Manifest) -> Ancestor:
        if child.key not in done:
            open_keys.add(child.key)
            parents = [parent(role, digest, child) for role, digest in child.parents.items()]
            open_keys.remove(child.key)
            done[child.key] = Ancestor("", child.digest, child, tuple(parents))
        return done[child.key]

    def parent(role: str, digest: str, child: Manifest) -> Ancestor:
        known = [m for m in by_digest.get(digest, []) if m.key not in open_keys]
        if not known:
            return Ancestor(role, digest, None)
        older = [m for m in known if m.created_at <= child.created_at]
        return replace(follow(max(older or known, key=lambda m: m.created_at)), role=role)

    return follow(manifest)


def every(root: Ancestor) -> list[Ancestor]:
    """The artifact and its ancestors, each once, children before parents."""
    found: dict[str, Ancestor] = {}
    todo = [root]
    while todo:
        node = todo.pop(0)
        if _name(node) not in found:
            found[_name(node)] = node
            todo.extend(node.parents)
    return list(found.values())


def draw(root: Ancestor) -> str:
    """The tree as text, one artifact per line; a repeated one is drawn once in full."""
    return "\n".join(_lines(root, "", "", set()))


def _lines(node: Ancestor, first: str, rest: str, drawn: set[str]) -> Iterator[str]:
    again = _name(node) in drawn and bool(node.parents)
    yield first + _describe(node) + (" (as above)" if again else "")
    if again:
        return
    drawn.add(_name(node))
    for i, parent in enumerate(node.parents):
        last = i == len(node.parents) - 1
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(parent, rest + branch, rest + below, drawn)


def _describe(node: Ancestor) -> str:
    role = f"{node.role}: " if node.role else ""
    if node.manifest is None:
        return f"{role}{node.digest[:19]}… (no longer in this store)"
    made = node.manifest.producer
    if made is None:
        how = f"imported from {node.manifest.origin}"
    else:
        how = f"{_stage(made)}, attempt {made.attempt}, step {node.manifest.step}"
    return f"{role}{node.manifest.key}  {how}"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _name(node: Ancestor) -> str:
    return node.manifest.key if node.manifest else node.digest


def _stage(producer: Producer) -> str:
    return f"{producer.run}/{producer.stage}"
