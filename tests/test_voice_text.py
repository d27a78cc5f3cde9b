"""Text of any kind becomes passages: tags, emphasis, sentences, SSML, subtitles; what is wrong is said in a line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from avatar.core.emotion import Emotion
from avatar.core.files import UserError
from avatar.voice.engines import check_scripts
from avatar.voice.passages import Part, Spoken
from avatar.voice.script import read_script, shorten_first
from avatar.voice.subtitles import make_captions, read_subtitles, write_captions
from avatar.voice.tags import CAPTION, MOST, length


def test_tags_hold_from_where_they_stand() -> None:
    first, second, third = read_script("Hello *there* you. [happy:0.7] Good! [pause 0.5s] Look. [look left]")
    assert [(part.text, part.emphasised) for part in first.parts] == [
        ("Hello", False), ("there", True), ("you.", False),
    ]  # fmt: skip
    assert first.parts[0].emotion is None
    assert second.parts[0].emotion == Emotion("happy", 0.7)
    assert (third.pause, third.text, third.parts[0].emotion) == (0.5, "Look.", Emotion("happy", 0.7))


def test_sentences_end_where_they_end() -> None:
    text = "Dr. J. Smith paid 3.50 for 5 * 3 pens, i.e. a lot… Did he?\nYes!\n\nNew “paragraph.” 你好。再见！"
    expected = ["Dr. J. Smith paid 3.50 for 5 * 3 pens, i.e.", "a lot…", "Did he?", "Yes!", "New “paragraph.”"]
    assert [passage.text for passage in read_script(text)] == [*expected, "你好。", "再见！"]


def test_long_text_is_cut_without_loss() -> None:
    words = "one two three, four five; six seven eight nine ten eleven " * 200
    passages = read_script(words)
    assert " ".join(passage.text for passage in passages).split() == words.split()
    assert all(length(passage.text) <= MOST + len(passage.parts) for passage in passages)
    assert all(length(part.text) <= CAPTION for passage in passages for part in passage.parts)
    assert max(length(passage.text) for passage in read_script("好" * 1000)) <= MOST + 5


def test_a_live_answer_begins_with_a_clause() -> None:
    first, second = shorten_first(
        read_script("Well, my dear friend, this is a rather long sentence about nothing."), 40
    )
    assert (first.text, second.text[:7]) == ("Well, my dear friend,", "this is")
    short = read_script("Yes, of course.")
    assert shorten_first(short, 40) == short


def test_ssml() -> None:
    text = (
        "<speak><p>Hi <break time='300ms'/><emphasis>you</emphasis></p><prosody rate='fast'>quick</prosody> "
        "<sub alias='World Wide Web'>WWW</sub> &amp; [sad:0.4] more</speak>"
    )
    passages = read_script(text)
    assert [(one.text, one.pause, one.speed) for one in passages] == [
        ("Hi", 0.0, 1.0), ("you", 0.3, 1.0), ("quick", 0.4, 1.25), ("World Wide Web & more", 0.0, 1.0),
    ]  # fmt: skip
    assert passages[1].parts[0].emphasised
    assert passages[3].parts[-1].emotion == Emotion("sad", 0.4)


def test_subtitles_keep_their_times(tmp_path: Path) -> None:
    for name, text in (
        (
            "a.srt",
            "1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i>\nyou.\n\n2\n00:01:04,250 --> 00:01:06,000\nBye. Now.\n",
        ),
        (
            "a.vtt",
            "WEBVTT\n\n00:01.000 --> 00:02.500 align:left\nHello\nyou.\n\n01:04.250 --> 01:06.000\nBye. Now.\n",
        ),
    ):
        (tmp_path / name).write_text(text)
        passages = read_script(tmp_path / name)
        assert [(one.text, one.start, one.stop) for one in passages] == [
            ("Hello you.", 1.0, 2.5), ("Bye.", 64.25, None), ("Now.", None, 66.0),
        ]  # fmt: skip


def test_captions_are_the_times_of_their_words() -> None:
    texts = [
        "This is a first sentence of some length.",
        "And here a second one, longer than a line,",
        "that goes on.",
        "End.",
    ]
    spoken = [Spoken(Part(text), 2.0 * i, 2.0 * i + 1.9) for i, text in enumerate(texts)]
    captions = list(make_captions(spoken))
    assert " ".join(caption.text for caption in captions).split() == " ".join(texts).split()
    assert captions[0].start == 0.0
    assert captions[-1].stop == 7.9
    assert {caption.start for caption in captions} <= {one.start for one in spoken}
    assert {caption.stop for caption in captions} <= {one.stop for one in spoken}
    assert all(before.stop <= after.start for before, after in pairwise(captions))
    assert all(len(line) <= CAPTION // 2 for caption in captions for line in caption.text.split("\n"))
    again = read_subtitles(write_captions(captions, "srt"), "x")
    assert [one.start for one in again if one.start is not None] == [caption.start for caption in captions]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to say"),
        (" \n ", "nothing to say"),
        ("😀 …", "nothing to say"),
        ("a\n[hapy:0.6] x", "line 2: the tag .hapy:0.6. is not known; did you mean happy"),
        ("[happy:1.6] x", "strength from 0 to 1"),
        ("[happy:lots] x", "strength from 0 to 1"),
        ("[happy x", "is not closed"),
        ("*bold text", "is not closed"),
        ("[look lft] x", "did you mean left"),
        ("[pause 90s] x", "time from 0 to 60 s"),
        ("[1] x", "is not known"),
        ("<speak><foo/></speak>", "<foo> is not supported"),
        ("<speak>a", "no valid SSML"),
        ("<speak><!DOCTYPE x [<!ENTITY a 'b'>]>&a;</speak>", "declares entities"),
        ("<speak>a <prosody rate='9'>b</prosody></speak>", "between 0.5 and 2"),
        ("<speak>a <break strength='storng'/></speak>", "did you mean strong"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_script(text)
    assert "\n" not in str(caught.value)


def test_brackets_and_stars_can_be_said() -> None:
    assert read_script(r"Item \[1\] costs 2 \* 3.")[0].text.replace(" ", "") == "Item[1]costs2*3."


def test_wrong_subtitles(tmp_path: Path) -> None:
    for text, message in (
        ("nothing here", "holds no subtitle"),
        ("00:00:02,000 --> 00:00:01,000\nx\n", "ends before it begins"),
        ("00:00:05,000 --> 00:00:06,000\nx\n\n00:00:01,000 --> 00:00:02,000\ny\n", "begins before the one above"),
    ):
        with pytest.raises(UserError, match=message):
            read_subtitles(text, "a.srt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfa\x00caf\xe9")
    with pytest.raises(UserError, match="UTF-8"):
        read_script(tmp_path / "a.txt")


def test_other_scripts_than_the_languages() -> None:
    with pytest.warns(UserWarning, match="你好"):
        check_scripts(read_script("Hello there, 你好 everybody."), "en-us")
    with pytest.raises(UserError, match="choose its --language"):
        check_scripts(read_script("Привет, как дела?"), "en-us")
    check_scripts(read_script("你好，世界。"), "zh")
