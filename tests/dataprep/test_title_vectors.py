"""Vectors of titles: similarity, determinism, and zero rows for unknown titles."""

from __future__ import annotations

import numpy as np

from dataprep.title_vectors import SIZE, title_vectors

TITLES = np.array(
    ["Toy Story", "Toy Story 2", "Alien", "Aliens", "Amélie", "Amelie's Return", "", "Qqq", "Toys"], dtype=object
)


def test_rows_are_unit_vectors_or_zero() -> None:
    vectors = title_vectors(TITLES)
    assert vectors is not None
    assert (vectors.shape, vectors.dtype) == ((9, SIZE), np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 1, 1, 1, 0, 0, 1], atol=1e-5)  # "" and "Qqq" share no n-gram


def test_similar_titles_have_similar_vectors() -> None:
    vectors = title_vectors(TITLES, size=6)
    assert vectors is not None
    alike = vectors @ vectors.T
    for one, other in ((0, 1), (2, 3), (4, 5)):  # accents do not count
        np.fill_diagonal(alike, -1)
        assert alike[one].argmax() == other
    assert abs(alike[0, 4]) < 0.1


def test_at_full_rank_cosines_are_those_of_the_tfidf_vectors() -> None:
    """Titles with the same n-grams have a cosine of 1, titles without common n-grams 0."""
    vectors = title_vectors(np.array(["abcd", "ABCD", "zzzz", "zzzz"], dtype=object))
    assert vectors is not None
    np.testing.assert_allclose(vectors @ vectors.T, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], atol=1e-5)
    assert (vectors[:, 4:] == 0).all()  # beyond the rank


def test_the_same_titles_give_the_same_bytes() -> None:
    one, other = (title_vectors(TITLES) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.tobytes() == other.tobytes()


def test_titles_without_common_ngrams_have_no_vectors() -> None:
    assert title_vectors(np.array(["", ""], dtype=object)) is None
    assert title_vectors(np.array(["abc", "xyz"], dtype=object)) is None
    assert title_vectors(np.array([], dtype=object)) is None
