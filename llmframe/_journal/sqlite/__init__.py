"""The journal in one SQLite file, shared by all runs of a process and by processes of one machine.

Answers are only appended, so that nothing paid is overwritten. All files are used on one thread; each is opened once
in a process, and closed during a fork.
"""

from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._journal.sqlite.open_files import open_file
from llmframe._journal.sqlite.thread import on_thread

__all__ = ["SqliteJournal", "on_thread", "open_file"]
