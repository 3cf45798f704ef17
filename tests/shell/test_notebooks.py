"""The notebooks run untouched from top to bottom, and are saved with their figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import notebook

pytestmark = pytest.mark.long


NAMES = ("inside_a_network", "quick_start", "yinyang")
FIGURES = 3  # in each


def outputs(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in found["cells"] for output in cell.get("outputs", ())]


def figures(found: dict[str, Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(found))


def text(found: dict[str, Any]) -> str:
    lines = [output.get("text") or output["data"]["text/plain"] for output in outputs(found)]
    return "".join("".join(own) for own in lines)


def test_all_notebooks_are_tried() -> None:
    assert {path.stem for path in notebook.FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_from_top_to_bottom(name: str) -> None:
    """As from a fresh clone: no data, nothing substituted. Fails if a cell raises or a figure is no image."""
    found = notebook.run(notebook.FOLDER / f"{name}.ipynb")
    assert figures(found) == FIGURES
    said = text(found)
    if name == "quick_start":  # a gradient of samples that make no neuron spike would be nothing
        shares = [float(share) for share in re.findall(r"([\d.]+)% not zero", said)]
        assert len(shares) == 3 and min(shares) > 1.0
        change, predicted = map(float, re.findall(r"change (\S+), predicted (\S+)", said)[0])
        assert change == pytest.approx(predicted, rel=0.05) and change < 0


@pytest.mark.parametrize("name", NAMES)
def test_saved_with_what_came_out(name: str) -> None:
    """Every code cell was run in order, figures are images, and nothing tells of the machine."""
    raw = (notebook.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    saved = json.loads(raw)
    cells = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert figures(saved) == FIGURES
    assert not re.search(r"/(home|root|tmp|work|Users)/|Traceback|<Figure", raw)
    assert not re.search(r"\d s$|ms per", text(saved), re.M)


def test_a_figure_shows_itself() -> None:
    """Without any of Jupyter's own machinery, which may not have been asked for figures."""
    from eventprop.reports import plots

    first, second = (notebook.shown(plots.confusion(np.eye(2)))["image/png"] for _ in range(2))
    assert first.startswith("iVBORw0KGgo") and first == second


def test_a_cell_is_run_as_jupyter_runs_it(tmp_path: Path) -> None:
    """State is kept between cells, the last expression is the result, and an error is not swallowed."""
    source = {"cell_type": "code", "metadata": {}, "outputs": []}
    cells = [{**source, "source": ["x = 3\n", "print('epoch  1.2 s')"]}, {**source, "source": ["x + 1"]}]
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert text(notebook.run(path)) == "epoch\n4"
    path.write_text(json.dumps({"cells": [{**source, "source": ["1 / 0"]}]}))
    with pytest.raises(ZeroDivisionError):
        notebook.run(path)
