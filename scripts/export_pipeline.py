"""Copy a trained pipeline into a folder of its own, for a server or another machine.

    PYTHONPATH=. python scripts/export_pipeline.py --to export/pipeline
    PYTHONPATH=. python scripts/recommend.py --pipeline export/pipeline --user 1
    PYTHONPATH=. python scripts/export_pipeline.py --pipeline data/models/serving --to export/pipeline

The copy needs nothing but this code: neither the data root nor the components beside the pipeline. It holds the
histories of the users. Every file is checked before and after copying, and an existing pipeline at --to is replaced as
a whole.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/export_pipeline.py", file=sys.stderr
    )
    sys.exit(2)

from pathlib import Path

from pydantic import Field

from reccore import ComponentConfig, ConfigError
from scripts._cli import facts_text, parse_command, run


class ExportSettings(ComponentConfig):
    """Options of the command."""

    pipeline: Path | None = Field(default=None, description="folder of the pipeline (default: models/pipeline)")
    to: Path | None = Field(default=None, description="folder to write")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ExportSettings)
    job = command.settings
    if job.to is None:
        raise ConfigError("--to is missing: the folder to write, such as export/pipeline")
    from pipeline.builder import PIPELINE, open_pipeline, pipeline_of

    bundle = open_pipeline(job.pipeline or command.workspace.model(PIPELINE))
    pipeline = pipeline_of(bundle)  # a pipeline that does not load is not exported
    copy = bundle.copy_to(job.to)
    result = {
        "pipeline": str(copy.path),
        "files": len(copy.manifest["files"]),
        "megabytes": round(sum((copy.path / name).stat().st_size for name in copy.manifest["files"]) / 1e6, 1),
        "parts": ", ".join(pipeline.config.parts),
        "fingerprint": copy.fingerprint,
    }
    command.emit(result, facts_text(result))


if __name__ == "__main__":
    run(main)
