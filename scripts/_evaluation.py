"""Options shared by the commands that evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from scripts._cli import Invocation, Lengths
from scripts._input import EventFileSettings

if TYPE_CHECKING:
    from dataprep.readers.own import EventFile
    from experiments.new_users_report import NewUsersResult

R = TypeVar("R")


class EvaluationSettings(EventFileSettings):
    """Options of every evaluation; each gives its own default list lengths."""

    split: Literal["valid", "test"] | None = Field(default=None, description="which held-out events (default: test)")
    test: Path | None = Field(default=None, description="a held-out file of events of your own")
    ks: Lengths
    query_time: bool = Field(default=False, description="queries carry the time of the event to predict")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.split is not None and self.test is not None:
            raise ValueError("--split and --test exclude each other; give one of them")
        self.check_read(self.test, "--test")
        return self

    @property
    def test_file(self) -> EventFile | None:
        """The file of ``--test``."""
        return self.event_file(self.test)


class NewUsersSettings(EvaluationSettings):
    """Options of an evaluation that can also measure users who are absent from training."""

    with_new_users: ClassVar[frozenset[str]] = frozenset({"new_users", "min_rating", "split"})
    """Options that ``--new_users`` reads."""
    new_users: Lengths = Field(
        default=(), description="measure users absent from training after these numbers of events, such as 1,3,5,10"
    )
    min_rating: float | None = Field(default=None, description="with --new_users: lowest rating of a target")

    @model_validator(mode="after")
    def _fits_new_users(self) -> Self:
        if not self.new_users:
            for name in ("min_rating", "short_histories"):
                if getattr(self, name, None) is not None:
                    raise ValueError(f"--{name} belongs to --new_users; add it, or leave out --{name}")
            return self
        unused = self.model_fields_set - self.with_new_users
        if unused:
            raise ValueError(f"--new_users has no use for {', '.join(sorted(unused))}; leave that out")
        return self


def lengths(default: tuple[int, ...]) -> Lengths:
    """The field ``ks`` with its default."""
    ks: Lengths = Field(default=default, description="list lengths, separated by commas")
    return ks


def new_users_data(result: NewUsersResult) -> dict[str, Any]:
    """The results on new users for programs."""
    return {**result.to_dict(), "report": str(result.report)}


def new_users_text(result: NewUsersResult) -> str:
    """The tables on new users for people."""
    return "\n\n".join([result.about, result.table(), result.differences(), f"report: {result.report}"])


def emit_result(
    command: Invocation[Any],
    evaluate: Callable[[], R],
    data: Callable[[R], Mapping[str, Any]],
    text: Callable[[R], str],
) -> None:
    """Evaluate and print the result.

    Raises:
        UnwrittenReport: the report cannot be written; the result is printed before.
    """
    from evaluation.report import UnwrittenReport

    try:
        result = evaluate()
    except UnwrittenReport as error:
        command.emit(data(error.result), text(error.result))
        raise
    command.emit(data(result), text(result))


def metrics_to_show(ks: Sequence[int], shown: Sequence[str]) -> Sequence[str]:
    """``shown``, which needs lists of 10; where 10 is not measured, the first NDCG and every hit rate."""
    return shown if 10 in ks else (f"hit_rate@{ks[0]}", f"ndcg@{ks[0]}", *(f"hit_rate@{k}" for k in ks[1:]))
