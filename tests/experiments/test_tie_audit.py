"""The audit of tied events, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataprep.cleaning import tie_hash
from dataprep.prepare import Prepared
from dataprep.protocols import LastThree, LeaveLastN
from evaluation.metrics import per_query_metrics
from experiments import tie_audit
from experiments.tie_audit import audit_ties, with_order
from reccore import Candidates, Interactions, QueryBatch
from tests.helpers import training_data

EVENTS = Interactions(
    user_offsets=np.array([0, 3, 6, 9]),
    item_idx=np.array([0, 3, 2, 1, 0, 4, 3, 2, 1]),
    n_items=5,
    rating=np.arange(9, dtype=np.float32),
    timestamp=np.array([1, 2, 2, 1, 2, 3, 5, 5, 5]),
)


def prepared_of(events: Interactions, tie_order: str = "file") -> Prepared:
    data = training_data(events)
    source = {"dataset": "hand", "tie_order": tie_order}
    return Prepared(LeaveLastN(1).split(events), data.items, data.users, data.vocabulary, source)


def answer(queries: QueryBatch) -> Candidates:
    """Films 4 and 3 for everyone."""
    return Candidates(np.tile([4, 3], (len(queries), 1)), np.tile(np.float32([2, 1]), (len(queries), 1)))


def test_figures_by_hand() -> None:
    audit = audit_ties(prepared_of(EVENTS), "test", "mine", answer)
    reported, _, by_id = audit.orders
    # In the file's order the targets are 2, 4 and 1; by id they are 3, 4 and 3, and the last user's 3 was a fit event.
    assert (reported.order, reported.other_targets, reported.learnt) == ("file", 0.0, 0.0)
    assert (reported.ndcg, reported.hit_rate) == pytest.approx((1 / 3, 1 / 3))
    assert (by_id.order, by_id.other_targets, by_id.learnt) == ("id", pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (by_id.ndcg, by_id.hit_rate) == pytest.approx(((1 + 2 / np.log2(3)) / 3, 1.0))
    line = audit.line()
    assert line.startswith("Order of ties, NDCG@10/HitRate@10 of mine: file 0.3333/0.3333 (reported); hash 0.")
    assert line.endswith("id 0.7540/1.0000 (66.7% of the targets differ, 33.3% were learnt from).")
    valid = audit_ties(prepared_of(EVENTS), "valid", "mine", answer).orders[2]
    assert valid.other_targets == pytest.approx(1 / 3)  # 2 in place of 3; the last user's 2 stays


def test_another_order_can_give_a_user_another_number_of_targets() -> None:
    """Under last_three a film is a target if it is rated above 2; only the first user has ties."""
    events = Interactions(
        user_offsets=np.array([0, 7, 13]),
        item_idx=np.array([0, 1, 6, 5, 4, 3, 2, 0, 1, 2, 3, 4, 5]),
        n_items=7,
        rating=np.float32([5, 5, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5, 1]),
        timestamp=np.array([1, 1, 2, 2, 2, 2, 2, 1, 2, 3, 4, 5, 6]),
    )
    data = replace(prepared_of(events), split=LastThree().split(events))
    found = {figures.order: figures for figures in audit_ties(data, "test", "mine", answer).orders}
    numbers = []
    for order in ("file", "id"):
        ordered = events if order == "file" else with_order(events, data.vocabulary, "id")
        holdout = LastThree().split(ordered).test()
        numbers.append(len(holdout))
        figures = per_query_metrics(answer(holdout.queries), holdout, (10,))
        assert found[order].ndcg == pytest.approx(figures["ndcg@10"].mean())
        assert found[order].hit_rate == pytest.approx(figures["hit_rate@10"].mean())
    assert numbers == [5, 3]


def test_orders_are_those_of_sorted_tuples() -> None:
    data = prepared_of(EVENTS)
    for order in ("id", "hash"):
        found = with_order(EVENTS, data.vocabulary, order)  # type: ignore[arg-type]
        rows = []
        for user in range(3):
            at = range(EVENTS.user_offsets[user], EVENTS.user_offsets[user + 1])
            raw_user = data.vocabulary.users.decode(np.array([user]))
            keys = []
            for event in at:
                movie = data.vocabulary.items.decode(EVENTS.item_idx[[event]])
                key = int(movie[0]) if order == "id" else int(tie_hash(raw_user, movie)[0])
                keys.append((int(EVENTS.timestamp[event]), key, event))  # type: ignore[index]
            rows += [event for _, _, event in sorted(keys)]
        assert found.item_idx.tolist() == EVENTS.item_idx[rows].tolist()
        assert found.rating.tolist() == [float(event) for event in rows]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="cannot be sorted by file"):
        with_order(EVENTS, data.vocabulary, "file")


def test_hashed_data_has_two_orders_and_data_without_times_none() -> None:
    hashed = with_order(EVENTS, prepared_of(EVENTS).vocabulary, "hash")
    orders = audit_ties(prepared_of(hashed, "hash"), "test", "mine", answer).orders
    assert [figures.order for figures in orders] == ["hash", "id"]
    nothing = audit_ties(prepared_of(replace(EVENTS, timestamp=None)), "test", "mine", answer)
    assert nothing.line() == "Order of ties: no times, no ties."
    assert nothing.to_dict() == {"system": "mine", "orders": [], "drawn": None}


def test_only_users_with_ties_are_asked_again() -> None:
    """The second user has no ties, the first the same order by both; figures that are known are not measured again."""
    asked: list[list[int]] = []

    def noting(queries: QueryBatch) -> Candidates:
        asked.append(queries.user_idx.tolist())
        return answer(queries)

    data = prepared_of(with_order(EVENTS, prepared_of(EVENTS).vocabulary, "hash"), "hash")
    plain = audit_ties(data, "test", "mine", noting)
    assert asked == [[0, 1, 2], [2]]
    test = data.split.test()
    measured = per_query_metrics(answer(test.queries), test, (10,))
    assert audit_ties(data, "test", "mine", noting, measured=measured) == plain
    assert asked[2:] == [[2]]


def test_of_many_users_the_same_ones_are_drawn_for_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tie_audit, "USERS_AUDITED", 2)
    asked: list[int] = []

    def noting(queries: QueryBatch) -> Candidates:
        asked.extend(queries.user_idx.tolist())
        return answer(queries)

    data = prepared_of(EVENTS)
    drawn = audit_ties(data, "test", "mine", noting)
    users = np.array(sorted(set(asked)))
    assert len(users) == 2
    assert "of mine for 2 users drawn at random: file" in drawn.line()
    assert drawn.to_dict()["drawn"] == 2
    test = data.split.test()
    measured = per_query_metrics(answer(test.queries), test, (10,))
    assert audit_ties(data, "test", "mine", answer, measured=measured) == drawn
    assert audit_ties(data, "test", "mine", answer, users=users) == replace(drawn, drawn=None)
