"""What an answer is billed for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class BilledTokens(NamedTuple):
    """Tokens by the classes that have prices of their own; each token is in one."""

    uncached: int = 0
    cached: int = 0
    """Prompt tokens that were read from the cache."""
    written: int = 0
    """Prompt tokens that were written into the cache."""
    output: int = 0
    """Tokens of the answer, without reasoning."""
    reasoning: int = 0

    def plus(self, other: BilledTokens) -> BilledTokens:
        return BilledTokens(*map(sum, zip(self, other, strict=True)))

    def dollars(self, price: Mapping[str, float]) -> float:
        """Return US dollars at prices per million tokens, named as in `llmframe.options.prices`."""
        full = price["input"]
        prompts = self.uncached * full + self.cached * price.get("cached_input", full)
        prompts += self.written * price.get("cache_write", full)
        return (prompts + (self.output + self.reasoning) * price["output"]) / 1e6


class Bill(NamedTuple):
    """One answer's bill."""

    digest: str
    """Of the request."""
    tokens: int
    model: str
    lane: str
    """`"live"` or `"batch"`."""
    tier: str
    billed: BilledTokens

    @classmethod
    def of(cls, digest: str, tokens: int, answer: Mapping[str, Any], *, row: bool) -> Bill:
        """Make the bill of the server's own answer; `row`: it is a row of a batch."""
        tier = str(answer.get("service_tier") or "default")
        lane = "batch" if row else "live"
        return cls(digest, tokens, answer["model"], lane, tier, _read(answer["usage"]))

    def stated_by(self, answer: object) -> Bill:
        """Return the bill by the usage that a changed answer states; where it states none that is possible, as it was."""
        usage = answer.get("usage") if isinstance(answer, dict) else None
        try:
            billed = _read(usage)
        except (TypeError, KeyError, AttributeError):
            return self
        return self._replace(billed=billed) if min(billed) >= 0 else self


def _read(usage: Any) -> BilledTokens:
    """Read the usage of a completion or of a decision."""
    names = ("prompt", "completion") if "prompt_tokens" in usage else ("input", "output")
    prompt, completion = (usage[f"{name}_tokens"] for name in names)
    of_prompt, of_completion = (usage.get(f"{name}_tokens_details") or {} for name in names)
    cached, written = of_prompt.get("cached_tokens") or 0, of_prompt.get("cache_write_tokens") or 0
    reasoning = of_completion.get("reasoning_tokens") or 0
    counts = (prompt - cached - written, cached, written, completion - reasoning, reasoning)
    if not all(isinstance(count, int) for count in counts):
        raise TypeError("tokens are whole numbers")
    return BilledTokens(*counts)
