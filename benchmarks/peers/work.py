"""What the scripts of all tools share: a job is read, its step is timed, one line of JSON tells what came out.

A script, ``with_<tool>.py``, runs in that tool's own environment, so NumPy is all that is needed here. It says how a
step of each task that the tool can do is made; a step does forward pass, gradient and Adam on one batch, and returns
the loss and the spikes of a hidden neuron in a trial.

Task "SHD": inputs (700), recurrent LIF neurons, 20 leaky integrators; loss: cross-entropy of the softmax of the
voltages' mean over the trial. Task "first spikes": 5 inputs with a spike each, LIF neurons, 3 LIF outputs; loss:
cross-entropy of the softmax of minus the times of the outputs' first spikes (over ``tau_0``), and a penalty of a late
first spike of the right one, alpha / (1.01 trial - t). Times are in ms.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

RATE = 1e-9
"""Of Adam, so small that the weights, and with them the spikes, stay."""

LONGEST = 60
"""Steps that are timed at most."""

Data = dict[str, np.ndarray]
Step = Callable[[], tuple[Any, Any]]


def dense(data: Data) -> np.ndarray:
    """Input spikes of task "SHD" as others take them: ``(steps, batch, channels)`` float32."""
    offsets, steps = data["offsets"], int(data["num_steps"])
    sample = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    made = np.zeros((steps, offsets.size - 1, data["in_to_hid"].shape[0]), np.float32)
    made[data["steps"], sample, data["channels"]] = 1.0
    return made


def decays(data: Data) -> tuple[float, float]:
    """Of the current and of the membrane, over a step of 1 ms."""
    return float(np.exp(-1.0 / data["tau_syn"])), float(np.exp(-1.0 / data["tau_mem"]))


def timed(step: Step, seconds: float, warm: Callable[[], Any] | None) -> dict[str, Any]:
    """Times of a step (s), its loss and its spikes a neuron.

    Args:
        seconds: for about how long; one step is timed in any case.
        warm: what is done before, if that is not a step: a shorter one where nothing has to be compiled.
    """
    start = time.perf_counter()
    (warm or (lambda: float(step()[0])))()
    first, times, began = time.perf_counter() - start, [], time.perf_counter()
    while not times or (len(times) < LONGEST and time.perf_counter() - began + times[-1] < seconds):
        start = time.perf_counter()
        loss, spikes = step()
        loss = float(loss)
        times.append(time.perf_counter() - start)
    return {"seconds": times, "first": first, "loss": loss, "spikes": float(spikes)}


def main(version: str, **tasks: Callable[[Data], Any]) -> None:
    """Do the job that the command line gives as JSON: ``task``, ``data`` (a file) and ``seconds``, or ``out``.

    Args:
        version: of the tool.
        tasks: by name, what makes a step, or a step and what warms it up, from the task's arrays; of "gradients"
            what makes the arrays that are written to ``out``.
    """
    job = json.loads(sys.argv[1])
    with np.load(job["data"]) as file:
        data = dict(file)
    made = tasks[job["task"]](data)
    if "out" in job:
        np.savez(job["out"], **made)
        told: dict[str, Any] = {}
    else:
        step, warm = made if isinstance(made, tuple) else (made, None)
        told = timed(step, job["seconds"], warm)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"version": version, "peak_GB": peak / 1024, **told}), flush=True)
