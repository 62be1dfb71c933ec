"""What an accessor shows of itself: its verbs and their first lines."""

from __future__ import annotations

import re
from html import escape


def overview(accessor: object, spelling: str) -> list[tuple[str, str]]:
    """Return what an accessor can do: each verb and the first line of its docstring, and where the rest is told."""
    verbs = {name: verb for name, verb in vars(type(accessor)).items() if not name.startswith("_")}
    width = max(map(len, verbs)) + len(spelling) + len(".(…)")
    lines = [(f"{spelling}.{name}(…)", str(verb.__doc__).partition("\n")[0]) for name, verb in verbs.items()]
    return [
        *((call.ljust(width), line) for call, line in lines),
        (f"help({spelling}.complete)".ljust(width), "What every keyword means, with an example."),
    ]


def _code(line: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", line)


def table(lines: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td style="text-align:left"><code>{escape(name.strip())}</code></td>'
        f'<td style="text-align:left">{_code(escape(line))}</td></tr>'
        for name, line in lines
    )
    return f"<table>{rows}</table>"
