"""Recommend films to a known user, or to anyone with a history of films.

PYTHONPATH=. python scripts/recommend.py --user 1 --k 10
PYTHONPATH=. python scripts/recommend.py --history 1,50,172 --k 5
PYTHONPATH=. python scripts/recommend.py --history "Star Wars:5,Empire Strikes Back:4.5@881250949" --k 5
PYTHONPATH=. python scripts/recommend.py --user 1 --history +260:5,1210:4
PYTHONPATH=. python scripts/recommend.py --user 1 --genres Comedy,Romance --year_from 1990 --diversity 0.5 --reasons
PYTHONPATH=. python scripts/recommend.py --user 1 --must_include "Fargo" --min_ratings 50
PYTHONPATH=. python scripts/recommend.py --user 1 --channel itemcf
PYTHONPATH=. python scripts/recommend.py --history "" --trace
PYTHONPATH=. python scripts/recommend.py --user 1 --as_of 1537757040

A film of --history is FILM, FILM:RATING, FILM@TIME or FILM:RATING@TIME, with the time in Unix seconds. FILM is an id,
or a part of the title without its commas. --history takes the place of the stored history of --user; with + in front it
follows it. New films without times count as the latest.

--genres, --not_genres, --year_from, --year_to and --min_ratings leave out other films before the channels choose, so
that the list is full; films of --must_include are shown whatever they say. --reasons adds the films of the history that
lift each film most: without one of them its score, against the mean candidate's, falls by the number shown.

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

from typing import TYPE_CHECKING, Any

from pydantic import Field

from reccore import ConfigError
from scripts._cli import parse_command, run
from scripts._request import RequestSettings, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline import Answer, Pipeline
    from pipeline.reasons import Reason

OF_THE_CHAIN = ("must_include", "diversity", "reasons")
HISTORY_SHOWN = 10
TITLE_WIDTH = 42


class RecommendSettings(RequestSettings):
    """Options of the command."""

    channel: str | None = Field(default=None, description="show the list of this recall channel alone")
    trace: bool = Field(default=False, description="show what each stage did")
    reasons: bool = Field(default=False, description="show which films of the history lift each film most")

    def check(self) -> None:
        """Raise ``ConfigError`` for options that do not go together."""
        super().check()
        chain = [
            name for name in ("must_include", "diversity", "reasons") if getattr(self, name) not in ((), None, False)
        ]
        if self.channel is not None and chain:
            raise ConfigError(f"--channel shows the list of one channel alone, where --{chain[0]} has no place")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, RecommendSettings)
    job = command.settings
    job.check()
    from pipeline.reasons import reasons
    from pipeline.single_channel import channel_answer

    pipeline = load_pipeline(command.workspace, job.pipeline, job.channel)
    request, unknown = pipeline.request(**job.arguments(pipeline))
    lifted_by: list[tuple[Reason, ...]] | None = None
    if job.channel is None:
        candidates, trace = pipeline.run_request(request)
        answer = pipeline.answer(request, candidates, trace, unknown)
        lifted_by = reasons(pipeline, request, candidates) if job.reasons else None
    else:
        answer = channel_answer(pipeline, job.channel, request, unknown)
    result = {
        "user": job.user,
        "history": list(answer.history),
        "unknown": list(answer.unknown),
        "recommendations": _films(answer, lifted_by),
        "trace": answer.trace.to_dict(),
    }
    text = answer_text(
        pipeline, answer, channel=job.channel, trace=job.trace, diversity=job.diversity, reasons=lifted_by
    )
    if len(answer.items) < job.k:
        text += f"\n\n{len(answer.items)} of {job.k} films: {_why_fewer(pipeline, job, len(answer.items))}"
    command.emit(result, text)


def _films(answer: Answer, lifted_by: Sequence[Sequence[Reason]] | None) -> list[dict[str, Any]]:
    films = [item.to_dict() for item in answer.items]
    for film, found in zip(films, lifted_by or (), strict=lifted_by is not None):
        film["reasons"] = [reason.to_dict() for reason in found]
    return films


def _why_fewer(pipeline: Pipeline, job: RecommendSettings, shown: int) -> str:
    if job.channel is not None:
        return f"{job.channel} has a score for no more" + (" that the filter admits" if job.filters else "")
    if job.filters and shown < pipeline.config.merge.k:
        return "no channel has another film that the filter admits"
    return f"the pipeline keeps at most {pipeline.config.merge.k}"


def answer_text(
    pipeline: Pipeline,
    answer: Answer,
    *,
    channel: str | None = None,
    trace: bool = False,
    diversity: float | None = None,
    reasons: Sequence[Sequence[Reason]] | None = None,
) -> str:
    """History and recommendations as tables: which channels found each film, and each stage's score with its meaning.

    Args:
        pipeline: that answered.
        answer: to one request.
        channel: the recall channel whose list it is, if it is not the pipeline's.
        trace: whether to add what each stage did.
        diversity: that the request asked for.
        reasons: of each film.
    """
    lines = _history_lines(pipeline, answer)
    if channel is None:
        pool = None if pipeline.reranker is None else pipeline.reranker.pool
        lines += ["", *_film_lines(answer, pipeline.score_meanings(diversity), pool, reasons)]
    else:
        lines += ["", *_channel_lines(channel, answer)]
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


def _film_lines(
    answer: Answer, meanings: Mapping[str, str], pool: int | None, reasons: Sequence[Sequence[Reason]] | None
) -> list[str]:
    columns = [name for name in ("merge", "rank", "final") if name in meanings]
    heading = " ".join(f"{name:>7}" for name in columns)
    lines = ["Recommendations", f"  {'':>3} {'film':<{TITLE_WIDTH}} {heading}  found by (rank) · genres"]
    for place, item in enumerate(answer.items, start=1):
        scores = [f"{item.scores[s]:7.3f}" if s in item.scores else f"{'–':>7}" for s in columns]
        found = ", ".join(f"{name} {rank}" for name, rank in sorted(item.channels.items(), key=lambda c: c[1]))
        why = " · ".join(part for part in (found, ", ".join(item.genres)) if part)
        lines.append(f"  {place:>3} {_cut(item.title):<{TITLE_WIDTH}} {' '.join(scores)}  {why}".rstrip())
        if reasons is not None and reasons[place - 1]:
            because = ", ".join(f"{reason.title} (+{reason.lift:.2f})" for reason in reasons[place - 1])
            lines.append(f"  {'':>3}   because of {because}")
    lines += ["", *(f"  {name:<5} {meanings[name]}" for name in columns)]
    if pool is not None and len(answer.items) > pool:
        lines.append(f"  –     after place {pool} the reranker leaves the order as it was before it")
    if any("final" not in item.scores for item in answer.items[:pool]):
        lines.append("  –     not chosen, and in the list because it must be")
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
