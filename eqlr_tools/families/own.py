"""Families from outside the package: checked when they are taken over, and their functions called with care.

The code of such a file is the user's own. What is wrong in it is told as what is wrong in any other input: in one
sentence, with the file and the line.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args

from eqlr_tools.errors import EqlrError, UsageError
from eqlr_tools.families.family import BiasRule, Family, Question, Rule, Rules, Signature, View
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.naming import Naming

HINT = "mend the file, or leave it out; docs/add-a-family.md walks through one"
_TEXTS = ("id", "title", "architecture", "upstream")
_FUNCTIONS = ("doubt", "question", "extra")


def refusal(where: str, error: BaseException, said: str = "") -> UsageError:
    """What an exception in somebody's code says, and the last line of theirs that it went through."""
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return UsageError(f"{where}{line}: {error.msg}", hint=HINT)
    # A module knows its own file by the absolute path, whatever the user wrote.
    ours = os.path.abspath(where)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.abspath(frame.filename) == ours]
    line = f", line {frames[-1].lineno}" if frames else ""
    return UsageError(f"{where}{line}: {said}{type(error).__name__}: {error}", hint=HINT)


def taken_over(found: Iterable[Family], where: str, taken: set[str]) -> list[Family]:
    """The families of a file, guarded. Raises UsageError for one that is not as a family must be, or a second id."""
    known, families = set(taken), []
    for family in found:
        problem = _problem(family)
        if problem:
            raise UsageError(f"{where}: family {family.id!r}: {problem}", hint=HINT)
        if family.id in known:
            raise UsageError(f"{where}: a family is called {family.id!r} already", hint="choose another id")
        known.add(family.id)
        families.append(_guarded(family, where))
    return families


def _problem(family: Family) -> str:
    """What is wrong with a family's data; empty if nothing is."""
    for name in _TEXTS:
        value = getattr(family, name)
        if not isinstance(value, str) or (not value and name != "upstream"):
            return f"{name} must be a text, not {value!r}"
    if re.search(r"\s", family.id):
        return "its id has a space, and options could not name it"
    if not isinstance(family.signatures, tuple) or not all(isinstance(s, Signature) for s in family.signatures):
        return "signatures must be a tuple of Signature objects: (Signature(...),)"
    if not family.signatures:
        return "it has no signature, so no network could be one"
    for signature in family.signatures:
        for name in ("also", "never", "without"):
            if not isinstance(getattr(signature, name), tuple):
                return (
                    f'{name} of the signature {signature.anchor!r} must be a tuple of patterns: (r"to_rgb\\.weight",)'
                )
    patterns = [p for s in family.signatures for p in (s.anchor, *s.also, *s.never, *s.without)]
    bad = next(filter(None, map(_pattern_problem, patterns)), "")
    if bad:
        return bad
    if not isinstance(family.namings, tuple) or not all(isinstance(naming, Naming) for naming in family.namings):
        return "namings must be a tuple of Naming objects"
    if not isinstance(family.over, tuple) or not all(isinstance(name, str) for name in family.over):
        return 'over must be a tuple of ids: ("rosinality-stylegan2",)'
    for name in _FUNCTIONS:
        value = getattr(family, name)
        if value is not None and not callable(value):
            return f"{name} must be a function, not {value!r}"
    return "" if callable(family.rules) else _rules_problem(family.rules)


def _pattern_problem(pattern: Any) -> str:
    if not isinstance(pattern, str):
        return f"a pattern must be a text, not {pattern!r}"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"the pattern {pattern!r} is none: {error}"
    return ""


def _rules_problem(rules: Any) -> str:
    if not isinstance(rules, tuple) or not all(isinstance(rule, Rule) for rule in rules):
        return "rules must be a tuple of Rule objects, or a function that returns one"
    return next(filter(None, map(_rule_problem, rules)), "")


def _rule_problem(rule: Rule) -> str:
    bad = _pattern_problem(rule.pattern)
    if bad:
        return bad
    which = f"the rule for {rule.pattern!r}"
    if not isinstance(rule.gain, int | float) or isinstance(rule.gain, bool) or not rule.gain > 0:
        return f"{which}: gain must be a positive number, not {rule.gain!r}"
    if not (callable(rule.lr_multiplier) or (isinstance(rule.lr_multiplier, int | float) and rule.lr_multiplier > 0)):
        return f"{which}: lr_multiplier must be a positive number or a rule, not {rule.lr_multiplier!r}"
    if not callable(rule.fan_in):
        return f"{which}: fan_in must be a function of the shape, not {rule.fan_in!r}"
    if rule.bias_rule not in get_args(BiasRule):
        return f"{which}: bias_rule is one of {', '.join(get_args(BiasRule))}, not {rule.bias_rule!r}"
    groups = dict.fromkeys(("layer", *re.compile(rule.pattern).groupindex), "")
    for name in ("bias", "baked_weight", "baked_bias", "unless", "beside"):
        template = getattr(rule, name)
        try:
            _ = None if template is None else template.format(**groups)
        except (AttributeError, KeyError, IndexError, ValueError):
            known = ", ".join(f"{{{group}}}" for group in groups)
            return f"{which}: {name} {template!r} can hold {known} and nothing else in braces"
    return ""


def _guarded(family: Family, where: str) -> Family:
    """The family with functions that raise UsageError for whatever goes wrong in them, and for what they must not
    return."""

    def guard(name: str, function: Callable[..., Any], fits: Callable[[Any], bool]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            try:
                value = function(*arguments)
            except EqlrError:
                raise
            except Exception as error:
                raise refusal(where, error, f"{name} of family {family.id}: ") from error
            if not fits(value):
                raise UsageError(f"{where}: {name} of family {family.id} returned {value!r:.200}", hint=HINT)
            return value

        return guarded

    def guarded_rules(rules: Rules) -> Rules:
        return tuple(
            replace(
                rule,
                fan_in=guard("fan_in", rule.fan_in, lambda value: isinstance(value, int) and value > 0),
                lr_multiplier=guard("lr_multiplier", rule.lr_multiplier, lambda value: hasattr(value, "value"))
                if callable(rule.lr_multiplier)
                else rule.lr_multiplier,
            )
            for rule in rules
        )

    def computed_rules(view: View, prefix: str) -> Rules:
        assert callable(family.rules)
        rules = guard("rules", family.rules, lambda value: not _rules_problem(value))(view, prefix)
        return guarded_rules(rules)

    fits = {
        "doubt": lambda value: isinstance(value, str),
        "question": lambda value: value is None or isinstance(value, Question),
        "extra": lambda value: isinstance(value, list) and all(isinstance(layer, Layer) for layer in value),
    }
    functions: dict[str, Any] = {
        name: guard(name, getattr(family, name), fits[name]) for name in _FUNCTIONS if getattr(family, name) is not None
    }
    rules = computed_rules if callable(family.rules) else guarded_rules(family.rules)
    return replace(family, rules=rules, **functions)
