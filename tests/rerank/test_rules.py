"""Every rule by hand, what gives way where rules cannot be met, and random lists against a plain twin."""

from __future__ import annotations

import numpy as np
import pytest

from reccore import Candidates, ConfigError, ItemTable
from rerank.rules import Rules
from tests.rerank.lists import candidates_of, no_history, vocabulary

# title, year, genres (0 = Drama, 1 = Comedy, 2 = Horror)
FILMS: list[tuple[str, int, list[int]]] = [
    ("Alien", 1979, [2]),
    ("Aliens", 1986, [2]),
    ("Alien 3", 1992, [2]),
    ("Rocky", 1976, [0]),
    ("Rocky II", 1979, [0]),
    ("Clue", 1985, [1]),
    ("Big", 1988, [0, 1]),
    ("Scream", 1996, [2]),
    ("Fargo", 1996, [0]),
    ("Untitled", 0, []),
]


def catalogue(films: list[tuple[str, int, list[int]]] = FILMS) -> ItemTable:
    return ItemTable(
        len(films),
        title=np.array([title for title, _, _ in films], dtype=object),
        year=np.array([year for _, year, _ in films], dtype=np.int64),
        genre_names=("Drama", "Comedy", "Horror"),
        genre_offsets=np.cumsum([0] + [len(genres) for _, _, genres in films]).astype(np.int64),
        genre_idx=np.array([g for _, _, genres in films for g in genres], dtype=np.int64),
    )


def order(items: list[int], k: int | None = None, **config: object) -> list[int]:
    reranker = Rules(config).fit(catalogue(), None, vocabulary(len(FILMS)))
    found = reranker.rerank(no_history(1), candidates_of([items]), k or len(items))
    found.validate()
    return [i for i in found.item_idx[0].tolist() if i >= 0]


def test_without_rules_the_order_stays() -> None:
    assert order([3, 1, 0, 9, 2]) == [3, 1, 0, 9, 2]


def test_genre_caps_for_all_and_by_name() -> None:
    assert order([0, 1, 7, 3, 5], k=3, max_per_genre=1) == [0, 3, 5]
    assert order([0, 1, 7, 3, 8, 5], k=4, max_per_genre={"Horror": 1}) == [0, 3, 8, 5]
    assert order([0, 3, 5], k=2, max_per_genre={"Horror": 0}) == [3, 5]
    assert order([6, 3, 5, 0], k=2, max_per_genre=1) == [6, 0]  # a drama and comedy counts for both


def test_decade_and_franchise_caps() -> None:
    assert order([1, 5, 6, 7, 3], k=3, max_per_decade=1) == [1, 7, 3]
    assert order([9, 1, 5], k=2, max_per_decade=1) == [9, 1]  # the unknown year is no decade
    assert order([0, 2, 3, 4, 5], k=3, max_per_franchise=1) == [0, 3, 5]


def test_sequels_are_not_neighbours() -> None:
    assert order([3, 4, 0, 2, 5], no_adjacent_sequels=True) == [3, 0, 4, 2, 5]
    assert order([3, 4, 0, 2, 5]) == [3, 4, 0, 2, 5]


def test_share_of_new_films_holds_for_every_beginning_of_the_list() -> None:
    # The latest year is 1996, so that films from 1994 on are new: 7 and 8.
    assert order([0, 1, 3, 5, 7, 8], min_new_share=0.5) == [0, 7, 1, 8, 3, 5]
    assert order([0, 1, 3, 5, 7, 8, 2], k=4, min_new_share=0.5, new_years=5) == [0, 7, 1, 8]
    assert order([0, 1, 2, 5], k=2, min_new_share=0.5, new_years=5) == [0, 2]  # 1992 counts now
    # ⌊10 · 0.3⌋ is 3 although 10 · 0.3 is a little less than 3 in binary.
    ten = [0, 1, 2, 3, 4, 5, 6, 9, 7, 8]
    assert order(ten, min_new_share=0.1)[9] == 8
    assert order(ten, k=5, min_new_share=0.3)[3] == 7


def test_blocked_films_and_genres_never_appear() -> None:
    assert order([0, 1, 3, 5], block=(0, 10, 12345)) == [3, 5]  # raw ids; 12345 is not in the catalogue
    assert order([0, 6, 3, 5], block_genres=("Comedy",)) == [0, 3]
    assert order([5, 6], block_genres=("Comedy",)) == []


@pytest.mark.parametrize(("unmet", "expected"), [("relax", [0, 3, 1, 7]), ("shorten", [0, 3])])
def test_a_rule_that_cannot_be_met_gives_way_or_ends_the_list(unmet: str, expected: list[int]) -> None:
    assert order([0, 1, 7, 3], max_per_genre=1, unmet=unmet) == expected


def test_the_weakest_rule_gives_way_first() -> None:
    # After Alien: Aliens breaks the genre cap and Rocky II nothing but the share of new films.
    assert order([0, 1, 4], k=2, max_per_genre=1, min_new_share=0.5) == [0, 4]
    # Clue breaks the decade's cap, Scream the genre's.
    assert order([1, 5, 7], k=2, max_per_genre=1, max_per_decade=1) == [1, 7]
    # Alien 3 breaks the franchise's cap, Clue the decade's.
    assert order([0, 1, 2, 5], k=3, max_per_decade=1, max_per_franchise=1) == [0, 1, 5]
    # Rocky II follows its own sequel, Alien 3 the franchise's cap.
    assert order([0, 3, 4, 2], k=3, max_per_franchise=1, no_adjacent_sequels=True) == [0, 3, 2]


def plain(
    row: list[int], k: int, *, genre: int, decade: int, franchise: int, share: float, new_years: int
) -> list[int]:
    """The same rules over sets and dictionaries, relaxed one after another."""
    facts = Rules({"max_per_franchise": 1}).fit(catalogue(), None, vocabulary(len(FILMS)))._facts
    assert facts is not None
    latest = max(year for _, year, _ in FILMS)
    chosen: list[int] = []

    def breaks(rule: int, item: int) -> bool:
        _, year, genres = FILMS[item]
        if rule == 1:
            new = [y > latest - new_years for _, y, _ in (FILMS[i] for i in chosen)]
            return sum(new) < int((len(chosen) + 1) * share + 1e-9) and not year > latest - new_years
        if rule == 2:
            return any(sum(g in FILMS[i][2] for i in chosen) >= genre for g in genres)
        if rule == 3:
            return year > 0 and sum(FILMS[i][1] // 10 == year // 10 for i in chosen) >= decade
        own = facts.franchise[item]
        if rule == 4:
            return own > 0 and sum(facts.franchise[i] == own for i in chosen) >= franchise
        return own > 0 and bool(chosen) and facts.franchise[chosen[-1]] == own

    while len(chosen) < min(k, len(row)):
        for relaxed in range(6):
            fitting = [i for i in row if i not in chosen and not any(breaks(r, i) for r in range(relaxed + 1, 6))]
            if fitting:
                chosen.append(fitting[0])
                break
    return chosen


def test_random_lists_equal_a_plain_twin() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        row = rng.permutation(len(FILMS))[: rng.integers(1, len(FILMS) + 1)].tolist()
        genre, decade, franchise = (int(n) for n in rng.integers(1, 4, size=3))
        share, new_years, k = (
            float(rng.choice([0.0, 0.3, 0.5, 1.0])),
            int(rng.integers(1, 12)),
            int(rng.integers(1, 11)),
        )
        found = order(
            row,
            k,
            max_per_genre=genre,
            max_per_decade=decade,
            max_per_franchise=franchise,
            min_new_share=share,
            new_years=new_years,
            no_adjacent_sequels=True,
        )
        assert found == plain(row, k, genre=genre, decade=decade, franchise=franchise, share=share, new_years=new_years)


def test_scores_never_rise_and_stay_finite() -> None:
    reranker = Rules({"max_per_genre": 1}).fit(catalogue(), None, vocabulary(len(FILMS)))
    found = reranker.rerank(no_history(1), candidates_of([[0, 1, 3, 5]], [[9, 8, 7, 6]]), 4)
    assert found.item_idx.tolist() == [[0, 3, 5, 1]]
    assert found.score.tolist() == [[9, 7, 6, 6]]
    assert found.features["rank_score"].tolist() == [[9, 7, 6, 8]]


def test_rows_do_not_share_their_counts() -> None:
    reranker = Rules({"max_per_genre": 1}).fit(catalogue(), None, vocabulary(len(FILMS)))
    both: Candidates = reranker.rerank(no_history(2), candidates_of([[0, 1, 3], [0, 1, 3]]), 2)
    assert both.item_idx.tolist() == [[0, 3], [0, 3]]


def test_refuses_rules_about_what_is_not_known() -> None:
    for config, what in (
        ({"max_per_genre": 1}, "genres"),
        ({"block_genres": ["Drama"]}, "genres"),
        ({"max_per_decade": 1}, "years"),
        ({"min_new_share": 0.1}, "years"),
        ({"no_adjacent_sequels": True}, "titles"),
        ({"max_per_franchise": 2}, "titles"),
    ):
        with pytest.raises(ConfigError, match=f"a rule about {what} and the catalogue has none"):
            Rules(config).fit(ItemTable(4), None, vocabulary(4))
    for config in ({"max_per_genre": {"Opera": 1}}, {"block_genres": ["Opera"]}):
        with pytest.raises(ConfigError, match="unknown genres: Opera; known: Drama, Comedy, Horror"):
            Rules(config).fit(catalogue(), None, vocabulary(len(FILMS)))
    for wrong in ({"max_per_genre": 0}, {"min_new_share": 1.5}, {"new_years": 0}, {"unmet": "give_up"}):
        with pytest.raises(ConfigError):
            Rules(wrong)
