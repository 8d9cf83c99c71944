"""Train one recall channel and save it under <data_dir>/models/.

    PYTHONPATH=. python scripts/train_recall.py --model popularity --input data/processed/two_tower/train.parquet
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192
    PYTHONPATH=. python scripts/train_recall.py --model itemcf --set neighbours=100 --set half_life=5
    PYTHONPATH=. python scripts/train_recall.py --model mf --input my_events.parquet --protocol none
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --user_encoder transformer --logq streaming
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --query_time --name two_tower_query_time
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --metadata director,cast,overview
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --item_features price,brand --user_features segment
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192 --resume
    PYTHONPATH=. torchrun --nproc_per_node=2 scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192
    PYTHONPATH=. python scripts/train_recall.py --model itemcf --engine spark --master yarn

The neural channels and rating_mf write a checkpoint after each epoch and every 10 minutes, and curves for
`tensorboard --logdir <data_dir>/runs`; after a crash or Ctrl-C the same command with --resume continues. The other
channels keep no checkpoint, those with --epochs (mf, bpr, word2vec, deepwalk, deepwalk_users) neither: --resume trains
them from the beginning.

--input takes Parquet, CSV or .csv.gz with raw ids: userId, movieId (or itemId), optionally rating, timestamp or
position, in the usual spellings or as --columns names them (docs/data.md).
Without it the prepared data is used. Every option of the channel can be given by --set or --config; frequent ones
have the flags below.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/train_recall.py", file=sys.stderr)
    sys.exit(2)

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recall import CHANNELS
from reccore import ComponentConfig, ConfigError, Workspace
from scripts._cli import Names, OneOf, ResumableRunSettings, TrainingSettings, parse_command, resume_hint, run
from scripts._engine import EngineSettings
from scripts._input import InputSettings
from scripts._label_cut import label_cut

if TYPE_CHECKING:
    from pipeline.train_channel import Engine


class TrainRecallSettings(InputSettings, TrainingSettings, EngineSettings):
    """Options of the command; all others are the channel's."""

    model: Annotated[str | None, OneOf(CHANNELS)] = Field(default=None, description="which channel")
    item_adj: Path | None = Field(
        default=None, description="Parquet file of the item graph's edges for --use_gcn, in place of co-occurrence"
    )
    before_labels_of: Path | None = Field(
        default=None,
        description="TOML file of train_ranking.py: learn the events before its label window first, keep that model "
        "for the ranker, and go on with the later events, in place of two trainings",
    )

    @model_validator(mode="after")
    def _labels_are_of_this_engine(self) -> Self:
        if self.before_labels_of is not None and self.engine != "local":
            raise ValueError(f"--before_labels_of is for networks, which --engine {self.engine} does not train")
        return self


class ChannelFlags(ComponentConfig):
    """Options of channels that have a flag."""

    epochs: int | None = Field(default=None, description="passes over the data")
    batch_size: int | None = Field(default=None, description="examples per training step")
    learning_rate: float | None = Field(default=None, description="step size of the optimiser")
    embedding_size: int | None = Field(default=None, description="numbers per vector")
    logq: Literal["none", "counts", "streaming"] | None = Field(
        default=None, description="logQ correction of sampled logits, with Q from counts or from the stream of batches"
    )
    user_encoder: Literal["mlp", "transformer"] | None = Field(
        default=None, description="how the two-tower encodes a history"
    )
    query_time: bool = Field(
        default=False, description="read the time of the event to predict; has its own leaderboard"
    )
    metadata: Names | None = Field(default=None, description="features of TMDb to read, such as director,cast")
    item_features: Names | None = Field(default=None, description="own columns of the items to read")
    user_features: Names | None = Field(default=None, description="own columns of the users to read")
    use_gcn: bool = Field(default=False, description="mix item vectors with those of their neighbours in an item graph")


CHANNEL_FLAGS = {
    "logq": "negatives.logq.kind",
    "user_encoder": "encoder.kind",
    "query_time": "encoder.query_time",
    "metadata": "item.metadata",
    "item_features": "item.features",
    "user_features": "encoder.features",
    "use_gcn": "item.graph={}",
}
"""Flag → dotted key of the channel's configuration; a switch may set a value, as ``--set`` does."""


def main(argv: list[str] | None = None) -> None:
    command = parse_command(
        argv,
        __doc__,
        TrainRecallSettings,
        run=ResumableRunSettings,
        rest=True,
        shortcuts=ChannelFlags,
        keys=CHANNEL_FLAGS,
    )
    job, space = command.settings, command.workspace
    if job.model is None:
        raise ConfigError(f"--model is missing; known: {', '.join(CHANNELS)}")
    _check_flags(job.model, command.shortcuts)
    from pipeline.train_channel import train_channel

    with resume_hint(space.checkpoint(job.name or job.model)), _engine(job, space) as engine:
        result = train_channel(
            space,
            job.model,
            command.rest,
            name=job.name,
            input_file=job.input_file,
            protocol=job.protocol,
            item_graph=job.item_adj,
            engine=engine,
            labels=None if job.before_labels_of is None else label_cut(job.before_labels_of),
            options=command.options,
        )
    if result:  # of several ranks the first one reports
        command.emit(result, _text(result))


def _check_flags(model: str, given: tuple[str, ...]) -> None:
    """Refuse flags whose option the channel does not have, where the option has another name than the flag.

    Raises:
        ConfigError: names the flag, and the channels that have it.
    """
    for flag in given:
        key = CHANNEL_FLAGS.get(flag, flag).partition("=")[0]
        if key != flag and not CHANNELS[model].Config.has_option(key):
            raise ConfigError(
                f"{model} has no --{flag}; leave it out, or choose a channel that has it: "
                + ", ".join(CHANNELS.with_option(key))
            )


@contextmanager
def _engine(job: TrainRecallSettings, space: Workspace) -> Iterator[Engine | None]:
    """What fits the model; None = this process."""
    if job.engine == "local":
        yield None
        return
    from spark.engine import SparkEngine, check_model

    check_model(str(job.model))
    with job.spark() as spark:
        yield SparkEngine(spark, space)


def _text(result: dict[str, Any]) -> str:
    from training.training_log import training_text

    validation = result["validation"]
    lines = [f"{result['model']} trained in {result['seconds']:.1f} s, saved to {result['path']}"]
    if result["training"] is not None:
        lines.append(training_text(result["training"], "samples"))
    if validation is None:
        lines.append(f"no validation: protocol {result['protocol']} has no validation events")
    else:
        seen = " (query time seen)" if result["query_time"] else ""
        lines.append(f"validation{seen}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, trains_together=True)
