"""Train a ranker on the candidates of the trained recall channels, then put the pipeline together.

    PYTHONPATH=. python scripts/train_ranking.py --model deepfm
    PYTHONPATH=. python scripts/train_ranking.py --model din --set epochs=3
    PYTHONPATH=. python scripts/train_ranking.py --model din --set epochs=3 --resume

A checkpoint is written after each epoch and every 10 minutes, and curves for `tensorboard --logdir
<data_dir>/runs`; after a crash or Ctrl-C the same command with --resume continues.

Options of the pipeline (channels, merge, reranker …) stand in the table [pipeline] of --config, or are
given as --set pipeline.candidates=300. The pipeline is written to <data_dir>/models/pipeline.
"""

from __future__ import annotations

from typing import Any

from loguru import logger
from pydantic import Field

from pipeline.fitting import train_ranker
from ranking import RANKERS
from reccore import ComponentConfig
from scripts._cli import build_parser, emit, read_settings, run, run_options, split_commas, take, workspace
from training.checkpointing import has_checkpoint


class TrainRankingSettings(ComponentConfig):
    """Options of the command; all others are the ranker's."""

    model: str = "deepfm"
    name: str | None = None
    protocol: str | None = None
    max_queries: int | None = Field(default=None, ge=1)
    pipeline: dict[str, Any] = Field(default={})


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__, training=True, resumable=True)
    parser.add_argument("--model", choices=list(RANKERS), help="which ranker (default: deepfm)")
    parser.add_argument("--epochs", type=int, help="passes over the samples")
    parser.add_argument("--batch_size", type=int, help="queries per training step")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument(
        "--metadata", type=split_commas, metavar="NAME,…", help="features of TMDb to read, such as director,cast"
    )
    parser.add_argument("--max_queries", type=int, help="most training queries, drawn at random (default: all)")
    args = parser.parse_args(argv)
    names = ("model", "name", "protocol", "epochs", "batch_size", "learning_rate", "metadata", "max_queries")
    settings = read_settings(args, {name: getattr(args, name) for name in names})
    options = run_options(args, settings)
    job = take(TrainRankingSettings, settings)
    space = workspace(args)
    try:
        result = train_ranker(
            space,
            job.model,
            settings=settings,
            pipeline_settings=job.pipeline,
            name=job.name,
            protocol=job.protocol,
            max_queries=job.max_queries,
            options=options,
        )
    except KeyboardInterrupt:
        if has_checkpoint(space.checkpoint(job.name or job.model)):
            logger.warning("the same command with --resume continues from here")
        raise
    emit(args, result, _text(result))


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{result['model']} trained on {result['training_queries']:,} queries in {result['seconds']:.1f} s, "
        f"saved to {result['path']}; pipeline at {result['pipeline']}"
    ]
    epochs = result["training"]
    lines.append(
        f"{len(epochs['loss'])} epochs, the best of them epoch {epochs['best_epoch']}: "
        f"{epochs['minutes']:.1f} minutes, {epochs['samples_per_second']:,.0f} queries/s"
    )
    for stage, values in (result["validation"] or {}).items():
        lines.append(f"validation after {stage}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
