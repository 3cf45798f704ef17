"""A notebook run from top to bottom, as Jupyter runs it, without Jupyter.

``python -m tests.support.notebook`` runs those in ``notebooks/`` and saves them with what came out, figures as images,
without the seconds that epochs took.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.support.places import ROOT

FOLDER = ROOT / "notebooks"


def run(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of its cells, in the current folder; whatever a cell raises is raised."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    space: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = execute("".join(cell["source"]), space, path.stem)
        text = re.sub(r"  \d+\.\d s$", "", printed.getvalue(), flags=re.M)
        outputs: list[dict[str, Any]] = []
        if text:
            outputs.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
        if value is not None:
            result = {"execution_count": number, "metadata": {}, "output_type": "execute_result"}
            outputs.append({"data": shown(value), **result})
        cell |= {"execution_count": number, "outputs": outputs}
    return notebook


def execute(source: str, space: dict[str, Any], name: str) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), space)
    return eval(compile(ast.Expression(last.value), name, "eval"), space) if isinstance(last, ast.Expr) else None


def shown(value: Any) -> dict[str, Any]:
    """What Jupyter shows of a value."""
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_png_"):
        data = {"image/png": base64.b64encode(value._repr_png_()).decode() + "\n", **data}
    return data


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found = run(path)
            os.chdir(FOLDER)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path.name)
