"""Defaults of every call: `llmframe.options`, blocks with other defaults, and the environment."""

from __future__ import annotations

import os
import re
from collections import ChainMap
from contextlib import ContextDecorator
from contextvars import ContextVar
from difflib import get_close_matches
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmframe._addresses import (
    DatabaseAddress,
    address_fault,
    database_fault,
    is_database,
    key_fault,
    normalise,
)
from llmframe._errors import plain_repr
from llmframe._keywords import OptionKeywords, takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Unpack

    from llmframe._keywords import Client, JournalPlace, Key

_overrides: ContextVar[ChainMap[str, Any]] = ContextVar("llmframe_option_context", default=ChainMap())  # noqa: B039 (it is never written to)
"""The settings of the open option contexts, innermost first."""


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(minimum: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _one_of(*choices: object) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str | bool) and value in choices


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _address(value: object) -> bool:
    if not isinstance(value, str) or not value.strip().lower().startswith(("http://", "https://")):
        return False
    return "@" not in value.partition("://")[2].partition("/")[0]


def _path(value: object) -> bool:
    if isinstance(value, os.PathLike):
        return isinstance(os.fspath(value), str)
    return isinstance(value, bool | DatabaseAddress) or _text(value)


_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):/|(file):", re.IGNORECASE)
"""How an address begins, also as a `Path`, which makes one slash of two. The drive `C:/` is no scheme."""


def _place(value: Any) -> Any:
    """Return a place of which a text may be shown: an address without its password."""
    return DatabaseAddress.of(value) if isinstance(value, str) and is_database(value) else value


_NO_PATHS = frozenset({"true", "false", "none", "on", "off", "yes", "no", "0", "1", ":memory:"})


def _path_fault(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, DatabaseAddress) or (isinstance(value, str) and is_database(value)):
        return _database_fault(value)
    text = str(value).strip()
    scheme = _SCHEME.match(text)
    if scheme or "://" in text:
        name = (scheme[1] or scheme[2]).lower() if scheme else ""
        if name in {"file", "sqlite"}:
            return f"this one begins with {name}:, so write the file's path alone"
        return f"this is an address{f' ({name}://…)' if name else ''} of a kind that llmframe does not know"
    if isinstance(value, str) and text.lower() in _NO_PATHS:
        return f"{text!r} would be a file of that name: write journal=False (or --no-journal) for none"
    return "this one has a NUL" if "\0" in text else None


def _database_fault(value: str | DatabaseAddress) -> str | None:
    if find_spec("psycopg") is None:
        return "a journal in PostgreSQL needs psycopg: pip install 'llmframe[postgres]'"
    return database_fault(value) if isinstance(value, str) else None


def _key(value: object) -> bool:
    return _text(value) or callable(value)


def _dollars(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _client(value: object) -> bool:
    return hasattr(value, "chat") and not isinstance(value, type)


def _price_table(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(model, str)
        and isinstance(price, dict)
        and {"input", "output"} <= price.keys() <= {"input", "cached_input", "cache_write", "output"}
        and all(_dollars(amount) for amount in price.values())
        for model, price in value.items()
    )


class Tuning(NamedTuple):
    """Times and sizes that users do not set; tests set others (`options._tuning`)."""

    chunk_rows: int = 4096
    """This many rows are rendered at a time: fast, but without a copy of a whole column's text."""
    commit_seconds: float = 0.05
    """Answers that arrive within this time are committed together."""
    claim_ahead_seconds: float = 0.05
    """As many requests as leave in this time may be claimed before they are sent."""
    reconnect_seconds: float = 30.0
    """A lost connection to a journal's database is opened again for this time, while answers wait in memory."""
    lease_seconds: float = 60.0
    """A claim is valid for this time after its last renewal; it is renewed every third of it."""
    exchange_seconds: float = 0.5
    """The interval in which runs that share limits report to each other."""
    connect_seconds: float = 15.0
    """The timeout of a connection, if the request's timeout is not shorter."""
    lasting_limit_seconds: float = 60.0
    """A limit that by the server's words will not pass today ends the run after this time without an answer."""
    same_limits_seconds: float = 0.005
    """Answers that arrive within this time state the same limits: the headers of one of them are read."""
    warming_seconds: float = 60.0
    """Other requests wait at most this time for the one whose answer warms the provider's cache, which may hang."""
    first_poll_seconds: float = 1.0
    """The first poll of a batch follows its submission after this time; the interval grows by half each time."""
    longest_poll_seconds: float = 60.0
    first_resubmit_seconds: float = 2.0
    """A refused part is submitted again after this time, which doubles each time."""
    lone_refusals: int = 8
    """After this many refusals while nothing else is enqueued, a part counts as too large."""
    batch_requests: int = 50_000
    batch_bytes: int = 200_000_000
    """The largest batch, in requests and in bytes: https://platform.openai.com/docs/guides/batch."""
    file_chunk_rows: int = 50_000
    file_chunk_bytes: int = 1 << 26
    """The largest chunk of a file, in rows and in bytes; a file that is larger is read, answered and written by chunks."""


DEFAULT_MAX_RETRIES = 6


class _Option(NamedTuple):
    """One setting: its accepted values, its default, and its environment variable."""

    accepts: Callable[[object], bool]
    expected: str
    default: Any = None
    environment: str | None = None
    fault: Callable[[Any], str | None] = lambda _: None
    """Says why an accepted value cannot be used all the same, without what may be secret in it."""
    kept: Callable[[Any], Any] = lambda value: value
    """Returns the value as it is kept and shown."""


_TUNING = "_tuning"
"""Set by tests only, and not listed among the options."""

_OPTIONS: Mapping[str, _Option] = MappingProxyType(
    {
        "model": _Option(_text, "a model's name, such as 'gpt-6-luna'", environment="LLMFRAME_MODEL"),
        "api_key": _Option(_key, "a key as text, or an async function that returns one", environment="OPENAI_API_KEY", fault=key_fault),
        "base_url": _Option(_address, "the server's address without credentials, such as 'http://localhost:8000/v1'", environment="OPENAI_BASE_URL", fault=address_fault),
        "client": _Option(_client, "an OpenAI client, sync or async, such as openai.AsyncOpenAI()"),
        "server": _Option(_text, "a name that stands for changing addresses of one server"),
        "journal": _Option(_path, "a file's path, a postgresql:// address, True for the default place, or False for none", default=True, environment="LLMFRAME_JOURNAL", fault=_path_fault, kept=_place),
        "mode": _Option(_one_of("live", "batch", "offline"), "'live', 'batch' or 'offline'", default="live"),
        "errors": _Option(_one_of("raise", "coerce"), "'raise' or 'coerce'", default="raise"),
        "max_cost": _Option(_seconds, "US dollars above 0, or None for no cap"),
        "max_concurrency": _Option(_whole(1), "a whole number of at least 1, or None to adapt"),
        "requests_per_minute": _Option(_seconds, "a number above 0, or None for what the server allows"),
        "tokens_per_minute": _Option(_seconds, "a number above 0, or None for what the server allows"),
        "max_retries": _Option(_whole(0), "a whole number of at least 0", default=DEFAULT_MAX_RETRIES),
        "timeout": _Option(_seconds, "seconds for one request, above 0", default=300.0),
        "progress": _Option(_one_of(True, False), "True or False", default=True),
        "prices": _Option(_price_table, "{model: {'input': …, 'cached_input': …, 'cache_write': …, 'output': …}} in US dollars per million tokens", default=MappingProxyType({})),
        "reattach": _Option(_one_of(True, False), "True or False", default=True),
        "keep_batch_files": _Option(_one_of(True, False), "True or False", default=False),
        "longest_wait": _Option(_seconds, "seconds above 0", default=600.0),
        "limit_patience": _Option(_seconds, "seconds above 0", default=900.0),
        "loop": _Option(_one_of("private", "nested"), "'private' or 'nested'", default="private"),
        _TUNING: _Option(lambda value: isinstance(value, Tuning), "a Tuning", default=Tuning()),
    }
)  # fmt: skip


def check(name: str, value: object, source: str | None = None) -> None:
    """Raise if `value` cannot be the setting `name`; `None` always can be, and means the default.

    `source` is where the value was found, if it was not given by the setting's own name.
    """
    option = _OPTIONS[name]
    if value is None:
        return
    if option.accepts(value):
        if fault := option.fault(value):
            raise ValueError(f"{source or name} must be {option.expected}; {fault}")
        return
    # A key may be passed as any option by mistake.
    secret = name in {"api_key", "client"} or any(mark in str(value) for mark in "@?")
    shown = f"a {type(value).__name__} that is not shown" if secret else plain_repr(value)
    raise ValueError(f"{source or name} must be {option.expected}; got {shown}")


def check_environment(name: str, value: object) -> None:
    """Raise if a setting's value is that of the environment and cannot be used; the variable is named."""
    found = from_environment(name)
    if value in {found, _OPTIONS[name].kept(found)}:
        check(name, found, _OPTIONS[name].environment)


class Options:
    """The defaults of every call. Assign to change one; assign `None` to return to its own default.

    An argument of a call takes precedence over an option, an option over the environment.

    Attributes
    ----------
    model : str
        Model of every request; from `LLMFRAME_MODEL`. The default, with OpenAI's own address only, is
        `gpt-6-luna`.
    api_key : str or async function
        From `OPENAI_API_KEY`. Shown masked. A function is called once for a run, and again when the
        server refuses the key that it returned.
    base_url : str
        Address of the API; from `OPENAI_BASE_URL`. The default is OpenAI's own.
    client : openai client
        `AsyncOpenAI`, `AsyncAzureOpenAI` or their sync twins, instead of key and address. Its `timeout` (of
        reading) counts before `options.timeout`; its `max_retries` and connection limits do not count.
    server : str
        A name for a server whose address changes, by which the journal recognises it.
    journal : bool, path or address
        `True`: the default place, or that of `LLMFRAME_JOURNAL`; a path: another place; `False`: none. An address
        `postgresql://user:password@host/database`: a database that processes of several machines share; it is shown
        without the password.
    mode : {"live", "batch", "offline"}
        `"batch"` uses the Batch API, at half the price, within 24 hours; `"offline"` sends nothing and
        answers from the journal.
    errors : {"raise", "coerce"}
        What happens after a run in which rows failed.
    max_cost : float
        US dollars that each call may spend at most; `None`: no cap.
    max_concurrency : int
        Most requests in flight; `None` adapts, up to 1,000; 1 is strictly sequential.
    requests_per_minute : float
        Ceiling of this process's requests for one account and model, divided with other processes that use the same
        journal, and kept evenly; `None`: what the server allows. Of this and a limit that the server states, the
        least counts.
    tokens_per_minute : float
        The same for tokens, of prompts and answers together.
    max_retries : int
        Further attempts for one row after a passing fault; rate limits do not count. Default 6; by batch,
        where an attempt may take a day, 3 unless another number is set.
    timeout : float
        Seconds for one request. Default 300.
    progress : bool
        Whether a bar and the closing line are shown.
    prices : dict
        Own prices, US dollars per million tokens:
        `{"my-model": {"input": 0.1, "cached_input": 0.01, "output": 0.5}}`. `"cached_input"` and
        `"cache_write"`, for tokens that the provider read from its cache and wrote into it, are those of
        `"input"` where they are left out.
    reattach : bool
        Whether a batch run first looks for open batches of the same call in the account, and stops if they
        cannot be read. `False` submits without looking, and may pay for rows twice.
    keep_batch_files : bool
        Whether uploaded input files stay in the account after their batch was collected.
    longest_wait : float
        Seconds. A server that asks for a longer wait states a limit that will not pass today: the run ends
        after a minute without an answer. Default 600.
    limit_patience : float
        Seconds without an answer, while every request is answered 429, after which a run ends. Time in waits
        that the server states does not end it. Default 900.
    loop : {"private", "nested"}
        `"nested"` runs the work on the notebook's own event loop, through nest-asyncio2.

    Examples
    --------
    >>> import llmframe
    >>> llmframe.options.max_concurrency = 50
    >>> llmframe.options.max_concurrency = None
    """

    model: str | None
    api_key: Key | None
    base_url: str | None
    client: Client | None
    server: str | None
    journal: JournalPlace | None
    mode: Literal["live", "batch", "offline"] | None
    errors: Literal["raise", "coerce"] | None
    max_cost: float | None
    max_concurrency: int | None
    requests_per_minute: float | None
    tokens_per_minute: float | None
    max_retries: int | None
    timeout: float | None
    progress: bool | None
    prices: Mapping[str, Mapping[str, float]] | None
    reattach: bool | None
    keep_batch_files: bool | None
    longest_wait: float | None
    limit_patience: float | None
    loop: Literal["private", "nested"] | None

    def __init__(self) -> None:
        self.__dict__["_values"] = {}

    if not TYPE_CHECKING:  # to type checkers these two would mean that any name is an option

        def __getattr__(self, name: str) -> Any:
            if name not in _OPTIONS:
                raise AttributeError(_unknown(name))
            for value in (_overrides.get().get(name), self._values.get(name), from_environment(name)):
                if value is not None:
                    return _OPTIONS[name].kept(value)
            return _OPTIONS[name].default

        def __setattr__(self, name: str, value: object) -> None:
            if name not in _OPTIONS:
                raise AttributeError(_unknown(name))
            check(name, value)
            self._values[name] = _OPTIONS[name].kept(value)

    def __reduce__(self) -> str:
        return "options"  # a process has one such object, and keeps its own

    def __dir__(self) -> Iterable[str]:
        return sorted(_OPTIONS.keys() - {_TUNING})

    def __repr__(self) -> str:
        lines = [f"  {name} = {_shown(name, getattr(self, name))}" for name in _OPTIONS if name != _TUNING]
        return "llmframe.options\n" + "\n".join(lines)


def from_environment(name: str) -> str | None:
    """Read an option from the environment; a blank variable counts as unset."""
    variable = _OPTIONS[name].environment
    return os.environ.get(variable, "").strip() or None if variable else None


def _unknown(name: str) -> str:
    close = get_close_matches(name, dir(options), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(dir(options))}"
    return f"llmframe has no option {name!r}{hint}"


def _shown(name: str, value: Any) -> str:
    if name == "api_key" and value is not None:
        return mask(value) if isinstance(value, str) else "<function>"
    if name == "client" and value is not None:
        return f"<{type(value).__name__}>"
    if isinstance(value, MappingProxyType):
        value = dict(value)
    return repr(os.fspath(value)) if isinstance(value, os.PathLike) else plain_repr(value)


def mask(key: str) -> str:
    """Return enough of a key to recognise it, and too little to use it."""
    return f"'{key[:3]}…{key[-4:]}'" if len(key) > 16 else "'…'"


options = Options()


class option_context(ContextDecorator):  # noqa: N801 (used as a function, as in pandas)
    """Set other defaults for a block, in this task or thread only.

    A pickled context carries its values to another process, except `api_key`, `client` and a database's password, which
    that process has to have itself (the password as `PGPASSWORD` or in `~/.pgpass`). The address of a client goes with it, as `base_url`, so that no rows are sent elsewhere.

    Parameters
    ----------
    **settings
        Names and values as in `llmframe.options`.

    Raises
    ------
    TypeError
        For an unknown name.
    ValueError
        For a value that the option cannot have.

    Examples
    --------
    >>> import llmframe
    >>> with llmframe.option_context(model="gpt-6-luna", max_concurrency=1):
    ...     llmframe.options.max_concurrency
    1
    """

    @takes(OptionKeywords)
    def __init__(self, **settings: Unpack[OptionKeywords]) -> None:
        for name, value in settings.items():
            if name not in _OPTIONS:
                raise TypeError(_unknown(name))
            check(name, value)
        self._settings: dict[str, Any] = {
            name: _OPTIONS[name].kept(value) for name, value in settings.items()
        }

    def __enter__(self) -> None:
        _overrides.set(_overrides.get().new_child(self._settings))

    def __exit__(self, *error: object) -> None:
        _overrides.set(_overrides.get().parents)

    def __getstate__(self) -> dict[str, Any]:
        settings = {**self._settings}
        settings.pop("api_key", None)
        if isinstance(journal := settings.get("journal"), DatabaseAddress):
            settings["journal"] = journal.without_password()
        address = getattr(settings.pop("client", None), "base_url", None)
        if address is not None:
            settings["base_url"] = normalise(str(address).partition("?")[0])
        return {"_settings": settings}

    def __copy__(self) -> option_context:
        return self

    def __deepcopy__(self, memo: object) -> option_context:
        return self
