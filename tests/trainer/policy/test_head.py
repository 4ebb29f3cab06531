"""log p and entropy of tokens: autograd's own numbers, in memory that does not grow."""

import pytest
import torch
from acereason_trainer.policy import head
from acereason_trainer.policy.head import Head
from torch import Tensor, nn

from tests.peak_memory import peak_of_tensors

TEMPERATURE = 0.85
VOCABULARY = 15_000


def by_autograd(output: nn.Linear, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(output(hidden).float() / TEMPERATURE, dim=-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_one_chunk_gives_the_bits_of_autograd(dtype: torch.dtype, bias: bool) -> None:
    output = nn.Linear(48, 1003, bias=bias).to(dtype)
    hidden = torch.randn(61, 48).to(dtype).requires_grad_()
    targets, weights = torch.randint(0, 1003, (61,)), torch.randn(61)
    found = []
    for scored in (
        by_autograd(output, hidden, targets),
        Head(output)(hidden, targets, TEMPERATURE),
    ):
        gradients = torch.autograd.grad((weights * scored[0]).sum(), [hidden, *output.parameters()])
        found.append([*(s.detach() for s in scored), *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_chunks_change_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden = nn.Linear(48, 1003), torch.randn(61, 48)
    targets = torch.randint(0, 1003, (61,))
    whole = Head(output)(hidden, targets, TEMPERATURE)
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 7 * 1003)
    chunked = Head(output)(hidden, targets, TEMPERATURE)
    for a, b in zip(whole, chunked, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def gradient_of_the_matrix(output: nn.Linear, hidden: Tensor, targets: Tensor) -> Tensor:
    found, _ = Head(output)(hidden, targets, TEMPERATURE)
    return torch.autograd.grad(found.sum(), [output.weight])[0]


@pytest.mark.parametrize("tokens_of_a_chunk", [256, 16])
def test_chunks_round_the_gradient_of_a_bfloat16_matrix_no_further(
    monkeypatch: pytest.MonkeyPatch, tokens_of_a_chunk: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    output = nn.Linear(48, 503, bias=False).bfloat16()
    with torch.no_grad():
        output.weight.uniform_(-0.1, 0.1, generator=generator)
    hidden = (1 + torch.randn(4096, 48, generator=generator)).bfloat16()
    targets = torch.randint(0, 8, (4096,), generator=generator)
    exact = output.weight.detach().double().requires_grad_()
    log_p = torch.log_softmax(hidden.double() @ exact.t() / TEMPERATURE, dim=-1)
    (right,) = torch.autograd.grad(log_p.gather(1, targets[:, None]).sum(), [exact])

    def error() -> float:
        found = gradient_of_the_matrix(output, hidden, targets)
        return float((found.double() - right).norm() / right.norm())

    whole = error()
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", tokens_of_a_chunk * 503)
    assert error() < 1.2 * whole, "a sum in bfloat16 is twice as far off, or seven times"


def test_chunks_sum_a_float32_gradient_as_autograd_does(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden = nn.Linear(48, 1003, bias=False), torch.randn(61, 48)
    targets = torch.randint(0, 1003, (61,))
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 7 * 1003)
    in_chunks = gradient_of_the_matrix(output, hidden, targets)
    by_hand = torch.zeros_like(output.weight)
    for start in reversed(range(0, 61, 7)):
        part = slice(start, start + 7)
        by_hand += gradient_of_the_matrix(output, hidden[part], targets[part])
    assert torch.equal(in_chunks, by_hand)


def test_memory_does_not_grow_with_the_tokens_times_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 2**22)
    output = nn.Linear(32, VOCABULARY, bias=False)

    def step(tokens: int) -> None:
        hidden = torch.randn(tokens, 32, requires_grad=True)
        scored, _ = Head(output)(hidden, torch.randint(0, VOCABULARY, (tokens,)), TEMPERATURE)
        scored.sum().backward()

    few, many = peak_of_tensors(lambda: step(600)), peak_of_tensors(lambda: step(2400))
    chunk = 4 * head.LOGITS_AT_ONCE
    assert many < 1.02 * few, "four times the tokens"
    assert many < 5 * chunk, f"{many / chunk:.1f} chunks of float32; one copy of all logits is 9"
