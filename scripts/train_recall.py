"""Train one recall channel and save it under <data_dir>/models/.

    PYTHONPATH=. python scripts/train_recall.py --model popularity --input data/processed/two_tower/train.parquet
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192
    PYTHONPATH=. python scripts/train_recall.py --model itemcf --set neighbours=100 --set half_life=5
    PYTHONPATH=. python scripts/train_recall.py --model mf --input my_events.parquet --protocol none
    PYTHONPATH=. python scripts/train_recall.py --model two_tower --epochs 5 --batch_size 8192 --resume

A training that takes epochs writes a checkpoint after each and every 10 minutes, and its curves for
`tensorboard --logdir <data_dir>/runs`; after a crash or Ctrl-C the same command with --resume goes on.

--input takes Parquet with raw ids: userId, movieId (or itemId), optionally rating, timestamp or position.
Without it the prepared data is used. Every option of the channel can be given by --set or --config.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.fitting import train_channel
from recall import CHANNELS
from reccore import ComponentConfig, ConfigError
from scripts._cli import build_parser, emit, read_settings, run, run_options, take, workspace


class TrainRecallSettings(ComponentConfig):
    """Options of the command; all others are the channel's."""

    model: str | None = None
    name: str | None = None
    protocol: str | None = None
    input: Path | None = None


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__, training=True, resumable=True)
    parser.add_argument("--model", choices=list(CHANNELS), help="which channel")
    parser.add_argument("--input", type=Path, metavar="FILE.parquet", help="events to learn from")
    parser.add_argument("--epochs", type=int, help="passes over the data")
    parser.add_argument("--batch_size", type=int, help="examples per training step")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--embedding_size", type=int)
    parser.add_argument("--use_gcn", action="store_true", default=None, help="mix item vectors over an item graph")
    parser.add_argument("--item_adj", type=Path, metavar="FILE", help="that graph; by default co-occurrence")
    args = parser.parse_args(argv)
    channel = ("epochs", "batch_size", "learning_rate", "embedding_size", "use_gcn", "item_adj")
    names = ("model", "name", "protocol", "input", *channel)
    settings = read_settings(args, {name: getattr(args, name) for name in names})
    options = run_options(args, settings)
    job = take(TrainRecallSettings, settings)
    if job.model is None:
        raise ConfigError(f"--model is missing; known: {', '.join(CHANNELS)}")
    result = train_channel(
        workspace(args),
        job.model,
        settings,
        name=job.name,
        input_path=job.input,
        protocol=job.protocol,
        options=options,
    )
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
        lines.append("validation: " + ", ".join(f"{name} {value:.4f}" for name, value in validation.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
