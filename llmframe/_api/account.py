"""The account that requests are sent with."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any

from llmframe._addresses import OPENAI_URL, normalise

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Account:
    """The account that requests are sent with.

    Parameters
    ----------
    base_url
        The server's address; with a client, that client's.
    api_key
        A key, or an async (or plain) function that returns one.
    client
        The user's own client, instead of these two.
    key_source
        Where the key comes from: `"api_key="`, `"client="`, an option's name or an environment variable.
    """

    base_url: str
    api_key: str | Callable[[], Any] | None = None
    client: Any = None
    key_source: str = "api_key="

    @classmethod
    def of(
        cls,
        client: Any,
        api_key: str | Callable[[], Any] | None,
        base_url: str | None,
        key_source: str = "api_key=",
    ) -> Account:
        """Make an account; a client's own settings take precedence over key and address."""
        if client is None:
            key = api_key.strip() if isinstance(api_key, str) else api_key
            return cls((base_url or OPENAI_URL).strip(), key, key_source=key_source)
        if not all(hasattr(client, name) for name in ("chat", "base_url", "with_options", "default_query")):
            raise TypeError(
                f"client must be an AsyncOpenAI, AsyncAzureOpenAI or one of their sync twins; got {type(client).__name__}"
            )
        return cls(str(client.base_url), None, client, key_source)

    def __repr__(self) -> str:
        return f"Account({normalise(self.base_url)!r})"

    @property
    def asynchronous(self) -> bool:
        """Whether the client is the user's own async one, whose connections belong to a loop."""
        return self.client is not None and inspect.iscoroutinefunction(self.client.close)

    @property
    def api_version(self) -> str | None:
        """Azure's API version, which affects the answers."""
        version = self.client.default_query.get("api-version") if self.client is not None else None
        return None if version is None else str(version)

    @property
    def limit_group(self) -> bytes:
        """Identifies the limits: a hash of address and key, from which the key cannot be recovered."""
        key = self.api_key if self.client is None else self.client.api_key
        projects = [str(getattr(self.client, name, None) or "") for name in ("organization", "project")]
        identifiers = [normalise(self.base_url), key if isinstance(key, str) else "", *projects]
        return blake2b("\n".join(identifiers).encode(), digest_size=16).digest()

    @property
    def key_remedy(self) -> str:
        """What to do where the key is refused."""
        if self.client is not None:
            return f"give the client of {self.key_source} a valid key (its api_key, or OPENAI_API_KEY when it is made)"
        return f"set {self.key_source} to a valid key"

    @property
    def timeout(self) -> float | None:
        """The seconds for one request that the client was given; `None` where it has the SDK's own."""
        if self.client is None:
            return None
        import openai  # noqa: PLC0415 (it takes a second to import)

        given = self.client.timeout
        seconds = None if given == openai.DEFAULT_TIMEOUT else getattr(given, "read", given)
        return seconds if isinstance(seconds, int | float) and 0 < seconds < inf else None

    @property
    def has_key(self) -> bool:
        return self.client is not None or bool(self.api_key)
