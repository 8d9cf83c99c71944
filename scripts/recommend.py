"""Recommend films to a known user, or to anyone with a history of films.

PYTHONPATH=. python scripts/recommend.py --user 1 --k 10
PYTHONPATH=. python scripts/recommend.py --history 1,50,172 --k 5
PYTHONPATH=. python scripts/recommend.py --history "Star Wars:5,Empire Strikes Back:4.5@881250949" --k 5
PYTHONPATH=. python scripts/recommend.py --user 1 --history +260:5,1210:4
PYTHONPATH=. python scripts/recommend.py --user 1 --channel itemcf
PYTHONPATH=. python scripts/recommend.py --history "" --trace
PYTHONPATH=. python scripts/recommend.py --user 1 --as_of 1537757040

A film of --history is FILM, FILM:RATING, FILM@TIME or FILM:RATING@TIME, with the time in Unix seconds. FILM is an id,
or a part of the title without its commas. --history takes the place of the stored history of --user; with + in front it
follows it. New films without times count as the latest.

--channel shows the list of one recall channel alone, with its own scores; a channel that the pipeline does not have is
taken from <data_dir>/models.

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
from scripts._request import RequestSettings, load_pipeline

if TYPE_CHECKING:
    from pipeline import Answer, Pipeline

HISTORY_SHOWN = 10
TITLE_WIDTH = 42


class RecommendSettings(RequestSettings):
    """Options of the command."""

    channel: str | None = Field(default=None, description="show the list of this recall channel alone")
    trace: bool = Field(default=False, description="show what each stage did")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, RecommendSettings)
    job = command.settings
    job.check()
    from pipeline.single_channel import channel_answer

    pipeline = load_pipeline(command.workspace, job.pipeline, job.channel)
    if job.channel is None:
        answer = pipeline.recommend(**job.arguments(pipeline))
    else:
        answer = channel_answer(pipeline, job.channel, *pipeline.request(**job.arguments(pipeline)))
    result = {
        "user": job.user,
        "history": list(answer.history),
        "unknown": list(answer.unknown),
        "recommendations": [item.to_dict() for item in answer.items],
        "trace": answer.trace.to_dict(),
    }
    text = answer_text(pipeline, answer, channel=job.channel, trace=job.trace)
    if len(answer.items) < job.k:
        limit = f"the pipeline keeps at most {pipeline.config.merge.k}"
        text += f"\n\n{len(answer.items)} of {job.k} films: "
        text += limit if job.channel is None else f"{job.channel} has a score for no more"
    command.emit(result, text)


def answer_text(pipeline: Pipeline, answer: Answer, *, channel: str | None = None, trace: bool = False) -> str:
    """History and recommendations as tables: which channels found each film, and each stage's score with its meaning.

    Args:
        pipeline: that answered.
        answer: to one request.
        channel: the recall channel whose list it is, if it is not the pipeline's.
        trace: whether to add what each stage did.
    """
    lines = _history_lines(pipeline, answer)
    lines += ["", *(_film_lines(pipeline, answer) if channel is None else _channel_lines(channel, answer))]
    if trace:
        lines += ["", str(answer.trace)]
    return "\n".join(lines)


def _history_lines(pipeline: Pipeline, answer: Answer) -> list[str]:
    latest = answer.history[::-1][:HISTORY_SHOWN]
    lines = [_history_heading(len(answer.history))]
    for movie_id, item in zip(latest, pipeline.vocabulary.items.encode(list(latest)).tolist(), strict=True):
        title, genres = pipeline.items.label(item, movie_id), ", ".join(pipeline.items.genres_of(item))
        lines.append(f"  {_cut(title):<{TITLE_WIDTH}} {genres}".rstrip())
    if answer.unknown:
        lines.append(f"  not in the catalogue, ignored: {', '.join(map(str, answer.unknown))}")
    return lines


def _film_lines(pipeline: Pipeline, answer: Answer) -> list[str]:
    meanings = pipeline.score_meanings()
    columns = [name for name in ("merge", "rank", "final") if name in meanings]
    heading = " ".join(f"{name:>7}" for name in columns)
    lines = ["Recommendations", f"  {'':>3} {'film':<{TITLE_WIDTH}} {heading}  found by (rank) · genres"]
    for place, item in enumerate(answer.items, start=1):
        scores = [f"{item.scores[s]:7.3f}" if s in item.scores else f"{'–':>7}" for s in columns]
        found = ", ".join(f"{name} {rank}" for name, rank in sorted(item.channels.items(), key=lambda c: c[1]))
        why = " · ".join(part for part in (found, ", ".join(item.genres)) if part)
        lines.append(f"  {place:>3} {_cut(item.title):<{TITLE_WIDTH}} {' '.join(scores)}  {why}".rstrip())
    lines += ["", *(f"  {name:<5} {meanings[name]}" for name in columns)]
    if any("final" not in item.scores for item in answer.items):
        chosen = sum("final" in item.scores for item in answer.items)
        lines.append(f"  –     after place {chosen} the reranker leaves the order as it was before it")
    return lines


def _channel_lines(channel: str, answer: Answer) -> list[str]:
    lines = [f"The list of {channel} alone", f"  {'':>3} {'film':<{TITLE_WIDTH}} {'score':>9}  genres"]
    for place, item in enumerate(answer.items, start=1):
        score = item.scores[f"recall.{channel}"]
        lines.append(f"  {place:>3} {_cut(item.title):<{TITLE_WIDTH}} {score:9.4f}  {', '.join(item.genres)}".rstrip())
    return lines


def _history_heading(n: int) -> str:
    if n == 0:
        return "History: empty"
    shown = f", the latest {HISTORY_SHOWN} first" if n > HISTORY_SHOWN else ", the latest first" if n > 1 else ""
    return f"History: {n:,} film{'s' if n > 1 else ''}{shown}"


def _cut(title: str) -> str:
    return title if len(title) <= TITLE_WIDTH else title[: TITLE_WIDTH - 1] + "…"


if __name__ == "__main__":
    run(main)
