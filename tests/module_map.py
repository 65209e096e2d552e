"""Write the README's list of modules: the first sentence of every module in nanollm and playground, in one line each.

python -m tests.module_map             prints the list
python -m tests.module_map README.md   writes it into a file, between its two marks
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nanollm", "playground")
SUFFIXES = (".py", ".js", ".css")
BEGIN, END = "<!-- modules: written by python -m tests.module_map README.md -->\n", "<!-- end of the modules -->"
# The first comment of a script or style sheet, after lines such as `// @ts-check`.
COMMENT = re.compile(r"\A(?:\s*//\s*@ts-\w+[^\n]*\n)*\s*(/\*.*?\*/|(?://[^\n]*\n?)+)", re.DOTALL)


def module_map(root: Path = ROOT) -> str:
    """Return the Markdown list: one foldable section per folder, one line per module."""
    return "\n".join(_section(root, folder) for package in PACKAGES for folder in _folders(root / package))


def write_into(text: str, root: Path = ROOT) -> str:
    """Return `text` with the list between its two marks. Raises ValueError unless both marks occur once."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{module_map(root)}\n{END}{after}"


def summary(path: Path) -> str:
    """Return the first sentence of a module's docstring or first comment, as one line; empty if it has none."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(source)) or ""
    elif match := COMMENT.match(source):
        text = re.sub(r"^\s*(/\*+|//|\*+/|\*)|\*/\s*$", "", match[1], flags=re.MULTILINE)
    else:
        return ""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s(?=[A-Z`])", paragraph)[0]


def modules(folder: Path) -> list[Path]:
    """Return a folder's own modules, without `__init__.py`; a script follows the Python module of the same name."""
    files = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name != "__init__.py"]
    return sorted(files, key=lambda path: (path.stem, SUFFIXES.index(path.suffix)))


def _folders(package: Path) -> Iterator[Path]:
    """Yield a package and the folders inside it that hold modules, parents first."""
    for folder in [package, *sorted(path for path in package.rglob("*") if path.is_dir())]:
        if modules(folder) and not {"__pycache__", "node_modules"} & set(folder.parts):
            yield folder


def _section(root: Path, folder: Path) -> str:
    name = folder.relative_to(root).as_posix()
    package = folder / "__init__.py"
    title = f"<code>{name}/</code> {_as_html(summary(package))}" if package.exists() else f"<code>{name}/</code>"
    lines = [_line(root, path) for path in modules(folder)]
    return "\n".join([f"<details><summary>{title.strip()}</summary>", "", *lines, "", "</details>"])


def _line(root: Path, path: Path) -> str:
    link = f"- [{path.name}]({path.relative_to(root).as_posix()})"
    return f"{link}: {first}" if (first := summary(path)) else link


def _as_html(text: str) -> str:
    """Markdown is not rendered inside `<summary>`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text.replace("&", "&amp;").replace("<", "&lt;"))


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        document.write_text(write_into(document.read_text(encoding="utf-8")), encoding="utf-8")
    if len(sys.argv) == 1:
        print(module_map())
