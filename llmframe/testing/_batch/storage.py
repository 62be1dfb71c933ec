"""The endpoints of files and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe.testing._batch.clock import Clock
from llmframe.testing._batch.files import Files
from llmframe.testing._batch.service import BatchService
from llmframe.testing._requests import parse
from llmframe.testing._wire import BATCHES, FILES, Asked, Refused, Reply, errors, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe.testing._batch.service import RowAnswer
    from llmframe.testing._wire import Ledger


class Storage:
    """Files and batches, and the clock that both go by."""

    def __init__(
        self, ledger: Ledger, models: tuple[str, ...], answer: Callable[[dict[str, Any], str], RowAnswer]
    ) -> None:
        self._ledger = ledger
        self.clock = Clock()
        self.files = Files(self.clock)
        self.batches = BatchService(self.clock, self.files, ledger, models, answer)
        self._routes: dict[tuple[str, str], Callable[[Asked, str], Reply]] = {
            ("POST", FILES): lambda asked, _: self._upload(asked),
            ("GET", FILES): lambda asked, _: json_reply(self.files.listed(asked.query)),
            ("GET", f"{FILES}/*"): lambda _, name: json_reply(self.files.retrieve(name)),
            ("GET", f"{FILES}/*/content"): lambda _, name: self._download(name),
            ("DELETE", f"{FILES}/*"): lambda _, name: self._delete(name),
            ("POST", BATCHES): lambda asked, _: self._create(asked),
            ("GET", BATCHES): lambda asked, _: json_reply(self.batches.listed(asked.query)),
            ("GET", f"{BATCHES}/*"): lambda _, name: json_reply(self.batches.retrieve(name)),
            ("POST", f"{BATCHES}/*/cancel"): lambda _, name: json_reply(self.batches.cancel(name)),
        }
        self._patterns = {pattern for _, pattern in self._routes}

    def reply(self, asked: Asked) -> Reply:
        """Do what is asked and say so, or raise `Refused`."""
        parts = asked.path.split("/")
        name = "".join(parts[3:4])
        pattern = "/".join([*parts[:3], "*", *parts[4:]]) if name else asked.path
        route = self._routes.get((asked.method, pattern))
        if route is not None:
            return route(asked, name)
        known = pattern in self._patterns
        refuse = errors.wrong_method if known else errors.unknown_url
        raise Refused(refuse(asked.method, asked.path))

    def _upload(self, asked: Asked) -> Reply:
        if asked.upload is None:
            raise Refused(errors.no_form())
        stored = self.files.upload(asked.upload)
        self._ledger.noted("uploads")
        return json_reply(stored)

    def _download(self, name: str) -> Reply:
        content = self.files.content(name)
        self._ledger.noted("downloads")
        return Reply(200, content, "application/octet-stream")

    def _delete(self, name: str) -> Reply:
        deleted = self.files.delete(name)
        self._ledger.noted("files_deleted")
        return json_reply(deleted)

    def _create(self, asked: Asked) -> Reply:
        return json_reply(self.batches.create(parse(asked.content), asked.key))
