"""What is typed ahead waits for the dialogue that it was typed for."""

from textual.events import Key, Paste

from console.tui.app.key_queue import KeyQueue


def a_queue(*events):
    queue = KeyQueue()
    for event in events:
        queue.put(event)
    return queue


def test_keys_and_pastes_come_out_in_the_order_in_which_they_came():
    events = [Key("a", "a"), Paste("text"), Key("b", "b")]
    queue = a_queue(*events)
    assert list(queue.ready()) == events
    assert list(queue.ready()) == []


def test_keys_behind_the_one_that_opens_a_dialogue_wait_until_the_dialogue_takes_them():
    first, second, third = Key("R", "R"), Key("x", "x"), Key("enter", None)
    queue, dialogue = a_queue(first, second), object()
    handled = []
    for event in queue.ready():
        handled.append(event)
        queue.hold_for(dialogue)
    queue.put(third)
    assert handled == [first]
    assert list(queue.ready()) == []
    assert queue.release(dialogue)
    assert list(queue.ready()) == [second, third]


def test_only_the_dialogue_that_keys_are_held_for_releases_them():
    key, opening, other = Key("x", "x"), object(), object()
    queue = a_queue(key)
    queue.hold_for(opening)
    assert not queue.release(other)
    assert list(queue.ready()) == []
    assert queue.release(opening)
    assert not queue.release(opening)
    assert list(queue.ready()) == [key]
