"""What is told of rows: why each has no value, by position, as lines of text and as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._errors import FAILURE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._columns import Plan
    from llmframe._values import Failure


class RowTables:
    """Tells of the rows of a plan what is known of their requests."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def by_position(self, failures: Mapping[int, Failure]) -> dict[int, Failure]:
        """Map the positions of rows, in order, to what is known of their requests; of several draws to the first that is known."""
        codes, draws, known = (
            self._plan.codes,
            self._plan.draws,
            dict(failures),
        )  # the run may go on meanwhile
        if draws > 1:
            known = {number // draws: known[number] for number in sorted(known, reverse=True)}
        numbers = np.fromiter(known, dtype=np.int32, count=len(known))
        positions = np.flatnonzero(np.isin(codes, numbers)).tolist()
        return {position: known[int(codes[position])] for position in positions}

    def explained(
        self, reasons: Mapping[int, Failure], is_answered: Callable[[int], bool], ending: str
    ) -> list[str | None]:
        """Return for each row one line that says why it has no value.

        Parameters
        ----------
        reasons
            Those of the failed rows, by position.
        is_answered
            Whether a distinct request has its value.
        ending
            The reason of rows that were not sent.
        """
        plan = self._plan
        lines: list[str | None] = []
        for position, code in enumerate(plan.codes.tolist()):
            if (reason := reasons.get(position)) is not None:
                lines.append(f"{reason.code}: {reason.message}")
            elif (column := plan.skipped_for(position)) is not None:
                lines.append(f"not sent: {column} is missing or blank")
            else:
                lines.append(None if code < 0 or is_answered(code) else f"not asked: {ending}")
        return lines

    def unsent(self) -> dict[str, str]:
        """Say by column why rows were not sent: `"review missing"`."""
        plan, cells = self._plan, {str(name): cells for name, cells in self._plan.cells.items()}
        said = {}
        for index, column in enumerate(plan.skipped):
            if column in cells:
                missing = cells[column].iloc[np.flatnonzero(plan.codes == -2 - index)].isna()
                words = ["missing"] if missing.any() else []
                said[column] = f"{column} {' or '.join([*words, *([] if missing.all() else ['blank'])])}"
            else:
                said[column] = "no prompt"  # the function of a row returned None
        return said

    def table(self, reasons: Mapping[int, Failure], *, raw: bool) -> pd.DataFrame:
        """Return one line for each of these rows; with `raw` also what the model wrote."""
        lines: list[dict[str, Any]] = [
            {
                "position": position,
                "label": self._plan.labels[position],
                "code": reason.code,
                "message": reason.message,
                "attempts": reason.attempts,
                **({"raw": reason.raw} if raw else {}),
            }
            for position, reason in reasons.items()
        ]
        return pd.DataFrame(lines, columns=[*FAILURE_COLUMNS, *(["raw"] if raw else [])])
