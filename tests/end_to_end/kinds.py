"""What servers really answer, one kind a line, and what becomes of the rows that get it (DESIGN: when things go wrong)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llmframe.testing import Reply


@dataclass(frozen=True)
class Kind:
    """A reply to some rows of a frame, and what is expected of them.

    `times` is how often each row gets it (None: always), `text` its answer where it is not the server's own, `code` its
    reason where it fails, `words` a part of the reason's message, `paid` how often it is billed, and `stored` whether a
    failed row stays failed when the call is repeated.
    """

    reply: Reply
    times: int | None = None
    text: str | None = None
    fails: bool = False
    code: str | None = None
    words: str = ""
    paid: int = 1
    stored: bool = False
    truncated: bool = False


def _said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def _ending(reason: object) -> Reply:
    return Reply(choice={"finish_reason": reason})


_GOOD = (
    *("stop", "STOP", "stop_sequence", "end_turn", "eos", "eos_token", "complete", "Completed"),
    *("tool_calls", "function_call", "tool_use", None, "", ...),
)
_CUT = ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length")
_FILTERS = (
    "content_filter",
    "SAFETY",
    "safety",
    "recitation",
    "RECITATION",
    "prohibited_content",
    "PROHIBITED_CONTENT",
)
_PASSING = ("error", "ERROR", "abort", "timeout", "insufficient_system_resource")
_MOMENT = {"message": "The provider is overloaded, please try again later.", "code": 502}

ENDINGS = (
    {f"good ending {reason}": Kind(_ending(reason)) for reason in _GOOD}
    | {f"cut off by {reason}": Kind(_ending(reason), truncated=True) for reason in _CUT}
    | {
        f"filter {reason}": Kind(_ending(reason), fails=True, code="content_filter", stored=True)
        for reason in _FILTERS
    }
    | {f"ending {reason} once": Kind(_ending(reason), times=1, paid=2) for reason in (*_PASSING, "weird")}
    | {f"ending {reason} for ever": Kind(_ending(reason), fails=True, paid=2) for reason in _PASSING}
    | {
        f"ending {reason} for ever": Kind(
            _ending(reason), fails=True, code="finish_reason", words=reason, paid=2, stored=True
        )
        for reason in ("weird", "model_ran_away")
    }
    | {
        "error of the moment beside a text": Kind(
            Reply(choice={"finish_reason": None}, completion={"error": _MOMENT}), times=1, paid=2
        ),
        "error of the moment beside a text that ended": Kind(
            Reply(completion={"error": _MOMENT}), times=1, paid=2
        ),
        "error that is empty beside a text": Kind(Reply(completion={"error": {}})),
        "error that is null beside a text": Kind(Reply(completion={"error": None})),
    }
)

_TEXT = {"type": "text", "text": "Yes."}

CONTENTS = {
    name: Kind(Reply(message={"content": content}), text=text)
    for name, content, text in (
        ("parts", [{"type": "text", "text": "Half "}, {"type": "text", "text": "and half"}], "Half and half"),
        ("parts of output_text", [{"type": "output_text", "text": "Yes."}], "Yes."),
        ("texts", ["Half ", "and half"], "Half and half"),
        ("part that is no list", _TEXT, "Yes."),
        ("part without a type", {"text": "Yes."}, "Yes."),
        ("reasoning part first", [{"type": "reasoning", "text": "Hm."}, _TEXT], "Yes."),
        ("thinking part first", [{"type": "thinking", "thinking": "Hm."}, _TEXT], "Yes."),
        ("thinking part with text", [{"type": "thinking", "text": "Hm."}, _TEXT], "Yes."),
        ("nested thinking", [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, _TEXT], "Yes."),
        ("null among parts", [None, _TEXT, {"type": "text", "text": None}], "Yes."),
    )
} | {
    name: Kind(Reply(message=message), fails=True, code=code, words=words, stored=True)
    for name, message, code, words in (
        ("reasoning parts only", {"content": [{"type": "reasoning", "text": "Hm."}]}, "empty", ""),
        ("thinking part that is no list", {"content": {"type": "thinking", "text": "Hm."}}, "empty", ""),
        ("reasoning beside null", {"content": None, "reasoning": "Hm."}, "empty", ""),
        ("reasoning_content beside nothing", {"content": "", "reasoning_content": "Hm."}, "empty", ""),
        ("content that is a number", {"content": 7}, "empty", ""),
        ("content that is left out", {"content": ...}, "empty", ""),
        ("refusal", {"content": None, "refusal": "I can't help with that."}, "refusal", "I can't help"),
        ("refusal beside a text", {"refusal": "I can't help with that."}, "refusal", "I can't help"),
    )
} | {
    "no choices": Kind(Reply(completion={"choices": []}), fails=True, code="no_choices", stored=True),
    "null as a message": Kind(Reply(choice={"message": None}), fails=True, code="empty", stored=True),
}  # fmt: skip


def _tokens(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


USAGES = {
    f"usage {name}": Kind(Reply(completion={"usage": usage}))
    for name, usage in {
        "null": None,
        "left out": ...,
        "empty": {},
        "that is a list": [],
        "that is a text": "12 tokens",
        "of nulls": _tokens(None, None, total_tokens=None, prompt_tokens_details=None),
        "of texts": _tokens("12", "five"),
        "of fractions": _tokens(12.5, 5.5),
        "below zero": _tokens(-12, -5, total_tokens=-17),
        "of nan": _tokens(math.nan, math.inf),
        "beyond 64 bits": _tokens(10**30, 10**30),
        "with more cached than prompt tokens": _tokens(5, 5, prompt_tokens_details={"cached_tokens": 41_000}),
        "with more written than prompt tokens": _tokens(
            5, 5, prompt_tokens_details={"cache_write_tokens": 9_000, "cached_tokens": 5}
        ),
        "with cached tokens below zero": _tokens(5, 5, prompt_tokens_details={"cached_tokens": -5}),
        "with details that are lists": _tokens(5, 5, prompt_tokens_details=[], completion_tokens_details=[]),
        "with reasoning on top": _tokens(
            5, 5, total_tokens=110, completion_tokens_details={"reasoning_tokens": 100}
        ),
    }.items()
} | {
    "model that is null": Kind(Reply(completion={"model": None})),
    "model that is a number": Kind(Reply(completion={"model": 7})),
    "model that nobody knows": Kind(Reply(completion={"model": "provider/unheard-of:free"})),
    "no id and no object": Kind(Reply(completion={"id": ..., "object": ..., "created": ...})),
    "service tier that is a list": Kind(Reply(completion={"service_tier": []})),
    "headers that talk nonsense": Kind(
        Reply(
            headers={
                "x-ratelimit-limit-requests": "-1",
                "x-ratelimit-remaining-requests": "many",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-reset-requests": "NaN",
                "retry-after": "soon",
            }
        )
    ),
}

_PAGE = "<html><head><title>Bad gateway</title></head><body>cloudflare</body></html>"
_BUSY = _said("Please try again.", code=None)

PASSING = {
    f"status {status} once": Kind(Reply(status, body), times=1)
    for body, statuses in {
        None: (408, 409, 500, 503, 504, 529),
        "": (421, 425, 499, 502),
        _PAGE: (520, 521, 522, 523, 524, 525, 526, 527, 528),
        "upstream connect error": (424, 429, 498),
    }.items()
    for status in statuses
} | {
    "400 that is a rate limit once": Kind(
        Reply(400, _said("Rate limit reached.", code="rate_limit_exceeded")), times=1
    ),
    "403 about the region once": Kind(
        Reply(403, _said("Access from this region is not allowed for this API key.", code=403)), times=1
    ),
    "401 once": Kind(Reply(401, _said("Unauthorized")), times=1),
    "429 as a list of one once": Kind(Reply(429, [_said("Resource has been exhausted", code=429)]), times=1),
    "503 with a text as its error once": Kind(Reply(503, {"error": "model is loading"}), times=1),
    "500 twice": Kind(Reply(500, _BUSY), times=2),
    "200 with an error of the moment once": Kind(Reply(200, {"error": _MOMENT}), times=1),
    "200 with a web page once": Kind(Reply(200, _PAGE), times=1),
    "200 with nothing once": Kind(Reply(200, ""), times=1),
}


def _refused(status: int, body: Any, words: str, code: str | None = None) -> Kind:
    return Kind(Reply(status, body), fails=True, code=code, words=words, paid=0)


_VALIDATION = [
    {"type": "string_too_long", "loc": ["body", "messages", 0], "msg": "String is too long", "input": "…"}
]

REFUSALS = {
    "too long, OpenAI": _refused(400, _said("This model's maximum context length is 8192 tokens.", type="invalid_request_error", param="messages", code="context_length_exceeded"), "8192", "context_length_exceeded"),
    "too long, llama.cpp": _refused(400, _said("the request exceeds the available context size (4096 tokens), try increasing it", code=400, type="exceed_context_size_error"), "available context size"),
    "too long, vLLM": _refused(400, {"object": "error", "message": "The decoder prompt (length 10015) is longer than the maximum model length of 8192.", "type": "BadRequestError", "param": None, "code": 400}, "longer than the maximum"),
    "too long, Groq": _refused(400, _said("Please reduce the length of the messages or completion.", type="invalid_request_error", param="messages"), "reduce the length"),
    "too large, Groq": _refused(413, _said("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again.", type="tokens", code="rate_limit_exceeded"), "Requested 9000"),
    "too long, Mistral": _refused(400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_invalid_args", "param": None, "code": "3051"}, "40000 tokens"),
    "too long, Gemini": _refused(400, [_said("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", code=400, status="INVALID_ARGUMENT")], "The input token count"),
    "too long, LiteLLM": _refused(400, _said("litellm.ContextWindowExceededError: context window exceeded", type=None, param=None, code="400"), "context window exceeded"),
    "too long, Anthropic": _refused(400, _said("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"), "210000 tokens"),
    "can never fit a limit": _refused(429, _said("Request too large for gpt-6-luna on tokens per min (TPM): Limit 30000, Requested 36278.", type="tokens", code="rate_limit_exceeded"), "Requested 36278", "request_too_large"),
    "risk, DeepSeek": _refused(400, _said("Content Exists Risk", type="invalid_request_error", param=None, code="invalid_request_error"), "Content Exists Risk"),
    "filter, Azure": _refused(400, _said("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", type=None, param="prompt", code="content_filter", status=400), "content management policy", "content_filter"),
    "flagged, OpenRouter": _refused(403, _said('This model requires moderation. Your input was flagged for "harassment".', code=403), "flagged"),
    "no images, OpenRouter": _refused(404, _said("No endpoints found that support image input", code=404), "image input"),
    "broken JSON, Groq": _refused(400, _said("Failed to generate JSON. Please adjust your prompt.", type="invalid_request_error", code="json_validate_failed", failed_generation='{"a": '), "Failed to generate JSON", "json_validate_failed"),
    "413 with a web page": _refused(413, "<html><head><title>413 Request Entity Too Large</title></head></html>", "413"),
    "422 with a list of details": _refused(422, {"detail": _VALIDATION}, "String is too long"),
    "422 with a list": _refused(422, _VALIDATION, "String is too long"),
    "404 for some rows": _refused(404, _said("Not found"), "Not found"),
    "405 for some rows": _refused(405, _said("Method not allowed"), "Method not allowed"),
    "410 for some rows": _refused(410, "", "410"),
    "400 as a text": _refused(400, "this prompt cannot be processed", "this prompt cannot be processed"),
    "400 as a list of one": _refused(400, [_said("this prompt cannot be processed", code=400)], "this prompt cannot be processed"),
    "400 with a text as its error": _refused(400, {"error": "this prompt cannot be processed"}, "this prompt cannot be processed"),
    "400 with its message at the top": _refused(400, {"message": "this prompt cannot be processed", "code": 7}, "this prompt cannot be processed"),
    "400 with a text as its detail": _refused(400, {"detail": "this prompt cannot be processed"}, "this prompt cannot be processed"),
    "400 with nothing": _refused(400, "", "400"),
}  # fmt: skip

KINDS = ENDINGS | CONTENTS | USAGES | PASSING | REFUSALS

STOPS = {
    "key, OpenAI": (Reply(401, _said("Incorrect API key provided: sk-no.", code="invalid_api_key")), "Incorrect API key", "key"),
    "key, OpenRouter": (Reply(401, _said("No auth credentials found", code=401)), "No auth credentials", "key"),
    "key, Azure": (Reply(401, _said("Access denied due to invalid subscription key or wrong API endpoint.", code="401")), "Access denied", "key"),
    "key, Gemini": (Reply(400, [_said("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT")]), "API key not valid", "key"),
    "permission": (Reply(403, _said("Your account may not use this API.", code=403)), "may not use this API", ""),
    "model, OpenAI": (Reply(404, _said("The model `m` does not exist or you do not have access to it.", code="model_not_found")), "does not exist", "model="),
    "model, Azure": (Reply(404, _said("The API deployment for this resource does not exist.", code="DeploymentNotFound")), "deployment", "model="),
    "model, OpenRouter": (Reply(400, _said("m is not a valid model ID", code=400)), "not a valid model ID", "model="),
    "model, Mistral": (Reply(400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}), "Invalid model", "model="),
    "model, Ollama": (Reply(404, _said('model "m" not found, try pulling it first', type="api_error", code=None)), "try pulling it first", "model="),
    "model, vLLM": (Reply(404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}), "does not exist", "model="),
    "parameter, OpenAI": (Reply(400, _said("Unsupported parameter: 'temperature'.", param="temperature", code="unsupported_parameter")), "Unsupported parameter", "temperature"),
    "parameter, FastAPI": (Reply(422, {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be at most 2"}]}), "Input should be at most 2", ""),
    "quota, OpenAI": (Reply(429, _said("You exceeded your current quota, please check your plan and billing details.", code="insufficient_quota")), "exceeded your current quota", "credit"),
    "balance, DeepSeek": (Reply(402, _said("Insufficient Balance", code="invalid_request_error")), "Insufficient Balance", "credit"),
    "an ending that nobody knows": (Reply(choice={"finish_reason": "weird"}), "weird", ""),
    "a filter that holds all back": (Reply(message={"content": ""}, choice={"finish_reason": "length"}), "empty", "max_completion_tokens"),
}  # fmt: skip
"""Replies to every row that end a run at once: words of its error, and of the error's remedy."""

WRONG_ADDRESSES = {
    "a path that says 200": (Reply(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}), "Unexpected endpoint", "/v1"),
    "a path that is not there": (Reply(404, {"detail": "Not Found"}), "Not Found", "base_url"),
}  # fmt: skip
"""The same, of an address where no API is; by batch the upload finds out."""

LIMITS = {
    "quota of the day": Reply(429, _said("You exceeded your current quota: requests per day.", code=429)),
    "limit of 0": Reply(429, _said("Quota exceeded for metric free_tier_requests, limit: 0", code=429)),
    "budget": Reply(429, _said("Budget has been exceeded! Current cost: 10.1", type="budget_exceeded")),
    "Moonshot's quota": Reply(429, _said("Please check your plan", type="exceeded_current_quota_error")),
    "a wait of eight hours": Reply(429, _said("Slow down"), headers={"retry-after": "28800"}),
}
"""Limits that will not pass today."""
