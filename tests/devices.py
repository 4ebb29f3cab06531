"""Where a test's tensors are: on a CPU everywhere, and on a GPU, too, where there is one."""

import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
