"""Plain NumPy version of a trial on a time grid.

The forward half of ``tests/support/grid_numpy.py``, whose docstring has the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.oracle import LOSS_WEIGHTS, Array, Layer, Network, cross_entropy, decay_difference

Spikes = Sequence[tuple[int, int]]
Dropped = Callable[[int, int, int], bool]
Gradients = dict[str, dict[str, Array]]
Delays = Mapping[str, Mapping[str, NDArray[Any]]]
SPIKING_LOSSES = ("first_spike", "first_spike_exp")
VOLTAGE_LOSSES = (*LOSS_WEIGHTS, "sum_weigh_input", "avg_xentropy", "max", "mse", "mse_steps")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # for the interval [0, 1]


@dataclass(frozen=True)
class Regularisation:
    """Strengths and targets of the spike count regularisation, "simple" by default, "Thomas1" with a `glb_upper`.

    Of all hidden layers, or as tuples with one for each.

    Args:
        lbd_upper, lbd_lower: strength for counts above the target, and for all others.
        nu_upper: target count of each hidden neuron.
        rho_upper: target count of a whole layer, above which `glb_upper` acts.
        glb_upper: strength of the term of the layer.
        counts: by hidden layer, (neuron,) counts to use in place of the sample's own, such as a mean over the batch.
    """

    lbd_upper: Any = 0.0
    lbd_lower: Any = 0.0
    nu_upper: Any = 0.0
    rho_upper: Any = np.inf
    glb_upper: Any = 0.0
    counts: Sequence[Array] | None = None

    def jump(self, counts: Array, layer: int = 0) -> Array:
        """(neuron,) what lambda_v loses at each spike of a layer with these counts, for a batch of one."""
        given = (self.lbd_upper, self.lbd_lower, self.nu_upper, self.rho_upper, self.glb_upper)
        upper, lower, nu, rho, glb = (own[layer] if isinstance(own, tuple) else own for own in given)
        excess = counts.sum() - rho
        common = glb * excess / len(counts) if excess > 0 else 0.0
        return common + np.where(counts > nu, upper, lower) * (counts - nu)


@dataclass(frozen=True)
class Trace:
    """Forward pass of one layer; all arrays are (step, neuron).

    Attributes:
        v, i, b: V, I (with what has just arrived) and B at the start of each step.
        fired: emitted spikes, by stamp.
        dropped: spikes that reset their neuron but were not delivered.
        denominator: recorded D, NaN where there is no spike.
        b_spike: recorded B, NaN where there is no spike.
    """

    v: Array
    i: Array
    b: Array
    fired: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    denominator: Array
    b_spike: Array

    @classmethod
    def empty(cls, steps: int, neurons: int, dtype: DTypeLike) -> Trace:
        """A trace to be filled."""
        shape = (steps, neurons)
        v, i, b = (np.zeros(shape, dtype) for _ in range(3))
        fired, dropped = (np.zeros(shape, np.bool_) for _ in range(2))
        return cls(v, i, b, fired, dropped, np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype))


@dataclass(frozen=True)
class GridForward:
    """Forward pass of one sample.

    Attributes:
        layers: trace by population, "hidden0", "hidden1", ... and "output".
        inputs: (step, input) number of spikes per stamp, delayed copies included, the last step emptied.
        scores: (output,) whose softmax is the prediction.
        weights: (step,) factor with which the output's V counts.
        window: the first step that counts for the loss, and the one after the last.
        first_ms: (output,) time of the first spike of each output, inf for none.
        spiking: whether the outputs can spike.
        delays: as in `forward`.
    """

    layers: dict[str, Trace]
    inputs: NDArray[np.int64]
    scores: Array
    weights: Array
    first_ms: Array
    spiking: bool
    delays: Delays = field(default_factory=dict)
    window: tuple[int, int] | None = None

    @property
    def counted(self) -> slice:
        """The steps that count for the loss."""
        return slice(*(self.window or (0, len(self.weights))))

    @property
    def fired(self) -> dict[str, NDArray[np.bool_]]:
        """(step, neuron) emitted spikes by population; the outputs' only if they can spike."""
        return {name: trace.fired for name, trace in self.layers.items() if name != "output" or self.spiking}

    @property
    def counts(self) -> dict[str, Array]:
        """(neuron,) emitted spikes by population."""
        return {name: fired.sum(axis=0).astype(np.float64) for name, fired in self.fired.items()}

    def spikes(self, population: str = "hidden0") -> list[tuple[int, int]]:
        """(stamp, neuron) pairs of the emitted spikes in order of time."""
        return [(int(k), int(n)) for k, n in np.argwhere(self.fired[population])]

    @property
    def min_denominator(self) -> float:
        """Smallest recorded |D| of all populations, inf without spikes."""
        recorded = [trace.denominator[trace.fired | trace.dropped] for trace in self.layers.values()]
        return float(np.abs(np.concatenate(recorded)).min(initial=np.inf))


@dataclass(frozen=True)
class GridResult:
    """Loss, gradients (by population and parameter: w, w_rec, tau_mem, tau_syn, tau_b) and forward pass."""

    loss: float
    gradients: Gradients
    forward: GridForward


def _coefficients(layer: Layer, dt_ms: float, dtype: DTypeLike) -> SimpleNamespace:
    """A layer at step h: its parameters and the constants of its map, rounded to the working precision."""
    neurons = np.shape(layer.w)[1]
    adapts = layer.tau_b is not None
    tau_mem, tau_syn = layer.tau_mem, layer.tau_syn
    tau_b = layer.tau_b if adapts else np.full(neurons, np.inf)
    slope = decay_difference(dt_ms, tau_mem, tau_syn)
    values = {"alpha": np.exp(-dt_ms / tau_mem), "beta": np.exp(-dt_ms / tau_syn), "gamma": np.exp(-dt_ms / tau_b)}
    values |= {"kappa": tau_syn * slope, "kappa_back": tau_mem * slope, "mem_to_b": tau_mem / tau_b}
    values |= {"tau_mem": tau_mem, "tau_syn": tau_syn, "w": layer.w, "zeros": np.zeros(neurons)}
    values |= {"v_thresh": layer.v_thresh, "v_reset": layer.v_reset}
    values |= {"b_incr": layer.b_incr if adapts else 0.0, "b_init": layer.b_init if adapts else 0.0}
    rounded = {name: np.asarray(value).astype(dtype) for name, value in values.items()}
    return SimpleNamespace(**rounded, w_rec=None if layer.w_rec is None else np.asarray(layer.w_rec).astype(dtype))


def kappa_slopes(dt_ms: float, tau_mem: Array, tau_syn: Array) -> tuple[Array, Array]:
    """Derivatives of kappa by tau_mem and by tau_syn, for any pair of time constants.

    From kappa = 1/tau_mem integral_0^h exp(-(h - s)/tau_mem) exp(-s/tau_syn) ds, by quadrature of the derivative of
    the integrand.
    """
    s = dt_ms * _NODES[:, None]  # (node, 1)
    rest = dt_ms - s
    weighted = dt_ms * _WEIGHTS[:, None] * np.exp(-rest / tau_mem - s / tau_syn) / tau_mem
    by_tau_mem = (weighted * (rest / tau_mem**2 - 1.0 / tau_mem)).sum(axis=0)
    return by_tau_mem, (weighted * s / tau_syn**2).sum(axis=0)


def input_spikes(stamps: Spikes, rows: int, steps: int, delay_steps: int = 0, copies: int = 1) -> NDArray[np.int64]:
    """(step, row) number of input spikes: copy i of the channels comes i delays later; the last step is silent."""
    channels = rows // copies
    if channels * copies != rows:
        raise ValueError(f"{rows} rows of input weights cannot be {copies} copies of the channels")
    inputs = np.zeros((steps, rows), dtype=np.int64)
    for step, channel in stamps:
        if not 0 <= step < steps:
            raise ValueError(f"input stamp {step} outside 0..{steps - 1}")
        if not 0 <= channel < channels:
            raise ValueError(f"input channel {channel} outside 0..{channels - 1}")
        for copy in range(copies):
            late = step + copy * delay_steps
            if late < steps - 1:
                inputs[late, copy * channels + channel] += 1
    return inputs


def _deliver(drive: Array, k: int, spikes: NDArray[Any], w: Array, delay: NDArray[Any]) -> None:
    """Add what (source,) spikes stamped k bring to the steps of `drive` (step, neuron) in which they arrive; what would
    arrive later is lost."""
    for source in np.flatnonzero(spikes):
        late = k + 1 + delay[source]
        here = np.flatnonzero(late < len(drive))
        drive[late[here], here] += spikes[source] * w[source, here]


def _simulate(
    c: SimpleNamespace,
    source: NDArray[Any],
    noise: Array | None = None,
    drop: Callable[[int, int], bool] | None = None,
    delay: Mapping[str, NDArray[Any]] | None = None,
) -> Trace:
    """Forward pass of one layer that is fed by (step, source) spikes; delays of "w" and "w_rec", if any, in steps."""
    steps, dtype, delay = len(source), c.zeros.dtype, delay or {}
    trace = Trace.empty(steps, len(c.zeros), dtype)
    i, v, b = c.zeros, c.zeros + c.v_reset, c.zeros + c.b_init
    drive = np.zeros((steps, len(c.zeros)), dtype)  # what has a delay
    for k in range(steps if "w" in delay else 0):
        _deliver(drive, k, source[k], c.w, delay["w"])
    for k in range(steps):
        i = c.beta * i + drive[k]
        if k > 0 and "w" not in delay:
            i = i + source[k - 1].astype(dtype) @ c.w
        if k > 0 and c.w_rec is not None and "w_rec" not in delay:
            i = i + trace.fired[k - 1].astype(dtype) @ c.w_rec
        trace.i[k], trace.v[k], trace.b[k] = i, v, b
        v = c.alpha * v + c.kappa * i
        b = c.gamma * b
        if noise is not None:
            v = v + noise[k].astype(dtype)
        if k == steps - 1:
            break
        spikes = v >= c.v_thresh + b
        if not spikes.any():
            continue
        trace.denominator[k, spikes] = (i - v + b * c.mem_to_b)[spikes]
        trace.b_spike[k, spikes] = b[spikes]
        for n in np.flatnonzero(spikes):
            lost = drop is not None and drop(k, int(n))
            trace.dropped[k, n], trace.fired[k, n] = lost, not lost
        if "w_rec" in delay:
            _deliver(drive, k, trace.fired[k], c.w_rec, delay["w_rec"])
        v, b = np.where(spikes, c.v_reset, v), np.where(spikes, b + c.b_incr, b)
    return trace


def traffic(inputs: NDArray[np.int64], dt_ms: float, tau_accumulator: float) -> Array:
    """(step,) the input's spikes, smoothed: at step k, with those stamped up to k-1."""
    values = np.zeros(len(inputs))
    for k in range(1, len(inputs)):
        arrived = 0.01 / tau_accumulator * inputs[k - 1].sum()
        values[k] = values[k - 1] * np.exp(-dt_ms / tau_accumulator) + arrived
    return values


def _step_weights(loss: str, parameters: Mapping[str, float], inputs: NDArray[np.int64], dt_ms: float) -> Array:
    """(step,) factor with which the output's V counts."""
    steps = len(inputs)
    if loss == "sum_weigh_input":
        return traffic(inputs, dt_ms, parameters["tau_accumulator"])
    return LOSS_WEIGHTS[loss if loss in LOSS_WEIGHTS else "sum"](np.arange(steps) / steps)


def first_spikes(fired: NDArray[np.bool_], dt_ms: float) -> Array:
    """(neuron,) time in ms of the first spike since the start of the trial, inf for none."""
    return np.where(fired.any(axis=0), (fired.argmax(axis=0) + 1) * dt_ms, np.inf)


def _scores(loss: str, v: Array, weights: Array, first_ms: Array, trial_ms: float, tau_0: float) -> Array:
    """(output,) scores, of the (step, output) voltages that count."""
    if loss in SPIKING_LOSSES:
        return -np.where(np.isinf(first_ms), trial_ms + 1.0, first_ms) / tau_0
    return v.max(axis=0) if loss == "max" else weights @ v / len(v)


def forward(
    network: Network,
    stamps: Spikes,
    dt_ms: float,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    *,
    noise: Sequence[Array] | None = None,
    dropped: Dropped | None = None,
    delay_steps: int = 0,
    copies: int = 1,
    delays: Delays | None = None,
    dtype: DTypeLike = np.float64,
    window: tuple[int, int] | None = None,
) -> GridForward:
    """Run the forward pass of one sample.

    Args:
        network: the network; its trial lasts K = round(trial_ms/dt_ms) steps.
        stamps: (step, channel) pairs with 0 <= step < K; repeated pairs count twice.
        dt_ms: step h in ms.
        loss: a name of `VOLTAGE_LOSSES`, or of `SPIKING_LOSSES` if the outputs spike.
        parameters: what the loss needs of tau_accumulator, tau_0, tau_1 (ms) and alpha.
        noise: by hidden layer (number), (step, neuron) what is added to V after each update.
        dropped: of layer (number), step and neuron: whether a spike is lost to hidden dropout.
        delay_steps, copies: delay line; rows i*C to i*C + C - 1 of the first layer's w are copy i of the C channels.
        delays: by population, steps (source, neuron) of its synapses' delays: "w", "w_rec" or both.
        dtype: precision of state and coefficients.
        window: the first step that counts for the loss, and the one after the last.

    Raises:
        ValueError: a stamp or channel out of range, a loss unknown or unfit for the outputs.
    """
    spiking = bool(np.isfinite(network.output.v_thresh))
    if loss not in (SPIKING_LOSSES if spiking else VOLTAGE_LOSSES):
        raise ValueError(f"loss {loss} unknown, or not for these outputs")
    parameters, delays = parameters or {}, delays or {}
    steps = round(network.trial_ms / dt_ms)
    inputs = input_spikes(stamps, len(network.hidden[0].w), steps, delay_steps, copies)
    layers: dict[str, Trace] = {}
    source: NDArray[Any] = inputs
    for number, layer in enumerate(network.hidden):
        own_noise, drop = None if noise is None else noise[number], dropped and partial(dropped, number)
        name = f"hidden{number}"
        trace = _simulate(_coefficients(layer, dt_ms, dtype), source, own_noise, drop, delays.get(name))
        layers[name], source = trace, trace.fired
    output = _simulate(_coefficients(network.output, dt_ms, dtype), source, delay=delays.get("output"))
    layers["output"] = output
    weights, first_ms = _step_weights(loss, parameters, inputs, dt_ms), first_spikes(output.fired, dt_ms)
    counted = slice(*(window or (0, steps)))
    v, tau_0 = output.v[counted].astype(np.float64), parameters.get("tau_0", np.nan)
    scores = _scores(loss, v, weights[counted], first_ms, network.trial_ms, tau_0)
    return GridForward(layers, inputs, scores, weights, first_ms, spiking, delays, window)


def _penalty(loss: str, parameters: Mapping[str, float], t: float, trial_ms: float) -> tuple[float, float]:
    """What a late first spike of the label's output adds to the loss, and its derivative by t."""
    alpha = parameters["alpha"]
    if loss == "first_spike":
        rest = 1.01 * trial_ms - t
        return alpha / rest, alpha / rest**2
    tau_1 = parameters["tau_1"]
    return alpha * (np.exp(t / tau_1) - 1.0), alpha / tau_1 * np.exp(t / tau_1)


Told = int | NDArray[Any]
"""What outputs are compared with: a label, (step,) labels, (output,) values or (step, output) values."""


def wanted(told: Told, loss: str, steps: int, outputs: int) -> Array:
    """(step, output) values; where there is a label, these are 1 and 0 or, of square errors, 0.5 and -0.2."""
    high, low = (0.5, -0.2) if loss.startswith("mse") else (1.0, 0.0)
    given = np.asarray(told)
    if given.dtype.kind in "iu":
        hit = np.broadcast_to(given, steps)[:, None] == np.arange(outputs)
        return np.where(hit, high, low)
    return np.broadcast_to(given, (steps, outputs))


def sample_loss(
    record: GridForward, told: Told, trial_ms: float, loss: str, parameters: Mapping[str, float] | None = None
) -> float:
    """Loss of one sample, not divided by the batch."""
    v = record.layers["output"].v.astype(np.float64)
    targets = wanted(told, loss, *v.shape)
    if loss == "avg_xentropy":
        labels = targets.argmax(axis=1)
        pairs = zip(v[record.counted], labels[record.counted], strict=True)
        return float(np.mean([cross_entropy(row, label) for row, label in pairs]))
    if loss == "mse_steps":
        return float(np.mean((v - targets)[record.counted] ** 2))
    if loss == "mse":
        return float(np.mean((record.scores - targets[0]) ** 2))
    label = int(told)
    value = cross_entropy(record.scores, label)
    if loss in SPIKING_LOSSES:
        value += _penalty(loss, parameters or {}, min(record.first_ms[label], trial_ms), trial_ms)[0]
    return float(value)
