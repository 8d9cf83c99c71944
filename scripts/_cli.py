"""Options and output shared by all commands.

A command declares its options once, as the fields of a ``ComponentConfig``. A field with a description has a flag of
its name; every field can be given by ``--set`` or in a TOML file. Flags count before ``--set``, ``--set`` before the
TOML file, and the file before the field's default.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from loguru import logger
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from reccore.config import ComponentConfig
from reccore.errors import ConfigError, RecommenderError
from reccore.options import RunOptions
from reccore.vocabulary import parse_raw_id
from reccore.workspace import Workspace
from scripts._settings import read_settings

COMMAND = re.compile(r"PYTHONPATH=\. python scripts/[\w/]+\.py(?! --data_dir)")
DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
MAX_SEED = 2**32 - 1  # the greatest that every library takes

S = TypeVar("S", bound=ComponentConfig)


def split_commas(value: Any) -> Any:
    """``"a, b"`` → ``["a", "b"]`` and a single number → a list of it; anything else is returned unchanged."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _check_seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEED:
        raise ValueError(f"must be a whole number from 0 to {MAX_SEED}")
    return value


def _check_device(value: str) -> str:
    if not DEVICES.fullmatch(value):
        raise ValueError("must be auto, cpu, cuda, cuda:<number> or mps")
    return value


def _read_raw_id(value: Any) -> Any:
    if isinstance(value, str):
        return parse_raw_id(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError("must be text or a whole number of 64 bits")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Lengths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(split_commas)]
RawId = Annotated[str | int, BeforeValidator(_read_raw_id)]
RawIds = Annotated[tuple[RawId, ...], BeforeValidator(split_commas)]


@dataclass(frozen=True)
class OneOf:
    """The values that a flag accepts, for a field whose type cannot list them as a ``Literal``."""

    values: Iterable[str]


@dataclass(frozen=True)
class Repeatable:
    """A flag that is given once for each value, whose values may contain commas."""

    metavar: str


class RunSettings(ComponentConfig):
    """How a command runs, as opposed to what it computes."""

    seed: Annotated[int, BeforeValidator(_check_seed)] = Field(default=0, description="random seed")
    device: Annotated[str, AfterValidator(_check_device)] = Field(default="auto", description="auto, cpu, cuda or mps")


class ResumableRunSettings(RunSettings):
    """Options of a run whose training writes checkpoints."""

    resume: bool = Field(
        default=False, strict=True, description="continue an interrupted training from its last checkpoint"
    )
    checkpoint_minutes: float = Field(
        default=10.0, strict=True, gt=0, description="minutes between checkpoints, besides the one after each epoch"
    )


class TrainingSettings(ComponentConfig):
    """Options of every command that trains a model."""

    name: str | None = Field(default=None, description="folder under models/ (default: the model's name)")
    protocol: str | None = Field(
        default=None,
        description="leave_one_out, leave_last_<n>, global_time:<unix seconds>, last_three or none "
        "(default: as prepared)",
    )


class Parser(argparse.ArgumentParser):
    """Prints one line about what was wrong, where argparse prints its usage first."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help lists the options\n")


@dataclass(frozen=True)
class Invocation(Generic[S]):
    """A command line and its TOML file, read and checked.

    Attributes:
        settings: options of the command.
        options: seed, device and, for trainings, checkpoints.
        workspace: the data root.
        rest: settings that the command has no field for; they belong to the component that it runs.
        shortcuts: flags for options of that component that the command line gives.
        as_json: print one JSON object in place of text.
    """

    settings: S
    options: RunOptions
    workspace: Workspace
    rest: dict[str, Any]
    shortcuts: tuple[str, ...]
    as_json: bool

    def emit(self, result: Mapping[str, Any], text: str) -> None:
        """Print the result: as JSON with ``--json``, else the text."""
        if self.as_json:
            plain_ascii = "utf" not in (sys.stdout.encoding or "").lower()
            print(json.dumps(result, ensure_ascii=plain_ascii, allow_nan=False, default=str))
        else:
            print(text)


def parse_command(
    argv: list[str] | None,
    description: str | None,
    settings: type[S],
    *,
    run: type[RunSettings] = RunSettings,
    rest: bool = False,
    shortcuts: type[ComponentConfig] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Invocation[S]:
    """Read the options of a command; ``--help`` prints its description and exits.

    Args:
        argv: arguments; None = those of the process.
        description: the module's docstring.
        settings: options of the command.
        run: options of the run.
        rest: whether other settings are collected for the component that the command runs; by default they are errors.
        shortcuts: flags for options of that component.
        keys: shortcut → dotted key of the component's configuration, where that is not the flag's name.

    Raises:
        ConfigError: a value that is not allowed, an option that does not exist, an unreadable file.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add_flags(parser, settings)
    if shortcuts is not None:
        add_flags(parser.add_argument_group("options of the model, where it has them"), shortcuts)
    common = parser.add_argument_group("common options")
    common.add_argument("--data_dir", type=Path, default=Path("data"), metavar="PATH", help="data root (default: data)")
    common.add_argument("--config", type=Path, metavar="FILE.toml", help="read options from a TOML file")
    common.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one option (null: none); may be repeated",
    )
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    add_flags(common, run)
    args = vars(parser.parse_args(argv))
    data_dir, config, pairs, as_json = (args.pop(name) for name in ("data_dir", "config", "set", "json"))
    given = tuple(flag for flag in (shortcuts.model_fields if shortcuts else ()) if args.get(flag) is not None)
    values = read_settings(config, pairs, {(keys or {}).get(flag, flag): value for flag, value in args.items()})
    run_settings = run.parse(_take(values, run))
    command = settings.parse(_take(values, settings) if rest else values)
    options = RunOptions(**run_settings.model_dump())
    return Invocation(command, options, Workspace(data_dir), values if rest else {}, given, as_json)


def _take(values: dict[str, Any], config: type[ComponentConfig]) -> dict[str, Any]:
    """Remove and return the values that ``config`` has fields for."""
    return {name: values.pop(name) for name in config.model_fields if name in values}


def add_flags(parser: argparse._ActionsContainer, config: type[ComponentConfig]) -> None:
    """A flag for every field with a description; its value is None where it is not given."""
    for name, info in config.model_fields.items():
        if info.description is not None:
            parser.add_argument(f"--{name}", default=None, help=_help_text(info), **_value_of_flag(info))


def _help_text(info: FieldInfo) -> str:
    text = str(info.description)
    default = ",".join(map(str, info.default)) if isinstance(info.default, tuple) else info.default
    return text if default in (None, "") or default is False else f"{text} (default: {default})"


def _value_of_flag(info: FieldInfo) -> dict[str, Any]:
    """How argparse reads the value of a field's flag."""
    kind: Any = info.annotation
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    listed = next((part.values for part in info.metadata if isinstance(part, OneOf)), None)
    repeatable = next((part for part in info.metadata if isinstance(part, Repeatable)), None)
    if repeatable is not None:
        return {"action": "append", "metavar": repeatable.metavar}
    if get_origin(kind) is Literal:
        listed = get_args(kind)
    if listed is not None:
        return {"choices": tuple(listed)}
    if kind is bool:
        return {"action": "store_true"}
    if get_origin(kind) is tuple:
        return {"type": split_commas, "metavar": "A,B,…"}
    return {"type": kind, "metavar": "PATH"} if kind is Path else {"type": kind}


@contextmanager
def resume_hint(checkpoint: Path) -> Iterator[None]:
    """Log on Ctrl-C that ``--resume`` continues the training, where its checkpoint exists."""
    try:
        yield
    except KeyboardInterrupt:
        from training.checkpointing import has_checkpoint

        if has_checkpoint(checkpoint):
            logger.warning("the same command with --resume continues from here")
        raise


def facts_text(facts: Mapping[str, Any]) -> str:
    """One aligned line for every fact."""
    width = max(map(len, facts), default=0)
    lines = []
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        shown = "–" if value is None else shown
        lines.append(f"{name.replace('_', ' '):>{width}}: {shown}")
    return "\n".join(lines)


def with_data_dir(sentence: str, argv: list[str] | None) -> str:
    """The sentence with this command's data root in the commands that it proposes.

    The code that raises an error names the command that helps, but does not have ``--data_dir``.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--data_dir")
    root = finder.parse_known_args(argv)[0].data_dir
    if root is None:
        return sentence
    return COMMAND.sub(lambda found: f"{found.group()} --data_dir {shlex.quote(root)}", sentence)


@contextmanager
def joined_ranks(argv: list[str] | None, *, trains_together: bool) -> Iterator[None]:
    """Join the other processes that torchrun has started with this one, if it has.

    Raises:
        ConfigError: they are of a command that does not train together.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or "LOCAL_RANK" not in os.environ:
        yield
        return
    if not trains_together:
        raise ConfigError(
            "torchrun starts this command several times, and each would do the same work; start it with python alone. "
            "scripts/train_recall.py and scripts/train_ranking.py train together"
        )
    from training.ranks import process_group

    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    finder.add_argument("--set", action="append", default=[])
    finder.add_argument("--device")
    found = finder.parse_known_args(argv)[0]
    values = read_settings(found.config, found.set, {"device": found.device})
    with process_group(str(values.get("device", "auto"))):
        yield


def run(
    main: Callable[[list[str] | None], None], argv: list[str] | None = None, *, trains_together: bool = False
) -> None:
    """Run a command: logs go to stderr; an error that a user can mend is one sentence and exit code 2.

    Characters that the encoding of stdout lacks are printed as ``?``; ``--json`` writes them as JSON's own escapes.

    Args:
        main: the command.
        argv: arguments; None = those of the process.
        trains_together: whether processes that torchrun starts train one model. Of them the first one alone logs.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    logger.remove()
    level = "INFO" if os.environ.get("RANK", "0") == "0" else "ERROR"
    logger.add(sys.stderr, level=level, format="<dim>{time:HH:mm:ss}</dim> {message}")
    try:
        with joined_ranks(argv, trains_together=trains_together):
            main(argv)
        sys.stdout.flush()
    except RecommenderError as error:
        print(f"error: {with_data_dir(str(error), argv)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader has closed the pipe, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's flush at exit cannot fail
        sys.exit(141)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"error: {_disk_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _disk_sentence(error: OSError) -> str:
    where = "a file" if error.filename is None else str(error.filename)
    return (
        f"{where} cannot be written or read: {error.strerror}; free space, or give a folder of your own by --data_dir"
    )
