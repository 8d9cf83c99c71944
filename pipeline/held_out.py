"""A user's request as the evaluation asks it: with the history before the held-out events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataprep.prepare import Prepared
from pipeline.history import encode_ids
from pipeline.inference import Pipeline
from pipeline.stages import Request
from reccore import DataError, Exclusions, RawId


def held_out_request(
    pipeline: Pipeline,
    prepared: Prepared,
    split: str,
    user: RawId,
    movie: RawId,
    *,
    k: int,
    exclude: Sequence[RawId] = (),
) -> Request:
    """The query of a user in the validation or test split.

    Where every target has a query of its own, it is the one whose target is the film, or else the user's last one.

    Args:
        pipeline: that answers; its vocabulary is that of ``prepared``.
        prepared: the data that the pipeline was fitted on.
        split: ``valid`` or ``test``.
        user: raw id.
        movie: raw id of the film in question.
        k: length of the list.
        exclude: raw movie ids not to offer, in addition to the history.

    Raises:
        DataError: the user has no event in that split.
    """
    choose = prepared.split.test if split == "test" else prepared.split.valid
    holdout = choose(query_time=pipeline.query_time)
    rows = np.flatnonzero(holdout.queries.user_idx == encode_ids("user", [user], prepared.vocabulary.users)[0])
    if not len(rows):
        raise DataError(
            f"user {user} has no event in the {split} split of {prepared.split.protocol}; "
            "leave out --split to ask with everything known of the user"
        )
    items = encode_ids("movie", [movie, *exclude], pipeline.vocabulary.items)
    row_of_target = np.repeat(np.arange(len(holdout)), holdout.target_counts)
    of_the_film = np.intersect1d(row_of_target[holdout.target_idx == items[0]], rows)
    query = holdout.queries.select([of_the_film[0] if len(of_the_film) else rows[-1]])
    excluded = np.concatenate([query.history_idx, items[1:]])
    return Request(query, k, Exclusions(np.array([0, len(excluded)], dtype=np.int64), excluded))
