"""`acereason artifacts list|verify|gc` and `acereason lineage`: a look into a store, and its broom.

They work on a directory, without a cluster and beside running runs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from acereason_trainer.artifacts.errors import Corrupt, NotFound, StoreFull
from acereason_trainer.artifacts.lineage import Ambiguous, Ancestor, draw, every, find, lineage
from acereason_trainer.artifacts.locks import Held
from acereason_trainer.artifacts.manifest import Manifest
from acereason_trainer.artifacts.retention import Kept, Removal, collect, removable
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore
from pydantic import ValidationError

from acereason_operator.api.load import read_documents, read_run
from acereason_operator.api.status import RunStatus
from acereason_operator.cli.store import NoStore, add_store, find_store
from acereason_operator.cli.tables import table
from acereason_operator.local.run_directory import RunDirectory, UnreadableStatus
from acereason_operator.planner.retention import roots
from acereason_operator.planner.times import parse_time

OK = 0
FAILED = 1
MISUSED = 2

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_parsers(subparsers: Subparsers) -> None:
    """Declare the verbs; each sets `run`, a function of the parsed arguments."""
    artifacts = subparsers.add_parser(
        "artifacts",
        help="list, verify and collect the artifacts of a store",
        description="List, verify and collect the artifacts of a store.",
        epilog="example: acereason artifacts list --store build/store",
    )
    verbs = artifacts.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add(
        verbs,
        "list",
        list_artifacts,
        "show every artifact",
        example="acereason artifacts list --store build/store -o json",
    )
    verify = _add(
        verbs,
        "verify",
        verify_artifacts,
        "hash every byte of artifacts; exit 1 where one is corrupt",
        example="acereason artifacts verify sft-0123456789abcdef0123456789abcdef",
    )
    verify.add_argument("keys", nargs="*", metavar="KEY", help="artifacts (default: all)")
    gc = _add(
        verbs,
        "gc",
        collect_garbage,
        "remove what no run needs any more",
        example="touch store/pins/KEY keeps an artifact; acereason artifacts gc --dry-run",
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    tree = _add(
        subparsers,
        "lineage",
        show_lineage,
        "show what an artifact was made from",
        example="acereason lineage quickstart/math-8k",
    )
    tree.add_argument(
        "artifact", metavar="ARTIFACT", help="key, start of a key or digest, or RUN/STAGE"
    )


def list_artifacts(args: argparse.Namespace) -> int:
    """Print every artifact, oldest first."""
    found = sorted(
        (manifest for _, manifest in DirectoryStore(find_store(args)).all()),
        key=lambda manifest: manifest.created_at,
    )
    if args.output == "json":
        _print_json([_summary(manifest) for manifest in found])
    else:
        rows = [
            (m.key, m.kind, _made_by(m), m.step, _human(m.total_bytes), _second(m)) for m in found
        ]
        print(table(("KEY", "KIND", "MADE BY", "STEP", "SIZE", "CREATED"), rows))
    return OK


def verify_artifacts(args: argparse.Namespace) -> int:
    """Hash artifacts, and say of each what is wrong with it."""
    store = DirectoryStore(find_store(args))
    names = args.keys or store.names()
    problems: dict[str, str | None] = {}
    for name in names:
        problems[name] = _problem_of(store, name)
        if args.output != "json":
            print(f"{name}  {problems[name] or 'good'}", flush=True)
    if args.output == "json":
        _print_json([{"key": key, "problem": problem} for key, problem in problems.items()])
    return FAILED if any(problems.values()) else OK


def collect_garbage(args: argparse.Namespace) -> int:
    """Remove what no run needs, or say what that is."""
    store = DirectoryStore(find_store(args))
    kept = _kept(store.root)
    removals = removable(store, kept) if args.dry_run else collect(store, kept)
    if args.output == "json":
        _print_json([vars(removal) for removal in removals])
    else:
        _print_removals(removals, "would be removed" if args.dry_run else "removed")
    return OK


def show_lineage(args: argparse.Namespace) -> int:
    """Print the tree of what an artifact was made from."""
    store = DirectoryStore(find_store(args))
    tree = lineage(store, _meant(store, args.artifact))
    if args.output == "json":
        _print_json([_ancestor(node) for node in every(tree)])
    else:
        print(draw(tree))
    return OK


def _add(
    subparsers: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    what: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"example: {example}"
    )
    add_store(parser)
    parser.add_argument(
        "-o", "--output", choices=["table", "json"], default="table", help="form of the answer"
    )
    parser.set_defaults(run=lambda args: _told(run, args))
    return parser


def _told(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    try:
        return run(args)
    except NoStore as error:
        print(error, file=sys.stderr)
        return MISUSED
    except (NotFound, Ambiguous, Corrupt, UnreadableStatus, StoreFull) as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # the output's, which is not the store's fault
        raise
    except OSError as error:
        print(f"the store cannot be read or written: {error}", file=sys.stderr)
    except Held:
        print("a stage is being prepared in this store; try again when it is done", file=sys.stderr)
    return FAILED


def _problem_of(store: DirectoryStore, name: str) -> str | None:
    uri = f"{ARTIFACTS}/{Path(name).name}"
    try:
        store.hashed(uri)
    except NotFound as missing:
        return str(missing)
    except Corrupt as corrupt:
        return f"is corrupt: {corrupt.what}"
    return None


def _kept(store: Path) -> dict[str, Kept]:
    """What each run with a readable spec and status keeps; of the others, all is kept."""
    kept = {}
    for status_file in sorted(store.glob("runs/*/status.json")):
        documents = read_documents(status_file.with_name("run.yaml"))
        run = read_run(documents[0]).run if len(documents) == 1 else None
        try:
            status = RunStatus.parse_json(status_file.read_bytes())
        except ValidationError:
            status = None
        name = status_file.parent.name
        if run is None or status is None:
            print(f"run {name} cannot be read; all that it names is kept", file=sys.stderr)
            continue
        wanted = roots(run, status)
        kept[name] = Kept(wanted.keys, wanted.states)
    return kept


def _meant(store: DirectoryStore, name: str) -> Manifest:
    """A stage's result by its run's status (it may be another run's work), or any artifact."""
    run, _, stage = name.partition("/")
    if stage:
        for entry in RunDirectory(store.root, run).status().stages:
            if entry.name == stage and entry.artifact is not None:
                return store.manifest(entry.artifact.uri)
    return find(store, name)


def _summary(manifest: Manifest) -> dict[str, Any]:
    whole = manifest.dump()
    left_out = ("files", "checksum", "apiVersion")
    return {k: v for k, v in whole.items() if k not in left_out} | {"bytes": manifest.total_bytes}


def _ancestor(node: Ancestor) -> dict[str, Any]:
    if node.manifest is None:
        return {"digest": node.digest, "collected": True}
    return _summary(node.manifest)


def _made_by(manifest: Manifest) -> str:
    made = manifest.producer
    return f"{made.run}/{made.stage}" if made else manifest.origin


def _second(manifest: Manifest) -> str:
    """When it was made, without fractions of a second."""
    return parse_time(manifest.created_at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print_removals(removals: Sequence[Removal], verb: str) -> None:
    for removal in removals:
        print(f"{removal.path}  {_human(removal.bytes)}  {removal.why}")
    total = sum(removal.bytes for removal in removals)
    print(f"{len(removals)} {verb}, {_human(total)}")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
