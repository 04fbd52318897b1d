from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.text.abc import bars, heading, share_of_full_bars


def durations(music, meter="4/4", unit="1/8"):
    return [bar.duration for bar in bars(f"M:{meter}\nL:{unit}\nK:C\n{music}")]


@pytest.mark.parametrize(
    ("music", "eighths"),
    [
        ("CDEF GABc", 8),
        ("^C_D=E^^F__G c'C,c''C,,", 9),  # 4.1, 4.2
        ("A2 A3/2 A/2 A/ A// A3/4", 2 + 1.5 + 0.5 + 0.5 + 0.25 + 0.75),  # 4.3
        ("A16", 16),
        ("A>B c<d", 4),  # 4.4
        ("A2>>B2 A>>>B", 6),
        ("A>  {g}B", 2),
        ("z2 x2 z", 5),  # 4.5
        ("(3ABc (2AB (4ABcd", 2 + 3 + 3),  # 4.13
        ("(3A2B2c2", 4),
        ("(3:2:2G4c2", 4),  # the standard's example: 4 and 2 in the time of 4 eighths
        ("(3::2G4c2", 4),
        ("(3:2G4c2A2B", 16 / 3 + 1),
        ("(3z[CE]A>B", 2 / 3 + 2 / 3 + 1 + 0.5),
        ("(5ABcde (6ABcdef (7ABcdefg", 2 + 2 + 2),
        ("[CEG]2 [C2E2G2] [C2E2]3 [CE]/ [C3E]", 2 + 2 + 6 + 0.5 + 3),  # 4.17
        ('["Am"C.E^G]2[K:D]A', 3),
        ("{g}A {/gag}A {c2d}A", 3),  # 4.12
        ('"Gm7"A "^text, CDE|F" A !trill!A ~A .A vA uA TA HA', 9),  # 4.14, 4.18, 4.19
        ("(AB) (A(BA)) A-A .(AB) A`A y A", 12),  # 4.11
        ("A % a comment: BcdefgA|B|", 1),
        ("A\\\nB", 2),  # 6.1.2
        ("A\nw:la la|la\nB", 2),
    ],
)
def test_durations_of_the_standards_notation(music, eighths):
    (duration,) = durations(music)
    assert duration == Fraction(eighths / 8).limit_denominator(1000)


def test_tuplets_of_five_follow_the_meter():
    assert durations("(5ABcde", meter="6/8") == [Fraction(3, 8)]
    assert durations("(5ABcde", meter="3/4") == [Fraction(2, 8)]
    assert durations("(2AB (3ABc", meter="6/8") == [Fraction(5, 8)]


@pytest.mark.parametrize(
    ("meter", "unit", "duration"),
    [
        ("C", "1/8", 1),
        ("C|", "1/8", 1),
        ("2/4", "1/16", Fraction(1, 2)),
        ("5/8", "1/16", Fraction(5, 8)),
        ("3/4", "1/8", Fraction(3, 4)),
        ("12/8", "1/8", Fraction(3, 2)),
        ("2+3/8", "1/16", Fraction(5, 8)),
        ("(2+3)/8", "1/16", Fraction(5, 8)),
        ("2/4+3/4", "1/8", Fraction(5, 4)),
        ("none", "1/8", None),
        ("", "1/8", None),
    ],
)
def test_meter_and_default_unit(meter, unit, duration):
    """Sections 3.1.6 and 3.1.7."""
    (bar,) = bars(f"X:1\nT:t\nM:{meter}\nK:C\nA")
    assert bar.meter == duration and bar.duration == Fraction(unit)


def test_no_meter_is_free_meter():
    assert [bar.meter for bar in bars("X:1\nK:C\nABc|A|")] == [None, None]
    assert share_of_full_bars("X:1\nK:C\nABc|A|") == (0, 0)


def test_changes_in_the_body():
    tune = "M:2/4\nK:C\nA8|\nM:3/4\nA12|[M:4/4]A16|[L:1/8]A8|\nL:1/4\nA4|"
    assert [(bar.duration, bar.meter) for bar in bars(tune)] == [
        (Fraction(1, 2), Fraction(1, 2)),
        (Fraction(3, 4), Fraction(3, 4)),
        (1, 1), (1, 1), (1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["|", "||", "|]", "[|", "|:", ":|", "::", ":|:", ":||:", "|1", "|[1", "| [2", ":|2", ":|[2",
     "|\n[1", ":|]", "|::", ".|", "|[1,3", "[|]", "|||:"],
)  # fmt: skip
def test_bar_lines(line):
    first, second = bars(f"M:4/4\nL:1/8\nK:C\nCDEF GABc{line} [CE]8")
    assert first.duration == second.duration == 1
    is_edge = line not in ("|", ".|")
    assert (first.opens, first.closes) == (True, is_edge)
    assert (second.opens, second.closes) == (is_edge, True)


def test_a_chord_after_a_bar_line_and_a_repeat_at_the_start_of_a_line():
    assert durations("[CE]8|[GB]8|[1[GB]8:|\nA8|\ne:|") == [1, 1, 1, 1, Fraction(1, 8)]


def test_rests_of_whole_bars():
    assert durations("Z|Z3|X2|", meter="3/4") == [Fraction(3, 4)] * 6


def share(music, meter="3/4"):
    return share_of_full_bars(f"M:{meter}\nL:1/4\nK:C\n{music}")


@pytest.mark.parametrize(
    ("music", "right", "total"),
    [
        ("ABc|ABc|", 2, 2),
        ("C|ABc|AB|", 3, 3),  # a pick-up, and the last bar makes up for it
        ("C|ABc|AB:|", 3, 3),
        ("ABc|AB|ABc|", 2, 3),  # short in the middle
        ("ABc|ABcd|ABc|", 2, 3),  # long
        ("ABcd|", 0, 1),  # long is wrong anywhere
        ("ABc|AB:|C|ABc|", 3, 3),  # the halves of one bar
        ("ABc|AB:|CDE|ABc|", 4, 4),
        ("ABc|A|[1BC|ABc:|[2Bc|]", 4, 4),
        ("ABc||", 1, 1),
        ("ABc|AB", 2, 2),  # cut off
        ('||:"G"|', 0, 0),
    ],
)
def test_which_bars_are_right(music, right, total):
    assert share(music) == (right, total)


@pytest.mark.parametrize(
    "music",
    ["ABc|A?B|ABc", "ABc|[AB|ABc", "ABc|A>|ABc", "ABc|>AB|ABc", "ABc|A0B|ABc", "ABc|A/0B|ABc",
     "ABc|AB&c|ABc", "ABc|A12345|ABc", "ABc|[\nM:3/\nABc|ABc"],
)  # fmt: skip
def test_what_is_not_abc_is_wrong(music):
    right, total = share(music)
    assert right < total and total >= 3
    assert None in [bar.duration for bar in bars(f"M:3/4\nL:1/4\nK:C\n{music}")]


def test_a_garbled_field_spoils_the_bars_until_it_is_mended():
    assert durations("A8|\nM:4/\nA8|A8|\nM:4/4\nA8|") == [1, None, None, 1]
    assert durations("A8|\nL:x\nA8|\nK:G\nA8|\nL:1/8\nA8|") == [1, None, None, 1]
    assert share_of_full_bars("M:x\nL:1/4\nK:C\nABc|ABc|") == (0, 2)
    assert share_of_full_bars("M:3/4\nL:0/4\nK:C\nABc|ABc|") == (0, 2)


def test_without_a_key_no_bar_is_right():
    assert share_of_full_bars("M:3/4\nL:1/4\nABc|ABc|") == (0, 2)
    assert share_of_full_bars("hello world") == (0, 1)
    assert share_of_full_bars("") == share_of_full_bars("\n \n") == (0, 0)


def test_tunes_of_one_text_count_together():
    waltz, reel = "M:3/4\nL:1/4\nK:C\nABc|ABc|\n", "M:4/4\nL:1/4\nK:C\nABcd|ABc|ABcd|\n"
    numbered = f"{heading(1)}{waltz}\n{heading(2)}{reel}"
    for text in (waltz + reel, waltz + "\n" + reel, numbered):
        assert share_of_full_bars(text) == (4, 5)
    assert numbered.startswith("X:1\nT:Tune 1\nM:")


@given(st.text("ABcz2/3|:[](){}<>-'\",^_=~!&%\\ \nMLKXZ:4+1HTuy.", max_size=200))
def test_never_raises(text):
    for tune in (text, "M:4/4\nL:1/8\nK:C\n" + text):
        right, total = share_of_full_bars(tune)
        assert 0 <= right <= total


@given(st.text(max_size=100))
def test_never_raises_on_any_text(text):
    share_of_full_bars("K:C\n" + text)


_NOTES = st.lists(
    st.sampled_from([("A", 2), ("c'", 2), ("z4", 8), ("[CE]3", 6), ("B/", 1), ("d3/2", 3),
                     ("(3ABc", 4), ("A>B", 4), ("{g}e2", 4), ('"Am"f-', 2)]),
    min_size=1,
)  # fmt: skip


@given(st.lists(_NOTES, min_size=1))
def test_durations_add_up(bars_of_notes):
    music = "|".join(" ".join(text for text, _ in bar) for bar in bars_of_notes)
    assert durations(music) == [
        Fraction(sum(sixteenths for _, sixteenths in bar), 16) for bar in bars_of_notes
    ]
