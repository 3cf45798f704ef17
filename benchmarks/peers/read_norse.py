"""Norse reads a NIR graph and runs it; see ``benchmarks/nir_readers.py``."""

from __future__ import annotations

import json
import sys

import by_torch
import nir
import norse.torch as norse
from norse.torch.functional import reset

job = json.loads(sys.argv[1])
ways = {"value": reset.reset_value, "subtract": reset.reset_subtract}
net = norse.from_nir(nir.read(job["graph"], type_check=False), dt=job["dt"], reset_method=ways[job["reset"]])
by_torch.run_graph(job, net, "norse")
