"""By which of several ways, its rungs, a server is asked for answers of a form: the best one that it holds to.

Servers that do not hold to a form refuse it, or answer as if nothing had been asked; both are found out by their first
answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmframe._pacing.refusals import concerns_answer_form, may_concern_answer_form
from llmframe._values import FaultKind, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmframe._values import RequestFault, Verdict

FIRST_ANSWERS = 20
"""A rung is left when none of this many answers fits."""


class RungPolicy:
    """Decides when a rung is left for the next one.

    It is left when the server refuses it, and when none of the first answers, or of fewer at the run's end, fits what
    was sent. After one that fits, in this run or an earlier one, misfits are their rows' own. Answers that were cut off,
    filtered or refused by the model do not tell.

    Parameters
    ----------
    names
        The rungs, best first; one or none: there is nothing to decide.

    Attributes
    ----------
    at : int
        The number of the rung in use.
    fixed : bool
        Whether the rung stays as it is, whatever is answered.
    fits : bool
        Whether an answer by this rung fits.
    on_fit : callable or None
        Called with the first answer that fits.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.at = 0
        self.fixed = False
        self.fits = False
        self.on_fit: Callable[[], object] | None = None
        self._fits_now = False
        """Whether an answer to this run fits, not only one that an earlier run paid."""
        self._started_at = 0
        self._kept = False
        self._misfits = 0
        self._refused = False
        self._may_doubt = True

    def begin(self, kept: str | None, *, fixed: bool) -> None:
        """Begin with the rung on which an earlier run had an answer that fits, if there is one."""
        self._kept = kept in self._names
        self.at = self._started_at = self._names.index(kept) if kept is not None and self._kept else 0
        self.fixed = fixed

    @property
    def name(self) -> str:
        return self._names[self.at]

    @property
    def proven(self) -> bool:
        """Whether misfits are their rows' own, or nothing can be done about them."""
        return self._kept or self.fits or not self._has_next

    @property
    def _has_next(self) -> bool:
        return not self.fixed and self.at + 1 < len(self._names)

    @property
    def most_in_flight(self) -> int | None:
        """How many requests may be in flight, so that no more answers are paid than the decision needs; `None`: any number."""
        return None if self.proven else max(1, FIRST_ANSWERS - self._misfits)

    @property
    def stop(self) -> Stop | None:
        """Why nothing more is sent by this rung: enough answers do not fit."""
        if self.proven or self._misfits < FIRST_ANSWERS:
            return None
        return _LEFT

    def on_verdict(self, verdict: Verdict, *, stored: bool = False) -> None:
        """Count a paid answer, also a stored one, which an earlier run paid."""
        if verdict.value is not None or verdict.fits_as_sent:
            self._fits_now = self._fits_now or not stored
            first, self.fits = not self.fits, True
            if first and not self._kept and self.on_fit is not None:
                self.on_fit()
        elif verdict.fits_as_sent is False:
            self._misfits += 1

    def doubts(self, verdict: Verdict) -> bool:
        """Whether an answer does not tell that refusals are their rows' own: it does not fit, and no other one does."""
        return not self.proven and verdict.fits_as_sent is False

    def is_left_for(self, fault: RequestFault) -> bool:
        """Whether a refusal of all rows that were sent names the form: answers that earlier runs paid do not make it theirs."""
        return self._has_next and not self._fits_now and concerns_answer_form(fault)

    def on_stop(self, stop: Stop) -> Stop | None:
        """Return why the run ends when the sending has been stopped; `None`: it goes on by another rung."""
        fault = stop.fault
        if stop is _LEFT:
            return None
        if fault is None or fault.kind not in {FaultKind.PARAMETER, FaultKind.REFUSED}:
            return stop
        if self.is_left_for(fault) or (self._has_next and not self.fits and self._may_be_refused(fault)):
            self._refused = True
            return None
        if self.at == self._started_at:
            return stop
        tried = ", ".join(self._names[self._started_at : self.at])
        return replace(stop, message=f"{stop.message} (tried before, as the server refused them: {tried})")

    def _may_be_refused(self, fault: RequestFault) -> bool:
        """Return whether a refusal may be the rung's, and the next rung was not tried in doubt before."""
        in_doubt = self._may_doubt and not self._kept and may_concern_answer_form(fault)
        self._may_doubt = self._may_doubt and not in_doubt
        return in_doubt

    def leave(self) -> str | None:
        """When all that was sent is back: move on to the next rung where this one is left, and say why; `None`: it stays."""
        if not self._refused and (self.proven or not self._misfits):
            return None
        why = f"{'refuses' if self._refused else 'does not hold to'} {self.name}"
        self.at += 1
        self.fits = self._fits_now = self._kept = self._refused = False
        self._misfits = 0
        return why


_LEFT = Stop("misfits", f"none of the first {FIRST_ANSWERS} answers fits", "ask in another way")
