"""The endpoints of files and batches."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from llmframe.testing._batch.clock import Clock
from llmframe.testing._batch.files import Files
from llmframe.testing._batch.service import BatchService
from llmframe.testing._requests import parse
from llmframe.testing._wire import (
    BATCHES,
    FILES,
    HttpRequest,
    HttpResponse,
    RefusedRequest,
    errors,
    json_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe.testing._batch.service import RowResponse
    from llmframe.testing._wire import Ledger


class Storage:
    """The endpoints of files and batches, and the clock of both."""

    def __init__(
        self, ledger: Ledger, models: tuple[str, ...], answer: Callable[[dict[str, Any], str], RowResponse]
    ) -> None:
        self._ledger = ledger
        self.clock = Clock()
        self.files = Files(self.clock)
        self.batches = BatchService(self.clock, self.files, ledger, models, answer)
        self._routes: dict[tuple[str, str], Callable[[HttpRequest, str], HttpResponse]] = {
            ("POST", FILES): lambda request, _: self._upload(request),
            ("GET", FILES): lambda request, _: self._list(request, self.files.listed),
            ("GET", f"{FILES}/*"): lambda _, name: json_response(self.files.retrieve(name)),
            ("GET", f"{FILES}/*/content"): lambda _, name: self._download(name),
            ("DELETE", f"{FILES}/*"): lambda _, name: self._delete(name),
            ("POST", BATCHES): lambda request, _: self._create(request),
            ("GET", BATCHES): lambda request, _: self._list(request, self.batches.listed),
            ("GET", f"{BATCHES}/*"): lambda _, name: json_response(self.batches.retrieve(name)),
            ("POST", f"{BATCHES}/*/cancel"): lambda _, name: json_response(self.batches.cancel(name)),
        }
        self._downloads = Counter[str]()
        self._patterns = {pattern for _, pattern in self._routes}

    def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request, or raise `RefusedRequest`."""
        parts = request.path.split("/")
        name = "".join(parts[3:4])
        pattern = "/".join([*parts[:3], "*", *parts[4:]]) if name else request.path
        route = self._routes.get((request.method, pattern))
        if route is not None:
            return route(request, name)
        known = pattern in self._patterns
        refuse = errors.wrong_method if known else errors.unknown_url
        raise RefusedRequest(refuse(request.method, request.path))

    def _list(
        self, request: HttpRequest, listed: Callable[[Mapping[str, str]], dict[str, Any]]
    ) -> HttpResponse:
        page, write = listed(request.query), self.batches.settings.write_page
        return json_response(page if write is None else write(page, request.query))

    def _upload(self, request: HttpRequest) -> HttpResponse:
        if request.upload is None:
            raise RefusedRequest(errors.no_form())
        stored = self.files.upload(request.upload)
        self._ledger.count("uploads")
        return json_response(stored)

    def _download(self, name: str) -> HttpResponse:
        content = self.files.content(name)
        self._ledger.count("downloads")
        self._downloads[name] += 1
        write, stored = self.batches.settings.write_file, self.files.find(name)
        if write is not None and stored is not None and stored.purpose == "batch_output":
            content = write(content, self._downloads[name])
        return HttpResponse(200, content, "application/octet-stream")

    def _delete(self, name: str) -> HttpResponse:
        deleted = self.files.delete(name)
        self._ledger.count("files_deleted")
        return json_response(deleted)

    def _create(self, request: HttpRequest) -> HttpResponse:
        return json_response(self.batches.create(parse(request.content), request.key))
