"""Small networks with input, in the forms that the engine, its NumPy version and the event-driven oracle take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from eventprop.backends import BatchResult
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.spikes import SpikeSet
from eventprop.derivation import derived
from eventprop.network import DELAY, Delay, Network, Population, Projection, Randomness
from tests.support import grid_numpy, oracle
from tests.support.counter_random import is_dropped, normal
from tests.support.drawn import Events, Stamps, layers_of, random_layer, rounded, spike_set, timed_spike_set
from tests.support.expected import Expected
from tests.support.oracle import Array, Layer

PARAMETERS = {"tau_0": 2.0, "tau_1": 25.0, "alpha": 3.0, "tau_accumulator": 20.0}
SIMPLE = {"lbd_upper": 0.01, "lbd_lower": 0.02, "nu_upper": 6.0}
THOMAS1 = {**SIMPLE, "rho_upper": 150.0, "glb_upper": 0.03}
KINDS = ("LIF", "hetLIF", "ALIF")


def with_layer(net: oracle.Network, name: str, **values: Any) -> oracle.Network:
    """The network with other values in its layer of that name."""
    if name == "output":
        return replace(net, output=replace(net.output, **values))
    hidden = list(net.hidden)
    hidden[int(name[6:])] = replace(hidden[int(name[6:])], **values)
    return replace(net, hidden=tuple(hidden))


def places(net: oracle.Network) -> dict[str, tuple[str, str]]:
    """By the engine's name of a synapse population or time constant, the oracle's names of layer and parameter."""
    found = {}
    for number, name in enumerate(net.populations):
        below = "in_to_hid" if number == 0 else f"hid_to_hidfwd{number - 1}"
        found["hid_to_out" if name == "output" else below] = (name, "w")
        for parameter in net.populations[name].parameters[1:]:
            synapses = f"hid_to_hid{number}" if parameter.endswith("_rec") else below
            synapses = "hid_to_out" if name == "output" else synapses
            synapses += DELAY * parameter.startswith("delay")
            found[f"{name}.{parameter}" if parameter.startswith("tau") else synapses] = (name, parameter)
    return found


def flat(net: oracle.Network, gradients: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Gradients of the oracle or the NumPy version under the engine's names; delays where there are some."""
    named = {key: (gradients[name], parameter) for key, (name, parameter) in places(net).items()}
    delays = {f"{key}.delay": own[f"delay of {n}"] for key, (own, n) in named.items() if f"delay of {n}" in own}
    return {key: own[parameter] for key, (own, parameter) in named.items()} | delays


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|; 0 where both are 0."""
    difference = np.linalg.norm(np.asarray(found, float) - expected)
    return float(difference / np.linalg.norm(expected)) if difference else 0.0


@dataclass(frozen=True)
class Case:
    """A network with samples.

    Attributes:
        net: weights and parameters, in values that float32 can hold.
        samples: by sample, (step, channel) pairs of the input's spikes.
        times: by sample, (time in ms, channel) pairs, of input with true times.
        labels: (sample,).
        dt_ms: the step.
        loss: its name.
        taus: time constants of the engine's neurons: "trained", "own" (one for each neuron) or "shared".
        regulariser, strengths: its name and parameters, of all layers or as tuples of each.
        min_denominator: None for no bound.
        frozen: synapse populations that are not trained.
        told: what outputs are compared with in the place of labels, as the loss takes it.
        window: steps that count for the loss, the first and the one after the last.
        copies, delay_steps, average_counts, loss_scale, spike_timing, bounds: as in the engine's network.
    """

    net: oracle.Network
    samples: tuple[Stamps, ...]
    labels: NDArray[np.int32]
    dt_ms: float
    loss: str
    taus: str = "trained"
    regulariser: str = "none"
    strengths: Mapping[str, Any] = field(default_factory=dict)
    min_denominator: float | None = 0.2
    frozen: tuple[str, ...] = ()
    copies: int = 1
    delay_steps: int = 0
    average_counts: bool = False
    loss_scale: float = 1.0
    spike_timing: str = "grid"
    bounds: Mapping[str, float] = field(default_factory=dict)
    times: tuple[Events, ...] | None = None
    told: np.ndarray | None = None
    window: tuple[int, int] | None = None

    @property
    def compared(self) -> np.ndarray:
        """What the engine is given as labels: of square errors values, which follow from labels where none are told."""
        if self.told is not None or self.loss not in oracle.VALUE_LOSSES:
            return self.labels if self.told is None else self.told
        return np.array([oracle.values_of(int(y), self.loss, self.net.output.size) for y in self.labels])

    @property
    def num_steps(self) -> int:
        return round(self.net.trial_ms / self.dt_ms)

    @property
    def num_input(self) -> int:
        return len(self.net.hidden[0].w) // self.copies

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of all samples."""
        return np.arange(len(self.samples))

    @cached_property
    def spikes(self) -> SpikeSet:
        if self.times is not None:
            return timed_spike_set(self.times, self.num_input, self.num_steps, self.dt_ms)
        return spike_set(self.samples, self.num_input, self.num_steps)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Weights under the engine's names, float32."""
        return {
            key: np.asarray(getattr(self.net.populations[name], parameter), np.float32)
            for key, (name, parameter) in places(self.net).items()
            if not parameter.startswith("tau")
        }

    @property
    def time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            name: {n: np.asarray(getattr(layer, n), np.float32) for n in layer.parameters if n.startswith("tau")}
            for name, layer in self.net.populations.items()
        }

    def edited(self, name: str, **values: Any) -> Case:
        """The case with other values, arrays rounded to float32, in the layer of that name."""
        values = {n: rounded(v) if isinstance(v, np.ndarray) else v for n, v in values.items()}
        return replace(self, net=with_layer(self.net, name, **values))

    def with_step(self, dt_ms: float) -> Case:
        """The same input, at the same times, on another grid."""
        samples = tuple([(round((k + 1) * self.dt_ms / dt_ms) - 1, i) for k, i in own] for own in self.samples)
        return replace(self, dt_ms=dt_ms, samples=samples)

    def steps(self) -> grid_numpy.Delays:
        """Delays of synapses in steps, by population and parameter; none here."""
        return {}

    def events(self, sample: int = 0) -> oracle.InputEvents:
        """The oracle's input: a spike stamped k comes at the end of step k."""
        own = [((k + 1) * self.dt_ms, i) for k, i in self.samples[sample] if k < self.num_steps - 1]
        own = own if self.times is None else self.times[sample]
        delay_ms = self.delay_steps * self.dt_ms
        return oracle.delayed(own, self.num_input, self.copies - 1, delay_ms, self.net.trial_ms - self.dt_ms / 2)

    def network(self) -> Network:
        """The engine's network."""
        loss, regulariser = models.LOSSES[self.loss], models.REGULARISERS[self.regulariser]
        populations = [self._population(name, layer) for name, layer in self.net.populations.items()]
        ends = {key: self._ends(name, parameter) for key, (name, parameter) in places(self.net).items()}
        late = {key: Delay(0.0, 0.0, None, 1e3, True) for key in ends if key + DELAY in ends}
        projections = [
            Projection(key, *ends[key], w.shape, 0.0, 0.0, key not in self.frozen, late.get(key))
            for key, w in self.weights.items()
            if not key.endswith(DELAY)
        ]
        return Network(
            num_input=self.num_input,
            hidden=tuple(populations[:-1]),
            output=populations[-1],
            projections=tuple(projections),
            loss=loss,
            regulariser=regulariser,
            regulariser_parameters={n: self.strengths[n] for n in regulariser.parameters},
            average_counts=self.average_counts,
            loss_scale=self.loss_scale,
            dt_ms=self.dt_ms,
            num_steps=self.num_steps,
            loss_parameters={n: PARAMETERS[n] for n in loss.parameters},
            copies=self.copies,
            delay_steps=self.delay_steps,
            bounds=self.bounds,
            spike_timing=self.spike_timing,
            window=self.window,
        )

    def _ends(self, name: str, parameter: str) -> tuple[str, str]:
        order = ["input", *self.net.populations]
        return (name if parameter.endswith("_rec") else order[order.index(name) - 1]), name

    def _population(self, name: str, layer: Layer) -> Population:
        neuron = models.ALIF if layer.tau_b is not None else models.LIF if np.isfinite(layer.v_thresh) else models.LI
        model = derived(neuron)
        bound = -1e30 if self.min_denominator is None else self.min_denominator
        values: dict[str, Any] = {}
        for n in model.parameters:
            value = bound if n == "min_denominator" else getattr(layer, n)
            if n.startswith("tau"):
                assert self.taus != "shared" or len(set(value)) == 1
                value = float(value[0]) if self.taus == "shared" else value.astype(np.float32)
            values[n] = value
        trained = tuple(n for n in model.parameters if n.startswith("tau") and self.taus == "trained")
        return Population(name, layer.size, model, values, trained)

    def engine(self, num_threads: int = 1, real: str = "double") -> CpuEngine:
        engine = CpuEngine(self.network(), num_threads, real)
        self.load(engine)
        return engine

    def load(self, engine: CpuEngine) -> None:
        """Give an engine of this kind the weights and time constants of this case."""
        engine.set_weights(self.weights)
        engine.set_time_constants(self.time_constants)

    def learn(self, engine: CpuEngine, **options: Any) -> BatchResult:
        """Present all samples as one batch, with gradients."""
        return engine.run(self.spikes, self.numbers, self.compared, learn=True, **options)

    def gradients(self, engine: CpuEngine | None = None, **options: Any) -> dict[str, np.ndarray]:
        """Gradients of the batch by all weights and trained time constants, under the engine's names."""
        engine = engine or self.engine()
        self.learn(engine, **options)
        return gradients_of(engine)

    def expected(self, random: Randomness | None = None, first: int = 0, dtype: Any = np.float64) -> Expected:
        """What the NumPy version finds for the batch, with states of type ``dtype``."""
        random = random or Randomness()
        line: dict[str, Any] = {"copies": self.copies, "delay_steps": self.delay_steps, "delays": self.steps()}
        records = []
        for i, stamps in enumerate(self.samples):
            kept = [s for s in stamps if not is_dropped(random.input_dropout, random.input_seed, first + i, 0, *s)]
            options = {"noise": self._noise(random, first + i), "dropped": _hidden_dropout(random, first + i), **line}
            options |= {"dtype": dtype, "window": self.window}
            records.append(grid_numpy.forward(self.net, kept, self.dt_ms, self.loss, PARAMETERS, **options))
        hidden = [f"hidden{number}" for number in range(len(self.net.hidden))]
        counts = [[r.counts[name] for name in hidden] for r in records]
        mean = [np.mean(own, axis=0) for own in zip(*counts, strict=True)] if self.average_counts else None
        reg = grid_numpy.Regularisation(**self.strengths, counts=mean)
        gradients = [self._backward(r, y, reg, dtype) for r, y in zip(records, self.compared, strict=True)]
        trial = self.net.trial_ms
        losses = [
            grid_numpy.sample_loss(r, y, trial, self.loss, PARAMETERS)
            for r, y in zip(records, self.compared, strict=True)
        ]
        return Expected(
            records=records,
            losses=np.array(losses),
            scores=np.array([r.scores for r in records]),
            predictions=np.array([-1 if _is_silent(r) else r.scores.astype(np.float32).argmax() for r in records]),
            counts=np.array([np.concatenate(own) for own in counts]),
            gradients={key: np.sum([g[key] for g in gradients], axis=0) for key in gradients[0]},
        )

    def _backward(
        self, record: grid_numpy.GridForward, told: grid_numpy.Told, reg: grid_numpy.Regularisation, dtype: Any
    ) -> dict[str, Array]:
        gradients = grid_numpy.backward(
            self.net,
            record,
            told,
            self.dt_ms,
            self.loss,
            PARAMETERS,
            batch=len(self.samples),
            drive_scale=self.loss_scale,
            min_denominator=self.min_denominator,
            regularisation=reg,
            dtype=dtype,
        )
        return flat(self.net, gradients)

    def _noise(self, random: Randomness, sample: int) -> list[Array] | None:
        """By hidden layer, (step, neuron) membrane noise; its amplitude is for 1 ms."""
        if not random.noise:
            return None
        amplitude = random.noise * np.sqrt(self.dt_ms)
        steps = np.arange(self.num_steps)[:, None]
        return [
            amplitude * normal(random.noise_seed, sample, number, steps, np.arange(layer.size))
            for number, layer in enumerate(self.net.hidden)
        ]

    def margin(self, record: grid_numpy.GridForward) -> float:
        """The closest that a V comes to its threshold or, for "max", to the largest V; at 0 rounding decides."""
        gaps = []
        for name, layer in self.net.populations.items():
            if np.isfinite(layer.v_thresh):
                trace = record.layers[name]
                crossed = ~np.isnan(trace.denominator)
                mem_to_b = 0.0 if layer.tau_b is None else layer.tau_mem / layer.tau_b
                at = trace.i - trace.denominator + trace.b_spike * mem_to_b - layer.v_thresh - trace.b_spike
                after = trace.v[1:] - layer.v_thresh - trace.b[1:]
                gaps += [at[crossed], -after[~crossed[:-1]]]
        if self.loss == "max":
            still = (record.layers["output"].i == 0).all(axis=1).cumprod().sum()  # steps before anything arrives
            top = np.sort(record.layers["output"].v[max(still, record.counted.start) : record.counted.stop], axis=0)
            gaps.append((top[-1:] - top[-2:-1]).ravel())
        return float(min(np.abs(gap).min(initial=np.inf) for gap in gaps))


def _is_silent(record: grid_numpy.GridForward) -> bool:
    return record.spiking and bool(np.isinf(record.first_ms).all())


def gradients_of(engine: CpuEngine) -> dict[str, np.ndarray]:
    """All gradients of the last batch under the names of what they belong to."""
    own = engine.time_constant_gradients()
    return engine.gradients() | {f"{q}.{n}": g for q, values in own.items() for n, g in values.items()}


def clear(make: Callable[[int], Case], margin: float = 2e-5, **options: Any) -> tuple[Case, Expected]:
    """The first of make(0), make(1), ... in which no spike hangs on rounding, and what the NumPy version finds."""
    for seed in range(100):
        case = make(seed)
        expected = case.expected(**options)
        if min(map(case.margin, expected.records)) > margin:
            return case, expected
    raise AssertionError("no such case")


def differences(expected: Expected, engine: CpuEngine, result: BatchResult) -> dict[str, float]:
    """Relative differences between an engine and the NumPy version that are not 0: gradients, losses, scores."""
    gradients = gradients_of(engine)
    found = {name: relative(values, expected.gradients[name]) for name, values in gradients.items()}
    found["loss"] = relative(result.loss, expected.losses)
    found["scores"] = relative(result.scores, expected.scores)
    found["spike counts"] = float(np.abs(result.spike_counts - expected.counts).sum())
    found["predictions"] = float((result.predictions != expected.predictions).sum())
    return {name: value for name, value in found.items() if value}


def random_case(
    seed: int = 0,
    kind: str | tuple[str, ...] = "hetLIF",
    loss: str = "sum",
    *,
    sizes: tuple[int, ...] = (70,),
    n_in: int = 12,
    n_out: int = 5,
    n: int = 3,
    steps: int = 120,
    dt_ms: float = 0.5,
    rate: float = 0.04,
    recurrent: bool | tuple[bool, ...] = True,
    v_reset: float = 0.0,
    **options: Any,
) -> Case:
    """A random network of neurons that spike about ten times, and inputs.

    Args:
        kind: "LIF" (time constants shared, not trained), "hetLIF" or "ALIF" (own and trained); one, or each layer's.
        sizes: of the hidden layers.
        n: samples.
        rate: probability of a spike of a channel in a step.
        options: of the case.
    """
    rng = np.random.default_rng(seed)
    own, spiking = kind != "LIF", loss in grid_numpy.SPIKING_LOSSES
    hidden = []
    rows = n_in * options.get("copies", 1)
    for sources, size, of, again in layers_of(rows, sizes, kind, recurrent):
        w_rec = rounded(rng.normal(0.0, 4.0 / np.sqrt(size), (size, size))) if again else None
        adapts = {"tau_b": rounded(rng.uniform(25, 60, size)), "b_incr": 0.15, "b_init": 0.1} if of == "ALIF" else {}
        mean, sd = (1.2, 1.5) if not hidden else (0.05, 3.5 / np.sqrt(sources))
        mean, sd = mean * n_in / rows, sd * np.sqrt(n_in / rows)
        hidden.append(random_layer(rng, sources, size, mean, sd, own, own, w_rec=w_rec, v_reset=v_reset, **adapts))
    mean, sd = (0.1, 3.0 / np.sqrt(sizes[-1])) if spiking else (0.0, 0.3)
    threshold = 1.2 if spiking else np.inf
    output = random_layer(rng, sizes[-1], n_out, mean, sd, own, own, v_thresh=threshold, v_reset=v_reset)
    fired = rng.random((n, steps, n_in)) < rate  # (sample, step, channel)
    samples = tuple([(int(k), int(c)) for k, c in np.argwhere(own_fired)] for own_fired in fired)
    labels = rng.integers(0, n_out, n).astype(np.int32)
    options = {"taus": "trained" if own else "shared", **options}
    return Case(oracle.Network(tuple(hidden), output, steps * dt_ms), samples, labels, dt_ms, loss, **options)


def _hidden_dropout(random: Randomness, sample: int) -> grid_numpy.Dropped | None:
    if not random.hidden_dropout:
        return None
    return lambda layer, *at: is_dropped(random.of_layer(layer)[0], random.hidden_seed, sample, layer, *at)
