"""snnTorch reads a NIR graph and runs it; see ``benchmarks/nir_readers.py``. Its step is 0.1 ms."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import nir
import numpy as np
import torch
from snntorch.import_nir import import_from_nir

job = json.loads(sys.argv[1])
net = import_from_nir(nir.read(job["graph"], type_check=False))
state, found = None, []
with torch.no_grad():
    for now in torch.tensor(np.load(job["data"])):
        spikes, state = net(now[None], state)
        found.append(spikes[0].numpy())
np.save(job["out"], np.array(found))
print(json.dumps({"version": version("snntorch")}))
