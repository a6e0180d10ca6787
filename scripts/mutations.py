"""Small changes of Python code, each of which its tests ought to notice; ``scripts.mutants`` tries them.

Changed are comparisons, arithmetic, ``and``/``or``/``not``, numbers and booleans, conditions, filters, slice bounds,
optional arguments, ``return``, ``raise``, ``break``, statements that stand for themselves, and min/max, any/all,
floor/ceil. Left alone are strings, docstrings, annotations, decorators and the arguments of what is raised: wording is
not tested with these.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

#: fields, and indices where a field is a list, that lead from a node to one below it.
Steps = tuple[tuple[str, int | None], ...]

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_NAMES: Final = [("min", "max"), ("any", "all"), ("minimum", "maximum"), ("floor", "ceil"), ("argmin", "argmax")]
_TWINS: Final = {one: two for pair in _NAMES for one, two in (pair, pair[::-1])}


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes:
        key: hash of the module and the change, which no comment and no blank line changes.
        lines: of the statement that is changed, or of the head of a compound one.
        function: outermost function that holds it, as ``Class.method``; None where it takes effect at import.
        change: the line before and after.
    """

    key: str
    line: int
    lines: range
    function: str | None
    change: str
    path: Steps
    statement: ast.stmt

    def tree(self, source: str) -> ast.Module:
        """The changed module."""
        tree = ast.parse(source)
        _put(tree, self.path, self.statement)
        return ast.fix_missing_locations(tree)


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module's text, in the order of its lines; none twice and none equal to the text."""
    tree = ast.parse(source)
    whole, seen = hashlib.sha256(ast.dump(tree).encode()).hexdigest(), set[str]()
    for place in _places(tree, ()):
        old, path = place.statement, place.path[: place.depth]
        seen.add(f"{path}{ast.dump(old)}")
        for change in _changes(place.node, place.parent):
            holder = ast.Module([copy.deepcopy(old)], [])
            within: Steps = (("body", 0), *place.path[place.depth :])
            _put(holder, within, change(_get(holder, within)))
            new: Any = holder.body[0]
            dump = f"{path}{ast.dump(new)}"
            if dump not in seen:
                seen.add(dump)
                key = hashlib.sha256(f"{whole}{dump}".encode()).hexdigest()[:20]
                line = getattr(place.node, "lineno", old.lineno)
                yield Mutant(key, line, _lines(old, line), place.function, _one_line(old, new), path, new)


def _get(node: Any, path: Steps) -> Any:
    for field, index in path:
        node = getattr(node, field) if index is None else getattr(node, field)[index]
    return node


def _put(node: Any, path: Steps, value: Any) -> None:
    holder, (field, index) = _get(node, path[:-1]), path[-1]
    if index is None:
        setattr(holder, field, value)
    else:
        getattr(holder, field)[index] = value


def _lines(statement: ast.stmt, line: int) -> range:
    compound = hasattr(statement, "body")
    return range(line, line + 1) if compound else range(statement.lineno, (statement.end_lineno or line) + 1)


@dataclass(frozen=True)
class _Place:
    """A node that may be changed.

    Attributes:
        path: fields and indices that lead to the node from the module.
        statement: the innermost statement around it.
        depth: how much of the path leads to the statement.
    """

    node: ast.AST
    parent: ast.AST
    path: Steps
    statement: ast.stmt
    depth: int
    function: str | None


_Change = Callable[[Any], Any]


def _places(
    node: ast.AST,
    path: Steps,
    statement: tuple[ast.stmt, int] | None = None,
    scope: tuple[str, ...] = (),
    function: str | None = None,
) -> Iterator[_Place]:
    """Walk what may be changed: no decorators, annotations, strings or words of an error."""
    for field, index, child in _children(node):
        below = (*path, (field, index))
        inner = (child, len(below)) if isinstance(child, ast.stmt) else statement
        within, named = function, scope
        if isinstance(node, ast.FunctionDef) and field == "body" and within is None:
            within = ".".join(scope)  # the body, not the defaults, which are made where the function is
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            named = (*scope, child.name)
        if inner is not None:
            yield _Place(child, node, below, *inner, within)
        yield from _places(child, below, inner, named, within)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Constant | ast.Import | ast.ImportFrom):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "ctx", "ops", "op", "type_ignores"):
            continue
        if field == "test" and _is_name(value, "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Assign) and _is_alias(node):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield field, index, child


def _is_alias(node: ast.Assign) -> bool:
    """Names of types, such as ``Floats = NDArray[np.float64]``: annotations by another name."""
    target = node.targets[0]
    return isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper()


def _is_name(node: object, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _changes(node: ast.AST, parent: ast.AST) -> Iterator[_Change]:
    """Every change of one node: a function that takes a copy of it and gives what stands there instead."""
    for kinds, make in _OPERATORS:
        if isinstance(node, kinds):
            yield from make(node, parent)


def _compare(node: ast.Compare, parent: ast.AST) -> Iterator[_Change]:
    for place, operator in enumerate(node.ops):
        for other in _COMPARISONS.get(type(operator), ()):
            yield partial(_set_item, field="ops", place=place, value=other())


def _arithmetic(node: ast.BinOp | ast.AugAssign, parent: ast.AST) -> Iterator[_Change]:
    other = _ARITHMETIC.get(type(node.op))
    if other and not isinstance(getattr(node, "left", None), ast.JoinedStr):
        yield lambda copied: _set(copied, "op", other())


def _logic(node: ast.BoolOp, parent: ast.AST) -> Iterator[_Change]:
    yield lambda copied: _set(copied, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for place in range(len(node.values)):  # without one of them
        yield partial(_drop, field="values", place=place)


def _sign(node: ast.UnaryOp, parent: ast.AST) -> Iterator[_Change]:
    if not isinstance(node.op, ast.UAdd):
        yield lambda copied: copied.operand


def _number(node: ast.Constant, parent: ast.AST) -> Iterator[_Change]:
    value = node.value
    others: list[Any] = []
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int):
        others = [value + 1, value - 1]
    elif isinstance(value, float):
        others = [value * 1.1 if value else 1.0]
    for other in others:
        yield partial(_replace, other=ast.Constant(other))


def _condition(node: ast.If | ast.While | ast.IfExp, parent: ast.AST) -> Iterator[_Change]:
    if not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield lambda copied: _set(copied, "test", ast.UnaryOp(ast.Not(), copied.test))


def _filter(node: ast.comprehension, parent: ast.AST) -> Iterator[_Change]:
    for place in range(len(node.ifs)):
        yield partial(_drop, field="ifs", place=place)


def _bounds(node: ast.Slice, parent: ast.AST) -> Iterator[_Change]:
    for bound in ("lower", "upper", "step"):
        if getattr(node, bound) is not None:
            yield partial(_set, field=bound, value=None)


def _arguments(node: ast.Call, parent: ast.AST) -> Iterator[_Change]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None and not isinstance(parent, ast.Raise):
            yield partial(_drop, field="keywords", place=place)


def _twin(node: ast.Name | ast.Attribute, parent: ast.AST) -> Iterator[_Change]:
    field = "id" if isinstance(node, ast.Name) else "attr"
    other = _TWINS.get(getattr(node, field))
    if other and isinstance(node.ctx, ast.Load):
        yield lambda copied: _set(copied, field, other)


def _return(node: ast.Return, parent: ast.AST) -> Iterator[_Change]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield lambda copied: _set(copied, "value", ast.Constant(None))


def _nothing(node: ast.stmt, parent: ast.AST) -> Iterator[_Change]:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring
        yield lambda copied: ast.Pass()


def _leave(node: ast.Break | ast.Continue, parent: ast.AST) -> Iterator[_Change]:
    yield lambda copied: ast.Continue() if isinstance(node, ast.Break) else ast.Break()


_OPERATORS: Final[list[tuple[Any, Callable[[Any, ast.AST], Iterator[_Change]]]]] = [
    (ast.Compare, _compare),
    (ast.BinOp | ast.AugAssign, _arithmetic),
    (ast.BoolOp, _logic),
    (ast.UnaryOp, _sign),
    (ast.Constant, _number),
    (ast.If | ast.While | ast.IfExp, _condition),
    (ast.comprehension, _filter),
    (ast.Slice, _bounds),
    (ast.Call, _arguments),
    (ast.Name | ast.Attribute, _twin),
    (ast.Return, _return),
    (ast.Expr | ast.AugAssign | ast.Raise, _nothing),
    (ast.Break | ast.Continue, _leave),
]


def _set(node: Any, field: str, value: Any) -> Any:
    setattr(node, field, value)
    return node


def _set_item(node: Any, field: str, place: int, value: Any) -> Any:
    getattr(node, field)[place] = value
    return node


def _replace(node: Any, other: ast.AST) -> ast.AST:
    return other


def _drop(node: Any, field: str, place: int) -> Any:
    rest = getattr(node, field)
    del rest[place]
    return rest[0] if field == "values" and len(rest) == 1 else node


def _one_line(before: ast.AST, after: ast.AST) -> str:
    one, two = (ast.unparse(node).strip() for node in (before, after))
    lines = list(zip(one.splitlines(), two.splitlines(), strict=False))
    changed = next((pair for pair in lines if pair[0] != pair[1]), (one, two))
    return " -> ".join(" ".join(text.split()) for text in changed)
