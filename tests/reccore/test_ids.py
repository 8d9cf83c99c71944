"""Raw ids and dense indices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reccore import DataError, IdMap, Vocabulary, parse_raw_id

RAW = st.lists(st.integers(-(2**63), 2**63 - 1))


@given(known=RAW, given_ids=RAW)
def test_encode_is_the_rank_and_decode_undoes_it(known: list[int], given_ids: list[int]) -> None:
    ids = IdMap.of(np.array(known, dtype=np.int64))
    place = {raw: rank for rank, raw in enumerate(sorted(set(known)))}
    assert len(ids) == len(place)
    assert ids.encode(np.array(given_ids, dtype=np.int64)).tolist() == [place.get(raw, -1) for raw in given_ids]
    assert ids.decode(ids.encode(np.array(known, dtype=np.int64))).tolist() == known


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])))


@given(known=TEXTS, given_ids=TEXTS)
def test_text_ids_are_ranked_and_stored(known: list[str], given_ids: list[str]) -> None:
    ids = IdMap.of(np.array(known, dtype=object))
    place = {raw: rank for rank, raw in enumerate(sorted(set(known)))}
    assert ids.encode(np.array(given_ids, dtype=object)).tolist() == [place.get(raw, -1) for raw in given_ids]
    if known:
        assert ids.decode(ids.encode(np.array(known, dtype=object))).tolist() == known
        assert IdMap.from_arrays("users", ids.to_arrays("users")).ids.tolist() == ids.ids.tolist()


def test_numbers_and_their_texts_are_the_same_ids() -> None:
    whole, text = IdMap.of(np.array([7, 12])), IdMap.of(np.array(["12", "7", "a", "007"], dtype=object))
    assert whole.encode(np.array(["12", "07", "a", "9" * 20, "7"])).tolist() == [1, -1, -1, -1, 0]
    assert text.encode(np.array([7, 12, 13])).tolist() == [2, 1, -1]
    assert text.raw_id(0) == "007"
    assert whole.raw_id(1) == 12
    assert IdMap.of(np.array([7]), np.array(["a"], dtype=object)).ids.tolist() == ["7", "a"]
    assert parse_raw_id("12") == 12
    assert [parse_raw_id(text) for text in ("012", "1.0", "9" * 20, "x")] == ["012", "1.0", "9" * 20, "x"]


def test_of_joins_arrays_and_keeps_shapes() -> None:
    ids = IdMap.of(np.array([30, 10]), np.array([20, 10]))
    assert ids.ids.tolist() == [10, 20, 30]
    assert ids.encode([[10, 11], [30, 20]]).tolist() == [[0, -1], [2, 1]]
    assert IdMap.of().encode([[1]]).tolist() == [[-1]]


@pytest.mark.parametrize("idx", [-1, 3])
def test_decode_refuses_indices_outside(idx: int) -> None:
    with pytest.raises(IndexError):
        IdMap.of(np.array([1, 2, 3])).decode([idx])


@pytest.mark.parametrize("ids", [np.array([1, 1]), np.array([1.0, 2.0]), np.array([[1, 2]])])
def test_ids_must_be_distinct_whole_numbers(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ids must be"):
        IdMap(ids)


def test_fingerprints_differ_between_vocabularies() -> None:
    def fingerprint(users: list[int], items: list[int]) -> str:
        return Vocabulary(IdMap.of(np.array(users)), IdMap.of(np.array(items))).fingerprint

    assert fingerprint([1, 2], [3]) == fingerprint([2, 1], [3])
    others = [([1], [2, 3]), ([1, 2], [4]), ([3], [1, 2]), ([1, 2, 3], [])]
    assert len({fingerprint([1, 2], [3]), *(fingerprint(*other) for other in others)}) == 5


def test_fingerprints_of_text_ids_differ() -> None:
    def fingerprint(*users: str) -> str:
        items = IdMap.of(np.array([1]))
        return Vocabulary(IdMap.of(np.array(users, dtype=object)), items).fingerprint

    assert fingerprint("a", "b") == fingerprint("b", "a")
    assert len({fingerprint("a", "bc"), fingerprint("ab", "c"), fingerprint("abc"), fingerprint("a", "b", "c")}) == 4


@given(
    st.lists(st.integers(-50, 50), unique=True, max_size=20),
    st.lists(st.integers(-50, 50), unique=True, max_size=20),
    st.booleans(),
)
def test_ids_that_come_later_leave_every_index_as_it_was(known: list[int], later: list[int], text: bool) -> None:
    """Held to a dictionary."""
    first, second = ([str(i) for i in part] if text else part for part in (known, later))
    kind = object if text else np.int64
    old = IdMap.of(np.array(first, dtype=kind))
    grown = old.grown(np.array(second, dtype=kind))
    want = {raw: at for at, raw in enumerate([*old.ids.tolist(), *sorted(set(second) - set(first))])}
    assert {raw: int(grown.encode(raw)) for raw in want} == want
    assert grown.encode(1_000) == -1
    again = IdMap.from_arrays("users", grown.to_arrays("users"))
    assert again.decode(np.arange(len(want))).tolist() == list(want)
    low, high = ("1", "4") if text else (1, 4)
    assert [again.raw_id(i) for i in again.within(low, high).tolist()] == sorted(
        raw for raw in want if low <= raw < high
    )


def test_text_does_not_join_whole_numbers_and_whole_numbers_join_text() -> None:
    text = IdMap.of(np.array(["b", "7"], dtype=object))
    assert text.grown(np.array([7, 12])).ids.tolist() == ["7", "b", "12"]
    with pytest.raises(DataError, match="'b' is none"):
        IdMap.of(np.array([7])).grown(np.array(["b"], dtype=object))
    with pytest.raises(ValueError, match="distinct"):
        IdMap(np.array([3, 1, 3]))
