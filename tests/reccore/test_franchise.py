"""Franchises by titles."""

from __future__ import annotations

import numpy as np
import pytest

from reccore.franchise import franchise_codes, franchise_key


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("Rocky III", "rocky"),
        ("Godfather: Part II, The", "godfather"),
        ("Godfather, The", "godfather"),
        ("Back to the Future Part III", "back to the future"),
        ("Naked Gun 33 1/3: The Final Insult", "naked gun"),
        ("Star Trek VI: The Undiscovered Country", "star trek"),
        ("City of Lost Children, The (Cité des enfants perdus, La)", "city of lost children"),
        ("Die Hard 2 (1990)", "die hard"),
        ("Toy Story", "toy story"),
        ("2001: A Space Odyssey", "2001"),
        ("I, Robot", "i robot"),
        ("", ""),
    ],
)
def test_titles_of_a_franchise(title: str, key: str) -> None:
    assert franchise_key(title) == key


def test_only_films_that_share_a_key_form_a_franchise() -> None:
    titles = np.array(["Rocky", "Alien", "Rocky III", "", "Alien 3", "Heat", ""], dtype=object)
    assert franchise_codes(titles).tolist() == [2, 1, 2, 0, 1, 0, 0]
