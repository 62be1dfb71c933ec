"""Chat completions as a pure function of their request: the text is made up, the tokens are counted, the body is built."""

from llmframe.testing._chat.answers import made_up_answer, request_digest
from llmframe.testing._chat.completions import (
    Completion,
    answer_body,
    complete,
    output_cap,
    with_answer_fault,
    with_changes,
)
from llmframe.testing._chat.messages import message_texts, prompt_tokens

__all__ = [
    "Completion",
    "answer_body",
    "complete",
    "made_up_answer",
    "message_texts",
    "output_cap",
    "prompt_tokens",
    "request_digest",
    "with_answer_fault",
    "with_changes",
]
