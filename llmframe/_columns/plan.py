"""From a column to requests: the distinct requests of a call, and the rows that each one answers.

A plan never awaits and never sends. It holds 16 bytes of identity for each distinct request and
a number for each row; prompts are rendered again when they are sent.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain, groupby, islice, tee
from typing import TYPE_CHECKING

import numpy as np
import orjson

from llmframe._columns.context import NO_CONTEXT, Context
from llmframe._columns.prompt_cache import PromptCache, has_breakpoints, prompt_cache
from llmframe._columns.prompts import PromptFault, PromptSpec, Skipped, render, renders_again, user_text
from llmframe._columns.recipe import Recipe, hashed, identity
from llmframe._errors import counted, row_name
from llmframe._values import Failure, Key, Request

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd


@dataclass
class Together:
    """What the plans of a file's chunks have in common.

    Attributes
    ----------
    duplicates : Counter
        How often each request was there so far: the k-th duplicate is that of the whole file.
    has_prompts : bool
        Whether a row of an earlier chunk gives a prompt: what suits no row of one chunk may suit others.
    """

    duplicates: Counter[Key] = field(default_factory=Counter)
    has_prompts: bool = False


@dataclass(eq=False)
class Plan:
    """The requests of one call, and the rows that each one answers.

    Attributes
    ----------
    recipes : sequence of Recipe
        What decides the answers; several ask for as many draws of each answer.
    codes : int32 array of shape (rows,)
        For each row the number of its distinct request, draws aside; negative where there is none: -1, or for a
        skipped row -2 and below, by the position of its column in `skipped`.
    keys : list of bytes
        The distinct requests' identities; those of all draws of an answer follow each other.
    skipped : Counter
        Numbers of rows that are not sent because a cell is missing, by column.
    refused : dict
        Failures of rows whose prompt cannot be made, by position.
    """

    recipes: Sequence[Recipe]
    spec: PromptSpec
    context: Context
    cells: Mapping[Hashable, pd.Series]
    labels: pd.Index
    selected: npt.NDArray[np.bool_] | None
    dedupe: bool
    chunk_rows: int
    """Rows that are rendered at a time."""
    codes: npt.NDArray[np.int32]
    keys: list[Key]
    first: npt.NDArray[np.int32]
    """The position of the first row of each distinct request."""
    skipped: Counter[str]
    refused: dict[int, Failure]
    lacking: Counter[Hashable]
    """Numbers of rows that are not sent because of one missing cell alone, by its column's label."""
    kept: list[bytes] | None
    """The rows' own messages of each distinct request, where they cannot be rendered again."""
    again: Mapping[int, bytes] | None = None
    """Messages of the requests that are asked again for another answer, by number."""
    copies: Sequence[int] = ()
    """Without `dedupe`: of each distinct request, how many equal rows come before its row."""
    cache: PromptCache | None = None
    """How its requests use the provider's prompt cache; `None`: they do not say."""
    whole: Sequence[Key] | None = None
    """The identities of the plan that this one is a part of; `None`: it is no part."""

    @property
    def rows(self) -> int:
        return len(self.codes)

    @property
    def distinct(self) -> int:
        """The number of distinct requests, without the further draws of each."""
        return len(self.first)

    @property
    def draws(self) -> int:
        """How many requests ask for each answer: those of the distinct request n have the numbers from n × draws on."""  # noqa: RUF002
        return len(self.recipes)

    @property
    def is_part(self) -> bool:
        return self.whole is not None

    @property
    def all_keys(self) -> Sequence[Key]:
        """The identities of the requests, of a part those of the whole plan."""
        return self.keys if self.whole is None else self.whole

    def part(self, numbers: Sequence[int]) -> Plan:
        """Return the plan that asks only these distinct requests (ascending, draws aside), each for its first row."""
        rows = np.zeros(self.rows, dtype=np.bool_)
        rows[self.first[list(numbers)]] = True
        return replace(self.limited(rows), skipped=Counter(), lacking=Counter(), whole=self.keys)

    def requests(self, wanted: Iterable[int]) -> Iterator[Request]:
        """Yield the requests with these numbers (ascending); each is built when it is needed."""
        templates, draws, keys = [recipe.template for recipe in self.recipes], self.draws, self.keys
        body, cache = self.recipes[0].endpoint.body, self.cache
        for number, messages in self._messages(wanted):
            draw = number % draws
            if cache is None or has_breakpoints(messages):
                yield Request(keys[number], number, body(templates[draw], messages))
            else:
                marked = cache.mark(messages, draw)
                yield Request(keys[number], number, body(cache.templates[draw], marked))

    def cached(self, *, breakpoints: bool) -> Plan:
        """Return the plan whose requests use the prompt cache explicitly, and mark what all have in common if they shall."""
        alike = self._first_and_last() if breakpoints and self.kept is not None else ()
        contexts = [self.context.of_draw(draw) for draw in range(self.draws)]
        spec = self.spec if breakpoints else None
        return replace(self, cache=prompt_cache(self.recipes, contexts, spec, alike))

    def _first_and_last(self) -> tuple[bytes, ...]:
        """Return the own messages of the first and the last request, where there are two: what they share, all may share."""
        return () if self.distinct < 2 else tuple(own for _, own in self.own((0, self.distinct - 1)))

    def corrected(self, corrections: Mapping[int, tuple[str, str]]) -> Plan:
        """Return the plan in which these requests (by number) are asked again for another answer.

        Parameters
        ----------
        corrections
            The answer so far, and what is wrong with it: both follow the request's messages.
        """
        keys, again = list(self.keys), {}
        for number, messages in self._messages(sorted(corrections)):
            answer, wrong = corrections[number]
            added = [{"role": "assistant", "content": answer}, {"role": "user", "content": wrong}]
            again[number] = messages[:-1] + b"," + orjson.dumps(added)[1:]
            recipe = self.recipes[number % self.draws]
            keys[number] = identity(hashed(recipe.prefix + keys[number]), again[number])
        return replace(self, keys=keys, again=again)

    def asked_as(self, recipes: Sequence[Recipe], spec: PromptSpec, context: Context) -> Plan:
        """Return the plan of the same rows, asked in another way; equal requests stay one."""
        kept = self.kept
        if kept is not None:
            kept = [self.spec.reworded(messages, spec.instruction) for messages in kept]
        plan = replace(self, recipes=recipes, spec=spec, context=context, kept=kept, again=None)
        builder = _Builder(recipes, context, dedupe=self.dedupe, keep=False)
        for number, own in plan.own(range(self.distinct)):
            builder.add_copy(number, own, self.copies[number] if self.copies else 0)
        return replace(plan, keys=builder.keys())

    def of_rows(self, selected: npt.NDArray[np.bool_] | None) -> Plan:
        """Return the plan that asks these rows of the same columns; `None`: all."""
        return _make_plan(
            self.recipes,
            self.spec,
            self.cells,
            self.labels,
            selected,
            dedupe=self.dedupe,
            chunk_rows=self.chunk_rows,
            context=self.context,
        )

    def limited(self, rows: npt.NDArray[np.bool_]) -> Plan:
        """Return the plan of these rows of the selected ones; each of equal rows keeps its own draw."""
        selected = rows if self.selected is None else rows & self.selected
        used, renumbered = np.unique(self.codes[selected & (self.codes >= 0)], return_inverse=True)
        codes = np.where(selected & (self.codes < 0), self.codes, -1).astype(np.int32)
        codes[selected & (self.codes >= 0)] = renumbered
        numbers, draws = used.tolist(), self.draws
        reasons = [int((codes == -2 - index).sum()) for index in range(len(self.skipped))]
        return replace(
            self,
            selected=selected,
            codes=codes,
            keys=[self.keys[number * draws + draw] for number in numbers for draw in range(draws)],
            first=self.first[used],
            kept=None if self.kept is None else [self.kept[number] for number in numbers],
            skipped=Counter(dict(zip(self.skipped, reasons, strict=True))),
            refused={position: failure for position, failure in self.refused.items() if selected[position]},
        )

    @property
    def recipe_digest(self) -> bytes:
        """A digest of what is the same in every row of the call: parameters, schema or questions, prompt, system message and examples.

        The bound on the answers' tokens, the service tier and the lane are no part of it.
        """
        source = self.spec.source + (repr(self.context) if self.context != NO_CONTEXT else "")
        return blake2b(self.recipes[0].prefix + source.encode(), digest_size=16).digest()

    @property
    def requests_digest(self) -> bytes:
        """Identifies the requests of all rows, in their order."""
        return blake2b(self.codes.tobytes() + b"".join(self.keys), digest_size=16).digest()

    def own(self, wanted: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yield numbers (ascending, draws aside) and the messages that their rows give, without the context."""
        if self.kept is not None:
            yield from ((index, self.kept[index]) for index in wanted)
            return
        remaining = iter(wanted)
        while block := list(islice(remaining, self.chunk_rows)):
            for index, rendered in zip(block, render(self.spec, self.cells, self.first[block]), strict=True):
                if not isinstance(rendered, bytes):
                    raise TypeError(f"row {self.first[index]} no longer gives a prompt")
                yield index, rendered

    def texts(self, wanted: Iterable[int]) -> Iterator[str]:
        """Yield for these requests (ascending, draws aside) what their rows say: the cells that the prompt reads, as rendered.

        Of message arrays, and of what a function returns, it is the text of the user's messages.
        """
        fills = self.spec.template is not None or self.spec.instruction is not None
        plan = replace(self, spec=self.spec.of_cells, kept=None if fills else self.kept)
        return (user_text(messages) for _, messages in plan.own(wanted))

    def _messages(self, wanted: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        if self.again is not None:
            yield from ((number, self.again[number]) for number in wanted)
            return
        if self.draws == 1:
            around = self.context.around
            yield from ((index, around(own)) for index, own in self.own(wanted))
            return
        contexts = [self.context.of_draw(draw) for draw in range(self.draws)]
        groups = (
            (index, list(numbers)) for index, numbers in groupby(wanted, lambda each: each // self.draws)
        )
        ahead, following = tee(groups)  # rows are rendered ahead, block by block
        rendered = self.own(index for index, _ in ahead)
        for (_, numbers), (_, own) in zip(following, rendered, strict=True):
            for number in numbers:
                yield number, contexts[number % self.draws].around(own)

    def skipped_for(self, position: int) -> str | None:
        """Return the column whose missing cell keeps a row from being sent, or `None`."""
        index = -2 - int(self.codes[position])
        return list(self.skipped)[index] if index >= 0 else None

    def same_inputs(self, cells: Mapping[Hashable, pd.Series]) -> bool:
        """Return whether these columns would give exactly the requests of this plan."""
        if any(len(series) != self.rows for series in cells.values()):
            return False
        if self.kept is None or self.spec.function is not None:
            same = all(cells[column].equals(series) for column, series in self.cells.items())
            if same or self.spec.function is not None:
                return same
        new_plan = replace(self, cells=cells).of_rows(self.selected)
        same = new_plan.kept == self.kept if self.kept is not None else new_plan.keys == self.keys
        return same and np.array_equal(new_plan.codes, self.codes)


def make_plan(
    recipes: Sequence[Recipe],
    spec: PromptSpec,
    cells: Mapping[Hashable, pd.Series],
    labels: pd.Index,
    selected: npt.NDArray[np.bool_] | None,
    *,
    dedupe: bool,
    chunk_rows: int,
    context: Context = NO_CONTEXT,
    together: Together | None = None,
) -> Plan:
    """Plan a call over columns of equal length.

    Parameters
    ----------
    recipes
        What decides the answers, one for each draw.
    cells
        The columns that are read, as they are now; they are not copied.
    labels
        The frame's index, for naming rows.
    selected
        The rows to send; `None` means all.
    dedupe
        Whether equal rows are one request; otherwise each duplicate has a draw of its own.
    chunk_rows
        Rows that are rendered at a time.
    context
        The messages that the verb adds to each row's own.
    together
        What it has in common with the plans of a file's other chunks.

    Raises
    ------
    ValueError
        When no row's prompt can be made, and one part of the template or the function is at fault in all of them.
    """
    plan = _make_plan(
        recipes,
        spec,
        cells,
        labels,
        selected,
        dedupe=dedupe,
        chunk_rows=chunk_rows,
        context=context,
        duplicates=None if together is None else together.duplicates,
    )
    if plan.refused and not plan.keys and (together is None or not together.has_prompts):
        _refuse_what_suits_no_row(plan)
    if together is not None and plan.keys:
        together.has_prompts = True
    return plan


def _refuse_what_suits_no_row(plan: Plan) -> None:
    faults = {
        (fault.argument, fault.part) if isinstance(fault, PromptFault) else None
        for fault in plan.refused.values()
    }
    position, first = next(iter(plan.refused.items()))
    if len(faults) == 1 and isinstance(first, PromptFault):
        others = len(plan.refused) - 1
        alike = f", and {counted(others, 'other row')} alike" if others else ""
        raise ValueError(
            f"{first.argument}: {first.message} (at {row_name(plan.labels, position)}{alike}; nothing was sent)"
        )


def _make_plan(
    recipes: Sequence[Recipe],
    spec: PromptSpec,
    cells: Mapping[Hashable, pd.Series],
    labels: pd.Index,
    selected: npt.NDArray[np.bool_] | None,
    *,
    dedupe: bool,
    chunk_rows: int,
    context: Context,
    duplicates: Counter[Key] | None = None,
) -> Plan:
    builder = _Builder(
        recipes, context, dedupe=dedupe, keep=not renders_again(spec, cells), duplicates=duplicates
    )
    rows = len(labels)
    codes = np.full(rows, -1, dtype=np.int32)
    wanted = np.arange(rows) if selected is None else np.flatnonzero(selected)
    for start in range(0, len(wanted), chunk_rows):
        positions = wanted[start : start + chunk_rows]
        rendered = render(spec, cells, positions)
        codes[positions] = list(map(builder.add, positions.tolist(), rendered))
    return Plan(
        recipes,
        spec,
        context,
        cells,
        labels,
        selected,
        dedupe,
        chunk_rows,
        codes,
        builder.keys(),
        np.array(builder.first, dtype=np.int32),
        builder.skipped,
        builder.refused,
        builder.lacking,
        builder.kept,
        copies=builder.copies,
    )


class _Builder:
    """Collects rows into distinct requests."""

    def __init__(
        self,
        recipes: Sequence[Recipe],
        context: Context,
        *,
        dedupe: bool,
        keep: bool,
        duplicates: Counter[Key] | None = None,
    ) -> None:
        self.shared, *self.further = [hashed(recipe.prefix) for recipe in recipes]
        self.context = context
        self.further_contexts = [context.of_draw(draw) for draw in range(1, len(recipes))]
        self.numbers: dict[Key, int] = {}
        self.further_keys: list[list[Key]] = [[] for _ in self.further]
        self.first = array("i")
        self.skipped: Counter[str] = Counter()
        self.refused: dict[int, Failure] = {}
        self.lacking: Counter[Hashable] = Counter()
        self.kept: list[bytes] | None = [] if keep else None
        self.duplicates: Counter[Key] | None = None
        if not dedupe:
            self.duplicates = Counter() if duplicates is None else duplicates
        self.copies = array("i")

    def keys(self) -> list[Key]:
        return list(chain.from_iterable(zip(self.numbers, *self.further_keys, strict=True)))

    def add(self, position: int, rendered: bytes | Skipped | Failure) -> int:
        """Return the number of the row's request, or a negative code for a row without one."""
        if isinstance(rendered, bytes):
            return self._number(position, rendered)
        if isinstance(rendered, Skipped):
            self.skipped[rendered.column] += 1
            if rendered.lacks is not None:
                self.lacking[rendered.lacks] += 1
            return -2 - list(self.skipped).index(rendered.column)
        self.refused[position] = rendered
        return -1

    def _number(self, position: int, own: bytes) -> int:
        if self.duplicates is None:
            return self.add_copy(position, own, 0)
        key = identity(self.shared, self.context.around(own))
        duplicate = self.duplicates[key]
        self.duplicates[key] += 1
        self.copies.append(duplicate)
        return self.add_copy(position, own, duplicate)

    def add_copy(self, position: int, own: bytes, duplicate: int) -> int:
        """Return the number of the request of a row, before which there are so many rows equal to it."""
        messages = self.context.around(own)
        key = identity(self.shared, messages, duplicate)
        number = self.numbers.setdefault(key, len(self.first))
        if number == len(self.first):
            self.first.append(position)
            if self.further:
                self._add_further(own, messages, duplicate)
            if self.kept is not None:
                self.kept.append(own)
        return number

    def _add_further(self, own: bytes, messages: bytes, duplicate: int) -> None:
        """Add the identities of the further draws of a new request."""
        draws = zip(self.further, self.further_keys, self.further_contexts, strict=True)
        for shared, keys, context in draws:
            asked = messages if context is self.context else context.around(own)
            keys.append(identity(shared, asked, duplicate))
