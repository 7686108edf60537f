"""The rule language of `--fail-on`: what it reads, and where its caret points when it cannot."""

from __future__ import annotations

import math

import pytest

from eqlr_tools.reports.fields import FIELDS, change
from eqlr_tools.reports.rules import RuleError, parse_place, parse_rule


@pytest.mark.parametrize(
    ("text", "name", "comparison", "number"),
    [
        ("effective.abs_max>65504", "effective.abs_max", ">", 65504),
        ("effective.fp16_subnormal > 0.1%", "effective.fp16_subnormal", ">", 0.001),
        ("nonfinite>0", "stored.nonfinite", ">", 0),
        ("drift.rms>2x", "drift.stored.rms", ">", 2),
        ("drift.effective.rms >= 1.5", "drift.effective.rms", ">=", 1.5),
        ("effective.drift.rms>2x", "drift.effective.rms", ">", 2),
        ("ratio.rms<0.5x", "ratio.stored.rms", "<", 0.5),
        ("fp16_snr_db<30dB", "stored.fp16_snr_db", "<", 30),
        ("int8_per_channel_snr_db < 25 db", "stored.int8_per_channel_snr_db", "<", 25),
        ("learning_speed_spread>1_000x", "stored.learning_speed_spread", ">", 1000),
        ("q0.999!=-1.5e-3", "stored.q0.999", "!=", -0.0015),
        ("c==.5", "c", "==", 0.5),
        ("stored.zeros<=3.", "stored.zeros", "<=", 3),
    ],
)
def test_rules_are_read(text: str, name: str, comparison: str, number: float) -> None:
    rule = parse_rule(text)
    assert rule.place.name(rule.place.forms[0]) == name
    assert (rule.comparison, rule.number) == (comparison, pytest.approx(number))


def test_a_glob_stands_in_front() -> None:
    rule = parse_rule("to_rgb*: effective.rms<1e-3")
    assert rule.glob == "to_rgb*"
    assert rule.applies_to("g", "to_rgbs.0")
    assert not rule.applies_to("g", "conv1")
    assert parse_rule("g.*: rms>1").applies_to("g", "conv1")
    assert parse_rule("[!a]*<1>: rms>1").glob == "[!a]*<1>"
    assert parse_rule("g_*: learning_speed_spread>2").applies_to("g_ema", "conv1")


@pytest.mark.parametrize(
    ("text", "marked", "words"),
    [
        ("effective.abs_mx>65504", "abs_mx", "did you mean abs_max"),
        ("nonfinite", "", "comparison is missing"),
        ("rms>", "", "a number is expected"),
        ("rms>two", "two", "a number is expected"),
        ("rms>1e400", "1e400", "no weight is as large"),
        ("rms>>2", ">>", "is no comparison"),
        ("rms=2", "=", "is no comparison"),
        ("rms>1 and zeros>2", ">", "a second comparison"),
        ("0.1<rms<2", "<", "a second comparison"),
        ("rms>\u0663", "\u0663", "a number is expected"),
        ("rms>2kg", "kg", "unknown unit 'kg'"),
        ("rms>2 x", "2 x", "rms is no ratio"),
        ("rms>2%", "2%", "rms is no share"),
        ("fp16_overflow>5", "5", "between 0 and 1"),
        ("zeros>120%", "120%", "between 0 and 1"),
        ("drift.mean>2x", "mean", "has no ratio"),
        ("drift.fp16_snr_db>2x", "fp16_snr_db", "has no ratio"),
        ("drift.rms<0.5x", "0.5x", "ratio.rms<0.5x"),
        (": rms>2", ":", "glob is missing"),
        ("stored.stored.rms>2", "stored.rms", "unknown field"),
        (">2", ">", "field is missing"),
        ("to_rgb*: efective.rms>2", "efective.rms", "unknown field"),
        ("stored.c>2", "stored.c", "is of the layer"),
        ("", "", "comparison is missing"),
    ],
)
def test_the_caret_points_at_what_cannot_be_read(text: str, marked: str, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule(text)
    hint = caught.value.hint
    assert hint is not None
    lines = hint.splitlines()
    if text:
        assert lines[0] == text
        caret = lines[1]
        start, end = caret.index("^"), len(caret)
        assert caret == " " * start + "^" * (end - start)
        assert text[start:end] == marked
    assert words in f"{caught.value.message} {hint}"
    assert caught.value.exit_code == 2


def test_control_characters_of_a_rule_are_not_printed() -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule("\x1b[31mrms>2")
    assert "\x1b" not in f"{caught.value.message}{caught.value.hint}"


def test_drift_is_the_change_in_either_direction() -> None:
    assert change("ratio", 1.0, 4.0) == 0.25
    assert change("drift", 1.0, 4.0) == change("drift", 4.0, 1.0) == 4.0
    assert change("drift", 0.0, 0.0) == 1.0
    assert change("drift", 3, 0) == change("drift", 0, 3) == change("drift", None, 3) == math.inf
    assert change("drift", None, None) is None


def test_every_field_has_a_name_that_rules_can_say() -> None:
    for name in FIELDS:
        assert parse_place(name, option="--sort").field.name == name
