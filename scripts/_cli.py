"""What every command shares: common options, where configuration comes from, output and exit codes.

Options come from flags, then ``--set``, then the TOML file, then defaults. TOML has no word for "nothing", so
the text ``null`` stands for it in both: ``--set half_life=null``, ``reranker = "null"``. A TOML file may begin from
another one and say only what differs: ``extends = "base.toml"``, a path beside the file that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from loguru import logger
from pydantic import BeforeValidator, Field

from reccore.config import ComponentConfig
from reccore.errors import ConfigError, RecommenderError
from reccore.options import RunOptions
from reccore.workspace import Workspace

HINT = re.compile(r"PYTHONPATH=\. python scripts/[\w/]+\.py(?! --data_dir)")
DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
MAX_SEED = 2**32 - 1  # the most that every library takes

S = TypeVar("S", bound=ComponentConfig)


def split_commas(value: Any) -> Any:
    """``"a, b"`` → ``["a", "b"]`` and a lone number → a list of it; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Lengths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(split_commas)]
RawId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
RawIds = Annotated[tuple[RawId, ...], BeforeValidator(split_commas)]


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, where argparse prints its usage first."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help lists the options\n")


def build_parser(
    description: str | None, *, training: bool = False, resumable: bool = False
) -> argparse.ArgumentParser:
    """A parser with the common options; training commands also get ``--name`` and ``--protocol``.

    Those whose training writes checkpoints are ``resumable``, by ``--resume``.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    common = parser.add_argument_group("common options")
    common.add_argument("--data_dir", type=Path, default=Path("data"), help="data root (default: data)")
    common.add_argument("--seed", type=int, default=None, help="random seed (default: 0)")
    common.add_argument("--config", type=Path, metavar="FILE.toml", help="read options from a TOML file")
    common.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one option (null: none); may be repeated",
    )
    common.add_argument("--device", help="auto, cpu, cuda or mps (default: auto)")
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    if resumable:
        training_options = parser.add_argument_group("options of long trainings")
        training_options.add_argument(
            "--resume",
            action="store_true",
            default=None,
            help="go on where an interrupted training wrote its last checkpoint, to the same result",
        )
        training_options.add_argument(
            "--checkpoint_minutes",
            type=float,
            metavar="MINUTES",
            help="time between checkpoints, beside the one after each epoch (default: 10)",
        )
    if training:
        common.add_argument("--name", help="folder under models/ (default: the model's name)")
        common.add_argument(
            "--protocol",
            help="leave_one_out, leave_last_<n>, global_time:<unix seconds> or none (default: as prepared)",
        )
    return parser


def read_settings(args: argparse.Namespace, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the TOML file, ``--set`` and flags (those not None) into one dict of plain values; dots make tables.

    Raises:
        ConfigError: an unreadable TOML file or a ``--set`` without ``=``.
    """
    settings = {} if args.config is None else read_toml(args.config)
    for pair in args.set:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set needs KEY=VALUE, got {pair!r}")
        settings = deep_merge(settings, nested(key, _parse_value(value)))
    for key, value in flags.items():
        if value is not None:
            settings = deep_merge(settings, nested(key, value))
    return settings


def read_toml(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Settings of a TOML file, laid over those of the file it ``extends``; tables are merged key by key.

    Args:
        path: the file.
        before: files that led here by ``extends``.

    Raises:
        ConfigError: a file that cannot be read, or that extends itself in a circle.
    """
    trail = (*before, path)
    shown = " which extends ".join(map(str, trail))
    if path.resolve() in {earlier.resolve() for earlier in before}:
        raise ConfigError(f"cannot read --config {shown}: they go in a circle; one of them must extend nothing")
    try:
        settings: dict[str, Any] = _with_nulls(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read --config {shown}: {error}") from error
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if not isinstance(base, str) or not base:
        raise ConfigError(f"cannot read --config {shown}: extends must be the path of a TOML file, got {base!r}")
    return deep_merge(read_toml(path.parent / base, trail), settings)


def deep_merge(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second winning. Tables are merged key by key, except that a table of another ``kind`` replaces the
    first: options of one kind do not exist under another."""
    merged = {**base, **settings}
    for key in base.keys() & settings.keys():
        old, new = base[key], settings[key]
        if isinstance(old, dict) and isinstance(new, dict):
            replaces = "kind" in old and new.get("kind", old["kind"]) != old["kind"]
            merged[key] = new if replaces else deep_merge(old, new)
    return merged


def nested(key: str, value: Any) -> dict[str, Any]:
    """``"encoder.kind"`` and ``"mlp"`` → ``{"encoder": {"kind": "mlp"}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _parse_value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself; None for ``null``."""
    try:
        return _with_nulls(tomllib.loads(f"value = {text}")["value"])
    except tomllib.TOMLDecodeError:
        return _with_nulls(text)


def _with_nulls(value: Any) -> Any:
    """The value with None for every text ``null`` in it."""
    if isinstance(value, dict):
        return {key: _with_nulls(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_nulls(part) for part in value]
    return None if value == "null" else value


def run_options(args: argparse.Namespace, settings: dict[str, Any] | None = None) -> RunOptions:
    """Run options; what settings say of them is taken out, and counts where no flag is given."""
    settings = {} if settings is None else settings
    configured = {name: settings.pop(name, default) for name, default in (("seed", 0), ("device", "auto"))}
    seed = configured["seed"] if args.seed is None else args.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed must be a whole number from 0 to {MAX_SEED}, got {seed!r}")
    device = str(configured["device"] if args.device is None else args.device)
    if not DEVICES.fullmatch(device):
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:<number> or mps, got {device!r}")
    return RunOptions(seed=seed, device=device, **_checkpointing(args, settings))


def _checkpointing(args: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """``resume`` and ``checkpoint_minutes`` of a resumable command, as far as they are given."""
    if "resume" not in vars(args):
        return {}
    given: dict[str, Any] = {}
    for name, kinds in (("resume", (bool,)), ("checkpoint_minutes", (int, float))):
        flag, configured = getattr(args, name), settings.pop(name, None)
        value = configured if flag is None else flag
        if value is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{name} must be {'true or false' if bool in kinds else 'a number'}, got {value!r}")
        given[name] = value
    return given


def take(config: type[S], settings: dict[str, Any]) -> S:
    """Parse those settings that ``config`` knows and take them out; the rest is for somebody else."""
    return config.parse({name: settings.pop(name) for name in config.model_fields if name in settings})


def refuse_rest(settings: Mapping[str, Any], known: str) -> None:
    """Raise ``ConfigError`` for settings that nothing has taken."""
    if settings:
        raise ConfigError(f"unknown option {', '.join(settings)}; known: {known}")


def workspace(args: argparse.Namespace) -> Workspace:
    return Workspace(args.data_dir)


def emit(args: argparse.Namespace, result: Mapping[str, Any], text: str) -> None:
    """Print the result: JSON with ``--json``, else text for people."""
    if args.json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False, default=str))
    else:
        print(text)


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
    """The commands that a sentence tells to run, with the data root that this one was given.

    Who raises an error knows the command that helps, and seldom what root was asked for; here both are known.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--data_dir")
    root = finder.parse_known_args(argv)[0].data_dir
    if root is None:
        return sentence
    return HINT.sub(lambda hint: f"{hint.group()} --data_dir {shlex.quote(root)}", sentence)


def run(main: Callable[[list[str] | None], None], argv: list[str] | None = None) -> None:
    """Run a command: logs to stderr, errors a user can act on as one sentence and exit code 2."""
    logger.remove()
    logger.add(sys.stderr, level="INFO", format="<dim>{time:HH:mm:ss}</dim> {message}")
    try:
        main(argv)
        sys.stdout.flush()
    except RecommenderError as error:
        print(f"error: {with_data_dir(str(error), argv)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader has seen enough, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor complain when Python flushes at exit
        sys.exit(141)
