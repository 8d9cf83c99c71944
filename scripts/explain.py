"""Explain what became of one film in one user's recommendations.

PYTHONPATH=. python scripts/explain.py --user 1 --movie 50
PYTHONPATH=. python scripts/explain.py --history 1,50,172 --movie 181 --k 5

Shows the film's rank in every recall channel, also beyond what the channel offers; the stage that dropped it, or its
place in the list; what would have had to differ; and which features moved the ranker's score.

--user, --history, --k, --exclude and --as_of are those of recommend.py.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/explain.py", file=sys.stderr)
    sys.exit(2)

from typing import TYPE_CHECKING

from pydantic import Field

from reccore import ConfigError
from scripts._cli import RawId, parse_command, run
from scripts._request import RequestSettings

if TYPE_CHECKING:
    from pipeline.explain import Explanation

FEATURES_SHOWN = 8
ORDERS = {"merge": "merge", "filter": "filter", "score": "ranker", "select": "reranker"}


class ExplainSettings(RequestSettings):
    """Options of the command."""

    movie: RawId | None = Field(default=None, description="raw id of the film to explain")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ExplainSettings)
    job = command.settings
    job.check()
    if job.movie is None:
        raise ConfigError("give --movie ID, the film to explain")
    from pipeline import load
    from pipeline.builder import PIPELINE
    from pipeline.explain import explain

    pipeline = load(command.workspace.model(PIPELINE))
    explanation = explain(pipeline, job.movie, **job.arguments)
    command.emit({"user": job.user, **explanation.to_dict()}, explanation_text(explanation))


def explanation_text(found: Explanation) -> str:
    """The explanation for people."""
    from pipeline.fates import FATE_LABELS

    lines = [f"{found.title}, movie {found.movie_id}" + (f" · {', '.join(found.genres)}" if found.genres else "")]
    lines += ["", f"{FATE_LABELS[found.fate].capitalize()}: {found.why}."]
    if found.would_help:
        lines += ["", "It would have helped, one of:", *(f"  - {help_}" for help_ in found.would_help)]
    lines += ["", *_channel_lines(found)]
    if any(view.place is not None for view in found.stages):
        lines += ["", *_stage_lines(found)]
    if found.contributions:
        lines += ["", *_feature_lines(found)]
    return "\n".join(lines)


def _channel_lines(found: Explanation) -> list[str]:
    lines = ["Recall channels"]
    lines.append(f"  {'channel':<16} {'rank':>8} {'of':>8} {'offers':>7} {'score':>10} {'last offered':>13}")
    for channel in found.channels:
        rank = "–" if channel.rank is None else f"{channel.rank:,}"
        note = "offered" if channel.offered else "no score" if channel.rank is None else "not offered"
        lines.append(
            f"  {channel.name:<16} {rank:>8} {channel.scored:>8,} {channel.retrieves:>7,} {_score(channel.score):>10} "
            f"{_score(channel.last_score):>13}  {note}"
        )
    return lines


def _stage_lines(found: Explanation) -> list[str]:
    lines = ["Stages after them"]
    lines.append(f"  {'order of':<16} {'place':>8} {'of':>8} {'go on':>7} {'score':>10} {'last to go on':>13}")
    for view in found.stages:
        place = "out" if view.place is None else f"{view.place:,}"
        lines.append(
            f"  {ORDERS[view.stage] + ' ' + view.name:<16} {place:>8} {view.of:>8,} {view.limit:>7,} "
            f"{_score(view.score):>10} {_score(view.last_score):>13}"
        )
    return lines


def _feature_lines(found: Explanation) -> list[str]:
    shown = found.contributions[:FEATURES_SHOWN]
    width = max(len(one.feature) for one in shown)
    lines = ["What moves the ranker's score, against the mean candidate of this request"]
    lines += [f"  {_signed(one.value):>7}  {one.feature:<{width}}  {one.meaning}".rstrip() for one in shown]
    rest = found.contributions[FEATURES_SHOWN:]
    total = sum(one.value for one in found.contributions)
    if rest:
        lines.append(f"  {_signed(sum(one.value for one in rest)):>7}  {len(rest)} further features together")
    return [*lines, f"  {_signed(total):>7}  in all"]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


if __name__ == "__main__":
    run(main)
