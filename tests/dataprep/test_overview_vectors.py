"""Vectors of overviews from words, and from the sentence encoder if it is installed."""

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


def test_texts_with_common_words_are_similar() -> None:
    texts = np.array(["cop hunts thief", "thief flees cop", "love in summer", "summer of love", "", "else"], object)
    vectors = overview_vectors(texts)
    assert vectors is not None
    assert (vectors.shape, vectors.dtype) == ((6, SIZE), np.float32)
    expected = np.kron(np.diag([1, 1, 0]), np.ones((2, 2)))
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


def test_single_characters_are_words_in_scripts_without_spaces() -> None:
    vectors = overview_vectors(np.array(["警察追捕小偷", "小偷与警察", "夏天的爱情", "爱情故事"], dtype=object))
    assert vectors is not None
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.9
    assert alike[2, 3] > 0.9
    assert abs(alike[0, 2]) < 0.1


def test_a_word_of_a_single_text_is_ignored() -> None:
    assert overview_vectors(np.array(["a cop", "two lovers", ""], dtype=object)) is None


def test_words_of_all_texts_have_the_least_weight() -> None:
    texts = ["the cop", "the cop", "the love", "the love", *["the"] * 20]
    vectors = overview_vectors(np.array(texts, dtype=object))
    assert vectors is not None
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[2] < 0.3


@pytest.mark.skipif(not has_sentence_encoder(), reason="the optional package wordllama is not installed")
def test_sentences_of_equal_meaning_without_common_words_are_similar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # no download
    vectors = sentence_vectors(np.array([COP, DETECTIVE, LOVE, "", COP], dtype=object))
    assert (vectors.shape, vectors.dtype) == ((5, SENTENCE_SIZE), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 1], atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2
    np.testing.assert_allclose(vectors[4], vectors[0], atol=1e-6)
