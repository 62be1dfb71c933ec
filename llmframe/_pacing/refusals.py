"""What a refusal means: a matter of the row, of the run, or of the moment.

It is decided by status, codes and words, and by whether other rows of the run are answered (`Doubt`). The wordings are those of public reports about servers and proxies;
statuses and codes are in https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, TypeVar

from llmframe._values import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._values import RequestFault

T = TypeVar("T")


PROBES = 5
"""While nothing is answered and requests are refused, this many others are asked before the run stops."""
MANY_REFUSALS = 100
"""After this many of an unknown model or a refused key, none is asked any more."""
SAME_REFUSALS = 5
"""A parameter is blamed after this many refusals: fewer rows may be malformed each by itself."""


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_LIMIT_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"})
_ROW_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "data_inspection_failed",
        "exceed_context_size_error",
        "invalid_prompt",
        "json_validate_failed",
        "string_above_max_length",
    }
)
_PASSING_CODES = _words(
    r"server_error|internal_error|internal_server_error|overloaded|unavailable|timeout|capacity"
)
_PASSING_STATUSES = frozenset({408, 409, 421, 424, 425, 498, 499})

_TOO_LONG = _words(
    r"context[ _-]?(length|window|size)",
    r"exceed\w* (the )?(model'?s )?(available |maximum )?context",
    r"(prompt|input|request|message)s? (\w+ )?(is|are|was|were) too (long|large)",
    r"(prompt|input|text|string) too long",
    r"reduce the length",
    r"too many (input |prompt )?tokens(?!.*\b(wait|again|minute))",
    r"range of input length",
    r"max(imum)? (prompt|input|message|request|sequence) (length|size|tokens)",
    r"(payload|body|message|request|prompt|input) size .{0,40}exceed",
    r"inputs?\b.{0,40}\bmust (be|have) (less|fewer|<)",
    r"(input|prompt)( tokens?| length)?( count)? .{0,60}exceed",
)
_FLAGGED = _words(
    r"content exists risk",
    r"content[ _-]?(filter|policy|management|moderation)",
    r"(input|prompt|content|message|text|request)\b.{0,40}\b(flagged|inappropriate|prohibited)",
    r"data inspection",
    r"responsible ?ai",
    r"safety system",
    r"usage polic",
)
_NO_WORD_JSON = _words(r"must contain the word\W{0,3}json")
_ANSWER_FORM = _words(
    r"response[ _]?(format|schema|mime)",
    r"\btext\.format\b",
    r"\b(json[ _-]?schema|json_object|json mode)\b",
    r"structured[ _-]?(output|response|decoding|generation)",
    r"guided[ _-]?(json|decoding|generation|grammar)",
    r"\b(x?grammars?|llguidance|outlines)\b",
    r"\boutput[ _]?(schema|format|config)\b",
    r"\bschema (in|of|produces|is|has|contains|with|exceeds)\b",
    r"(handle|support) (all )?the requested parameters",  # a router that finds no provider
)
"""What refusals of `response_format` name, as OpenAI, Azure, DeepSeek, Groq, Gemini, OpenRouter, LM Studio, Ollama, llama.cpp,
vLLM and SGLang word them."""
_NO_IMAGES = _words(
    r"(image|vision|audio|multimodal|modalit)\w*.{0,60}(not support|unsupported|not (a )?multimodal)",
    r"(not support|unsupported|no endpoints).{0,60}(image|vision|audio|multimodal|modalit)",
)
_UNKNOWN_MODEL = _words(
    r"model.{0,100}(not found|n.t exist|not exist|unknown|not supported|not available|unavailable|no longer|deprecated|decommissioned|not a valid|not loaded)",
    r"model.{0,100}(has been|was|is|is currently) (retired|removed|disabled|discontinued|shut down)",
    r"(unknown|invalid|unsupported|unrecogni[sz]ed|no|no such|not a valid) model",
    r"(find|resolve|load|access|access to|permission for|use)( the| this)? model",
    r"(available|loaded|supported|valid) models\b",
    r"(deployment|engine).{0,60}(not exist|n.t exist|not found)",
    r"no endpoints found for",
)
_NO_ACCESS = _words(
    r"\b(api[ _-]?)?key\b", r"\baccount", r"\bregion", r"\bcountry|\bterritor", r"\bcredential", r"\bscope"
)
_BAD_KEY = _words(
    r"\bapi[ _-]?key\b.{0,40}(not valid|invalid|incorrect|expired|missing)",
    r"(invalid|incorrect) api[ _-]?key",
)
_RATE = _words(r"too many requests", r"rate[ _-]?limit")
_BUSY = _words(
    r"try (your request )?again (later|in\b|shortly|soon|after)",
    r"temporar(y|ily)",
    r"overloaded",
    r"(at|over|out of|insufficient|no) (system )?(capacity|resource)",
    r"(currently|is|service|server) (loading|busy|unavailable)",
)
_BROKE_OFF = _words(
    r"time[d ]?-?out",
    r"internal (server )?error",
    r"(upstream|provider|connection|network).{0,30}(error|fail|lost|closed)",
    r"\b(abort|interrupt|cancell?|disconnect)ed\b",
)
_NAMES_A_LONG_TIME = _words(r"\b(day|daily|month|monthly|[rt]pd)\b")
_NAMES_MONEY_OR_NOTHING = _words(
    r"\bcredits?\b", r"\bbudget", r"\bbalance\b", r"\barrears\b", r"\blimit\W{0,3}0(?![\d.,])"
)
_NAMES_A_SHORT_TIME = _words(r"\b(min|minute|minutes|second|seconds|[rt]pm)\b")
_LASTING_CODES = frozenset({"budget_exceeded", "exceeded_current_quota_error"})
_TOO_LARGE = re.compile(
    r"limit:? ?(?P<limit>\d[\d,]*).*?requested:? ?(?P<requested>\d[\d,]*)", re.IGNORECASE | re.DOTALL
)


def refusal_kind(status: int, codes: AbstractSet[str], text: str) -> FaultKind:  # noqa: C901, PLR0911 (a table)
    """Decide what a refusal means.

    Parameters
    ----------
    status
        The HTTP status; that of a line, in a batch.
    codes, text
        The error's code, type and status, and its words.
    """
    if codes & _QUOTA_CODES:
        return FaultKind.FATAL
    if status == 413 or (400 <= status < 500 and never_fits(text)):
        return FaultKind.ROW
    if status == 429 or (status < 500 and codes & _LIMIT_CODES):
        return FaultKind.LIMIT
    if codes & _ROW_CODES or (status >= 400 and status != 401 and _names_the_row(text)):
        return FaultKind.ROW
    if status in {400, 422, 500, 501} and _ANSWER_FORM.search(text):
        return FaultKind.PARAMETER
    if status in _PASSING_STATUSES or status >= 500:
        return FaultKind.PASSING
    if status in {401, 402} or (status == 403 and _NO_ACCESS.search(text)) or _BAD_KEY.search(text):
        return FaultKind.ACCESS
    if status >= 400 and _RATE.search(text):
        return FaultKind.LIMIT
    if status in {400, 403, 422} and (_BUSY.search(text) or any(map(_PASSING_CODES.search, codes))):
        return FaultKind.PASSING
    if status in {400, 422} and not _is_unknown_model(*codes, text):
        return FaultKind.PARAMETER
    return FaultKind.REFUSED


def stated_status(code: object) -> int | None:
    """Read the HTTP status of an error that came with a 200 from its code, a number or its digits."""
    text = str(code) if isinstance(code, int | str) else ""
    return int(text) if re.fullmatch("[45][0-9][0-9]", text) else None


def is_of_the_moment(codes: AbstractSet[str], text: str) -> bool:
    """Return whether an error beside a text is of the moment, by its codes and words."""
    patterns = (_BUSY, _BROKE_OFF, _RATE)
    return any(map(_PASSING_CODES.search, codes)) or any(pattern.search(text) for pattern in patterns)


def is_lasting(codes: AbstractSet[str], text: str) -> bool:
    """Return whether the words of a 429 say that it will not pass today."""
    words = " ".join((*codes, text)).replace("_", " ").replace("-", " ")
    if codes & _LASTING_CODES or _NAMES_A_LONG_TIME.search(words):
        return True
    return bool(_NAMES_MONEY_OR_NOTHING.search(words) and not _NAMES_A_SHORT_TIME.search(words))


def never_fits(text: str) -> bool:
    """Return whether the words say that a request is larger than the whole limit."""
    found = _TOO_LARGE.search(text)
    if found is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(found[name].replace(",", "")) for name in ("limit", "requested"))
    return requested > limit > 0


def _names_the_row(text: str) -> bool:
    return bool(_TOO_LONG.search(text) or _FLAGGED.search(text))


class Doubt:
    """Refusals that may concern every row: sending pauses until it is known whether other rows are answered.

    Attributes
    ----------
    paused : bool
        Whether nothing but probes may be sent.
    strikes : int
        Refusals of the key or account since the last answer, each of a request that was sent after the one before
        came back; 0 before the first answer.
    """

    def __init__(self) -> None:
        self.paused = False
        self.strikes = 0
        self._answered = False
        self._refused: list[RequestFault] = []
        self._probes = 0
        self._refused_before = 0
        """Refusals before the probes were sent."""
        self._struck_at = -inf

    @property
    def wanted(self) -> int:
        """How many probes may be sent now."""
        if self._answered:
            return 1
        many = len(self._refused) >= MANY_REFUSALS and not may_be_the_rows(self._refused[-1])
        return 0 if self._probes or many else PROBES

    def add(self, fault: RequestFault) -> None:
        if not self._answered:
            self._refused.append(fault)
            self.paused = True

    def add_access(self, fault: RequestFault, now: float, sent_at: float) -> None:
        self.add(fault)
        if self._answered and sent_at >= self._struck_at:
            self.strikes += 1
            self._struck_at = now
            self.paused = True

    def begin(self, count: int) -> None:
        self._probes, self._refused_before = count, len(self._refused)

    def end(self, *, answered: bool = False) -> RequestFault | None:
        """Send again; return the refusal that all rows met, if they were all refused alike."""
        refused, probed = self._refused, len(self._refused) - self._refused_before
        all_refused = bool(refused) and probed >= self._probes
        self.paused, self._refused, self._probes, self._refused_before = False, [], 0, 0
        if answered:
            self._answered, self.strikes, self._struck_at = True, 0, -inf
        if self._answered or not all_refused:
            return None
        enough = refused[-1].kind is not FaultKind.PARAMETER or len(refused) >= SAME_REFUSALS
        enough = enough or _is_every_rows(refused[-1])
        return refused[-1] if enough and len(set(map(_likeness, refused[-PROBES:]))) == 1 else None


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Take this many items from all over a sequence, the first and the last one included, or the middle one.

    Examples
    --------
    >>> evenly("abcdefghi", 3)
    ['a', 'e', 'i']
    """
    if count <= 0 or len(items) <= count:
        return list(items[: max(0, count)])
    if count == 1:
        return [items[len(items) // 2]]
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


_VARYING = re.compile(r"""["'`].*?["'`]|\S*\d\S*""")


def _likeness(fault: RequestFault) -> tuple[object, ...]:
    """Return what two refusals for one reason have in common: not the values and names of their rows."""
    named = fault.param or _VARYING.sub("", fault.message)[:80]
    return fault.status, fault.code, named


ASK_AGAIN = "run the same call again"
"""What a remedy ends with that needs no change; whether answers are asked again then depends on the journal."""
_WRITE_JSON = "write the word JSON into prompt= or system="


def remedy(fault: RequestFault, key: str | None = None) -> str:  # noqa: C901, PLR0911, PLR0912 (a table)
    """Return one line that says what to change after a refusal that stopped the run.

    Parameters
    ----------
    key
        How the user gives another key; `None`: in any of the usual ways.
    """
    if fault.code in _QUOTA_CODES or fault.status == 402:
        return f"add credit to the account, then {ASK_AGAIN}"
    if fault.status == 401 or fault.code == "invalid_api_key" or _BAD_KEY.search(fault.message):
        return key or "set OPENAI_API_KEY, llmframe.options.api_key or api_key= to a valid key"
    if fault.kind is FaultKind.LIMIT:
        return f"when the limit has passed, or with a higher one, {ASK_AGAIN}"
    if _names_an_unknown_model(fault):
        return "pass a model= that this key may use (or set llmframe.options.model)"
    match fault.code:
        case "unreachable":
            return f"check the network and base_url, then {ASK_AGAIN}"
        case "proxy":
            return (
                "check the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY (NO_PROXY names hosts without one)"
            )
        case "http_407":
            return "put the proxy's user and password into HTTPS_PROXY (or HTTP_PROXY)"
        case "certificate":
            return "install the server's certificate authority, or name it in SSL_CERT_FILE"
        case "unparsable_answer" | "unexpected_endpoint" | "invalid_base_url":
            return "check base_url (it usually ends in /v1)"
    if fault.status == 403:
        return f"use a key, an account or a region that may do this, then {ASK_AGAIN}"
    if fault.status in {404, 405, 410}:
        return "check base_url (it usually ends in /v1) and model"
    if lacks_the_word_json(fault):
        return _WRITE_JSON
    if fault.kind is FaultKind.PARAMETER:
        parameter = f"{fault.param}=" if fault.param else "the parameter that the message names"
        return f"change or leave out {parameter}"
    return f"when the cause is mended, {ASK_AGAIN}"


def lacks_the_word_json(fault: RequestFault) -> bool:
    """Return whether a refusal says that `response_format` json_object needs the word in the messages: of every row, unless cells bring it."""
    return bool(_NO_WORD_JSON.search(fault.message))


def _is_every_rows(fault: RequestFault) -> bool:
    return concerns_answer_form(fault) and not lacks_the_word_json(fault)


def concerns_answer_form(fault: RequestFault) -> bool:
    """Return whether a refusal names the form that answers are asked for in: `response_format`, a schema, a grammar."""
    if fault.kind not in {FaultKind.PARAMETER, FaultKind.REFUSED} or fault.param == "model":
        return False
    return names_answer_form(fault.param or "", fault.code, fault.message)


def names_answer_form(*words: str) -> bool:
    """Return whether a refusal's words name that form."""
    return any(map(_ANSWER_FORM.search, words))


def may_concern_answer_form(fault: RequestFault) -> bool:
    """Return whether a refusal may be about that form although it does not name it: it names nothing else."""
    return (
        fault.kind is FaultKind.PARAMETER
        and fault.status in {400, 422}
        and not fault.param
        and not _names_an_unknown_model(fault)
    )


def may_be_the_rows(fault: RequestFault) -> bool:
    """Return whether a refusal may be its row's, where the same model and parameters were answered before."""
    return fault.kind in {FaultKind.PARAMETER, FaultKind.REFUSED} and not _names_an_unknown_model(fault)


def _names_an_unknown_model(fault: RequestFault) -> bool:
    if fault.code in {"model_not_found", "ModelNotFound", "DeploymentNotFound"} or fault.param == "model":
        return True
    return fault.kind is FaultKind.REFUSED and _is_unknown_model(fault.code, fault.message)


def _is_unknown_model(*words: str) -> bool:
    return any(_UNKNOWN_MODEL.search(text.replace("_", " ")) for text in words)


_REFUSED_CODES = _words(r"^http_4(00|03|04|05|10|22)$", r"invalid|unsupported|not_found|bad_request")


def row_remedy(  # noqa: PLR0911 (a table)
    code: str, message: str, shorter: str = "", *, refused: bool = False
) -> str | None:
    """Return what to do about rows that failed with this code and message; `None`: ask for them again.

    Parameters
    ----------
    shorter
        A template's field that sends less of the text, for rows that are too long.
    refused
        Whether the server's first answer was final, so that the same request is of no use.
    """
    if code in {"context_length_exceeded", "request_too_large", "http_413"} or _TOO_LONG.search(message):
        return "shorten these rows" + (f", for example with {shorter} in prompt=" if shorter else "")
    if _NO_WORD_JSON.search(message):
        return _WRITE_JSON
    if code in {"invalid_prompt", "content_filter"} or _FLAGGED.search(message):
        return "rephrase these rows"
    if _NO_IMAGES.search(message):
        return "ask a model that takes images for these rows"
    if code == "not_in_journal":
        return "run it with mode='live' to ask for these rows"
    if code == "http_402" or code in _QUOTA_CODES:
        return "add credit to the account, or ask for less in these rows"
    if refused or _REFUSED_CODES.search(code):
        return "change these rows, or what is asked of them, as their messages say"
    return None
