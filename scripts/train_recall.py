"""Train one recall channel and save it under <data_dir>/models/.

    PYTHONPATH=. python scripts/train_recall.py --model popularity --input data/processed/two_tower/train.parquet
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192
    PYTHONPATH=. python scripts/train_recall.py --model itemcf --set neighbours=100 --set half_life=5
    PYTHONPATH=. python scripts/train_recall.py --model mf --input my_events.parquet --protocol none
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --user_encoder transformer --logq streaming
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --query_time --name two_tower_query_time
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --metadata director,cast,overview
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192 --resume

A training that takes epochs writes a checkpoint after each and every 10 minutes, and its curves for
`tensorboard --logdir <data_dir>/runs`; after a crash or Ctrl-C the same command with --resume goes on.

--input takes Parquet with raw ids: userId, movieId (or itemId), optionally rating, timestamp or position.
Without it the prepared data is used. Every option of the channel can be given by --set or --config; the most used
have flags of their own, below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loguru import logger

from pipeline.fitting import train_channel
from recall import CHANNELS
from reccore import ComponentConfig, ConfigError
from scripts._cli import build_parser, emit, read_settings, run, run_options, split_commas, take, workspace
from training.checkpointing import has_checkpoint


class TrainRecallSettings(ComponentConfig):
    """Options of the command; all others are the channel's."""

    model: str | None = None
    name: str | None = None
    protocol: str | None = None
    input: Path | None = None
    item_adj: Path | None = None


CHANNEL_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "epochs": ("epochs", {"type": int, "help": "passes over the data"}),
    "batch_size": ("batch_size", {"type": int, "help": "examples per training step"}),
    "learning_rate": ("learning_rate", {"type": float}),
    "embedding_size": ("embedding_size", {"type": int}),
    "logq": (
        "negatives.logq.kind",
        {"choices": ("none", "counts", "streaming"), "help": "logQ correction of sampled logits, and the source of Q"},
    ),
    "user_encoder": (
        "encoder.kind",
        {"choices": ("mlp", "transformer"), "help": "how the two-tower reads a history"},
    ),
    "query_time": (
        "encoder.query_time",
        {"action": "store_true", "help": "read the time of the event to predict: a leaderboard of its own"},
    ),
    "metadata": (
        "item.metadata",
        {"type": split_commas, "metavar": "NAME,…", "help": "features of TMDb to read, such as director,cast"},
    ),
    "use_gcn": (
        "item.graph",
        {
            "action": "store_const",
            "const": {},
            "help": "mix item vectors with those of their neighbours in an item graph",
        },
    ),
}
"""Flag → option of the channel that it sets, and argparse's description of it."""


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__, training=True, resumable=True)
    parser.add_argument("--model", choices=list(CHANNELS), help="which channel")
    parser.add_argument("--input", type=Path, metavar="FILE.parquet", help="events to learn from")
    channel = parser.add_argument_group("options of the channel, where it has them")
    for name, (_, described) in CHANNEL_FLAGS.items():
        channel.add_argument(f"--{name}", default=None, **described)
    channel.add_argument(
        "--item_adj", type=Path, metavar="FILE.parquet", help="edges of the graph for --use_gcn, not of co-occurrence"
    )
    args = parser.parse_args(argv)
    flags = {name: getattr(args, name) for name in TrainRecallSettings.model_fields}
    flags |= {key: getattr(args, name) for name, (key, _) in CHANNEL_FLAGS.items()}
    settings = read_settings(args, flags)
    options = run_options(args, settings)
    job = take(TrainRecallSettings, settings)
    if job.model is None:
        raise ConfigError(f"--model is missing; known: {', '.join(CHANNELS)}")
    space = workspace(args)
    try:
        result = train_channel(
            space,
            job.model,
            settings,
            name=job.name,
            input_path=job.input,
            protocol=job.protocol,
            item_graph=job.item_adj,
            options=options,
        )
    except KeyboardInterrupt:
        if has_checkpoint(space.checkpoint(job.name or job.model)):
            logger.warning("the same command with --resume goes on from here")
        raise
    emit(args, result, _text(result))


def _text(result: dict[str, Any]) -> str:
    validation = result["validation"]
    lines = [f"{result['model']} trained in {result['seconds']:.1f} s, saved to {result['path']}"]
    if result["training"] is not None:
        epochs = result["training"]
        lines.append(
            f"{len(epochs['loss'])} epochs, the best of them epoch {epochs['best_epoch']}: "
            f"{epochs['minutes']:.1f} minutes, {epochs['samples_per_second']:,.0f} samples/s"
        )
    if validation is None:
        lines.append(f"no validation: protocol {result['protocol']} keeps no events back")
    else:
        seen = " (query time seen)" if result["query_time"] else ""
        lines.append(f"validation{seen}: " + ", ".join(f"{name} {value:.4f}" for name, value in validation.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
