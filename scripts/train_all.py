"""Split the processed data, train every recall channel of a configuration, and a ranker over them.

    PYTHONPATH=. python scripts/train_all.py --config configs/shop/all.toml --data_dir my_data
    PYTHONPATH=. python scripts/train_all.py --config configs/shop/all.toml --set channels.mf.embedding_size=32

It does what prepare_two_tower_data.py, train_recall.py for each channel, and train_ranking.py do, one after the other.
The configuration has a table for each channel, such as [channels.mf], with the channel's options; `model` in it is the
kind of channel where that is not the table's name. [ranker] holds `model` and the ranker's options, [pipeline] the
options of the pipeline, whose channels are those of the configuration. The pipeline is written to
<data_dir>/models/pipeline, for recommend.py. After a crash or Ctrl-C the same command with --resume keeps what was
trained with the same data, options and code, and continues the training that was cut short.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/train_all.py", file=sys.stderr)
    sys.exit(2)

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydantic import Field, model_validator

from reccore import ComponentConfig, ConfigError, RunOptions, Workspace
from scripts._cli import ResumableRunSettings, parse_command, run
from scripts._steps import ALL_ROOMS, DATA_ROOMS, Step, StepRunner, channel_step


class TrainAllSettings(ComponentConfig):
    """Options of the command."""

    protocol: str = Field(
        default="leave_one_out",
        description="leave_one_out, leave_last_<n>, global_time[:<unix seconds>] or last_three",
    )
    channels: dict[str, dict[str, Any]] = Field(default={})
    ranker: dict[str, Any] = Field(default={"model": "lambdamart"})
    pipeline: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _complete(self) -> TrainAllSettings:
        if not self.channels:
            raise ValueError("no channels; give a configuration with tables such as [channels.itemcf] by --config")
        if "model" not in self.ranker:
            raise ValueError("[ranker] names no model, such as model = 'lambdamart'")
        return self


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, TrainAllSettings, run=ResumableRunSettings)
    space, options = command.workspace, command.options
    from pipeline.builder import PIPELINE
    from reccore.bundle import read_manifest

    check_options(command.settings)
    runner = StepRunner(space.root / "train_all.json")
    if not options.resume:
        runner.forget()
    steps = all_steps(command.settings, space, options)
    for step in steps:
        runner.run(step)
    ranker = command.settings.ranker["model"]
    manifests = {name: read_manifest(space.model(name)) or {} for name in (*command.settings.channels, ranker)}
    result = {
        "channels": {name: manifests[name]["metrics"] for name in command.settings.channels},
        "ranker": manifests[ranker]["metrics"],
        "pipeline": str(space.model(PIPELINE)),
        "seconds": {name: round(value, 1) for name, value in runner.seconds.items()},
        "up_to_date": runner.skipped,
    }
    command.emit(result, _text(result))


def check_options(job: TrainAllSettings) -> None:
    """Raise ``ConfigError`` for a wrong option of any step, before the first of them runs."""
    from dataprep.protocols import parse_protocol
    from pipeline.train_ranker import pipeline_of_ranker
    from ranking import RANKERS
    from recall import CHANNELS

    parse_protocol(job.protocol)
    for name, given in job.channels.items():
        with _naming(f"channels.{name}"):
            model, settings = _model_of(given, name)
            CHANNELS[model](settings)
    model, settings = _model_of(job.ranker)
    with _naming("ranker"):
        RANKERS[model](settings)
    with _naming("pipeline"):
        pipeline_of_ranker(_chain(job), model)


@contextmanager
def _naming(table: str) -> Iterator[None]:
    """Name the table of the configuration in an error about its options."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"[{table}] {error}") from error


def _model_of(table: Mapping[str, Any], default: str = "") -> tuple[str, dict[str, Any]]:
    """The model of a table of the configuration, and its options."""
    settings = dict(table)
    return settings.pop("model", default), settings


def _chain(job: TrainAllSettings) -> dict[str, Any]:
    """Options of the pipeline."""
    return {"channels": list(job.channels), **job.pipeline}


def all_steps(job: TrainAllSettings, space: Workspace, options: RunOptions) -> list[Step]:
    """Preparing, one step for each channel, and the ranker."""
    from dataprep.prepare import prepare, warn_of_seen_targets
    from dataprep.protocols import parse_protocol
    from dataprep.table_hashes import table_hashes
    from pipeline.builder import PIPELINE
    from pipeline.train_ranker import train_ranker
    from training.checkpointing import train_on

    def split_and_save() -> None:
        prepared = prepare(space, parse_protocol(job.protocol))
        warn_of_seen_targets(prepared.split)
        prepared.save(space.prepared)

    steps = [
        Step(
            "prepare",
            split_and_save,
            makes=space.prepared,
            rooms=DATA_ROOMS,
            options=[job.protocol, table_hashes(space.processed)],
        )
    ]
    for name, given in job.channels.items():
        model, settings = _model_of(given, name)
        steps.append(channel_step(space, name, model, settings, options))
    model, ranker = _model_of(job.ranker)
    chain = _chain(job)
    train = partial(train_ranker, space, model, settings=ranker, pipeline_settings=chain)
    run_ranker = partial(train_on, train, space.checkpoint(model), options)
    needs = list(job.channels)
    how = [model, ranker, chain, options.seed]
    return [*steps, Step("ranker and pipeline", run_ranker, space.model(PIPELINE), needs, ALL_ROOMS, how)]


def _text(result: dict[str, Any]) -> str:
    """Validation figures of the channels and the stages, and where the pipeline is."""
    figures = dict(result["channels"])
    figures |= {f"after {stage}": values for stage, values in (result["ranker"] or {}).items()}
    width = max(map(len, figures))
    lines = ["validation"]
    for name, values in figures.items():
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in (values or {}).items() if metric.endswith("@10"))
        lines.append(f"  {name:<{width}}  {shown}".rstrip())
    if result["up_to_date"]:
        lines.append(f"kept as they were: {', '.join(result['up_to_date'])}")
    return "\n".join([*lines, f"pipeline at {result['pipeline']}"])


if __name__ == "__main__":
    run(main)
