"""The arguments of a call: arguments take precedence over options, options over the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._addresses import address_fault, header_fault, is_openai, normalise
from llmframe._api import Account, list_models
from llmframe._journal import journal_place
from llmframe._json import NotJSONError, canonical
from llmframe._keywords import BatchKeywords, CallKeywords, CompletionKeywords
from llmframe._options import check, check_environment, from_environment, options
from llmframe._pacing import Patience
from llmframe._run import AccountSettings, RunSettings

if TYPE_CHECKING:
    from llmframe._journal import Place
    from llmframe._keywords import JournalPlace
    from llmframe._run import Verb

DEFAULT_MODEL = "gpt-6-luna"

_FROM_OPTIONS = (*dir(options), "_tuning")
_ARGUMENTS = frozenset(CallKeywords.__annotations__)
_LISTED = frozenset(CompletionKeywords.__annotations__)
_OF_ALL = ("column", "prompt", "where", "overwrite", "error_into", "raw", "usage", "wait", "dry_run")
_OWN_ARGUMENTS = {
    "complete": (*_OF_ALL, "into"),
    "extract": (*_OF_ALL, "schema", "prefix", "quotes", "examples", "reask"),
    "classify": (
        *(*_OF_ALL, "labels", "into", "multi", "other", "confidence", "probabilities"),
        *("threshold", "votes", "engine", "examples"),
    ),
    "ask": (*_OF_ALL, "questions", "prefix", "confidence", "threshold", "votes", "engine", "examples"),
}
"""What each verb takes on a frame beside the keywords of all."""
_BATCH_ARGUMENTS = frozenset(BatchKeywords.__annotations__)
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_FLAGS = ("dedupe", "fresh", "retry_failed")


class FreshSince(float):
    """In place of `fresh=True`: when a fresh call began that several runs carry out, in seconds since the epoch."""


def resolve(verb: Verb, arguments: Mapping[str, Any]) -> RunSettings:
    """Check a call's keywords and fill in the defaults.

    Raises
    ------
    TypeError
        For a keyword that neither llmframe nor the API has.
    ValueError
        For an invalid value, and where no model is known for the server.
    """
    _check_keywords(verb, arguments)
    given = {name: value for name, value in arguments.items() if name in _ARGUMENTS and value is not None}
    for name, value in given.items():
        if name in _FROM_OPTIONS:
            check(name, value)
    _check_own(verb, given)
    chosen = _chosen(given)
    account_fields = _account_fields(given, chosen)
    account: Account = account_fields["account"]
    if chosen["mode"] == "batch" and account.api_version is not None:
        raise ValueError("mode: 'batch' is OpenAI's Batch API, and Azure has another; use mode='live' there")
    return RunSettings(
        **account_fields,
        verb=verb,
        model=chosen["model"] or _default_model(account, chosen),
        system=given.get("system"),
        params=_params(arguments, given.get("extra_body") or {}),
        headers=_headers(given.get("extra_headers") or {}),
        nested=chosen["loop"] == "nested",
        version=given.get("version"),
        **{
            name: chosen[name]
            for name in (
                "errors",
                "max_cost",
                "max_concurrency",
                "requests_per_minute",
                "tokens_per_minute",
                "progress",
            )
        },
        **_flags(given),
    )


def resolve_for_batches(arguments: Mapping[str, Any]) -> AccountSettings:
    """Check the keywords of `batches`, `collect` and `cancel`, and fill in the defaults."""
    for name, value in arguments.items():
        if name not in _BATCH_ARGUMENTS:
            raise TypeError(f"unexpected keyword {name!r}; there are {', '.join(sorted(_BATCH_ARGUMENTS))}")
        check(name, value)
    given = {name: value for name, value in arguments.items() if value is not None}
    settings = AccountSettings(**_account_fields(given, _chosen(given)))
    if settings.journal is False:
        raise ValueError("journal: batches are known by a journal; leave journal=False out")
    return settings


def journal_in_use(given: JournalPlace | None = None) -> Place:
    """Return the journal of an argument, the options or the environment."""
    check("journal", given)
    return _journal(_chosen({} if given is None else {"journal": given})["journal"])


def server_in_use(arguments: Mapping[str, Any]) -> str:
    """Return the server's name in identities, as a call with these keywords would have it."""
    given = {name: value for name, value in arguments.items() if value is not None}
    chosen = _chosen(given)
    return _server(_account(given, chosen), chosen["server"])


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given.get(name, getattr(options, name)) for name in _FROM_OPTIONS}


def _account_fields(given: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve the settings that do not depend on a verb, the fields of `AccountSettings`."""
    account = _account(given, chosen)
    return {
        "account": account,
        "server": _server(account, chosen["server"]),
        "journal": _journal(chosen["journal"]),
        "timeout": float(given.get("timeout") or account.timeout or chosen["timeout"]),
        "patience": _patience(chosen),
        "tuning": chosen["_tuning"],
        **{name: chosen[name] for name in ("mode", "max_retries", "prices", "reattach", "keep_batch_files")},
    }


def _patience(chosen: Mapping[str, Any]) -> Patience:
    lasting: float = chosen["_tuning"].lasting_limit_seconds
    return Patience(float(chosen["longest_wait"]), float(chosen["limit_patience"]), lasting)


def _account(given: Mapping[str, Any], chosen: Mapping[str, Any]) -> Account:
    if "client" in given and {"api_key", "base_url"} & given.keys():
        raise ValueError("client: it brings its own key and address; leave api_key= and base_url= out")
    client = given.get("client") or (None if "base_url" in given or "api_key" in given else chosen["client"])
    account = Account.of(client, chosen["api_key"], chosen["base_url"], _key_source(given, chosen, client))
    if account.client is not None:
        _check_client(account)
        return account
    check_environment("base_url", chosen["base_url"])
    if chosen["mode"] != "offline":
        check_environment("api_key", chosen["api_key"])
    return account


def _check_client(account: Account) -> None:
    if fault := address_fault(account.base_url):
        raise ValueError(f"client: its base_url must be the server's address; {fault}")
    client = account.client
    keys = {"its api_key": client.api_key, "its azure_ad_token": getattr(client, "_azure_ad_token", None)}
    headers = {f"its header {name!r}": text for name, text in client.default_headers.items()}
    for what, text in {**keys, **headers}.items():
        if isinstance(text, str) and (fault := header_fault(text)):
            raise ValueError(
                f"client: {what} cannot be sent; {fault}: make the client with .strip() of it, or copy it again"
            )


def _key_source(given: Mapping[str, Any], chosen: Mapping[str, Any], client: Any) -> str:
    """Name the argument, option or environment variable that a key comes from."""
    name = "api_key" if client is None else "client"
    if name in given:
        return f"{name}="
    from_variable = client is None and chosen[name] in {None, from_environment(name)}
    return "OPENAI_API_KEY" if from_variable else f"llmframe.options.{name}"


def _check_keywords(verb: Verb, arguments: Mapping[str, Any]) -> None:
    if "stream" in arguments or "stream_options" in arguments:
        raise TypeError("stream: a column needs whole answers; leave stream= out")
    unlisted = [name for name in arguments if name not in _LISTED]
    if unlisted:  # by us; the SDK, which takes half a second to import, may be newer
        known = _LISTED | verb.endpoint.parameters()
        for name in unlisted:
            if name not in known:
                raise TypeError(f"unexpected keyword {name!r}; {_hint(name, verb.name, known)}")


def _hint(name: str, verb: str, known: frozenset[str]) -> str:
    own = _OWN_ARGUMENTS.get(verb, _OF_ALL)
    takers = [other for other, arguments in _OWN_ARGUMENTS.items() if name in arguments]
    if takers:
        return f"this verb does not take it; df.llm.{verb if verb in takers else takers[0]} does"
    close = get_close_matches(name, known.union(own), n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]!r}?"
    return "what the API takes and the SDK does not know yet goes into extra_body="


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    flags: dict[str, Any] = {name: bool(given[name]) for name in _FLAGS if name in given}
    fresh = given.get("fresh")
    return flags | {"fresh_since": float(fresh) if isinstance(fresh, FreshSince) else None}


def _check_own(verb: Verb, given: Mapping[str, Any]) -> None:
    for name in _FLAGS:
        if name in given and not isinstance(given[name], bool | FreshSince):
            raise TypeError(f"{name} must be True or False; got {given[name]!r}")
    if not isinstance(given.get("version", ""), str):
        raise TypeError(f"version must be text, such as 'v2'; got {given['version']!r}")
    for name in ("extra_body", "extra_headers"):
        if not isinstance(given.get(name, {}), Mapping):
            raise TypeError(f"{name} must be a dict; got {type(given[name]).__name__}")
    for name in sorted({verb.endpoint.content, "model", "stream", "n"} & given.get("extra_body", {}).keys()):
        raise ValueError(f"extra_body: {name!r} is what llmframe fills in; leave it out")


def _params(arguments: Mapping[str, Any], extra_body: Mapping[str, Any]) -> dict[str, Any]:
    params = {
        name: value for name, value in arguments.items() if name not in _ARGUMENTS and value is not None
    }
    if params.get("n", 1) != 1:
        raise ValueError(
            "n: one answer goes into a cell; to draw several, repeat the rows and pass dedupe=False"
        )
    params.pop("n", None)
    return {name: _plain(name, value) for name, value in {**params, **extra_body}.items()}


def _plain(name: str, value: Any) -> Any:
    try:
        plain = canonical(value, sort=False)
        orjson.dumps(plain)
    except (NotJSONError, orjson.JSONEncodeError) as error:
        raise ValueError(f"{name}: {error}; pass plain JSON values") from error
    return plain


def _headers(headers: Mapping[str, Any]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"extra_headers must map text to text; got {name!r}: a {type(value).__name__}")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(
                f"extra_headers: {name!r} is no header's name; write letters, digits and hyphens, without the colon"
            )
        if fault := header_fault(value):
            raise ValueError(f"extra_headers: the value of {name!r} cannot be sent; {fault}")
    return dict(headers)


def _journal(value: JournalPlace) -> Place:
    place = from_environment("journal") if value is True else value
    check_environment("journal", place)
    return value is True if place is None else journal_place(place)


def _server(account: Account, name: str | None = None) -> str:
    """Return the server's name in identities; it includes Azure's deployment and API version."""
    address = normalise(account.base_url)
    if name is not None:
        deployment = address.partition("/openai/deployments/")[2] if account.api_version else ""
        address = f"{name}/openai/deployments/{deployment}" if deployment else name
    return address if account.api_version is None else f"{address}?api-version={account.api_version}"


def _default_model(account: Account, chosen: Mapping[str, Any]) -> str:
    if is_openai(account.base_url):
        return DEFAULT_MODEL
    raise ValueError(
        f"model: there is no default model for {_server(account).partition('?')[0]}; pass model= ({_models_hint(account, chosen)})"
    )


def _models_hint(account: Account, chosen: Mapping[str, Any]) -> str:
    """List the server's models in a hint, where a request is allowed."""
    if chosen["mode"] == "offline" or not account.has_key:
        return "with an API key, and not offline, this would list the server's models"
    listed = list_models(account)
    return (
        f"the server has {', '.join(map(repr, listed[:20]))}"
        if listed
        else "the server does not list its models"
    )
