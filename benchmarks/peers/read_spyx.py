"""spyx reads a NIR graph and runs it; see ``benchmarks/nir_readers.py``. Each layer tells of a spike a step later."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import jax.numpy as jnp
import nir
import numpy as np
from spyx.nir import from_nir

job = json.loads(sys.argv[1])
data = np.load(job["data"])
more = np.concatenate([data, np.zeros_like(data[: job["layers"]])])
_, found = from_nir(nir.read(job["graph"], type_check=False), jnp.asarray(more[:, None]), dt=job["dt"])
np.save(job["out"], np.asarray(found)[job["layers"] :, 0])
print(json.dumps({"version": version("spyx")}))
