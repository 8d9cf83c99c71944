"""Fit the trained pipeline again on every event there is, for serving.

    PYTHONPATH=. python scripts/refit_pipeline.py
    PYTHONPATH=. python scripts/recommend.py --pipeline data/models/serving --user 1

train_ranking.py leaves models/pipeline, which evaluations measure: its models have not learnt from the held-out events.
This command takes the same channels, merge, ranker and reranker with the settings and epochs chosen there, and fits
them on all events of the prepared data as it is now, so that new events, films and users count too. It writes
models/serving, and leaves models/pipeline as it is. What is fitted is kept, so that a run that was killed goes on.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/refit_pipeline.py", file=sys.stderr)
    sys.exit(2)

from reccore import ComponentConfig
from scripts._cli import facts_text, parse_command, run


class RefitSettings(ComponentConfig):
    """The command has no options of its own: every setting is that of the trained pipeline."""


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, RefitSettings)
    from pipeline.refitting import refit_for_serving

    result = refit_for_serving(command.workspace, options=command.options)
    command.emit(result, facts_text(result))


if __name__ == "__main__":
    run(main)
