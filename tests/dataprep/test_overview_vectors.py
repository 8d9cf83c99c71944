"""Vectors of overviews by words, and by the sentence encoder where it is installed."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from dataprep.overview_vectors import SENTENCE_SIZE, SIZE, has_sentence_encoder, overview_vectors, sentence_vectors

COP, DETECTIVE, LOVE = (
    "A cop hunts a serial killer in the city.",
    "A detective chases a murderer.",
    "Two teenagers fall in love over a summer.",
)


def test_words_in_common_make_texts_alike() -> None:
    texts = np.array(["cop hunts thief", "thief flees cop", "love in summer", "summer of love", "", "else"], object)
    vectors = overview_vectors(texts)
    assert vectors is not None
    assert (vectors.shape, vectors.dtype) == ((6, SIZE), np.float32)
    expected = np.kron(np.diag([1, 1, 0]), np.ones((2, 2)))
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


def test_characters_stand_for_words_where_no_blanks_part_them() -> None:
    vectors = overview_vectors(np.array(["警察追捕小偷", "小偷与警察", "夏天的爱情", "爱情故事"], dtype=object))
    assert vectors is not None
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.9
    assert alike[2, 3] > 0.9
    assert abs(alike[0, 2]) < 0.1


def test_a_word_of_one_text_alone_tells_nothing() -> None:
    assert overview_vectors(np.array(["a cop", "two lovers", ""], dtype=object)) is None


def test_what_all_texts_say_weighs_least() -> None:
    texts = ["the cop", "the cop", "the love", "the love", *["the"] * 20]
    vectors = overview_vectors(np.array(texts, dtype=object))
    assert vectors is not None
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[2] < 0.3


@pytest.mark.skipif(not has_sentence_encoder(), reason="the optional package wordllama is not installed")
def test_sentences_of_one_meaning_without_a_common_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # nothing is fetched
    vectors = sentence_vectors(np.array([COP, DETECTIVE, LOVE, "", COP], dtype=object))
    assert (vectors.shape, vectors.dtype) == ((5, SENTENCE_SIZE), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 1], atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2
    np.testing.assert_allclose(vectors[4], vectors[0], atol=1e-6)
