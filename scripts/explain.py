"""Explain what became of one film in one user's recommendations.

PYTHONPATH=. python scripts/explain.py --user 1 --movie 50
PYTHONPATH=. python scripts/explain.py --history 1,50,172 --movie "Return of the Jedi" --k 5
PYTHONPATH=. python scripts/explain.py --user 1 --movie 102 --split test

Shows the film's rank in every recall channel, also beyond what the channel offers; the stage that dropped it, or its
place in the list; what would have had to differ; and which features moved the ranker's score.

The options of the request (--user, --history, --k, --exclude, --genres, --must_include, …) are those of recommend.py:
all that is known of the user counts. With --split the history ends before the events that the evaluation holds out.
--reasons adds the films of the history that lift the film most, whether or not it is recommended.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/explain.py", file=sys.stderr)
    sys.exit(2)

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from reccore import ConfigError, Workspace
from scripts._cli import RawId, parse_command, run
from scripts._request import RequestSettings, find_movie, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline import Pipeline
    from pipeline.explain import Explanation
    from pipeline.reasons import Reason
    from pipeline.stages import Request

FEATURES_SHOWN = 8
REASONS_SHOWN = 5
ORDERS = {"merge": "merge", "filter": "filter", "score": "ranker", "blend": "blend", "select": "reranker"}


class ExplainSettings(RequestSettings):
    """Options of the command."""

    movie: str | RawId | None = Field(default=None, description="the film to explain: its id, or a part of its title")
    split: Literal["valid", "test"] | None = Field(
        default=None,
        description="ask as the evaluation of this split does: with the history before what it holds out",
    )
    reasons: bool = Field(default=False, description="show which films of the history lift the film most")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ExplainSettings)
    job = command.settings
    job.check()
    if job.movie is None:
        raise ConfigError("give --movie, the film to explain: its id, or a part of its title")
    from pipeline.explain import explain_request
    from pipeline.reasons import reasons_of

    pipeline = load_pipeline(command.workspace, job.pipeline)
    movie = find_movie(pipeline, job.movie)
    if job.split is None:
        request, _ = pipeline.request(**job.arguments(pipeline))
    else:
        request = _held_out(pipeline, command.workspace, job, movie)
    explanation = explain_request(pipeline, movie, request)
    result = {"user": job.user, **explanation.to_dict()}
    text = explanation_text(explanation)
    if job.reasons:
        (lifted_by,) = reasons_of(pipeline, request, pipeline.vocabulary.items.encode([movie]), REASONS_SHOWN)
        result["reasons"] = [reason.to_dict() for reason in lifted_by]
        text += "\n\n" + _reasons_text(lifted_by)
    command.emit(result, text)


def _held_out(pipeline: Pipeline, workspace: Workspace, job: ExplainSettings, movie: str | int) -> Request:
    """The request of the evaluation for the same user.

    Raises:
        ConfigError: options that such a request has no place for.
    """
    from pipeline.builder import PIPELINE
    from pipeline.held_out import held_out_request
    from pipeline.provenance import data_of

    if job.user is None or job.split is None or job.history is not None or job.as_of is not None:
        raise ConfigError("--split asks as the evaluation does: give --user ID, no --history and no --as_of")
    given = [name for name in (*job.filters, "must_include", "diversity") if getattr(job, name) not in ((), None)]
    if given:
        raise ConfigError(f"--split asks as the evaluation does, which has no --{given[0]}; leave out one of the two")
    prepared = data_of(workspace, [job.pipeline or workspace.model(PIPELINE)])
    return held_out_request(pipeline, prepared, job.split, job.user, movie, k=job.k, exclude=job.exclude)


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
    names = [f"{ORDERS[view.stage]} {view.name}" for view in found.stages]
    width = max(16, *map(len, names))
    lines.append(f"  {'order of':<{width}} {'place':>8} {'of':>8} {'go on':>7} {'score':>10} {'last to go on':>13}")
    for name, view in zip(names, found.stages, strict=True):
        place = "out" if view.place is None else f"{view.place:,}"
        lines.append(
            f"  {name:<{width}} {place:>8} {view.of:>8,} {view.limit:>7,} "
            f"{_score(view.score):>10} {_score(view.last_score):>13}"
            + (f"  and the first {view.first:,} of every channel" if view.first else "")
        )
    return lines


def _feature_lines(found: Explanation) -> list[str]:
    shown = found.contributions[:FEATURES_SHOWN]
    width = max(len(one.feature) for one in shown)
    part = "" if found.ranker_share == 1.0 else f" ({found.ranker_share:.0%} of the blend)"
    lines = [f"What moves the ranker's score{part}, against the mean candidate of this request"]
    lines += [f"  {_signed(one.value):>7}  {one.feature:<{width}}  {one.meaning}".rstrip() for one in shown]
    rest = found.contributions[FEATURES_SHOWN:]
    total = sum(one.value for one in found.contributions)
    if rest:
        lines.append(f"  {_signed(sum(one.value for one in rest)):>7}  {len(rest)} further features together")
    return [*lines, f"  {_signed(total):>7}  in all"]


def _reasons_text(lifted_by: Sequence[Reason]) -> str:
    if not lifted_by:
        return "No film of the history lifts it"
    lines = [
        "Films of the history that lift it: by how much its score, against the mean candidate's, falls without each"
    ]
    return "\n".join([*lines, *(f"  {_signed(reason.lift):>7}  {reason.title}" for reason in lifted_by)])


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


if __name__ == "__main__":
    run(main)
