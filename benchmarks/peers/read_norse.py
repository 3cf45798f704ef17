"""Norse reads a NIR graph and runs it; see ``benchmarks/nir_readers.py``."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import nir
import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional import reset

job = json.loads(sys.argv[1])
ways = {"value": reset.reset_value, "subtract": reset.reset_subtract}
net = norse.from_nir(nir.read(job["graph"], type_check=False), dt=job["dt"], reset_method=ways[job["reset"]])
state, found = None, []
with torch.no_grad():
    for now in torch.tensor(np.load(job["data"])):
        spikes, state = net(now[None], state)
        found.append(spikes[0].numpy())
np.save(job["out"], np.array(found))
print(json.dumps({"version": version("norse")}))
