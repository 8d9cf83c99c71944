"""Titles as people write them, and what is compared of them."""

from __future__ import annotations

import pytest

from reccore.titles import comparable_title, natural_title, without_article


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Empire Strikes Back, The", "The Empire Strikes Back"),
        ("Fish Called Wanda, A", "A Fish Called Wanda"),
        ("American Werewolf in London, An", "An American Werewolf in London"),
        ("Misérables, Les", "Les Misérables"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La)",
            "The City of Lost Children (La Cité des enfants perdus)",
        ),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Boot, Das (Boat, The)", "Das Boot (The Boat)"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Bye Bye, Love", "Bye Bye, Love"),
        ("Play It Again, Sam", "Play It Again, Sam"),
        ("Tinker, Tailor, Soldier, Spy", "Tinker, Tailor, Soldier, Spy"),
        ("Heat", "Heat"),
        ("", ""),
    ],
)
def test_the_article_goes_in_front(stored: str, shown: str) -> None:
    assert natural_title(stored) == shown
    assert natural_title(shown) == shown


def test_case_accents_punctuation_and_the_article_do_not_count() -> None:
    assert comparable_title("Misérables, Les") == comparable_title("les MISERABLES")
    assert comparable_title("Bug's Life, A") == comparable_title("a bugs life") == comparable_title("A Bug’s Life")
    assert comparable_title("Star Wars: Episode IV - A New Hope") == "star wars episode iv a new hope"
    assert without_article(comparable_title("Matrix, The")) == without_article(comparable_title("matrix")) == "matrix"
    assert without_article("theatre of blood") == "theatre of blood"
