"""A column's call, made again: by its record in `df.attrs`, and by what is passed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe._addresses import address_fault
from llmframe._columns import RecordedCall, call_of, full_label, occurrences, recorded_elsewhere
from llmframe._errors import plain_repr
from llmframe._verbs.arguments import server_in_use
from llmframe._verbs.complete import complete_frame
from llmframe._verbs.extract import extract_frame
from llmframe._verbs.kept_arguments import HOW, as_passed
from llmframe._verbs.questions import ask_frame, classify_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import pandas as pd

    from llmframe._verbs.calls import FrameCall

_VERBS: Mapping[str, tuple[Callable[..., FrameCall], Mapping[str, Any]]] = {
    "complete": (complete_frame, {"into": None, "raw": False, "usage": False}),
    "extract": (
        extract_frame,
        {
            "schema": None,
            "prefix": None,
            "quotes": False,
            "examples": None,
            "reask": 1,
            "raw": False,
            "usage": False,
        },
    ),
    "classify": (classify_frame, {"labels": None, "into": None}),
    "ask": (ask_frame, {"questions": None, "prefix": None}),
}
"""The verbs, each with its own arguments and their defaults."""
_ASKED = {"extract": "schema", "classify": "labels", "ask": "questions"}
_NAMED = {"complete": "{}_completion", "classify": "{}_label"}
"""The verbs whose column is named after the one that is read."""
_TAKEN = {
    "schema": ("extract",),
    "labels": ("classify",),
    "questions": ("ask",),
    "prefix": ("extract", "ask"),
    "examples": ("extract", "classify", "ask"),
}
"""Arguments that not every verb takes, and the verbs that do."""
_ADDRESSES = ("base_url", "client")


@dataclass(frozen=True)
class CallAgain:
    """The call of a column, as it was made and as it would be made now.

    Attributes
    ----------
    column
        The column that was named.
    recorded
        What the frame has of it.
    verb
        Its name.
    before, now
        The arguments that decide what is asked, as recorded and with what is passed anew.
    how
        How it is carried out now.
    how_before
        The same for looking up what was asked then: it names the server that answered.
    """

    frame: pd.DataFrame
    column: Hashable
    recorded: RecordedCall
    verb: str
    before: Mapping[str, Any]
    now: Mapping[str, Any]
    how: Mapping[str, Any]
    how_before: Mapping[str, Any]

    @property
    def again(self) -> Mapping[str, Any]:
        """What the record keeps for this."""
        found: Mapping[str, Any] = self.recorded.record.get("again", {})
        return found

    @property
    def changed(self) -> bool:
        """Whether something is passed anew that decides what is asked."""
        return self.now is not self.before

    @property
    def how_now(self) -> Mapping[str, Any]:
        """How to look up what would be asked now: by the server that answered, unless another one is passed."""
        return self.how if any(name in self.how for name in _ADDRESSES) else self.how_before

    def made(
        self,
        arguments: Mapping[str, Any],
        how: Mapping[str, Any],
        *,
        where: Any = None,
        error_into: Any = None,
    ) -> FrameCall:
        """Make the call; what is written is chosen by `where` alone."""
        function, defaults = _VERBS[self.verb]
        taken = {**arguments}
        column, prompt = taken.pop("reads", None), taken.pop("prompt", None)
        own = {name: taken.pop(name, default) for name, default in defaults.items()}
        return function(
            self.frame,
            {**taken, **how},
            column=column,
            prompt=prompt,
            where=where,
            overwrite=True,
            error_into=error_into,
            **own,
        )

    def sending(self) -> Mapping[str, Any]:
        """Return how requests are sent.

        Raises
        ------
        ValueError
            When another server answered the column: no key is sent to an address that stands in a frame.
        """
        server = self.again.get("server")
        in_use = server_in_use(self.how)
        if server is not None and server != in_use and not any(name in self.how for name in _ADDRESSES):
            raise ValueError(
                f"base_url: {server} answered {plain_repr(self.column)}, and this call would ask {in_use}; pass base_url= (or client=) "
                "to say which one is meant"
            )
        return self.how


def call_again(frame: pd.DataFrame, column: Hashable, given: Mapping[str, Any]) -> CallAgain:
    """Find out how a column's call is made again.

    Parameters
    ----------
    given
        What is passed anew, by argument; `reads` names the column that is read.

    Raises
    ------
    KeyError, TypeError, ValueError
        When there is no such column, when an argument is not the verb's, and when something is neither recorded nor passed.
    """
    given = {name: value for name, value in given.items() if value is not None}
    column = full_label(frame, column, "column")
    if occurrences(frame)[column] != 1:
        raise KeyError(
            f"column: there must be one column {plain_repr(column)}; the frame has {list(frame.columns)}"
        )
    recorded = call_of(frame, column)
    by_argument = next((verb for verb, name in _ASKED.items() if name in given), "complete")
    verb = recorded.record.get("verb", by_argument)
    _refuse_what_it_does_not_take(column, verb, given)
    how = {name: given[name] for name in HOW & given.keys()}
    asked = {name: given[name] for name in given.keys() - HOW}
    resolved = {name: recorded.record[name] for name in ("model", "engine") if recorded.record.get(name)}
    again = recorded.record.get("again")
    if again is None:
        _refuse_unrecorded(frame, column, verb, asked, is_recorded=bool(recorded.record))
        into = {"into": column} if verb in _NAMED else {}
        before = {**resolved, **into, **asked}
        return CallAgain(frame, column, recorded, verb, before, before, how, how)
    before, anew = _arguments(frame, column, verb, again, asked)
    before = {**before, **resolved}
    elsewhere = any(name in how for name in _ADDRESSES) and server_in_use(how) != again["server"]
    now = {**before, **anew} if anew or elsewhere else before
    how_before = _how_before(how, again["server"], column)
    return CallAgain(frame, column, recorded, verb, before, now, how, how_before)


def _arguments(
    frame: pd.DataFrame, column: Hashable, verb: str, again: Mapping[str, Any], asked: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recorded arguments, with what the record lacks, and those that are passed anew."""
    lacks = again.get("lacks", ())
    _refuse_lacking(column, [name for name in lacks if name not in asked])
    if "prefix" in asked:
        raise TypeError(
            f"prefix: {plain_repr(column)} has a record, which says how its columns are named; leave prefix= out"
        )
    before = as_passed(again["arguments"])
    if "reads" in asked and "into" not in before and verb in _NAMED:  # the columns keep their names
        before["into"] = _NAMED[verb].format(before["reads"]) if "reads" in before else column
    filled = set(lacks)
    if before.get("reads") not in frame.columns:  # it was renamed
        filled.add("reads")
    before |= {name: asked[name] for name in filled & asked.keys()}
    return before, {name: value for name, value in asked.items() if name not in filled}


def _refuse_what_it_does_not_take(column: Hashable, verb: str, given: Mapping[str, Any]) -> None:
    if given.get("fresh"):
        raise TypeError("fresh: only what is stale is asked; for new answers to all rows pass version='v2'")
    for name, verbs in _TAKEN.items():
        if name in given and verb not in verbs:
            raise TypeError(f"{name}: {plain_repr(column)} was written by {verb}, which does not take it")


def _refuse_unrecorded(
    frame: pd.DataFrame, column: Hashable, verb: str, asked: Mapping[str, Any], *, is_recorded: bool
) -> None:
    prompt = asked.get("prompt")
    says_what_is_read = "reads" in asked or callable(prompt) or (isinstance(prompt, str) and "{" in prompt)
    wanted = _ASKED.get(verb)
    missing = (
        [] if says_what_is_read else ["reads= (the column that was read) or prompt= (a template or function)"]
    )
    missing += [f"{wanted}="] if wanted is not None and wanted not in asked else []
    if not missing:
        return
    kind = "" if is_recorded else ", and schema=, labels= or questions= if it was not complete"
    what = f"an earlier llmframe wrote {plain_repr(column)} by {verb} and" if is_recorded else "llmframe"
    renamed = recorded_elsewhere(frame)
    hint = f"; it has one of {', '.join(map(repr, renamed))}: rename the column back" if renamed else ""
    if not frame.attrs:  # as pandas leaves frames that it joins
        hint = "; if the frame comes from pd.concat, which drops it: df.attrs = before.attrs"
    raise ValueError(
        f"column: {what} has no record of how {'it' if is_recorded else plain_repr(column)} was asked{hint}; pass what its call was "
        f"given: {' and '.join(missing)}{kind}"
    )


def _refuse_lacking(column: Hashable, lacks: list[str]) -> None:
    if lacks:
        names = ", ".join(f"{name}=" for name in lacks)
        raise ValueError(
            f"{lacks[0]}: the record of {plain_repr(column)} cannot keep {names} (functions, examples, headers, keys, classes that "
            f"check more than JSON Schema says, and what is very long); pass {'it' if len(lacks) == 1 else 'them'} again"
        )


def _how_before(how: Mapping[str, Any], server: str, column: Hashable) -> Mapping[str, Any]:
    """Return how to look up what a server answered that may be another than the one in use."""
    if server_in_use(how) == server:
        return how
    named = {name: value for name, value in how.items() if name not in {"client", "api_key"}}
    named["base_url"] = server
    if address_fault(server) or server_in_use(named) != server:
        raise ValueError(
            f"base_url: {server} answered {plain_repr(column)}; pass the client= that has it, or set llmframe.options.server"
        )
    return named
