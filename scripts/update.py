"""Take in events that came later: tables, histories, statistics and models of the serving pipeline.

    PYTHONPATH=. python scripts/update.py --interactions new.parquet
    PYTHONPATH=. python scripts/update.py --interactions day.csv --items new_films.csv --users new_users.csv

It adds the events to the tables of run_preprocessing.py, and brings models/serving, which refit_pipeline.py writes, up
to date. Count-based channels then equal those of a full run; mf and the neural channels go on from their weights; the
ranker stays unless --retrain_ranker is given. Films and users that are new get indices behind the old ones. The same
file a second time changes nothing, and after a crash the same command finishes the work. A service that was started
with --pipeline data/models/serving takes the new pipeline without a restart. The split data and models/pipeline, which
evaluations measure, stay on the events they were made from (docs/updating.md).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/update.py", file=sys.stderr)
    sys.exit(2)

from typing import Any

from pydantic import Field

from reccore import ConfigError
from scripts._cli import facts_text, parse_command, run
from scripts._input import OwnTablesSettings


class UpdateSettings(OwnTablesSettings):
    """Options of the command."""

    retrain_ranker: bool = Field(default=False, description="fit the ranker again, which costs more than all the rest")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, UpdateSettings)
    job = command.settings
    events = job.event_file(job.interactions)
    if events is None:
        raise ConfigError("--interactions is missing: the file of new events")
    from dataprep.append import NewFiles
    from dataprep.readers.own import SideFile
    from pipeline.updating import update_serving

    files = NewFiles(
        events,
        None if job.items is None else SideFile(job.items, job.item_columns),
        None if job.users is None else SideFile(job.users, job.user_columns),
    )
    result = update_serving(
        command.workspace,
        files,
        max_reject_share=job.max_reject_share,
        retrain_ranker=job.retrain_ranker,
        options=command.options,
    )
    command.emit(result, _text(result))


def _text(result: dict[str, Any]) -> str:
    seconds = result.get("seconds", {})
    shown = {name: value for name, value in result.items() if name != "seconds"}
    return facts_text(shown | {f"seconds of {part}": value for part, value in seconds.items()})


if __name__ == "__main__":
    run(main)
