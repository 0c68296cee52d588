from console.parsing.suggest import alike, suggest

NOUNS = ["grant", "lock", "partner", "point", "pilot", "price"]


def test_a_slip_of_a_letter_or_two_names_what_was_meant():
    assert [suggest(word, NOUNS) for word in ("granst", "lok", "parnter")] == [
        "grant", "lock", "partner",
    ]  # fmt: skip


def test_what_is_like_nothing_is_not_guessed():
    assert [suggest(word, NOUNS) for word in ("", "x", "zzz")] == ["", "", ""]
    assert suggest("grant", []) == ""


def test_several_are_named_the_likest_first():
    assert alike("pilt", NOUNS, 2) == ["pilot", "point"]
