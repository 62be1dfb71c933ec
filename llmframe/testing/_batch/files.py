"""The Files API: uploaded files, files that batches wrote, and when they expire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from llmframe.testing._batch.pages import page, page_query
from llmframe.testing._requests import check_file, check_files_query, integer
from llmframe.testing._wire import Invalid, RefusedRequest, errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe.testing._batch.clock import Clock
    from llmframe.testing._wire import Upload

MONTH = 30 * 86_400
_MOST_LISTED = 10_000
_EXPIRES = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that exists until it is deleted or expires; times are in seconds since 1970."""

    id: str
    content: bytes
    filename: str
    purpose: str
    created: float
    expires: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": int(self.created),
            "expires_at": None if self.expires is None else int(self.expires),
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The stored files. Methods return the body of a response, or raise `RefusedRequest`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, StoredFile] = {}

    def existing(self) -> list[StoredFile]:
        """Return the files that exist now, the oldest first; from any thread."""
        now = self._clock.now()
        return [each for each in tuple(self._files.values()) if each.expires is None or now < each.expires]

    def find(self, name: str) -> StoredFile | None:
        found = self._files.get(name)
        if found is not None and found.expires is not None and found.expires <= self._clock.now():
            return None
        return found

    def add(
        self, content: bytes, filename: str, purpose: str, *, created: float, lifetime: float | None
    ) -> StoredFile:
        """Store a file that exists for `lifetime` seconds."""
        expires = None if lifetime is None else created + lifetime
        stored = StoredFile(f"file-{uuid4().hex}", content, filename, purpose, created, expires)
        self._files[stored.id] = stored
        return stored

    def upload(self, upload: Upload) -> dict[str, Any]:
        purpose, lifetime = _checked(upload)
        if upload.content is None:
            raise Invalid("File is too large.", None, None)
        stored = self.add(
            upload.content, upload.filename or "", purpose, created=self._clock.now(), lifetime=lifetime
        )
        return stored.as_dict()

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return one page, the newest file first unless the query changes the order."""
        wanted = page_query(query, check_files_query, default=_MOST_LISTED)
        order, purpose = query.get("order", "desc"), query.get("purpose")
        found = [each for each in self.existing() if purpose in (None, each.purpose)]
        if order == "desc":
            found.reverse()
        return page([each.as_dict() for each in found], wanted)

    def retrieve(self, name: str) -> dict[str, Any]:
        return self._existing(name).as_dict()

    def content(self, name: str) -> bytes:
        return self._existing(name).content

    def delete(self, name: str) -> dict[str, Any]:
        del self._files[self._existing(name).id]
        return {"object": "file", "id": name, "deleted": True}

    def _existing(self, name: str) -> StoredFile:
        found = self.find(name)
        if found is None:
            raise RefusedRequest(errors.error(404, f"No such File object: {name}", param="id"))
        return found


def _checked(upload: Upload) -> tuple[str, float | None]:
    """Return the purpose of a valid upload and the lifetime of the file in seconds, or raise `Invalid`."""
    form: dict[str, Any] = {name: text for name, text in upload.fields.items() if name == "purpose"}
    expires: dict[str, Any] = {
        _EXPIRES[name]: text for name, text in upload.fields.items() if name in _EXPIRES
    }
    if "seconds" in expires:
        expires["seconds"] = integer(expires["seconds"])
    if expires:
        form["expires_after"] = expires
    if upload.filename is not None:
        form["file"] = upload.filename
    check_file(form)
    for name in upload.fields:
        if name != "purpose" and name not in _EXPIRES:
            raise Invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if form["purpose"] == "batch" and not form["file"].endswith(".jsonl"):
        raise Invalid("Invalid file format for Batch API. Must be .jsonl", None, None)
    return form["purpose"], expires.get("seconds", MONTH if form["purpose"] == "batch" else None)
