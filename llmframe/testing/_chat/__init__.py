"""Chat completions as a pure function of their request: the text is made up, the tokens are counted, the body is built."""

from llmframe.testing._chat.answers import answer_hash, made_up_answer, request_digest
from llmframe.testing._chat.completions import (
    Completion,
    answer_body,
    complete,
    output_cap,
    with_answer_fault,
    with_changes,
)
from llmframe.testing._chat.evidence import fitting_label, holds
from llmframe.testing._chat.messages import count_tokens, message_texts, prompt_tokens
from llmframe.testing._chat.prompt_cache import PromptCache

__all__ = [
    "Completion",
    "PromptCache",
    "answer_body",
    "answer_hash",
    "complete",
    "count_tokens",
    "fitting_label",
    "holds",
    "made_up_answer",
    "message_texts",
    "output_cap",
    "prompt_tokens",
    "request_digest",
    "with_answer_fault",
    "with_changes",
]
