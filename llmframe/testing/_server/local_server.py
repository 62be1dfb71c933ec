"""The local server for tests and benchmarks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from llmframe.testing._settings import ServiceSettings
from llmframe.testing._wire import Ledger

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    from llmframe.testing._server.http import HttpServer
    from llmframe.testing._settings import Batches, Fault, Limits

MODELS = ("gpt-6-luna", "gpt-5.6-luna", "gpt-5.6-terra", "gpt-5.6-sol", "gpt-5-mini", "gpt-5-nano")

_CHANGEABLE = frozenset(
    {
        *{"latency", "api_key", "answer", "headers", "cached", "response_format", "prompt_cache"},
        *{"faults", "limits", "batches"},
    }
)
_FIXED = frozenset({"port", "models", "decision_models", "keep_bodies"})


class _Setting:
    """A setting of the answers; a new value counts for the requests that arrive afterwards."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, server: LocalServer | None, owner: type | None = None) -> Any:
        if server is None:
            return self
        return getattr(server._service.settings, self._name)  # noqa: SLF001 (the same module)

    def __set__(self, server: LocalServer, value: Any) -> None:
        settings = server._service.settings  # noqa: SLF001
        server._service.settings = replace(settings, **{self._name: value})  # noqa: SLF001


def _unchangeable(name: str) -> str:
    if name in _FIXED:
        return f"{name} cannot be changed; make another server, with LocalServer({name}=…)"
    if name in vars(LocalServer):
        return f"{name} of a server cannot be set"
    return f"a server has no {name!r} to set; there are {', '.join(sorted(_CHANGEABLE))}"


class LocalServer:
    """A server with OpenAI's chat completions, decisions, files and batches on 127.0.0.1: real HTTP, made-up answers, no costs.

    `limits`, `faults`, `batches`, `latency`, `api_key`, `answer`, `headers`, `cached`, `response_format` and
    `prompt_cache` can be set while the server runs, and count for the requests that arrive afterwards; any other name is
    an `AttributeError`.

    Parameters
    ----------
    port
        The port; 0 takes a free one, which stays the same when the server is started again.
    latency
        Seconds until an answer is sent, or a function that draws them from a `random.Random`.
    limits
        Rate limits; None is no limit.
    faults
        Faults and replies to inject; the first that applies to a request is used.
    models
        The existing models; others get the API's 404.
    api_key
        The only key that is accepted, as `Authorization: Bearer` or as Azure's `api-key`; None accepts any that is
        not empty.
    answer
        A function of the body of a completion's request that returns the text of the answer. None is
        `llmframe.testing.made_up_answer`.
    headers
        Whether answers carry `x-ratelimit-*` headers, for those limits that exist.
    keep_bodies
        Whether the ledger keeps the request bodies (the first 100,000).
    cached
        Share of the prompt tokens that the usage reports as cached.
    batches
        The settings of batches and their files; None is `Batches()`.
    response_format
        What the server knows of the parameter: "json_schema" is all, with "json_object" schemas get the API's 400,
        with "text" JSON objects too; "ignored" takes everything and answers as if it were not there.
    decision_models
        The models that answer decisions; without any there is no such endpoint (404).
    prompt_cache
        Whether completions use a prompt cache as OpenAI's do from GPT-5.6 on, and say in their usage what they read from
        it and wrote into it: prefixes of at least 1,024 tokens, matched exactly at breakpoints, for 30 minutes, which
        `advance` moves forward; implicit or explicit by the request's `prompt_cache_options`. Schemas and tools then count
        as tokens of the prompt.

    Examples
    --------
    >>> with LocalServer() as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float | Callable[[random.Random], float] = 0.0,
        limits: Limits | None = None,
        faults: Iterable[Fault] = (),
        models: Iterable[str] = MODELS,
        api_key: str | None = None,
        answer: Callable[[dict[str, Any]], str] | None = None,
        headers: bool = True,
        keep_bodies: bool = True,
        cached: float = 0.0,
        batches: Batches | None = None,
        response_format: str = "json_schema",
        decision_models: Iterable[str] = ("gpt-6-luna",),
        prompt_cache: bool = False,
    ) -> None:
        # Imported here, so that importing this package does not import pydantic.
        from llmframe.testing._server.service import Service  # noqa: PLC0415

        settings = ServiceSettings(
            latency,
            tuple(models),
            api_key,
            answer,
            headers,
            cached,
            response_format,
            tuple(decision_models),
            prompt_cache,
        )
        self._ledger = Ledger(keep_bodies=keep_bodies)
        self._service = Service(settings, self._ledger, limits, faults)
        if batches is not None:
            self.batches = batches
        self._port = port
        self._http: HttpServer | None = None

    latency = _Setting()
    api_key = _Setting()
    answer = _Setting()
    headers = _Setting()
    cached = _Setting()
    response_format = _Setting()
    prompt_cache = _Setting()

    @property
    def models(self) -> tuple[str, ...]:
        """The existing models."""
        return self._service.settings.models

    @property
    def decision_models(self) -> tuple[str, ...]:
        """The models that answer decisions."""
        return self._service.settings.decision_models

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _CHANGEABLE and not name.startswith("_"):
            raise AttributeError(_unchangeable(name))
        object.__setattr__(self, name, value)

    @property
    def base_url(self) -> str:
        """The address for a client's `base_url`, known once the server has been started."""
        if not self._port:
            raise RuntimeError("The server has no address yet; start it first, with start() or a with block.")
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def azure_endpoint(self) -> str:
        """The address for the `azure_endpoint` of `AzureOpenAI` and `AsyncAzureOpenAI`, which ask for chat completions.

        A deployment exists if its name, or the model that the request names, is among the `models`.
        """
        return self.base_url.removesuffix("/v1")

    @property
    def ledger(self) -> Ledger:
        """The counts of requests received and responses sent."""
        return self._ledger

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in force; setting them resets their counts."""
        return self._service.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._service.faults = tuple(faults)

    @property
    def limits(self) -> Limits | None:
        """The limits in force; setting them starts with a full allowance."""
        return self._service.limits

    @limits.setter
    def limits(self, limits: Limits | None) -> None:
        self._service.limits = limits

    @property
    def batches(self) -> Batches:
        """The settings of batches; `seconds` and `unfinished` apply to batches created afterwards."""
        return self._service.storage.batches.settings

    @batches.setter
    def batches(self, batches: Batches) -> None:
        self._service.storage.batches.settings = batches

    @property
    def files(self) -> tuple[str, ...]:
        """The ids of the files that exist now, the oldest first."""
        return tuple(each.id for each in self._service.storage.files.existing())

    def advance(self, seconds: float) -> None:
        """Move the time of batches and files forward; it can be called from any thread.

        Parameters
        ----------
        seconds
            The time in seconds. When the method returns, a running server has done all work due by then.
        """
        if seconds < 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds!r}; time does not go back.")
        if self._http is None:
            self._service.storage.clock.advance(seconds)
        else:
            self._http.advance(seconds)

    def start(self) -> Self:
        """Start to listen, on the same port as before if there was one; a running server does not change.

        Returns
        -------
        LocalServer
            The server itself.

        Raises
        ------
        OSError
            If the port is taken.
        """
        if self._http is None:
            # Imported here, so that importing this package does not import aiohttp.
            from llmframe.testing._server.http import HttpServer  # noqa: PLC0415

            http = HttpServer(self._service, self._port)
            http.start()
            self._http, self._port = http, http.port
        return self

    def stop(self) -> None:
        """Close all connections and release the port; a stopped server does not change."""
        if self._http is not None:
            http, self._http = self._http, None
            http.stop()

    def down(self) -> None:
        """Stop listening and cut all connections: clients see a reset, then refused connections."""
        self._running().down()

    def up(self) -> None:
        """Listen again after `down`, on the same port."""
        self._running().up()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Call `down`, and `up` after the with block."""
        self.down()
        try:
            yield
        finally:
            self.up()

    def reset(self) -> None:
        """Clear the ledger and the prompt cache, and reset limits and faults. Files and batches stay."""
        self._service.reset()

    def _running(self) -> HttpServer:
        if self._http is None:
            raise RuntimeError("The server is not running; start it first, with start() or a with block.")
        return self._http

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def __repr__(self) -> str:
        """Return the address, or that the server is stopped."""
        state = self.base_url if self._http is not None else "stopped"
        return f"<LocalServer {state}>"
