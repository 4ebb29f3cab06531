"""The trainer's image for GPUs, as far as a machine without one can tell.

Not part of `make test`, since it takes 10 GB and its build a quarter of an hour. images/README.md
has the command.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.images.contained import Contained, contained

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def trainer(images: Mapping[str, str], gpu_trainer: str | None) -> Iterator[Contained]:
    """The image, mounted."""
    assert gpu_trainer, "--gpu-trainer names the image, as in localhost/acereason-trainer:0.1.0"
    with contained(images["trainer"]) as there:
        yield there


def python(image: Contained, program: str, given: Path = Path("/mnt")) -> str:
    """What a program in Python prints there."""
    done = image.run("python3", "-c", program, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_requirement_of_a_package_is_broken(trainer: Contained) -> None:
    checked = trainer.run("pip", "check")
    assert checked.returncode == 0, checked.stdout


def test_torch_is_built_for_gpus_and_finds_none(trainer: Contained) -> None:
    told = python(
        trainer,
        "import torch\n"
        "print(torch.version.cuda, torch.backends.cudnn.is_available(), torch.cuda.is_available())",
    )
    assert told.startswith("13.")
    assert told.endswith(" True False")


def test_deepspeed_is_imported_where_there_is_a_gpu_and_no_cuda_compiler(
    trainer: Contained,
) -> None:
    """Torch is told that there is one: DeepSpeed looks at which kernels it could build."""
    python(
        trainer,
        "import os, torch, types; os.environ['DS_ACCELERATOR'] = 'cuda'\n"
        "torch.cuda.is_available, torch.cuda.device_count = (lambda: True), (lambda: 1)\n"
        "h100 = types.SimpleNamespace(major=9, minor=0)\n"
        "torch.cuda.get_device_properties = lambda _: h100\n"
        "import deepspeed; assert deepspeed.get_accelerator().device_name() == 'cuda'",
    )


def test_its_user_can_compile_kernels_with_a_root_that_is_read_only(trainer: Contained) -> None:
    """Triton's launcher against a libcuda without content, and torch's own loops."""
    python(
        trainer,
        "import subprocess, pathlib, triton, torch\n"
        "from triton.runtime.build import _build\n"
        "stub = ['gcc', '-shared', '-x', 'c', '/dev/null', '-o', '/tmp/libcuda.so.1']\n"
        "subprocess.run(stub, check=True)\n"
        "driver = pathlib.Path(triton.__file__).parent / 'backends/nvidia'\n"
        "_build('cuda_utils', str(driver / 'driver.c'), '/tmp', ['/tmp'],\n"
        "       [str(driver / 'include')], ['libcuda.so.1'], [])\n"
        "assert torch.compile(lambda x: x.sin() + 1)(torch.zeros(8)).sum() == 8\n",
    )


def test_triton_has_an_assembler_for_gpus(trainer: Contained) -> None:
    python(
        trainer,
        "import pathlib, subprocess, triton\n"
        "there = pathlib.Path(triton.__file__).parent.glob('backends/nvidia/bin/ptxas*')\n"
        "assert [subprocess.run([name, '--version'], check=True) for name in there]",
    )


def test_nccl_finds_infinibands_library(trainer: Contained) -> None:
    python(trainer, "import ctypes; ctypes.CDLL('libibverbs.so.1')")


MODEL = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 160,
    "torch_dtype": "float32",
}
ENGINE = """
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.engine_messages import EngineSettings
from acereason_trainer.stage import StageFailure
settings = EngineSettings("/mnt", {}, "float32", 160, (1,), 4, 1, 0.5, None)
try:
    EngineClient(settings, gpus=[], patience=900, check_stop=lambda: None)
except StageFailure as e:
    print(int(e.code), e)
"""


def test_an_engine_without_a_gpu_says_so_in_a_sentence(trainer: Contained, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODEL))
    (tmp_path / "config.json").chmod(0o644)
    tmp_path.chmod(0o755)
    told = python(trainer, ENGINE, given=tmp_path).splitlines()[-1]
    assert told.startswith("78 ")
    assert "no GPU is given to this process" in told
    assert "ask for nvidia.com/gpu in the stage's resources" in told
