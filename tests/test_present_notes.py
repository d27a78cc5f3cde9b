"""Notes of slides: what is said, what tags ask for, and when."""

from __future__ import annotations

import pytest

from avatar.core.emotion import Emotion
from avatar.core.files import UserError
from avatar.presenter.directions import Directed, Direction, read_directions, shares
from avatar.presenter.notes import sayable
from avatar.presenter.scenes import Scene
from avatar.voice.passages import Part, Spoken


def read(notes: str, *, paragraphs: bool = False) -> Directed:
    return read_directions(Scene(7, "title", notes, paragraphs=paragraphs), "a.pptx, slide 7")


def said(directed: Directed) -> list[str]:
    return [passage.text for passage in directed.passages]


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ("**Bold** and _soft_ words", "*Bold* and *soft* words"),
        ("see [the report](https://example.com/a_b?c=d)", "see the report"),
        ("at https://www.example.com/x/y today", "at example.com today"),
        ("# Heading\n- one\n2. two!", "Heading.\none.\ntwo!"),
        ("snake_case and 2*3*4 stay", "snake_case and 2*3*4 stay"),
        ("`code` ~~gone~~<br>", "code "),
        ("| a | b |\n|---|---|\n| c | d |", "a, b.\n\nc, d."),
        ("- ends in a tag [next]", "ends in a tag. [next]"),
        ("\uf0b7 symbol fonts", " symbol fonts"),
    ],
)
def test_markdown_is_read_sensibly(notes: str, words: str) -> None:
    assert sayable(notes) == words


def test_lines_of_powerpoint_are_sentences() -> None:
    assert said(read("First point\vSecond point", paragraphs=True)) == ["First point.", "Second point."]
    assert said(read("First line\ngoes on.")) == ["First line goes on."]


def test_brackets_that_are_no_tags_are_text() -> None:
    assert said(read("See [1] and [the big table], \\[next\\].")) == ["See [1] and [the big table], [next]."]


def test_tags_are_never_said_and_stand_where_they_are_due() -> None:
    directed = read("[layout: side] One two [next] three. [left] [pause 2s] Four [emotion: sad:0.4] five.[show: a.png]")
    assert [one.kind for one in directed.directions] == ["layout", "next", "side", "show"]
    assert directed.directions[3] == Direction("show", "a.png")
    assert directed.opening == (0,)
    assert said(directed) == ["One two three.", "Four five."]
    assert directed.passages[1].pause == 2.0
    parts = [part for passage in directed.passages for part in passage.parts]
    assert parts[-1].emotion == Emotion("sad", 0.4)
    spoken = [Spoken(part, float(index), index + 0.5) for index, part in enumerate(parts)]
    assert [part.text for part in parts] == ["One two", "three.", "Four", "five."]
    # the side changes when the words before the pause end, the picture with the last word's end
    assert directed.times(spoken, 9.0) == {0: 0.0, 1: 1.0, 2: 1.5, 3: 3.5}
    assert shares(directed)[0] == 0.0
    assert 0 < shares(directed)[1] < shares(directed)[2] < shares(directed)[3] == 1.0


def test_a_part_that_is_cut_keeps_its_cue_at_its_first_word() -> None:
    directed = read("Start. [next] " + "many words, " * 20 + "end.")
    parts = [part for passage in directed.passages for part in passage.parts]
    assert sum(bool(part.begins) for part in parts) > 1, "long parts are cut"
    spoken = [Spoken(part, float(index), index + 0.5) for index, part in enumerate(parts)]
    assert directed.times(spoken, 99.0) == {0: 1.0}


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ("a\nb [nxt]", r"a\.pptx, slide 7, line 2: the tag \[nxt\] is not known; did you mean next\?"),
        ("[layout: cornr]", r"slide 7, line 1: .*'cornr' is no layout; did you mean corner\?"),
        ("[emotion: hapy]", r"'hapy' is no emotion; did you mean happy\?"),
        ("[next: 3]", r"takes no value; write \[next\]"),
        ("[show]", r"names no picture; write \[show: picture\.png\]"),
        ("[pause soon]", r"\[pause soon\]: 'soon' must be a time"),
        ("[next", "is not closed"),
        ("word " * 50_000, "have 250000 letters"),
    ],
)
def test_mistakes_name_slide_and_line(notes: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(notes)


def test_many_scripts_and_emoji_pass_through() -> None:
    words = ["שלום עולם.", "مرحبا؟", "你好。", "Grüße 🎉 an alle."]
    assert said(read("\n\n".join(words))) == words


def test_cues_survive_marks_and_emphasis() -> None:
    parts = read("*Look* [next]: here.").passages[0].parts
    assert parts[0] == Part("Look", emphasised=True)
    assert (parts[-1].text, parts[-1].begins) == (": here.", (0,))
