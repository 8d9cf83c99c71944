"""Put trained recall channels together into a pipeline without a ranker, whose lists have the merged order.

    PYTHONPATH=. python scripts/build_pipeline.py --channels popularity,itemcf
    PYTHONPATH=. python scripts/build_pipeline.py --set pipeline.merge.weights.itemcf=2 --set pipeline.candidates=100

For data too small to learn a ranking from: a ranker needs thousands of events. With more, train_ranking.py trains one
and builds the pipeline with it. Options of the pipeline (merge, reranker …) are given in the table [pipeline] of
--config, or as --set pipeline.candidates=300. The pipeline is written to <data_dir>/models/pipeline.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/build_pipeline.py", file=sys.stderr)
    sys.exit(2)

from typing import Any

from pydantic import Field

from reccore import ComponentConfig
from scripts._cli import Names, facts_text, parse_command, run


class BuildSettings(ComponentConfig):
    """Options of the command."""

    channels: Names | None = Field(default=None, description="trained channels, such as popularity,itemcf")
    pipeline: dict[str, Any] = Field(default={})


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, BuildSettings)
    job = command.settings
    from pipeline.unranked import build_unranked

    settings = job.pipeline if job.channels is None else {**job.pipeline, "channels": job.channels}
    result = build_unranked(command.workspace, settings)
    command.emit(result, facts_text(result))


if __name__ == "__main__":
    run(main)
