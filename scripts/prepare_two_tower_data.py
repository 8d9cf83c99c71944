"""Split the processed data into fit, validation and test, and align the feature tables.

Writes <data_dir>/processed/two_tower/.

    PYTHONPATH=. python scripts/prepare_two_tower_data.py
    PYTHONPATH=. python scripts/prepare_two_tower_data.py --protocol global_time
    PYTHONPATH=. python scripts/prepare_two_tower_data.py --engine spark
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/prepare_two_tower_data.py",
        file=sys.stderr,
    )
    sys.exit(2)

from pydantic import Field

from scripts._cli import facts_text, parse_command, run
from scripts._engine import EngineSettings


class PrepareSettings(EngineSettings):
    """Options of the command."""

    protocol: str = Field(
        default="leave_one_out",
        description="leave_one_out, leave_last_<n>, global_time[:<unix seconds>], last_three or none",
    )


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, PrepareSettings)
    from dataprep.prepare import Prepared, prepare, warn_of_seen_targets
    from dataprep.protocols import parse_protocol

    protocol, space = parse_protocol(command.settings.protocol), command.workspace
    if command.settings.engine == "spark":
        from spark.prepare import prepare as prepare_on_spark

        with command.settings.spark() as spark:
            prepare_on_spark(spark, space, protocol)
        split = Prepared.load(space.prepared).split
    else:
        prepared = prepare(space, protocol)
        prepared.save(space.prepared)
        split = prepared.split
    seen = warn_of_seen_targets(split)
    result = {
        "path": str(space.prepared),
        "protocol": protocol.name,
        "users": split.interactions.n_users,
        "items": split.interactions.n_items,
        "fit_events": int(split.fit_stop.sum()),
        "valid_targets": split.n_valid_targets,
        **split.test_facts(),
        "valid_targets_seen": round(seen["valid"], 4),
        "test_targets_seen": round(seen["test"], 4),
    }
    command.emit(result, facts_text(result))


if __name__ == "__main__":
    run(main)
