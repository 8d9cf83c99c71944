"""Train a ranker on the candidates of the trained recall channels, then put the pipeline together.

    PYTHONPATH=. python scripts/train_ranking.py --model deepfm
    PYTHONPATH=. python scripts/train_ranking.py --model din --set epochs=3
    PYTHONPATH=. python scripts/train_ranking.py --model din --set epochs=3 --resume
    PYTHONPATH=. torchrun --nproc_per_node=2 scripts/train_ranking.py --model deepfm
    PYTHONPATH=. python scripts/train_ranking.py --features default,item.price,user.segment
    PYTHONPATH=. python scripts/train_ranking.py --model lambdamart --set num_leaves=31

A checkpoint is written after each epoch and every 10 minutes, and curves for `tensorboard --logdir
<data_dir>/runs`; after a crash or Ctrl-C the same command with --resume continues.

Options of the pipeline (channels, merge, reranker …) are given in the table [pipeline] of --config, or as
--set pipeline.candidates=300. The pipeline is written to <data_dir>/models/pipeline.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/train_ranking.py", file=sys.stderr)
    sys.exit(2)

from typing import Annotated, Any

from pydantic import Field

from ranking import RANKERS
from reccore import ComponentConfig
from scripts._cli import Names, OneOf, ResumableRunSettings, TrainingSettings, parse_command, resume_hint, run
from scripts._samples import SamplesSettings


class TrainRankingSettings(SamplesSettings, TrainingSettings):
    """Options of the command; all others are the ranker's."""

    model: Annotated[str, OneOf(RANKERS)] = Field(default="deepfm", description="which ranker")
    pipeline: dict[str, Any] = Field(default={})


class RankerFlags(ComponentConfig):
    """Options of rankers that have a flag."""

    epochs: int | None = Field(default=None, description="passes over the samples")
    batch_size: int | None = Field(default=None, description="queries per training step")
    learning_rate: float | None = Field(default=None, description="step size of the optimiser")
    metadata: Names | None = Field(default=None, description="features of TMDb to read, such as director,cast")
    features: Names | None = Field(default=None, description="features by name, such as default,item.price")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(
        argv, __doc__, TrainRankingSettings, run=ResumableRunSettings, rest=True, shortcuts=RankerFlags
    )
    job, space = command.settings, command.workspace
    from pipeline.train_ranker import train_ranker

    with resume_hint(space.checkpoint(job.name or job.model)):
        result = train_ranker(
            space,
            job.model,
            settings=command.rest,
            pipeline_settings=job.pipeline,
            name=job.name,
            protocol=job.protocol,
            max_queries=job.max_queries,
            short_histories=job.short_histories,
            found_only=job.found_only,
            label_window=job.label_window,
            label_windows=job.label_windows,
            options=command.options,
        )
    if result:  # of several ranks the first one reports
        command.emit(result, _text(result))


def _text(result: dict[str, Any]) -> str:
    from training.training_log import training_text

    lines = [
        f"{result['model']} trained on {result['training_queries']:,} queries in {result['seconds']:.1f} s, "
        f"saved to {result['path']}; pipeline at {result['pipeline']}"
    ]
    trainings = result["training"]
    for epochs in trainings if isinstance(trainings, list) else [trainings]:  # an ensemble has one for each member
        lines.append(training_text(epochs, "queries"))
    for stage, values in (result["validation"] or {}).items():
        lines.append(f"validation after {stage}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items()))
    if result["short_history"] is not None:
        lines.append(result["short_history"])
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, trains_together=True)
