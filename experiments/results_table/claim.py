"""Claims about measured numbers, such as `song.usdr > N3.bass.usdr + 1`: read, checked, decided, never run as code."""

import ast
import difflib
import math
import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

from codec_ft.errors import UserError
from experiments.results_table.numbers import FIXED_NAMES, is_number_name

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FEWEST_DIGITS = 3
EXACT_DIGITS = 17


@dataclass(frozen=True)
class Name:
    """A number of a run: `N3.song.usdr` is `usdr` of the experiment `N3.song`."""

    experiment: str
    number: str


@dataclass(frozen=True)
class Claim:
    """A claim that was read; `names` are the numbers that it needs, in its order."""

    text: str
    tree: ast.expr
    card: str
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds. `because` is the claim with its numbers put in or, where it is open, what is missing."""

    kind: Literal["shown", "not shown", "open"]
    because: str


def read_claim(text: str, card: str, ids: Collection[str]) -> Claim:
    """Read a claim: comparisons of sums, products and quotients of numbers, joined by `and`, `or` and `not`.

    Args:
        text: the claim. A name is `variant.number`, or `card.variant.number` for one of another card.
        card: whose variants names without a card mean.
        ids: of all experiments.

    Raises:
        UserError: it is not of that form, or a name is not known.
    """

    def refuse(problem: str) -> UserError:
        return UserError(f"{card}: the claim '{text}': {problem}")

    try:
        tree = ast.parse(" ".join(text.split()), mode="eval").body
    except SyntaxError:
        raise refuse("cannot be read; write, for example, song.usdr > bass.usdr + 1.") from None
    names: list[Name] = []

    def check(node: ast.expr, wanted: Literal["a comparison", "a number"]) -> None:
        found: Literal["a comparison", "a number"] = "a number"
        match node:
            case ast.BoolOp(values=values):
                found = "a comparison"
                for value in values:
                    check(value, "a comparison")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                found = "a comparison"
                check(operand, "a comparison")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                check(operand, "a number")
            case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in COMPARISONS for op in ops):
                found = "a comparison"
                for part in (left, *comparators):
                    check(part, "a number")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                check(left, "a number")
                check(right, "a number")
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and math.isfinite(value):
                pass
            case ast.Attribute() | ast.Name():
                names.append(_name(node, card))
                _refuse_unknown(names[-1], ids, refuse)
            case _:
                raise refuse(
                    f"'{ast.unparse(node)}' is not allowed; only names, numbers, + - * / < <= > >= and or not."
                )
        if found != wanted:
            raise refuse(f"'{ast.unparse(node)}' is {found} where {wanted} belongs.")

    check(tree, "a comparison")
    return Claim(text, tree, card, tuple(dict.fromkeys(names)))


def decide(claim: Claim, numbers: Mapping[str, Mapping[str, float] | None]) -> Verdict:
    """Whether a claim holds.

    Args:
        claim: what is claimed.
        numbers: of every experiment by its ID; None or not there for one that is not finished.
    """
    experiments = dict.fromkeys(name.experiment for name in claim.names)
    if unfinished := [name for name in experiments if numbers.get(name) is None]:
        return Verdict("open", f"needs {', '.join(unfinished)}")
    values = {name: (numbers[name.experiment] or {}).get(name.number) for name in claim.names}
    if unmeasured := [f"{name.experiment}.{name.number}" for name, value in values.items() if value is None]:
        return Verdict("open", f"not measured: {', '.join(unmeasured)}")
    known = {name: value for name, value in values.items() if value is not None}
    exact = _filled(claim, known)
    try:
        holds, orders = bool(_evaluate(exact)), _orders(exact)
    except ZeroDivisionError:
        return Verdict("open", "divides by zero")
    # Few digits read well, but each comparison must read as it is.
    for digits in range(FEWEST_DIGITS, EXACT_DIGITS + 1):
        shown = _filled(claim, {name: float(f"{value:.{digits}g}") for name, value in known.items()})
        with suppress(ZeroDivisionError):  # of so few digits
            if _orders(shown) == orders:
                break
    return Verdict("shown" if holds else "not shown", ast.unparse(shown))


def _name(node: ast.Attribute | ast.Name, card: str) -> Name:
    parts = ast.unparse(node).split(".")
    owner = [card, *parts[:-1]] if len(parts) == 2 else parts[:-1]
    return Name(".".join(owner), parts[-1])


def _refuse_unknown(name: Name, ids: Collection[str], refuse: Callable[[str], UserError]) -> None:
    if not name.experiment:
        raise refuse(f"{name.number} is of no experiment; write VARIANT.{name.number}.")
    if name.experiment not in ids:
        near = difflib.get_close_matches(name.experiment, ids, n=1, cutoff=0.0)
        raise refuse(f"there is no experiment {name.experiment}; did you mean {near[0]}?")
    if not is_number_name(name.number):
        near = difflib.get_close_matches(name.number, FIXED_NAMES, n=1, cutoff=0.0)
        raise refuse(f"runs have no number {name.number}; did you mean {near[0]}?")


def _filled(claim: Claim, values: Mapping[Name, float]) -> ast.expr:
    """The claim with numbers in place of names."""

    class Fill(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
            value = values[_name(node, claim.card)]
            return ast.Constant(int(value) if value == int(value) and abs(value) >= 1000 else value)

    return Fill().visit(ast.parse(ast.unparse(claim.tree), mode="eval").body)


def _orders(tree: ast.expr) -> list[list[int]]:
    """Of each comparison in a claim, whether each side is less (-1), the same (0) or more (1) than the next."""
    orders = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [Fraction(_evaluate(side)) for side in (node.left, *node.comparators)]
            orders.append([(a > b) - (a < b) for a, b in pairwise(sides)])
    return orders


def _evaluate(node: ast.expr) -> Fraction | bool:
    """The value of a claim that `read_claim` has let pass and whose names are filled in.

    Numbers are taken as they are printed, so that 0.1 + 0.2 is 0.3 for the verdict as it is for its reader.
    """
    match node:
        case ast.BoolOp(op=op, values=values):
            results = [bool(_evaluate(value)) for value in values]
            return all(results) if isinstance(op, ast.And) else any(results)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand)
        case ast.UnaryOp(operand=operand):
            return -Fraction(_evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](_evaluate(left), _evaluate(right))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            parts = [_evaluate(part) for part in (left, *comparators)]
            return all(COMPARISONS[type(op)](*pair) for op, *pair in zip(ops, parts[:-1], parts[1:], strict=True))
        case ast.Constant(value=value):
            return Fraction(str(value))
    raise ValueError(f"{ast.dump(node)}: not a part of a claim")
