"""Recommend films to a known user, or to anyone with a history of films.

PYTHONPATH=. python scripts/recommend.py --user 1 --k 10
PYTHONPATH=. python scripts/recommend.py --history 1,50,172 --k 5
PYTHONPATH=. python scripts/recommend.py --history 50:5,172:4.5@881250949 --k 5
PYTHONPATH=. python scripts/recommend.py --history "" --trace
PYTHONPATH=. python scripts/recommend.py --user 1 --as_of 1537757040

A film of --history is ID, ID:RATING, ID@TIME or ID:RATING@TIME, with the time in Unix seconds.

--as_of is for a pipeline with a channel trained with --query_time: the time to recommend for, by default now.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/recommend.py", file=sys.stderr)
    sys.exit(2)

from typing import TYPE_CHECKING

from pydantic import Field

from scripts._cli import parse_command, run
from scripts._request import RequestSettings

if TYPE_CHECKING:
    from pipeline import Answer, Pipeline

HISTORY_SHOWN = 10
TITLE_WIDTH = 42


class RecommendSettings(RequestSettings):
    """Options of the command."""

    trace: bool = Field(default=False, description="show what each stage did")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, RecommendSettings)
    job = command.settings
    job.check()
    from pipeline import load
    from pipeline.builder import PIPELINE

    pipeline = load(command.workspace.model(PIPELINE))
    answer = pipeline.recommend(**job.arguments)
    result = {
        "user": job.user,
        "history": list(answer.history),
        "unknown": list(answer.unknown),
        "recommendations": [item.to_dict() for item in answer.items],
        "trace": answer.trace.to_dict(),
    }
    text = answer_text(pipeline, answer, trace=job.trace)
    if len(answer.items) < job.k:
        text += f"\n\n{len(answer.items)} of {job.k} films: the pipeline keeps at most {pipeline.config.merge.k}"
    command.emit(result, text)


def answer_text(pipeline: Pipeline, answer: Answer, *, trace: bool = False) -> str:
    """History and recommendations as tables: which channels found each film, and each stage's score."""
    latest = answer.history[::-1][:HISTORY_SHOWN]
    lines = [_history_heading(len(answer.history))]
    for movie_id, item in zip(latest, pipeline.vocabulary.items.encode(list(latest)).tolist(), strict=True):
        title, genres = pipeline.items.label(item, movie_id), ", ".join(pipeline.items.genres_of(item))
        lines.append(f"  {_cut(title):<{TITLE_WIDTH}} {genres}".rstrip())
    if answer.unknown:
        lines.append(f"  not in the catalogue, ignored: {', '.join(map(str, answer.unknown))}")
    lines += ["", "Recommendations"]
    lines.append(f"  {'':>2} {'film':<{TITLE_WIDTH}} {'merge':>7} {'rank':>7} {'final':>7}  found by (rank) · genres")
    for place, item in enumerate(answer.items, start=1):
        scores = [f"{item.scores[s]:7.3f}" if s in item.scores else f"{'–':>7}" for s in ("merge", "rank", "final")]
        found = ", ".join(f"{name} {rank}" for name, rank in sorted(item.channels.items(), key=lambda c: c[1]))
        why = " · ".join(part for part in (found, ", ".join(item.genres)) if part)
        lines.append(f"  {place:>2} {_cut(item.title):<{TITLE_WIDTH}} {' '.join(scores)}  {why}")
    if trace:
        lines += ["", str(answer.trace)]
    return "\n".join(lines)


def _history_heading(n: int) -> str:
    if n == 0:
        return "History: empty"
    shown = f", the latest {HISTORY_SHOWN} first" if n > HISTORY_SHOWN else ", the latest first" if n > 1 else ""
    return f"History: {n:,} film{'s' if n > 1 else ''}{shown}"


def _cut(title: str) -> str:
    return title if len(title) <= TITLE_WIDTH else title[: TITLE_WIDTH - 1] + "…"


if __name__ == "__main__":
    run(main)
