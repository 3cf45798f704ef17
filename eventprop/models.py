"""The models of the ``models.py`` beside this package, under a name that a user's own ``models`` cannot take.

There is one instance of it, whatever it is imported as: ``import models`` gives this very module.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models import *  # noqa: F403
else:
    _spec = importlib.util.spec_from_file_location(__name__, Path(__file__).parents[1] / "models.py")
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[__name__] = _module  # what this import gives, in the place of the loader
    _spec.loader.exec_module(_module)
