"""The commands, their options and their help."""

from __future__ import annotations

import argparse
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

import llmframe
from llmframe._files import FORMATS
from llmframe.cli import places
from llmframe.cli.enrich import SETTINGS
from llmframe.cli.journal import export_journal, init_journal, prune_journal, show_journal
from llmframe.cli.services import batches, cancel, collect, serve
from llmframe.cli.verbs import OWN, classify, complete, demo, extract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ENDINGS = """\
exit codes:
  0    every row that was sent has its answer (or, with --errors coerce, stays missing)
  1    rows failed; the others are in OUT
  2    the command cannot be executed, and nothing was sent; or OUT cannot be written in the end
  3    the run stopped early: nothing more could succeed
  130  interrupted by Ctrl-C
  After 3 and 130 the finished rows are in OUT.partial, and the same command continues: what is answered is in
  the journal and is not paid again. The next run replaces OUT.partial, or removes it when all is in OUT.
"""

_ENVIRONMENT = """\
environment:
  OPENAI_API_KEY     the key; there is no option for it, because other users of a machine see options
  OPENAI_BASE_URL    another server than OpenAI's, as --base-url
  LLMFRAME_MODEL     the model, as --model
  LLMFRAME_JOURNAL   the journal's file or database, as --journal (a password there is in no list of processes)
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE   as for other programs
"""

_FILES = f"""\
files:
  The suffix names the format: .csv, .tsv or .tab, .jsonl or .ndjson, .parquet; --format names it for - and for
  names without one of these. IN and OUT may differ. Every other column stays as it was: the cells of CSV and TSV are
  text (007 stays 007), lines of JSONL gain keys, Parquet keeps schema and metadata. CSV and TSV are written in UTF-8
  with the mark that Excel needs (to stdout without it) and an apostrophe before what a spreadsheet would run as a formula.
  A file of more than 50,000 rows or 64 MB is read, answered and written by chunks, in order, to OUT.part, which becomes OUT at
  the end; after a crash the same command goes on. From stdin a file is read as a whole; with --mode batch the columns that
  are read, and with --where those that it names, are in memory as a whole.

{_ENDINGS}
{_ENVIRONMENT}"""

_COMPLETE = r"""
examples:
  llmframe complete reviews.csv out.csv --column review --prompt 'One word, positive or negative:' --into mood
  llmframe complete reviews.csv try.csv --prompt '{title}: {review}' --into mood --where 'stars < 3' --limit 20
  llmframe complete in.parquet out.parquet --column text --error-into why --mode batch
  zcat big.jsonl.gz | llmframe complete - - --format jsonl --column text --quiet | gzip > out.jsonl.gz
"""

_EXTRACT = r"""
examples:
  llmframe extract reviews.csv out.csv --column review --schema complaint,part --prefix x_
  llmframe extract reviews.csv out.parquet --column review --schema reviews:Review --error-into why
  llmframe extract reviews.csv try.csv --column review --schema fields.json --limit 20

schemas:
  module:Model        a pydantic model, a TypedDict, a dataclass, or a dict or list of fields, by the name of its module,
                      which is looked for in the current folder first, and imported; the module's code runs
  FILE.json           {"part": "Which part is at fault?", "tone": "How does the customer sound?"}: names and questions, text
                      each; or ["part", "tone"]; or a JSON Schema, with "type": "object" and "properties"
  part,tone           names of fields, text each
  A field of an object in an object is a column a.b. In CSV and TSV a list is written as JSON. What the text does not say
  stays missing; a model or a JSON Schema says itself which fields may be null.
"""

_CLASSIFY = r"""
examples:
  llmframe classify reviews.csv out.csv --column review --labels praise,complaint,question --into kind
  llmframe classify reviews.csv out.csv --column review --labels labels.json --other other --votes 5 --confidence
  llmframe classify in.parquet out.parquet --column text --labels fast,cheap,solid --multi --mode batch

labels:
  praise,complaint    labels with commas between them
  FILE.json           ["praise", "complaint, or a question"], or {"praise": "What it means.", "complaint": "What it means."}
  Never is another label written.

engines:
  decisions           OpenAI's endpoint for such questions: probabilities, at a fifth of the price or less, not by batch
  chat                a chat completion; it has no probabilities, but with --votes 5 the share of five answers
  auto                decisions on OpenAI's own address where it takes the model and the options, chat elsewhere
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exit with 2 where that cannot be done."""
    whole = parser()
    parsed, unknown = whole.parse_known_args(arguments)
    if unknown:
        whole.error(f"unrecognized arguments: {' '.join(unknown)}{_as_param(unknown[0])}")
    return parsed


def _as_param(unknown: str) -> str:
    """Return how a parameter of the API is written, where that was meant."""
    name = unknown.partition("=")[0].lstrip("-").replace("-", "_")
    known = (
        inspect.signature(llmframe.complete).parameters.keys()
        - _PYTHON_ONLY.keys()
        - _HAVE_OPTIONS
        - {"prompts"}
    )
    return f"; write --param {name}=VALUE" if name in known else ""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `command` of what it parses is the function to call."""
    parser = argparse.ArgumentParser(
        prog="llmframe",
        description="Run an LLM over a column of a file: texts, typed values or labels in new columns.",
        epilog=f"llmframe COMMAND --help says more.\n\n{_ENDINGS}\n{_ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"llmframe {llmframe.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_verbs(commands)
    _add_batches(commands)
    _add_demo(commands)
    _add_journal(commands)
    _add_serve(commands)
    return parser


def _add_verbs(commands: Any) -> None:
    _add_verb(
        commands,
        "complete",
        complete,
        summary="answer every row of a file into a new column of another file",
        description="Answer every row of IN into a new column of OUT.",
        texts=_COMPLETE,
        add_own=_add_own_of_complete,
    )
    _add_verb(
        commands,
        "extract",
        extract,
        summary="read typed values out of every row into new columns, one for each field",
        description="Read typed values out of every row of IN into new columns of OUT, one for each field of a schema.",
        texts=_EXTRACT,
        add_own=_add_own_of_extract,
        required="--schema SCHEMA ",
    )
    _add_verb(
        commands,
        "classify",
        classify,
        summary="give every row one of some labels, in a new column",
        description="Give every row of IN one of some labels, in a new column of OUT.",
        texts=_CLASSIFY,
        add_own=_add_own_of_classify,
        required="--labels LABELS ",
    )


def _add_verb(
    commands: Any,
    verb: str,
    command: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    texts: str,
    add_own: Callable[[Any], None],
    required: str = "",
) -> None:
    """Add a command that enriches a file: its own options, and those that all of them have."""
    parser = commands.add_parser(
        verb,
        help=summary,
        usage=f"llmframe {verb} IN OUT {required}[OPTIONS]",
        description=description,
        epilog=f"{texts}\n{_FILES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    parser.add_argument("source", metavar="IN", help="CSV, TSV, JSONL or Parquet by its suffix; - is stdin")
    parser.add_argument("target", metavar="OUT", help="the same; - is stdout, and all messages go to stderr")
    add = parser.add_argument_group("what is asked").add_argument
    add("--column", help="the column with the texts")
    add("--prompt", help="an instruction, or a template such as '{title}: {review}'")
    add_own(add)
    _add_rows(add)
    _add_files(parser.add_argument_group("files").add_argument)
    _add_account(parser.add_argument_group("model and account").add_argument, verb)
    _add_answers(parser.add_argument_group("the journal of paid answers").add_argument)


def _add_own_of_complete(add: Any) -> None:
    add("--into", help="name of the new column (default: COLUMN_completion)")


def _add_own_of_extract(add: Any) -> None:
    add(
        "--schema",
        required=True,
        help="the fields: module:Model, a .json file, or names with commas between them (see below)",
    )
    add("--prefix", metavar="TEXT", help="put before every field's name, which is the name of its column")
    add(
        "--quotes",
        action="store_const",
        const=True,
        help="further columns: the words of the text that say so, and whether they stand in it",
    )
    add(
        "--reask",
        type=int,
        metavar="N",
        help="ask again at most N times for an answer that does not fit (default: 1)",
    )


def _add_own_of_classify(add: Any) -> None:
    add("--labels", required=True, help="the labels, with commas between them, or a .json file (see below)")
    add("--into", help="name of the new column (default: COLUMN_label)")
    add(
        "--multi",
        action="store_const",
        const=True,
        help="any number of labels: a column of true or false each",
    )
    add("--other", metavar="LABEL", help="a label for what fits no other; it is added if it is none of them")
    add(
        "--confidence",
        action="store_const",
        const=True,
        help="a further column: how probable the label is, from 0 to 1",
    )
    add(
        "--probabilities",
        action="store_const",
        const=True,
        help="further columns: how probable each label is",
    )
    add("--threshold", type=float, metavar="P", help="leave a label out that is less probable than P")
    add(
        "--votes", type=int, metavar="N", help="ask N times; the label with most votes counts, a tie does not"
    )
    add("--engine", choices=("auto", "decisions", "chat"), help="what answers (default: auto; see below)")


def _add_rows(add: Any) -> None:
    add("--error-into", metavar="COLUMN", help="a column for the reasons of rows without an answer")
    add("--overwrite", choices=("missing", "all"), help="fill or replace existing columns")
    add("--system", metavar="TEXT", help="a system message, text or template")
    add(
        "--where",
        metavar="CONDITION",
        help='send the rows of which this holds, such as \'stars < 3 and shop in ["a", "b"]\'',
    )
    add(
        "--limit",
        type=_count,
        metavar="N",
        help="send at most the first N rows (of those of --where); others stay missing",
    )


def _add_files(add: Any) -> None:
    add("--format", choices=tuple(FORMATS), help="the format of - and of names whose suffix says none")
    add(
        "--sep",
        type=_separator,
        help="separator of CSV: , ; | or \\t (default: found in IN, and kept for OUT)",
    )
    add("--encoding", help="encoding of IN, such as cp1252 (default: found where it can be; OUT is UTF-8)")
    add(
        "--force",
        action="store_true",
        help="replace OUT if it is there; not needed where this command wrote it",
    )
    add("--quiet", action="store_true", help="no progress bar; errors and counts stay")


def _add_account(add: Any, verb: str) -> None:
    add("--model")
    add(
        "--mode",
        choices=("live", "batch", "offline"),
        help="batch: half the price, within 24 hours; offline: from the journal alone",
    )
    add(
        "--param",
        action="append",
        default=[],
        type=partial(_param, verb),
        metavar="NAME=VALUE",
        help="a parameter of the API, such as temperature=0",
    )
    add(
        "--errors",
        choices=("raise", "coerce"),
        help="coerce: rows that fail stay missing, and the exit code is 0",
    )
    add("--base-url", metavar="URL", help="another server that speaks OpenAI's API")
    add("--max-cost", type=float, metavar="DOLLARS", help="stop before a request that could take it past")
    add("--max-concurrency", type=int, metavar="N", help="most requests in flight (default: adapts)")
    add("--requests-per-minute", type=float, metavar="N", help="a ceiling beside the server's own limits")
    add("--tokens-per-minute", type=float, metavar="N", help="the same for tokens")
    add("--max-retries", type=int, metavar="N", help="of a request after passing faults")
    add("--timeout", type=float, metavar="SECONDS", help="for one request")


def _add_answers(add: Any) -> None:
    add("--journal", metavar="PATH", help="where it is kept: a file, or postgresql://user@host/database")
    add("--no-journal", dest="journal", action="store_const", const=False, help="keep nothing")
    add("--fresh", action="store_const", const=True, help="ask again now")
    add(
        "--retry-failed", action="store_const", const=True, help="ask again where a paid answer was no answer"
    )
    add("--as-version", dest="version", metavar="MARK", help="keep these answers apart under a mark")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows, such as 20")
    return int(text)


def _separator(text: str) -> str:
    try:
        return places.separator(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_HAVE_OPTIONS = {*SETTINGS, "column", "prompt", "error_into", "overwrite", "where"}
_PYTHON_ONLY = {
    "api_key": "the key comes from OPENAI_API_KEY alone",
    "progress": "write --quiet",
} | dict.fromkeys(("client", "wait", "dry_run", "examples", "raw"), "that is for Python alone")


def _param(verb: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if name in _HAVE_OPTIONS or name in OWN[verb]:
        option = "as-version" if name == "version" else name.replace("_", "-")
        raise argparse.ArgumentTypeError(f"{name!r} is no parameter of the API; write --{option}")
    if others := [other for other, names in OWN.items() if name in names]:
        raise argparse.ArgumentTypeError(
            f"{name!r} is no parameter of the API; it is an option of llmframe {others[0]}"
        )
    if name in _PYTHON_ONLY:
        raise argparse.ArgumentTypeError(f"{name!r} is no parameter of the API; {_PYTHON_ONLY[name]}")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _add_batches(commands: Any) -> None:
    _add_batch_command(commands, "batches", batches, "list the batches that the journal knows")
    _add_batch_command(commands, "collect", collect, "take in the answers of all batches that have ended")
    parser = _add_batch_command(commands, "cancel", cancel, "cancel a batch")
    parser.add_argument("batch", metavar="ID", help="the batch's id, as `llmframe batches` lists it")


def _add_batch_command(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str
) -> Any:
    parser = commands.add_parser(name, help=summary)
    parser.set_defaults(command=command)
    parser.add_argument("--journal", metavar="PATH", help="another journal than the default one")
    parser.add_argument("--base-url", metavar="URL")
    return parser


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="enrich the shipped sample with made-up answers, free and offline"
    )
    parser.set_defaults(command=demo)
    parser.add_argument(
        "target", nargs="?", metavar="OUT", help="default: llmframe-demo.csv, numbered where that is there"
    )
    parser.add_argument(
        "--live", action="store_true", help="ask the configured API instead (this costs a cent or two)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")


def _add_journal(commands: Any) -> None:
    parser = commands.add_parser("journal", help="make, show, export or prune what is kept of paid answers")
    parser.set_defaults(command=show_journal)
    parser.add_argument("--journal", metavar="PATH", help="another journal than the default one")
    parser.add_argument(
        "--spend", action="store_true", help="show what was spent, by day, model, verb and lane"
    )
    actions = parser.add_subparsers(metavar="ACTION")
    init = actions.add_parser(
        "init", help="make the journal, as in a PostgreSQL database for roles that may not"
    )
    init.set_defaults(command=init_journal)
    export = actions.add_parser("export", help="write every answer as a line of JSON")
    export.set_defaults(command=export_journal)
    export.add_argument("target", metavar="OUT.jsonl")
    export.add_argument("--force", action="store_true", help="replace OUT.jsonl if it is there")
    prune = actions.add_parser("prune", help="delete old answers")
    prune.set_defaults(command=prune_journal)
    prune.add_argument("--days", type=float, required=True, help="delete what is older")


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser("serve", help="run the local server of made-up answers, for tests")
    parser.set_defaults(command=serve)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--requests-per-minute", type=int, metavar="N")
    parser.add_argument("--tokens-per-minute", type=int, metavar="N")
    parser.add_argument("--no-headers", action="store_true", help="send no x-ratelimit headers")
