"""How a problem becomes a prompt, in the papers' form (AceReason 1.0 appendix A.1, 1.1's card).

    question
    <blank line>
    instruction

A math question asks for a boxed answer, a code question for one python block; a call-based code
question shows the function header before that. The chat template puts role tokens around it, and
`<think>` opens the answer, so that the model reasons first. Rendered once per prompt; everything
after works on token ids.
"""

from typing import TYPE_CHECKING

from acereason_trainer.config.common import Prompting
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.dataset import Row
from acereason_trainer.stage import StageFailure

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TASK_SENTENCE = "Write Python code to solve the problem. "


def question(row: Row, prompting: Prompting) -> str:
    """The user's turn: the problem and what the answer must look like."""
    if row.domain == "math":
        return f"{row.problem}\n\n{prompting.math_instruction}"
    starter = row.data.get("starter")
    if not starter:
        return f"{row.problem}\n\n{prompting.code_instruction}"
    # With a header the papers' instruction starts at "Please place": the header names the task.
    placement = prompting.code_instruction.removeprefix(_TASK_SENTENCE)
    return (
        f"{row.problem}\n\n{prompting.header_instruction}\n\n"
        f"Function header:\n```\n{starter}\n```\n\n{placement}"
    )


def prompt_text(row: Row, prompting: Prompting, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The whole prompt as text, up to and with the opening of `<think>`."""
    asked = question(row, prompting)
    if prompting.template == "plain":
        parts = [prompting.system, asked] if prompting.system else [asked]
        return "\n\n".join(parts) + "\n\n" + prompting.think_open
    if tokenizer.chat_template is None:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "NoChatTemplate",
            "the model's tokenizer has no chat template; set prompting.template: "
            "plain, or add a template to the tokenizer",
        )
    messages = [{"role": "user", "content": asked}]
    if prompting.system:
        messages.insert(0, {"role": "system", "content": prompting.system})
    text = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    text = text if _opens_already(text, prompting) else text + prompting.think_open
    if prompting.thinks and text.rpartition(asked)[2].count(prompting.think_open.strip()) > 1:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "DoubleThink",
            f"the model's chat template writes {prompting.think_open.strip()} into the assistant's "
            "turn, and prompting.thinkOpen opens it again; set thinkOpen to what the template "
            "leaves to be opened, or to nothing",
        )
    return text


def render_prompt(
    row: Row, prompting: Prompting, tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """Token ids of the prompt. The template writes its own special tokens; none are added."""
    text = prompt_text(row, prompting, tokenizer)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def response_after_prompt(response: str, prompting: Prompting) -> str:
    """A worked answer as the model must continue the prompt: without a second `<think>`."""
    opening = prompting.think_open.strip()
    if not opening or not response.lstrip().startswith(opening):
        return response
    return response.lstrip().removeprefix(opening).lstrip("\n")


def require_single_think(row: Row, prompting: Prompting) -> None:
    """Raise StageFailure where a worked answer opens its reasoning twice: it would be learned."""
    opening = prompting.think_open.strip()
    rest = response_after_prompt(str(row.data["response"]), prompting)
    if opening and rest.lstrip().startswith(opening):
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "DoubleThink",
            f"the response in {row.origin} begins with {opening} twice; keep one of them",
        )


def _opens_already(text: str, prompting: Prompting) -> bool:
    return text.rstrip().endswith(prompting.think_open.strip())
