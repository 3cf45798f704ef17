"""The notebooks run from top to bottom, with small settings in the place of the cell that is tagged "parameters"."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "notebooks"
DEMO = """
p |= {"N_EPOCH": 2, "NUM_HIDDEN": 24, "DT_MS": 10.0, "TAU_SYN": 10.0, "N_TRAIN": 40, "N_VALIDATE": 20}
"""
SMALL = {
    "quick_start": DEMO,
    "yinyang": 'p |= {"N_TRAIN": 256, "N_TEST": 60, "N_EPOCH": 1, "NUM_HIDDEN": 40, "DT_MS": 0.5}\ngrid = 10',
    "inside_a_network": DEMO,
}


def test_there_is_a_small_setting_for_each() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_from_top_to_bottom(name: str, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a cell raises, or a picture that a reader expects is not there."""
    from eventprop import demo, shd

    monkeypatch.setattr(demo, "load_demo", lambda folder, grid, **_: shd.load_shd(small_data, grid))
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict[str, Any] = {"__name__": "__main__"}
    figures = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [] and cell["execution_count"] is None
        tree = ast.parse("".join(cell["source"]))
        shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), space)
        if "parameters" in cell["metadata"].get("tags", []):
            exec(SMALL[name], space)
        if isinstance(shown, ast.Expr):
            figures += isinstance(eval(compile(ast.Expression(shown.value), name, "eval"), space), Figure)
    assert figures == 3
