"""How the code itself stands: lines, circles, what stands twice, constants without a reason, what is undocumented.

`tests/contract/test_house.py` holds what must be zero; every function here takes the folder of the repository.
"""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import sys
import time
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")
#: A longer file is two things.
LONGEST = 400
#: Fewer lines are alike by chance: a signature, a loop over bands.
ALIKE = 6
#: What every NumPy docstring has between its own words.
HEADINGS = {"Parameters", "Returns", "Attributes", "Raises", "Examples", "References", "Notes", "InputError"}
#: One method a file, each readable by itself: there the same lines may stand twice.
METHOD_FOLDERS = ("pansharpen/methods/", "denoise/methods/")
#: How a variable came about, where it should say what it holds.
VAGUE = ("found", "known", "given", "left", "seen")
#: Of each timing the median is printed.
REPEATS = 5


@cache
def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every production module by its dotted name (a package by its own)."""
    out = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return out


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _place(root: Path, path: Path, line: int) -> str:
    return f"{path.relative_to(root).as_posix()}:{line}"


# ---- size ------------------------------------------------------------------------------------------------------


def lines(root: Path = ROOT) -> dict[str, int]:
    """Lines of each package, comments and blank lines included."""
    out = dict.fromkeys(PACKAGES, 0)
    for name, path in sources(root).items():
        out[name.partition(".")[0]] += len(path.read_text(encoding="utf-8").splitlines())
    return out


def code_lines(root: Path = ROOT) -> int:
    """Lines that do something: neither blank, nor comment, nor docstring."""
    total = 0
    for path in sources(root).values():
        documented = {
            line
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
            for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
        }
        text = path.read_text(encoding="utf-8").splitlines()
        kept = (line.strip() for number, line in enumerate(text, 1) if number not in documented)
        total += sum(bool(line) and not line.startswith("#") for line in kept)
    return total


def long_files(root: Path = ROOT) -> list[str]:
    """Production modules and benchmarks that are too long."""
    paths = [*sources(root).values(), *sorted((root / "benchmarks").glob("*.py"))]
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [_place(root, path, count) for path, count in counts.items() if count > LONGEST]


# ---- who imports whom ------------------------------------------------------------------------------------------


def _for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that happen, at any depth: those inside functions, not those for type checkers."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif _for_types_only(node):
            assert isinstance(node, ast.If)
            yield from _imports(node.orelse)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, field, []))
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _imports(part.body)


@cache
def _door(path: Path) -> dict[str, str]:
    """Names that a package gives away lazily, and the modules where they live (its imports for type checkers)."""
    out = {}
    for node in _tree(path).body:
        if _for_types_only(node):
            for item in ast.walk(node):
                if isinstance(item, ast.ImportFrom) and item.module:
                    out |= {alias.asname or alias.name: f"{item.module}.{alias.name}" for alias in item.names}
    return out


def _module_of(name: str, known: dict[str, Path]) -> str | None:
    """The module that a dotted name lies in; lazily given names are followed home."""
    while name:
        if name in known:
            return name
        package, _, last = name.rpartition(".")
        if package in known and known[package].name == "__init__.py" and last in _door(known[package]):
            return _module_of(_door(known[package])[last], known)
        name = package
    return None


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Modules of ours that each module of ours imports."""
    known = sources(root)
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        targets: list[str] = []
        for node in _imports(_tree(path).body):
            if isinstance(node, ast.Import):
                targets += [alias.name for alias in node.names]
                continue
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            targets += [f"{base}.{alias.name}" for alias in node.names]
        homes = {_module_of(target, known) for target in targets if target.partition(".")[0] in PACKAGES}
        graph[module] = {home for home in homes if home is not None and home != module}
    return graph


def circles(root: Path = ROOT) -> list[list[str]]:
    """Groups of modules that import one another, directly or by others (strongly connected, after Tarjan)."""
    graph = import_graph(root)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    out: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                out.append(sorted(stack[start:]))
            del stack[start:]

    for module in graph:
        if module not in number:
            visit(module)
    return out


def command_line_imports(root: Path = ROOT) -> list[str]:
    """Imports of click and tqdm outside the folders of commands."""
    out = []
    for path in sources(root).values():
        if "commands" in path.relative_to(root).parts:
            continue
        for node in _imports(_tree(path).body):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if any(name.partition(".")[0] in ("click", "tqdm") for name in names):
                out.append(_place(root, path, node.lineno))
    return out


# ---- what stands twice -----------------------------------------------------------------------------------------


def _code_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank, a comment, part of an import or a docstring's heading."""
    text = path.read_text(encoding="utf-8").splitlines()
    imported = {
        line
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    kept = [(number, line.strip()) for number, line in enumerate(text, 1) if number not in imported]
    return [
        (number, line) for number, line in kept if line.strip("-") and line not in HEADINGS and not line.startswith("#")
    ]


def duplicates(root: Path = ROOT) -> list[tuple[str, str, int]]:
    """Pairs of places that share `ALIKE` or more lines in a row, and how many."""
    code = [
        (path, _code_lines(path))
        for path in sources(root).values()
        if not path.relative_to(root).as_posix().startswith(METHOD_FOLDERS)
    ]
    windows: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for file, (_, kept) in enumerate(code):
        texts = [line for _, line in kept]
        for start in range(len(texts) - ALIKE + 1):
            windows[tuple(texts[start : start + ALIKE])].append((file, start))
    same = {pair for places in windows.values() for pair in combinations(places, 2)}
    out = []
    for (file, start), (other, place) in sorted(same):
        if ((file, start - 1), (other, place - 1)) in same:
            continue  # the middle of a longer stretch
        length = ALIKE
        while ((file, start + length - ALIKE + 1), (other, place + length - ALIKE + 1)) in same:
            length += 1
        path, kept = code[file]
        twin, theirs = code[other]
        out.append((_place(root, path, kept[start][0]), _place(root, twin, theirs[place][0]), length))
    return out


# ---- constants -------------------------------------------------------------------------------------------------


def _is_number(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, right=right):
            return _is_number(left) and _is_number(right)
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return bool(elements) and all(map(_is_number, elements))
    return False


def _capitals(target: ast.expr) -> bool:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) and name.id.isupper() and len(name.id) > 1 for name in names)


def bare_constants(root: Path = ROOT) -> list[str]:
    """Numbers named in capitals at the head of a module without a comment at their line or directly above."""
    out = []
    for path in sources(root).values():
        text = path.read_text(encoding="utf-8")
        comments = {
            token.start[0]
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT and len(token.string.strip("#: ")) > 1 and "fmt:" not in token.string
        }
        for node in _tree(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not all(_capitals(t) for t in targets if t):
                continue
            span = range(node.lineno - 1, (node.end_lineno or node.lineno) + 1)
            if _is_number(node.value) and not comments.intersection(span):
                out.append(f"{_place(root, path, node.lineno)} {', '.join(ast.unparse(t) for t in targets if t)}")
    return out


# ---- documentation and words -----------------------------------------------------------------------------------


def _public(body: list[ast.stmt]) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, bool]]:
    """Public functions and classes of a module and the methods of these classes; whether each is a method."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node, False
        if isinstance(node, ast.ClassDef):
            yield from ((item, True) for item, _ in _public(node.body))


def _typed(node: ast.FunctionDef, is_method: bool) -> bool:
    marks = {ast.unparse(mark) for mark in node.decorator_list}
    listed = [*node.args.posonlyargs, *node.args.args][int(is_method and "staticmethod" not in marks) :]
    extra = [arg for arg in (node.args.vararg, node.args.kwarg) if arg is not None]
    return node.returns is not None and all(a.annotation for a in (*listed, *node.args.kwonlyargs, *extra))


def undocumented(root: Path = ROOT) -> list[str]:
    """Public names without a docstring, or with an argument or a result without a type."""
    out = []
    for path in sources(root).values():
        for node, is_method in _public(_tree(path).body):
            # of an overloaded function the last, which is called, tells for all
            overloaded = any(ast.unparse(mark) == "overload" for mark in node.decorator_list)
            lacks = [] if overloaded or ast.get_docstring(node) else ["docstring"]
            if isinstance(node, ast.FunctionDef) and not _typed(node, is_method):
                lacks.append("types")
            if lacks:
                out.append(f"{_place(root, path, node.lineno)} {node.name}: {', '.join(lacks)}")
    return out


def printed_functions(root: Path = ROOT) -> list[str]:
    """Functions that stand in a text where a value was meant: mypy takes any object for text."""
    paths = sources(root).values()
    functions = {node.name for path in paths for node in _tree(path).body if isinstance(node, ast.FunctionDef)}
    offenders = []
    for path in paths:
        body = _tree(path).body
        named = {alias.asname or alias.name for node in _imports(body) for alias in node.names}
        named = {name for name in named if name in functions} | {n.name for n in body if isinstance(n, ast.FunctionDef)}
        for top in body:
            inside = list(ast.walk(top))
            own = {n.arg for n in inside if isinstance(n, ast.arg)}
            own |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            shown = [n for n in inside if isinstance(n, ast.FormattedValue) and isinstance(n.value, ast.Name)]
            offenders += [_place(root, path, n.lineno) for n in shown if n.value.id in named - own]
    return offenders


def vague_names(root: Path = ROOT) -> dict[str, int]:
    """How often variables and arguments have a name that says how they came, not what they are."""
    out = dict.fromkeys(VAGUE, 0)
    for path in sources(root).values():
        for node in ast.walk(_tree(path)):
            name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else None
            if name in out:
                out[name] += 1
    return out


# ---- time ------------------------------------------------------------------------------------------------------


def seconds(*command: str) -> float:
    """Median time of a command in a process of its own."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


ZERO: dict[str, Callable[[Path], list]] = {
    f"files over {LONGEST} lines": long_files,
    "import circles": circles,
    "click or tqdm outside commands": command_line_imports,
    f"pairs of places sharing {ALIKE} or more lines": duplicates,
    "constants without a reason": bare_constants,
    "public names without docstring or types": undocumented,
    "functions in texts": printed_functions,
}


def main() -> dict[str, float]:
    """Print and return the figures; what should be zero is listed."""
    by_package = lines()
    out: dict[str, float] = {"production lines": sum(by_package.values())}
    print(f"production lines {out['production lines']} ({', '.join(f'{k} {v}' for k, v in by_package.items())})")
    out["of code"] = code_lines()
    print(f"  of these neither blank, comment nor docstring: {out['of code']}")
    for name, measure in ZERO.items():
        offenders = measure(ROOT)
        out[name] = len(offenders)
        print(f"{name}: {len(offenders)}")
        for one in offenders:
            print("   ", *([one] if isinstance(one, str) else one))
    out["README lines"] = len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    print(f"README lines {out['README lines']}")
    print("variables that say how they came:", ", ".join(f"{k} {v}" for k, v in vague_names().items()))
    bare = seconds("-c", "pass")
    for name, command in (("import hsitools", ("-c", "import hsitools")), ("hsi --help", ("-m", "hsitools", "--help"))):
        out[name] = seconds(*command)
        print(f"{name}: {out[name]:.3f} s, of which Python alone {bare:.3f} s")
    return out


if __name__ == "__main__":
    main()
