"""snnTorch reads a NIR graph and runs it; see ``benchmarks/nir_readers.py``. Its step is 0.1 ms."""

from __future__ import annotations

import json
import sys

import by_torch
import nir
from snntorch.import_nir import import_from_nir

job = json.loads(sys.argv[1])
net = import_from_nir(nir.read(job["graph"], type_check=False))
by_torch.run_graph(job, net, "snntorch")
