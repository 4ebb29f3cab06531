"""A policy's exact state as files that know nothing of ranks or of the engine that wrote them.

    policy.json                       steps taken
    policy-<rank>-<n>.safetensors     of each parameter, by its name: float32 weight and moments

Every tensor is whole. So a state that one process wrote is read by eight ranks, and the other way
round, with nothing to convert; and what a rank writes is a share of the parameters, not of each.
Files of a gigabyte at most keep little in the host's memory at once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

STEPS_FILE = "policy.json"
WEIGHT, FIRST, SECOND = "weight", "exp_avg", "exp_avg_sq"
"""What is kept of a parameter; the moments are named as torch and DeepSpeed name them."""
BYTES_PER_FILE = 2**30
BYTES_PER_ELEMENT = 12
"""A float32 weight and its two moments."""

Parts = Mapping[str, Tensor]
"""float32 tensors of one parameter: its master weight and both moments."""


def write_steps(directory: Path, steps: int) -> Path:
    """Write how many optimizer steps the state holds, and return the file."""
    path = directory / STEPS_FILE
    path.write_text(json.dumps({"steps": steps}))
    return path


def read_steps(directory: Path) -> int:
    """How many optimizer steps the state holds."""
    return int(json.loads((directory / STEPS_FILE).read_text())["steps"])


def write_parts(
    directory: Path,
    sizes: Mapping[str, int],
    parts_of: Callable[[str], Parts],
    *,
    rank: int = 0,
    world: int = 1,
) -> list[Path]:
    """Write this rank's share of the parameters, and return the files.

    sizes: elements of each parameter. `parts_of` is called for every one of them in this order,
    whoever keeps it: with several ranks it is a collective.
    """
    portions = _portions(sizes, parts_of, rank, world)
    return [_write(directory, rank, number, kept) for number, kept in enumerate(portions)]


@dataclass(frozen=True)
class Snapshot:
    """A rank's share of a state, copied into the host's memory: training goes on while it is
    written."""

    steps: int
    rank: int
    portions: Sequence[dict[str, Tensor]]

    def write(self, directory: Path) -> list[Path]:
        """Write what `write_parts` and, for the leader, `write_steps` would have."""
        files = [_write(directory, self.rank, n, kept) for n, kept in enumerate(self.portions)]
        return files if self.rank else [*files, write_steps(directory, self.steps)]


def snapshot(
    steps: int,
    sizes: Mapping[str, int],
    parts_of: Callable[[str], Parts],
    *,
    rank: int = 0,
    world: int = 1,
) -> Snapshot:
    """This rank's share as it is now; the arguments are those of `write_parts`."""
    return Snapshot(steps, rank, list(_portions(sizes, parts_of, rank, world)))


def share_bytes(sizes: Mapping[str, int], *, rank: int = 0, world: int = 1) -> int:
    """Bytes of a rank's share."""
    owned = zip(sizes.values(), owners(list(sizes.values()), world), strict=True)
    return sum(size for size, owner in owned if owner == rank) * BYTES_PER_ELEMENT


def _write(directory: Path, rank: int, number: int, kept: dict[str, Tensor]) -> Path:
    path = directory / f"policy-{rank}-{number}.safetensors"
    save_file(kept, path)
    return path


def _portions(
    sizes: Mapping[str, int], parts_of: Callable[[str], Parts], rank: int, world: int
) -> Iterator[dict[str, Tensor]]:
    """The share, copied, in portions of a file each."""
    kept: dict[str, Tensor] = {}
    size = 0
    for name, owner in zip(sizes, owners(list(sizes.values()), world), strict=True):
        parts = parts_of(name)
        if owner != rank:
            continue
        for part, tensor in parts.items():
            kept[f"{name}/{part}"] = tensor.detach().to("cpu", copy=True).contiguous()
        size += sum(t.nbytes for t in parts.values())
        if size >= BYTES_PER_FILE:
            yield kept
            kept, size = {}, 0
    if kept:
        yield kept


def read_parts(
    directory: Path, names: Sequence[str], of_each: Sequence[str] = (WEIGHT, FIRST, SECOND)
) -> Iterator[tuple[str, Parts]]:
    """Each parameter's tensors on the CPU, in the order of `names`, and only what is asked for
    `of_each`."""
    files = [safe_open(path, "pt") for path in sorted(directory.glob("policy-*.safetensors"))]
    place = {key: file for file in files for key in file.keys()}  # noqa: SIM118 (no mapping)
    for name in names:
        keys = {part: f"{name}/{part}" for part in of_each}
        yield name, {part: place[key].get_tensor(key) for part, key in keys.items()}


def owners(sizes: Sequence[int], world: int) -> list[int]:
    """The rank that writes each parameter: about as many elements each, neighbours together."""
    total, before, out = max(1, sum(sizes)), 0, []
    for size in sizes:
        out.append((before + size // 2) * world // total)
        before += size
    return out
