"""The images as they are built: what is in them, what is not, and that each does its work.

The first test of a session builds what is not there: see `built.images` for what that costs.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.images.buildah import buildah
from tests.images.contained import Contained, contained

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = ("operator", "verifier")
MB = 1_000_000
UNCHECKED = (1).to_bytes(4, "little")
"""What PEP 552 has bytecode begin with, after its version, where nobody looks at its source."""

Images = Mapping[str, Contained]


@pytest.fixture(scope="module")
def inside(images: Mapping[str, str]) -> Iterator[Images]:
    """The images by part, mounted."""
    with ExitStack() as stack:
        yield {part: stack.enter_context(contained(name)) for part, name in images.items()}


def python(image: Contained, program: str) -> str:
    """What a program in Python prints there."""
    done = image.run("python3", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed(image: Contained) -> set[str]:
    """Packages in it but ours, as a lock names them."""
    listed = python(
        image,
        "import importlib.metadata, json\n"
        "found = importlib.metadata.distributions()\n"
        "print(json.dumps([(d.metadata['Name'], d.version) for d in found]))",
    )
    names = [(re.sub(r"[-_.]+", "-", n).lower(), v.split("+")[0]) for n, v in json.loads(listed)]
    return {f"{name}=={version}" for name, version in names if name != "acereason"}


def pinned(lock: str) -> set[str]:
    """What a lock names."""
    return set(re.findall(r"^[^\s;#]+", (ROOT / lock).read_text(), re.MULTILINE))


PARTS = pytest.mark.parametrize("part", ["operator", "verifier", "trainer"])


@PARTS
def test_labels_say_what_it_is_and_what_it_was_made_from(inside: Images, part: str) -> None:
    prefix = "org.opencontainers.image."
    labels = {k.removeprefix(prefix): v for k, v in inside[part].config["Labels"].items()}
    assert labels["title"] == f"acereason-{part}"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["description"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["version"])
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}([+-]\d\d:\d\d|Z)", labels["created"])


@PARTS
def test_the_user_is_a_number_that_is_not_root(inside: Images, part: str) -> None:
    assert inside[part].config["User"] == "65532:65532"
    assert inside[part].run("id", "-u").stdout.strip() == "65532"


@PARTS
def test_its_user_owns_nothing_and_nobody_gets_more_rights(inside: Images, part: str) -> None:
    surprises = "-user 65532 -o -group 65532 -o -perm /6000 -type f -o -perm -o+w ! -perm -1000"
    found = subprocess.run(
        ["find", inside[part].root, "-xdev", "!", "-type", "l", "(", *surprises.split(), ")"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""


@PARTS
def test_what_the_build_was_told_in_secret_is_not_in_it(inside: Images, part: str) -> None:
    root = inside[part].root
    left = [*root.glob("run/secrets/*"), *root.glob("etc/pip.conf"), *root.glob("root/.c*/*")]
    assert left == []
    assert not [line for line in inside[part].config["Env"] if re.match("PIP_|UV_|SSL_", line)]


@PARTS
def test_bytecode_is_there_for_all_that_it_imports(inside: Images, part: str) -> None:
    module = {
        "operator": "acereason_operator.runtime.main",
        "verifier": "acereason_trainer.verifier.app",
        "trainer": "acereason_trainer.launch.__main__",
    }[part]
    uncompiled = python(
        inside[part],
        f"import {module}, os, sys\n"
        "specs = [m.__spec__ for m in sys.modules.values() if getattr(m, '__spec__', None)]\n"
        "print(*[s.name for s in specs if s.cached and not os.path.exists(s.cached)])",
    )
    assert uncompiled == ""


@PARTS
def test_bytecode_does_not_ask_for_the_time_of_its_source(inside: Images, part: str) -> None:
    """All files of an image have one time: bytecode that looks at it would never be taken, and
    would differ from build to build."""
    found = sorted(inside[part].root.glob("opt/acereason/lib/python3*/site-packages/**/*.pyc"))
    assert found
    assert not [path for path in found if path.read_bytes()[4:8] != UNCHECKED]


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_packages_are_those_of_its_lock(inside: Images, part: str) -> None:
    found = installed(inside[part])
    assert any(pin.startswith("pydantic==") for pin in found)
    assert found <= pinned(f"images/{part}/requirements.lock")


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_there_is_no_torch_and_nothing_to_install_or_compile_with(
    inside: Images, part: str
) -> None:
    found = python(
        inside[part],
        "from importlib.util import find_spec; from shutil import which\n"
        "print(*filter(find_spec, ['torch', 'transformers', 'deepspeed', 'pip', 'ensurepip']),"
        " *filter(which, ['pip', 'pip3', 'uv', 'cc', 'gcc', 'g++', 'clang', 'make']))",
    )
    assert found == ""


def test_the_verifier_has_nothing_that_talks_to_kubernetes(inside: Images) -> None:
    found = python(
        inside["verifier"],
        "from importlib.util import find_spec\n"
        "print(*filter(find_spec, ['acereason_operator', 'kubernetes', 'kopf', 'requests']))",
    )
    assert found == ""


def test_of_our_own_code_the_verifier_has_what_checks(inside: Images) -> None:
    found = python(
        inside["verifier"],
        "import acereason_trainer, importlib, pkgutil\n"
        "within = acereason_trainer.__path__, 'acereason_trainer.'\n"
        "names = [m.name for m in pkgutil.walk_packages(*within) if '.__main__' not in m.name]\n"
        "[importlib.import_module(name) for name in names if 'zygote' not in name]\n"
        "print(*sorted({name.split('.')[1] for name in names}))",
    )
    assert found == "config output_file processes rewards stage verifier"


def test_the_operators_commands_run(inside: Images) -> None:
    image = inside["operator"]
    assert image.config["Cmd"] == ["python3", "-m", "acereason_operator.runtime"]
    for command in ([*image.config["Cmd"], "--help"], ["acereason-operator", "--help"]):
        assert "usage: acereason-operator" in image.run(*command).stdout


def test_the_operators_image_validates_runs(inside: Images) -> None:
    image = inside["operator"]
    done = image.run("acereason", "validate", "/mnt/quickstart.yaml", given=ROOT / "examples")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prepare_runs_in_the_operators_image_and_knows_the_hub(inside: Images) -> None:
    done = inside["operator"].run("python3", "-m", "acereason_trainer.prepare", "--help")
    assert done.returncode == 0, done.stderr
    python(inside["operator"], "from huggingface_hub import snapshot_download")


def test_the_operators_image_is_small_and_changes_of_code_move_little(
    images: Mapping[str, str], tmp_path: Path
) -> None:
    """Compresses it: 10 s."""
    buildah("push", "--quiet", "--format=oci", images["operator"], f"oci:{tmp_path}/operator")
    blobs = tmp_path / "operator" / "blobs" / "sha256"
    index = json.loads((tmp_path / "operator" / "index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].split(":")[1]).read_bytes())
    sizes = [layer["size"] for layer in manifest["layers"]]
    print(f"operator: {sum(sizes) / MB:.0f} MB compressed, layers {sizes}")
    assert sum(sizes) < 200 * MB
    assert sizes[-1] < 3 * MB


@contextmanager
def serving(image: Contained) -> Iterator[str]:
    """Address of a verifier in it, on a port of its own."""
    words = [*image.config["Cmd"], "--port=0", "--code-workers=1", "--math-workers=1"]
    with image.started(*words) as process:
        yield f"http://127.0.0.1:{_port(process)}"


def _port(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"ready on http://0\.0\.0\.0:(\d+)", line):
            return found[1]
    raise AssertionError(f"it did not start:\n{said}")


SUMS = """```python
import numpy, sortedcontainers
numbers = sortedcontainers.SortedList(map(int, input().split()))
print(numpy.array(numbers).sum())
```"""
CASES = [
    {"id": "right", "kind": "code", "response": SUMS},
    {"id": "wrong", "kind": "code", "response": SUMS.replace("sum()", "max()")},
    {
        "id": "curious",
        "kind": "code",
        "response": "```python\nprint(open('/etc/passwd').read())\n```",
    },
    {"id": "math", "kind": "math", "response": r"\boxed{\frac{1}{2}}", "answer": "0.5"},
]


@pytest.mark.slow
def test_the_verifier_judges_answers_and_programs(inside: Images, tmp_path: Path) -> None:
    """15 s: it starts its workers, and the client starts too."""
    tests = [{"stdin": "1 2 39\n", "stdout": "42\n"}]
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(json.dumps({"tests": tests} | case) + "\n" for case in CASES))
    with serving(inside["verifier"]) as url:
        done = subprocess.run(
            [sys.executable, "-m", "acereason_trainer.rewards", "--in", cases, "--remote", url],
            capture_output=True,
            text=True,
            check=True,
        )
    verdicts = {row["id"]: row["verdict"] for row in map(json.loads, done.stdout.splitlines())}
    assert verdicts == {
        "right": "correct",
        "wrong": "wrong",
        "curious": "runtime_error",
        "math": "correct",
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_trainer_runs_and_has_what_its_lock_names(
    inside: Images, gpu_trainer: str | None
) -> None:
    """30 s: imports torch, vLLM and DeepSpeed from a cold disk."""
    image = inside["trainer"]
    assert image.config["Cmd"][:3] == ["python3", "-m", "acereason_trainer.launch"]
    for module in ("acereason_trainer", "acereason_trainer.launch"):
        done = image.run("python3", "-m", module, "--help")
        assert done.returncode == 0, done.stderr
    python(
        image,
        "import acereason_trainer.policy.zero_policy, acereason_trainer.rollout.vllm_engine\n"
        "import torch, numpy, sortedcontainers, pyarrow\n"
        "assert (torch.ones(2, 2) @ torch.ones(2, 2)).sum() == 8",
    )
    found = installed(image)
    assert {"torch", "deepspeed", "transformers"} <= {pin.partition("==")[0] for pin in found}
    assert found <= pinned(f"images/trainer/{'gpu' if gpu_trainer else 'cpu'}.lock")


def test_an_image_for_a_reward_of_ones_own_can_be_made_from_the_trainers(inside: Images) -> None:
    assert "/opt/acereason/" in inside["trainer"].run("pip", "--version").stdout
