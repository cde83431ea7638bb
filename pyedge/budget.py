"""A Jinja sandbox with a work budget: no template can loop for ever or fill the memory.

Jinja's sandbox keeps a template away from the host's objects, but lets it compute without end. Here
everything that repeats or grows pays first:

    for loops        the iterable is charged item by item, with the text of the loop's body
    calls            macros, methods, `loop(...)`, through the sandbox's own hook
    + * % ** ~       operands are checked before the result exists
    filters          arguments and results are checked
    slices           what they copy is charged
    literals         lists and dicts are weighed with all that they contain, so that none doubles again and
    again output           every piece is charged

One unit is about one character made. A clock backs it up for what no count foresees.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import wraps
from typing import Any, cast

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

STEP = 32  # units of one iteration, call or filter
SECONDS = 10.0
MAX_NUMBER = 10_000  # widths, counts, indents, exponents' bits: more is no chat
UNWANTED_FILTERS = ("urlize", "xmlattr", "wordwrap", "pprint", "random", "filesizeformat", "striptags")
UNWANTED_GLOBALS = ("lipsum",)
# Filters whose numbers are values and no sizes.
NUMBER_FILTERS = frozenset(
    ("default", "d", "map", "select", "selectattr", "reject", "rejectattr", "int", "float", "sum", "abs")
)
# Filters that look at the items of a value without writing it.
STRUCTURE_FILTERS = NUMBER_FILTERS.union(
    ("length", "count", "first", "last", "list", "items", "dictsort", "sort", "unique"),
    ("groupby", "join", "min", "max", "batch", "slice", "reverse", "attr"),
)


class BudgetExceeded(Exception):
    """The template wants more work than any conversation needs."""


class Budget:
    """What one rendering may spend."""

    def __init__(self, given: int = 0) -> None:
        self.limit = 32_000_000 + 64 * given
        self.largest = 4_000_000 + 4 * given  # of one value
        self._left = self.limit
        self._deadline = time.monotonic() + SECONDS
        self._ticks = 0

    def spend(self, units: int) -> None:
        self._left -= units
        self._ticks += 1
        if self._left < 0:
            raise BudgetExceeded(
                f"it loops or writes without end (its budget of {self.limit} units of work is used up)"
            )
        if self._ticks % 64 == 0 and time.monotonic() > self._deadline:
            raise BudgetExceeded(f"it takes longer than {SECONDS:.0f} seconds")

    def make(self, size: int) -> None:
        """Pay for a value of this size before it is made."""
        if size > self.largest:
            raise BudgetExceeded(
                f"it makes a value of {size} characters or items; {self.largest} are allowed"
            )
        self.spend(STEP + size)


def _length(value: Any) -> int:
    """Units that a value is worth by itself: characters, or eight for each item."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return 8 * len(value)
    if isinstance(value, int):
        return value.bit_length() // 8
    return 1


def _weigh(budget: Budget, value: Any) -> None:
    """Pay for a value with all that it contains, as often as it contains it: that is what writing or
    comparing it takes. A value that contains itself never ends, and so ends with the budget."""
    todo = [value]
    while todo:
        item = todo.pop()
        budget.spend(8)
        if isinstance(item, dict):
            todo.extend(item.keys())
            todo.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo.extend(item)
        elif isinstance(item, Namespace):
            todo.append(item._Namespace__attrs)
        elif isinstance(item, str):
            budget.spend(len(item) // 16)


def _check_numbers(what: str, values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise SecurityError(f"{what} is given the number {value}; at most {MAX_NUMBER} is allowed")


def _check_bits(bits: int) -> None:
    if bits > MAX_NUMBER:
        raise SecurityError(f"it makes a number of {bits} bits; at most {MAX_NUMBER} are allowed")


def _check_format(text: str) -> None:
    """Formatting makes fields as wide as the format says: only short literal widths pass."""
    if re.search(r"%[^a-zA-Z%]*(\*|\d{4})", text) or re.search(r"\{[^{}]*:[^{}]*(\d{4}|\{)", text):
        raise SecurityError("a format string asks for a field wider than 999 characters")


def _replaced_size(text: str, old: str, new: str) -> int:
    count = text.count(old) if old else len(text) + 1
    return len(text) + count * len(new)


class _Meter(NodeTransformer):
    """Puts the charging filters into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        weight = STEP + sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = _filter("charge each", cast(nodes.Expr, node.iter), nodes.Const(weight))
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_filter("charge output", child) for child in node.nodes]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter("charge concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filter("charge copy", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._literal(node)

    def _literal(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load" or node.find(nodes.Name) is None:
            return node
        return _filter("charge literal", node)


def _filter(name: str, value: nodes.Expr, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno)


# The context argument also keeps Jinja from computing these while it compiles, where there is no budget to
# charge.


@pass_context
def _charge_each(context: Context, value: Any, weight: int) -> Any:
    budget = _budget(context)
    if isinstance(value, Sized):
        budget.spend(STEP + weight * len(value))
        return value
    return _charged(iter(value), budget, weight)


def _charged(items: Iterator[Any], budget: Budget, weight: int) -> Iterator[Any]:
    for item in items:
        budget.spend(weight + _length(item))
        yield item


@pass_context
def _charge_output(context: Context, value: Any) -> Any:
    budget = _budget(context)
    text = _written(budget, value)
    budget.spend(8 + len(text))
    return text


@pass_context
def _charge_concat(context: Context, values: list[Any]) -> str:
    budget = _budget(context)
    texts = [_written(budget, value) for value in values]
    budget.make(sum(map(len, texts)))
    return "".join(texts)


@pass_context
def _charge_copy(context: Context, value: Any) -> Any:
    _budget(context).make(_length(value))
    return value


@pass_context
def _charge_literal(context: Context, value: Any) -> Any:
    _weigh(_budget(context), value)
    return value


def _written(budget: Budget, value: Any) -> str:
    if isinstance(value, str):
        return value
    _weigh(budget, value)
    return str(value)


def _budget(context: Context) -> Budget:
    return cast(BudgetedEnvironment, context.environment).budget


class BudgetedEnvironment(ImmutableSandboxedEnvironment):
    """Set `budget` before each rendering; one rendering at a time."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, extensions: Iterable[Any] = ()) -> None:
        # Unoptimised: what Jinja computes while it compiles is never charged.
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=list(extensions), optimized=False)
        self.budget = Budget()
        for name in UNWANTED_FILTERS:
            self.filters.pop(name, None)
        for name in UNWANTED_GLOBALS:
            self.globals.pop(name, None)

    def guard_filters(self) -> None:
        """Wrap all filters that are there now, and add the charging ones."""
        for name, function in list(self.filters.items()):
            self.filters[name] = self._guarded(name, function)
        self.filters["charge each"] = _charge_each
        self.filters["charge output"] = _charge_output
        self.filters["charge concat"] = _charge_concat
        self.filters["charge copy"] = _charge_copy
        self.filters["charge literal"] = _charge_literal

    def from_string(self, source: Any, *args: Any, **kwargs: Any) -> Template:
        self.budget = Budget()
        tree = _Meter().visit(self.parse(source))
        return Template.from_code(self, self.compile(tree), self.make_globals(None), None)

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        takes_context = hasattr(function, "jinja_pass_arg")

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            value, *rest = args[1:] if takes_context else args
            if name not in NUMBER_FILTERS:
                _check_numbers(f"the filter {name!r}", [*rest, *kwargs.values()])
            if name not in STRUCTURE_FILTERS:
                for item in (value, *rest, *kwargs.values()):
                    if not isinstance(item, (str, Iterator)):
                        _weigh(self.budget, item)
            if name == "format":
                _check_format(str(value))
            elif name == "replace":
                old = rest[0] if rest else kwargs.get("old", "")
                new = rest[1] if len(rest) > 1 else kwargs.get("new", "")
                self.budget.make(_replaced_size(str(value), str(old), str(new)))
            elif name == "indent":
                width = max((_indent_width(item) for item in (*rest, *kwargs.values())), default=4)
                self.budget.make(len(str(value)) + (str(value).count("\n") + 1) * max(width, 4))
            elif name == "join":
                return self._join(value, *rest, **kwargs)
            result = function(*args, **kwargs)
            self.budget.make(_length(result))
            if isinstance(result, Iterator):
                return _charged(result, self.budget, STEP)
            return result

        return guarded

    def _join(self, value: Any, d: Any = "", attribute: Any = None) -> str:
        items = list(_charged(iter(value), self.budget, STEP))
        if attribute is not None:
            items = list(map(make_attrgetter(self, attribute), items))
        texts = [_written(self.budget, item) for item in items]
        separator = _written(self.budget, d)
        self.budget.make(sum(map(len, texts)) + len(separator) * len(texts))
        return separator.join(texts)

    # ---- hooks of the sandbox ----

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"it reads the attribute {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = self.budget
        if operator == "+":
            budget.make(_length(left) + _length(right))
        elif operator == "*":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() + right.bit_length())
                budget.spend(STEP)
            elif isinstance(left, int) or isinstance(right, int):
                count, value = (left, right) if isinstance(left, int) else (right, left)
                budget.make(max(0, count) * _length(value))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * abs(right))
            budget.spend(STEP)
        elif operator == "%" and isinstance(left, (str, bytes)):
            _weigh(budget, right)
            _check_format(left if isinstance(left, str) else left.decode("latin-1"))
            result = super().call_binop(context, operator, left, right)
            budget.make(_length(result))
            return result
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget = self.budget
        budget.spend(STEP)
        if isinstance(obj, LoopContext) and args:  # a recursive loop goes through its argument
            args = (_charge_each(context, args[0], STEP), *args[1:])
        if obj in (dict, Namespace):
            _weigh(budget, [*args, *kwargs.values()])
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, (str, bytes)):
            args = self._check_method(getattr(obj, "__name__", ""), owner, args, kwargs)
        result = super().call(context, obj, *args, **kwargs)
        budget.make(_length(result))
        return result

    def _check_method(
        self, name: str, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, ...]:
        _check_numbers(f"the method {name!r}", [*args, *kwargs.values()])
        if name in ("format", "format_map"):
            _check_format(str(owner))
            _weigh(self.budget, [*args, *kwargs.values()])
        elif name == "replace" and len(args) >= 2 and isinstance(owner, str):
            self.budget.make(_replaced_size(owner, str(args[0]), str(args[1])))
        elif name == "join" and args and isinstance(args[0], Iterable):
            items = list(_charged(iter(args[0]), self.budget, STEP))
            self.budget.make(sum(_length(item) for item in items) + len(owner) * len(items))
            return (items, *args[1:])
        elif name == "expandtabs":
            width = args[0] if args and isinstance(args[0], int) else 8
            self.budget.make(len(owner) + owner.count("\t") * max(0, width))
        elif name == "translate":
            raise SecurityError("it calls the method 'translate'")
        return args


def _indent_width(option: Any) -> int:
    if isinstance(option, str):
        return len(option)
    return option if isinstance(option, int) else 0
