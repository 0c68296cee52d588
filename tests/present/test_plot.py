"""Plots and amounts: what a reader would measure on them is what was given."""

from hypothesis import given
from hypothesis import strategies as st

from console.present.amounts import amount, bar, change, milliseconds, percent
from console.present.cells import width
from console.present.plot import Bar, nice, plot

values = st.lists(st.floats(0, 1e12, allow_nan=False), max_size=300)


@given(values, st.integers(10, 220), st.integers(1, 12))
def test_a_plot_never_leaves_its_room(numbers, cells, height):
    drawn = plot([Bar(f"{at}h", value) for at, value in enumerate(numbers)], cells, height)
    assert 1 <= len(drawn.rows) <= height
    for scale, line in drawn.rows:
        assert width(scale) + width(line) <= max(cells, width(scale) + 1)
    assert width(drawn.axis) <= max(cells, 12)


@given(values, st.integers(1, 10))
def test_something_is_never_drawn_as_nothing_nor_nothing_as_something(numbers, height):
    numbers = numbers[:40]
    drawn = plot([Bar("", value) for value in numbers], 60, height)
    bottom = drawn.rows[-1][1].ljust(40)
    size = max(1, min(8, (60 - width(drawn.rows[0][0])) // max(1, len(numbers))))
    for at, value in enumerate(numbers):
        if size == 1 or at * size < len(bottom):
            assert (bottom[at * size : at * size + 1].strip() != "") == (value > 0)


def test_the_highest_bar_touches_the_line_that_is_its_value():
    drawn = plot([Bar("", 300.0), Bar("", 100.0), Bar("", 0.0)], 40, 3)
    assert [scale.strip() for scale, _ in drawn.rows] == ["300 ┤", "200 ┤", "100 ┤"]
    assert drawn.rows[0][1].startswith("█")
    assert drawn.rows[1][1].count("█") < drawn.rows[2][1].count("█")


@given(st.floats(0, 1e15, allow_nan=False))
def test_the_scale_ends_above_the_highest_by_less_than_twice_and_a_half(top):
    assert top <= nice(top) * (1 + 1e-9)
    assert top < 1e-9 or nice(top) < top * 2.5


def test_where_bars_share_a_cell_the_largest_is_drawn():
    burst = [Bar("", 100.0 if at == 333 else 1.0) for at in range(700)]
    assert "█" in plot(burst, 60, 2).rows[0][1]


@given(st.integers(0, 10**11))
def test_an_amount_takes_few_cells_and_keeps_two_digits(value):
    said = amount(value)
    assert len(said) <= 7
    units = {"k": 10**3, "M": 10**6, "G": 10**9}
    number, _, unit = said.replace(",", "").partition(" ")
    assert abs(float(number) * units.get(unit, 1) - value) <= 0.06 * max(1, value)


@given(st.floats(0, 100), st.floats(0.001, 100), st.integers(0, 30))
def test_a_bar_never_leaves_its_cells(part, whole, cells):
    assert len(bar(part, whole, cells)) <= cells


def test_shares_changes_and_times_are_as_people_say_them():
    assert percent(0, 0) == ""
    assert percent(32, 1000) == "3.2 %"
    assert percent(5, 5) == "100 %"
    assert change(280, 100) == "+180 %"
    assert change(88, 100) == "-12 %"
    assert change(5, 0) == "new"
    assert change(0, 0) == ""
    assert milliseconds(0.2) == "<1 ms"
    assert milliseconds(85) == "85 ms"
    assert milliseconds(1900) == "1.9 s"
    assert milliseconds(130_000) == "2m10s"
