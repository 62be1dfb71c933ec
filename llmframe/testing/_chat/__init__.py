"""Completions that are a pure function of their request: texts made up, tokens counted, bodies written."""

from llmframe.testing._chat.answers import made_up_answer, prompt_tokens, request_digest
from llmframe.testing._chat.completions import Completion, answer_body, complete, output_cap, spoil

__all__ = [
    "Completion",
    "answer_body",
    "complete",
    "made_up_answer",
    "output_cap",
    "prompt_tokens",
    "request_digest",
    "spoil",
]
