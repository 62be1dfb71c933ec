"""What a request is answered with, word for word, in place of the server's own answer."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_status(value: Any) -> Any:
    """Return a status that is given as three digits, or as another library's integer, as a number."""
    digits = isinstance(value, str) and re.fullmatch("[0-9]{3}", value)
    return int(value) if digits or hasattr(value, "__index__") else value


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer of any kind, for the requests that a `Fault` chooses: live ones and the rows of batches.

    Parameters
    ----------
    status
        The HTTP status, 200 to 599, as a number or its digits.
    body
        The body: text is sent as it is ("" is an empty body; text that begins with "<" is a web page), bytes are sent
        as JSON, everything else is written as JSON. None is what the API sends with this status: the completion that the
        server would have made below 300, otherwise the body of an error.
    message, choice, completion
        Changes to that completion, for which `body` is None and `status` below 300: members of the message of each
        choice (`content`, `refusal`, `reasoning`), of each choice (`finish_reason`) and of the whole body (`usage`,
        `error`, `model`; `answers` of a decision). The value `...` leaves the member out; a function makes the new value
        out of the one that the server would have sent.
    headers
        Further headers, which replace those of the same name.
    delay
        Seconds until the reply is sent, beyond the latency of the server.
    billed
        Whether it is billed; None bills what has `choices` and a status below 300.

    Examples
    --------
    Half an answer, an answer in capitals, a refusal that names no code, and a limit that does not pass today:

    >>> from llmframe.testing import Fault, Reply
    >>> half = Reply(message={"content": "Half an ans"}, choice={"finish_reason": "error"})
    >>> loud = Reply(message={"content": lambda text: text.upper()})
    >>> flagged = Reply(403, {"error": {"message": "Your input was flagged."}})
    >>> spent = Reply(429, {"error": {"message": "Quota of the day reached."}}, headers={"retry-after": "28800"})
    >>> faults = [Fault(half, times_per_request=1), Fault(flagged, when="forbidden"), Fault(spent, after=1000)]
    """

    status: int = 200
    body: Any = None
    _: KW_ONLY
    message: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    completion: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    billed: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", as_status(self.status))
        if not isinstance(self.status, int):
            raise TypeError(f"A reply's status is a number, not {self.status!r}.")
        if not 200 <= self.status <= 599:
            raise ValueError(f"A reply's status must be between 200 and 599, not {self.status}.")
        if not self.delay >= 0:
            raise ValueError(f"delay must be 0 or more, not {self.delay!r}.")
        if self.changes and not self.completes:
            raise ValueError(
                "message, choice and completion change the server's own completion; leave out the body and the status."
            )

    @property
    def changes(self) -> bool:
        """Whether a completion is changed."""
        return bool(self.message or self.choice or self.completion)

    @property
    def completes(self) -> bool:
        """Whether the reply is the server's own completion, changed or not."""
        return self.body is None and self.status < 300

    @property
    def bills(self) -> bool:
        """Whether the ledger bills it."""
        if self.billed is not None:
            return self.billed
        return self.completes or (
            self.status < 300
            and isinstance(self.body, dict)
            and not {"choices", "answers"}.isdisjoint(self.body)
        )
