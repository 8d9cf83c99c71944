"""Recommend films to all users, or to some, as Parquet files.

PYTHONPATH=. python scripts/batch_recommend.py --k 10
PYTHONPATH=. python scripts/batch_recommend.py --users 1,2,3 --titles --to data/recommendations/three
PYTHONPATH=. python scripts/batch_recommend.py --pipeline export/pipeline --to data/recommendations/today --resume

The folder --to gets files with the columns userId, place (from 1), movieId, score (what the list is ordered by) and,
with --titles, title. Each file holds the lists of --users_per_file users and appears whole: after a crash, the same
command with --resume keeps the finished ones and writes the others.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/batch_recommend.py", file=sys.stderr
    )
    sys.exit(2)

from pathlib import Path
from time import perf_counter

from pydantic import Field

from reccore import ComponentConfig
from scripts._cli import RawIds, RunSettings, facts_text, parse_command, run

FOLDER = "recommendations"


class BatchSettings(ComponentConfig):
    """Options of the command."""

    pipeline: Path | None = Field(default=None, description="folder of the pipeline (default: models/pipeline)")
    users: RawIds | None = Field(default=None, min_length=1, description="raw user ids (default: all)")
    k: int = Field(default=10, ge=1, description="films of a list")
    to: Path | None = Field(default=None, description=f"folder to write (default: {FOLDER}/ of the data root)")
    titles: bool = Field(default=False, strict=True, description="add a column with the titles")
    as_of: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Unix seconds to recommend for, where query time is read (default: now)",
    )
    users_per_file: int = Field(default=5_000, ge=1, description="users whose lists are one file")


class BatchRunSettings(RunSettings):
    """How the command runs."""

    resume: bool = Field(default=False, strict=True, description="keep the files that an interrupted run has finished")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, BatchSettings, run=BatchRunSettings)
    job, options = command.settings, command.options
    from pipeline.batch import Batch
    from pipeline.builder import PIPELINE, open_pipeline, pipeline_of

    bundle = open_pipeline(job.pipeline or command.workspace.model(PIPELINE))
    batch = Batch(
        pipeline_of(bundle),
        job.users,
        fingerprint=bundle.fingerprint,
        k=job.k,
        titles=job.titles,
        as_of=job.as_of,
        users_per_file=job.users_per_file,
    )
    folder = job.to or command.workspace.root / FOLDER
    started = perf_counter()
    written = batch.write(folder, resume=options.resume, progress=options.progress)
    result = {
        "folder": str(folder),
        "users": len(batch.users),
        "files": batch.n_files,
        "written_now": written,
        "seconds": round(perf_counter() - started, 1),
    }
    command.emit(result, facts_text(result))


if __name__ == "__main__":
    run(main)
