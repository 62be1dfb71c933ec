"""From what a call would ask to what it would cost: tokens of the input and of the answers, dollars by lane, and time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf, isnan, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from llmframe._addresses import is_azure, is_openai
from llmframe._errors import counted
from llmframe._pacing import FIRST_ANSWERS
from llmframe._run.estimates.estimate import Estimate, Range
from llmframe._run.money import (
    Counting,
    Prices,
    count_requests,
    counting,
    line_through,
    output_per_answer,
    share_of,
)
from llmframe._values import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from llmframe._run.estimates.survey import Findings, Past, Requests
    from llmframe._run.money import Price
    from llmframe._run.settings import RunSettings
    from llmframe._values import LaneName

    Sizes = npt.NDArray[np.int64]
    Way = tuple[LaneName, str | None]

_ASSUMED_ANSWER = 300
_ASSUMED_HIGH = 3
"""Without a past answer: the tokens of one to a free prompt, and how many times as long it may be."""
_ASSUMED_REASKS = 0.05
_ENOUGH_BODIES = 8
"""Past answers to the call's own rows on which the tokens of its prompts rest; fewer say less than the recipe's others."""
_ENOUGH_OWN = 20
"""Past answers to the call's own rows on which the length of answers rests; fewer say less than the recipe's others."""
_LONGER_THAN_CUT = 2.0
"""How many times as long an answer would be as what a bound left of it."""
_CORRECTION_TOKENS = 60
_CORRECTION_CEILING = 4_000
"""What tells the model that its answer does not fit: its tokens, as expected and at most."""
_WORDS_BYTES = 2_000
"""So much longer may a request be that asks in another way: the schema in words, beside what else its task says."""
_PROBE = 1_000


class _Output(NamedTuple):
    """The tokens of an answer."""

    expected: float
    high: float
    ceiling: float
    counted_by: str


class _Reasks(NamedTuple):
    """The share of the answers that are asked again; at the ceiling, how often each may be."""

    expected: float
    high: float
    ceiling: int
    rungs: int
    """How many ways to ask may be tried in vain, by the first answers each."""


class _Input(NamedTuple):
    """The prompt tokens of each request: as expected and at most, and the share by which the sum may be higher."""

    expected: npt.NDArray[np.float64]
    most: Sizes
    margin: float
    counted_by: str
    unbounded: bool


def reckon(findings: Findings, settings: RunSettings, title: str, sample_cost: float | None) -> Estimate:
    """Return the estimate of a call.

    Parameters
    ----------
    sample_cost
        US dollars that a sample of it took; `None`: there was none.
    """
    asked, reasks = _input(findings), _reasks(findings, settings)
    output = _output(findings, settings, asked)
    lanes, lane = _lanes(findings, settings, asked, output, reasks), _own_lane(settings)
    tokens_in, tokens_out = _tokens(findings.to_ask, asked, output, reasks)
    counted_by = asked.counted_by
    if output.counted_by != counted_by:
        counted_by = f"prompts by {asked.counted_by}; answers by {output.counted_by}"
    if isnan(lanes[lane].expected):
        counted_by += f"; no price is known for {settings.model}: set llmframe.options.prices"
    return Estimate(
        title=title,
        rows=findings.rows,
        skipped=findings.skipped,
        distinct=findings.distinct,
        from_journal=findings.from_journal,
        in_batches=findings.in_batches,
        to_ask=findings.to_ask,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        counted_by=counted_by,
        lane=lane,
        lanes=lanes,
        seconds=_seconds(findings, settings, tokens_in + tokens_out.expected),
        sample_cost=sample_cost,
    )


def _tokens(to_ask: int, asked: _Input, output: _Output, reasks: _Reasks) -> tuple[float, Range]:
    """Return the tokens of all prompts, as expected, and of all answers."""
    if not to_ask:
        return 0.0, Range(0.0, 0.0, 0.0)
    again = to_ask * reasks.expected
    prompts = float(asked.expected.sum()) * (1 + reasks.expected)
    most = to_ask * (1 + reasks.ceiling) + min(to_ask, FIRST_ANSWERS) * reasks.rungs
    answers = Range(
        (to_ask + again) * output.expected, to_ask * (1 + reasks.high) * output.high, most * output.ceiling
    )
    return prompts + again * (output.expected + _CORRECTION_TOKENS), answers


def _lanes(
    findings: Findings, settings: RunSettings, asked: _Input, output: _Output, reasks: _Reasks
) -> dict[str, Range]:
    """Return the US dollars of each way that the call could go; by batch no cache is counted on."""
    prices = Prices(settings.prices, settings.verb.endpoint.price_list)
    cache = _cache_shares(findings.past)
    lanes = {}
    for name, (lane, tier) in _ways(settings).items():
        price = prices.price_of(settings.model, lane, tier, answering=findings.answering)
        lanes[name] = _dollars(price, asked, output, reasks, cache if lane == "live" else (0.0, 0.0))
    return lanes


def _input(findings: Findings) -> _Input:
    """Return the prompt tokens: by past answers to rows like these, to the recipe, or by the text alone."""
    requests = findings.requests
    sizes = _joined([np.asarray(each.sizes) for each in requests]).astype(np.int64)
    sized = [each for each in findings.past if each.request_bytes]
    own = [each for each in sized if each.body is not None]
    way = counting()
    if not sized:
        expected = _joined([_counted(each, way) for each in requests])
        margin, words = way.margin, way.name
    else:
        fitted = own if len(own) >= _ENOUGH_BODIES else sized
        prompts = [each.prompt for each in fitted]
        line, words = line_through([each.request_bytes or 0 for each in fitted], prompts), _answers(fitted)
        expected, margin = line.tokens(sizes), line.margin
        if fitted is own and requests:
            bodies = [each.body for each in own if each.body is not None]
            by_text = line_through(count_requests(bodies, requests[0].content, way), prompts)
            if by_text.margin < margin:  # as where rows are of several languages
                expected = by_text.tokens(_joined([_counted(each, way) for each in requests]))
                margin = by_text.margin
    return _Input(np.minimum(expected, sizes), sizes, margin, words, any(each.media for each in requests))


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _answers(past: Sequence[object]) -> str:
    return f"{counted(len(past), 'answer')} to this recipe"


def _counted(requests: Requests, way: Counting) -> npt.NDArray[np.float64]:
    """Return the tokens of each request by its text; of many requests by those of some, in proportion to the bytes."""
    tokens = np.asarray(count_requests(requests.bodies, requests.content, way), dtype=np.float64)
    if len(tokens) == len(requests.sizes):
        return tokens
    line = line_through([len(body) for body in requests.bodies], tokens.tolist())
    return line.tokens(np.asarray(requests.sizes))


def _output(findings: Findings, settings: RunSettings, asked: _Input) -> _Output:
    """Return the tokens of an answer: by past answers, or as assumed."""
    bound, to_ask = settings.most_output, findings.to_ask
    own = [each for each in findings.past if each.body is not None]
    past = own if len(own) >= _ENOUGH_OWN else findings.past
    ceiling = inf if bound is None else float(bound)
    if past:
        further = float(asked.expected.mean()) if to_ask else 0.0
        of_answer = partial(
            output_per_answer,
            bound=bound,
            rest=to_ask,
            prompts=[each.prompt for each in past],
            further=further,
        )
        expected, _ = of_answer([_taken(each, bound) for each in past])
        _, high = of_answer([_most_taken(each, bound) for each in past])
        expected, high = _with_cut_off(findings, expected, max(expected, high), ceiling)
        return _Output(expected, high, ceiling, _answers(past))
    schema = _schema(settings)
    assumed = _ASSUMED_ANSWER if schema is None else _answer_tokens(schema)
    expected = min(float(assumed), ceiling)
    words = (
        "their bound" if expected == bound else f"an assumption of {counted(round(expected), 'token')} each"
    )
    high = min(_ASSUMED_HIGH * expected, ceiling)
    return _Output(expected, high, ceiling, f"{words} (dry_run=20 measures them)")


def _is_cut(answer: Past, bound: int | None) -> bool:
    """Return whether an answer ended at a bound below the call's."""
    given = answer.output_bound
    return given is not None and answer.completion >= given and (bound is None or given < bound)


def _taken(answer: Past, bound: int | None) -> float:
    """Return the tokens that an answer would take under a bound; one that was cut off earlier would be twice as long."""
    tokens = answer.completion * (_LONGER_THAN_CUT if _is_cut(answer, bound) else 1.0)
    return tokens if bound is None else min(tokens, float(bound))


def _most_taken(answer: Past, bound: int | None) -> float:
    """Return the tokens that an answer might take under a bound; one that was cut off earlier may have gone on to it."""
    return float(bound) if bound is not None and _is_cut(answer, bound) else _taken(answer, bound)


def _with_cut_off(findings: Findings, expected: float, high: float, ceiling: float) -> tuple[float, float]:
    """Return the tokens of an answer, where some of the requests are known to have longer ones than a lower bound allowed."""
    cut = np.asarray(findings.cut_off, dtype=np.float64)
    if not len(cut):
        return expected, high
    share, least = len(cut) / findings.to_ask, float(cut.mean())
    ended = [
        each for each in findings.past if each.output_bound is None or each.completion < each.output_bound
    ]
    longer = [each.completion for each in ended if each.completion > least]
    likely = float(np.mean(longer)) if len(longer) >= _ENOUGH_BODIES else _LONGER_THAN_CUT * least
    most = ceiling if ceiling < inf else 2.0 * max(likely, *longer, 0)
    likely = min(likely, ceiling)
    return (1 - share) * expected + share * likely, (1 - share) * high + share * most


def _schema(settings: RunSettings) -> Mapping[str, Any] | None:
    """Return the JSON Schema of the answers; `None`: they are free."""
    params = settings.rungs[0].params if settings.rungs else settings.params
    if settings.engine == "decisions":
        return {"properties": {str(at): {} for at, _ in enumerate(params.get("questions", ()))}}
    form = params.get("response_format")
    wrapped = form.get("json_schema") if isinstance(form, Mapping) else None
    schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _answer_tokens(schema: Mapping[str, Any]) -> int:
    """Assume the tokens of an answer by its schema's fields."""
    return 4 + sum(_field_tokens(name, field) for name, field in schema.get("properties", {}).items())


def _field_tokens(name: str, field: Any) -> int:
    return 4 + len(name) // 4 + (_value_tokens(field) if isinstance(field, Mapping) else 8)


def _value_tokens(field: Mapping[str, Any]) -> int:
    if isinstance(field.get("properties"), Mapping):
        return _answer_tokens(field)
    options = field.get("anyOf")
    if isinstance(options, list):
        return max((_value_tokens(each) for each in options if isinstance(each, Mapping)), default=8)
    if isinstance(field.get("enum"), list):
        return max((1 + len(str(value).encode()) // 3 for value in field["enum"]), default=1)
    if isinstance(field.get("items"), Mapping):
        return 2 + 4 * _value_tokens(field["items"])
    return _VALUE_TOKENS.get(str(field.get("type")), 15)


_VALUE_TOKENS = {"boolean": 1, "null": 1, "integer": 3, "number": 4}


def _reasks(findings: Findings, settings: RunSettings) -> _Reasks:
    expected, high = 0.0, _ASSUMED_REASKS if settings.reask else 0.0
    if settings.reask and findings.looked_at:
        expected, high = share_of(findings.misfits, findings.looked_at, findings.to_ask)
    return _Reasks(expected, high, settings.reask, findings.rungs_left)


def _cache_shares(past: Sequence[Past]) -> tuple[float, float]:
    """Return which shares of their prompts past answers read from the provider's cache, and wrote into it."""
    prompt = sum(each.prompt for each in past)
    if not prompt:
        return 0.0, 0.0
    return sum(each.cached for each in past) / prompt, sum(each.written for each in past) / prompt


def _own_lane(settings: RunSettings) -> str:
    if settings.mode == "batch":
        return "batch"
    return "flex" if settings.params.get("service_tier") == "flex" else "live"


def _ways(settings: RunSettings) -> dict[str, Way]:
    """Return the ways that the call could go: what the verb's endpoint and the server have."""
    own, account, tier = _own_lane(settings), settings.account, settings.params.get("service_tier")
    ways: dict[str, Way] = {"live": ("live", None if tier == "flex" else tier)}
    decisions = settings.engine == "decisions"
    azure = account.api_version is not None or is_azure(account.base_url)
    if own == "batch" or not (decisions or azure):
        ways["batch"] = ("batch", None)
    if own == "flex" or (is_openai(account.base_url) and not decisions):
        ways["flex"] = ("live", "flex")
    return ways


def _dollars(
    price: Price | None, asked: _Input, output: _Output, reasks: _Reasks, cache: tuple[float, float]
) -> Range:
    """Return the US dollars of all requests by one price."""
    if not len(asked.most):
        return Range(0.0, 0.0, 0.0)
    if price is None:
        return Range(nan, nan, nan)
    cached, written = cache
    expected = _sum_of(price, asked.expected, output.expected, reasks.expected, cached, written)
    longer = asked.expected * (1 + asked.margin)
    high = _sum_of(price, np.minimum(longer, asked.most), output.high, reasks.high, cached, written)
    return Range(expected, max(expected, high), max(expected, high, _ceiling(price, asked, output, reasks)))


def _sum_of(  # noqa: PLR0917 (what a sum depends on)
    price: Price,
    prompts: npt.NDArray[np.float64],
    completion: float,
    reasked: float,
    cached: float,
    written: float,
) -> float:
    """Return the US dollars of requests with these prompt tokens, a share of which are asked again."""
    total = 0.0
    again = completion + _CORRECTION_TOKENS
    for tokens, count in _distinct(prompts):
        total += count * _of_one(price, tokens, completion, cached, written)
        if reasked:
            total += count * reasked * _of_one(price, tokens + round(again), completion, cached, written)
    return total


def _of_one(price: Price, prompt: int, completion: float, cached: float, written: float) -> float:
    read = int(prompt * cached)
    wrote = min(int(prompt * written), prompt - read)
    return price(Usage(prompt, 0, read, 0, wrote)) + completion * _per_output_token(price, prompt)


def _per_output_token(price: Price, prompt: int) -> float:
    return max(0.0, price(Usage(prompt, _PROBE)) - price(Usage(prompt))) / _PROBE


def _ceiling(price: Price, asked: _Input, output: _Output, reasks: _Reasks) -> float:
    """Return US dollars that are never exceeded: bytes as tokens in the dearest class, answers up to their bound, all asked again."""
    total, margin = 0.0, _WORDS_BYTES if reasks.rungs else 0
    for size, count in _distinct(asked.most.astype(np.float64)):
        one = _most(price, size + margin, asked, output)
        total += count * one
        for at in range(1, reasks.ceiling + 1):
            if output.ceiling == inf:
                return inf if one else 0.0
            longer = size + margin + at * (2 * int(output.ceiling) + _CORRECTION_CEILING)
            total += count * _most(price, longer, asked, output)
    if reasks.rungs:
        in_vain = min(len(asked.most), FIRST_ANSWERS) * reasks.rungs
        total += in_vain * _most(price, int(asked.most.max()) + margin, asked, output)
    return total


def _most(price: Price, prompt: int, asked: _Input, output: _Output) -> float:
    """Return the US dollars that one request may cost at most."""
    answer = _times(output.ceiling, _per_output_token(price, prompt))
    return _times(inf if asked.unbounded else 1.0, _dearest(price, prompt)) + answer


def _dearest(price: Price, prompt: int) -> float:
    return max(
        price(Usage(prompt)), price(Usage(prompt, cached=prompt)), price(Usage(prompt, cache_write=prompt))
    )


def _times(number: float, dollars: float) -> float:
    return number * dollars if dollars else 0.0


def _distinct(tokens: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return each number of tokens, at least 1, and how many requests have it."""
    values, counts = np.unique(np.maximum(1, np.rint(tokens)).astype(np.int64), return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _seconds(findings: Findings, settings: RunSettings, tokens: float) -> float | None:
    """Return the time that the limits per minute make the call take; `None`: none is known, or nothing is sent live."""
    if _own_lane(settings) == "batch" or not findings.to_ask:
        return None
    learnt = findings.learnt
    requests, by_tokens = [settings.requests_per_minute], [settings.tokens_per_minute]
    if learnt is not None:
        requests += [limit.limit for limit in (learnt.requests, learnt.unstated) if limit is not None]
        by_tokens += [learnt.tokens.limit] if learnt.tokens is not None else []
    minutes = [
        amount / limit
        for amount, limits in ((findings.to_ask, requests), (tokens, by_tokens))
        for limit in limits
        if limit
    ]
    return 60 * max(minutes) if minutes else None
