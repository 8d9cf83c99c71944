"""Split the processed data, train every recall channel of a configuration, and a ranker over them.

    PYTHONPATH=. python scripts/train_all.py --config configs/shop/all.toml --data_dir my_data
    PYTHONPATH=. python scripts/train_all.py --config configs/shop/all.toml --set channels.mf.factors=32

It does what prepare_two_tower_data.py, train_recall.py for each channel, and train_ranking.py do, one after the other.
The configuration has a table for each channel, such as [channels.mf], with the channel's options; `model` in it is the
kind of channel where that is not the table's name. [ranker] holds `model` and the ranker's options, [pipeline] the
options of the pipeline, whose channels are those of the configuration. The pipeline is written to
<data_dir>/models/pipeline, for recommend.py.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/train_all.py", file=sys.stderr)
    sys.exit(2)

from typing import Any

from loguru import logger
from pydantic import Field, model_validator

from reccore import ComponentConfig
from scripts._cli import parse_command, run


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
    command = parse_command(argv, __doc__, TrainAllSettings)
    job, space, options = command.settings, command.workspace, command.options
    from dataprep.prepare import prepare
    from dataprep.splits import parse_protocol
    from pipeline.fitting import train_channel, train_ranker

    prepare(space, parse_protocol(job.protocol)).save(space.prepared)
    results = {}
    for name, given in job.channels.items():
        logger.info("── {}", name)
        settings = dict(given)
        model = settings.pop("model", name)
        results[name] = train_channel(space, model, settings, name=name, options=options)
    ranker = dict(job.ranker)
    model = ranker.pop("model")
    logger.info("── {}", model)
    chain = {"channels": list(job.channels), **job.pipeline}
    ranked = train_ranker(space, model, settings=ranker, pipeline_settings=chain, options=options)
    command.emit({"channels": results, "ranker": ranked}, _text(results, ranked))


def _text(channels: dict[str, dict[str, Any]], ranked: dict[str, Any]) -> str:
    """Validation figures of the channels and the stages, and where the pipeline is."""
    figures = {name: result["validation"] for name, result in channels.items()}
    figures |= {f"after {stage}": values for stage, values in (ranked["validation"] or {}).items()}
    width = max(map(len, figures))
    lines = ["validation"]
    for name, values in figures.items():
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in (values or {}).items() if metric.endswith("@10"))
        lines.append(f"  {name:<{width}}  {shown}".rstrip())
    return "\n".join([*lines, f"pipeline at {ranked['pipeline']}"])


if __name__ == "__main__":
    run(main)
