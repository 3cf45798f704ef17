"""GeNN neuron models from the declarations in :mod:`models`.

All neurons run the forward dynamics of one batch and the backward dynamics of the same or of the one before, in the
``num_steps`` steps of a trial; the host says which of both (``forward``, ``backward``). In step k of a trial, counted
from 0 in each, the backward part takes the adjoints from the end of step m = num_steps - 1 - k to its start.

A spike of step j is kept in a ring, with the values that its jump needs, and replayed in descending order: in step
k = num_steps - 2 - j an event is announced (``back_spike``), GeNN's synapses carry it while they sample their targets'
adjoints, and in the next step R has arrived and the adjoint jumps. Steps are whole numbers; no time is compared. A
neuron whose spike was dropped has no event, only the jump. Nobody spikes in the last step.

The current is part of the neuron (``I``; GeNN's own ``Isyn`` is what arrives in a step), since all synapses onto a
population share its time constant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import models
from eventprop.backends.genn.random import draw
from eventprop.backends.snippets import evaluate, names_in, renamed
from eventprop.network import Network, Population

__all__ = ["Dynamic", "Layout", "Neurons", "constants_of", "input_neurons", "neurons"]

# Whole numbers that the host sets before each trial.
Dynamic = {
    "forward": "int",  # whether the forward part runs, and for how many samples of the batch
    "num_samples": "int",
    "backward": "int",
    "num_back": "int",
    "half": "int",  # where the trial that runs forwards keeps its traces, and where those of the other are
    "half_back": "int",
}

_CLOCK = """
const int k = (int)round(t / dt);
const int m = num_steps - 1 - k;
"""


@dataclass(frozen=True)
class Layout:
    """Sizes that all populations share.

    Attributes:
        batch: samples that are simulated at once.
        halves: 2 where one batch runs forwards while another runs backwards.
        max_spikes: length of each neuron's ring of spikes.
    """

    batch: int
    halves: int
    max_spikes: int


@dataclass
class Neurons:
    """What GeNN needs for a population.

    Attributes:
        sizes: whole numbers that are part of the code.
        constants: value of what is the same for all neurons and may be changed.
        dynamic: type of what the host sets during the simulation.
        variables: type, access mode and initial value.
        arrays: type and size of what has no place in a neuron.
        sim_code, threshold: GeNNCode.
        inputs: additional input variables.
    """

    name: str
    size: int
    sim_code: str
    threshold: str
    sizes: dict[str, int] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    dynamic: dict[str, str] = field(default_factory=lambda: dict(Dynamic))
    variables: dict[str, tuple[str, str, Any]] = field(default_factory=dict)
    arrays: dict[str, tuple[str, int]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)

    def described(self) -> str:
        """All that is part of the code: not the values of constants and variables and what is in the arrays."""
        variables = {n: (kind, mode) for n, (kind, mode, _) in self.variables.items()}
        rest = self.sizes, list(self.constants), self.dynamic, variables, list(self.arrays), self.inputs
        return repr((self.name, self.size, self.sim_code, self.threshold, *rest))


def constants_of(population: Population, values: Mapping[str, Any], dt_ms: float) -> dict[str, Any]:
    """Values of a population's parameters and of all constants that follow from them, float or ``(size,)``.

    Args:
        values: parameters that are not as in the population's description.
    """
    found: dict[str, Any] = {"dt": dt_ms, **population.parameters, **values}
    found = {n: np.asarray(v, np.float64) if np.ndim(v) else float(v) for n, v in found.items()}
    with np.errstate(all="ignore"):
        for name, expression in {**population.model.constants, **models.EXPONENTIAL_SYNAPSE.constants}.items():
            found[name] = evaluate(expression, found)
    return {n: v if np.ndim(v) else float(v) for n, v in found.items() if n != "dt"}


def input_neurons(network: Network, layout: Layout) -> Neurons:
    """The input, which shows what the host has written to ``raster``: a bit for each channel, step and sample."""
    words = -(-network.num_input // 32)
    code = """
    const int channel = id % num_channels;
    const int shift = (id / num_channels) * delay_steps;
    spike = 0;
    if (forward && batch < num_samples && k >= shift && k < num_steps - 1) {
        const int row = (half * num_batch + batch) * num_steps + k - shift;
        spike = (raster[row * words + channel / 32] & (1U << (channel % 32))) != 0U ? 1 : 0;
    }
    back_spike = 0;
    if (backward && batch < num_back && m - 1 >= shift) {
        const int row = (half_back * num_batch + batch) * num_steps + m - 1 - shift;
        back_spike = (raster[row * words + channel / 32] & (1U << (channel % 32))) != 0U ? 1 : 0;
    }
    """
    sizes = {"num_steps": network.num_steps, "num_channels": network.num_input, "words": words}
    sizes["delay_steps"] = network.delay_steps
    return Neurons(
        name="input",
        size=network.num_input * network.copies,
        sim_code=_CLOCK + code,
        threshold="spike",
        sizes=sizes,
        variables=dict.fromkeys(("spike", "back_spike"), ("uint8_t", "READ_WRITE", 0)),
        arrays={"raster": ("uint32_t", layout.halves * layout.batch * network.num_steps * words)},
    )


def neurons(network: Network, population: Population, layout: Layout) -> Neurons:
    """A hidden population or the output."""
    if population.name != "output":
        return _Hidden(network, population, layout).neurons()
    made = _SpikingOutput if network.loss.spiking else _ReadOut
    return made(network, population, layout).neurons()


class _Builder(ABC):
    """Puts a population's code together; see :meth:`neurons`."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        self.network, self.population, self.layout = network, population, layout
        self.model, self.synapse = population.model, models.EXPONENTIAL_SYNAPSE
        self.state = {_genn(n): _genn(start) for n, start in {"Isyn": "0.0", **self.model.state}.items()}
        self.trained = [n for n in self.model.parameters if n in population.trained]
        self.variables: dict[str, tuple[str, str, Any]] = {}
        self.sizes = {"num_steps": network.num_steps}
        self.constants: dict[str, float] = {}
        self.dynamic = {**Dynamic, "averaged": "scalar"}
        self.arrays: dict[str, tuple[str, int]] = {}
        self.inputs: list[str] = []
        self.has(self.state)
        self.has((*self.model.adjoint, "to_weight", "to_source"))
        self.has(f"d_{n}" for n in self.trained)

    def has(self, names: Any, kind: str = "scalar", access: str = "READ_WRITE") -> None:
        """Declare variables that start at 0."""
        self.variables |= dict.fromkeys(names, (kind, access, 0))

    def keeps(self, name: str, kind: str = "scalar") -> str:
        """Declare an array with a value for each step, neuron, sample and half."""
        sizes = (self.layout.halves, self.layout.batch, self.network.num_steps, self.population.size)
        self.arrays[name] = (kind, int(np.prod(sizes)))
        return name

    def neurons(self) -> Neurons:
        code = f"{_CLOCK}if (backward && batch < num_back) {{\n{self.backward()}}}\n{self.forward()}"
        threshold = "spike" if self.model.threshold else ""
        used = names_in(code)
        for name, value in constants_of(self.population, {}, self.network.dt_ms).items():
            if name in self.trained or (name in used and np.ndim(value)):
                self.variables[name] = ("scalar", "READ_ONLY", value)
            elif name in used:
                self.constants[name] = value
        return Neurons(
            name=self.population.name,
            size=self.population.size,
            sim_code=code,
            threshold=threshold,
            sizes=self.sizes,
            constants=self.constants,
            dynamic=self.dynamic,
            variables=self.variables,
            arrays=self.arrays,
            inputs=self.inputs,
        )

    def at_step(self, half: str, step: str) -> str:
        """Where an array that :meth:`keeps` has this neuron's value of ``step``."""
        return f"((({half} * num_batch + batch) * num_steps + {step}) * num_neurons + id)"

    def start_forward(self) -> str:
        return " ".join(f"{n} = {start};" for n, start in self.state.items())

    def step_forward(self) -> str:
        """From the arrival of spikes to the state at the end of the step."""
        keep = ""
        if self.trained:
            keep = "".join(f"{self.keeps(f'keep_{n}')}[{self.at_step('half', 'k')}] = {n};\n" for n in self.state)
        return f"{_genn(self.synapse.decay)}\nI += Isyn;\n{keep}{_genn(self.model.update)}\n"

    def start_backward(self) -> str:
        return " ".join(f"{n} = 0.0;" for n in self.model.adjoint)

    def step_backward(self) -> str:
        """What time constants collect, and the adjoints at the start of the step."""
        code = ""
        if self.trained:
            at = self.at_step("half_back", "m")
            code += "".join(f"const scalar {n}_then = keep_{n}[{at}];\n" for n in self.state)
            then = {n: f"{n}_then" for n in self.state}
            code += "".join(f"d_{n} += {renamed(_genn(self.model.collect[n]), then)};\n" for n in self.trained)
        return code + self.model.adjoint_update + "\n"

    def sample(self) -> str:
        """What synapses will read of the adjoints."""
        return f"to_weight = {self.synapse.gradient};\nto_source = {self.synapse.transport};\n"

    @abstractmethod
    def backward(self) -> str:
        """Code of the backward part, where it runs."""

    @abstractmethod
    def forward(self) -> str:
        """Code of the forward part, with its own condition."""


class _Spiking(_Builder):
    """Neurons that spike: the ring, its replay and the jump."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        super().__init__(network, population, layout)
        self.has(("spike", "back_spike"), "uint8_t")
        # First and number of ring entries of the trial that runs forwards, and how many wanted to be there; first and
        # number of those of the other, and what is left to be replayed; since the last report, spikes that found no
        # place, and the largest number of places that was needed.
        self.has(("first", "written", "back_first", "taken", "left", "tried", "lost", "most"), "int")
        self.has(("count",))
        self.sizes["max_spikes"] = layout.max_spikes
        size = layout.batch * population.size * layout.max_spikes
        self.arrays["ring_step"] = ("int", size)
        self.arrays |= {f"ring_{n}": ("scalar", size) for n in self.model.recorded}

    def in_ring(self, slot: str) -> str:
        return f"((batch * num_neurons + id) * max_spikes + ({slot}) % max_spikes)"

    def backward(self) -> str:
        last = self.in_ring("back_first + left - 1")
        recorded = "".join(f"const scalar {n} = ring_{n}[last];\n" for n in self.model.recorded)
        return f"""
            if (k == 0) {{ {self.start_backward()} left = written; back_first = first; {self.at_start()} }}
            {self.step_backward()}
            if (back_spike != 0) {{
                const int last = {last};
                {recorded}{self.jump()}
                left -= 1;
            }}
            back_spike = 0;
            if (left > 0) {{
                const int stamp = ring_step[{last}];
                if (stamp / 2 == m - 1) back_spike = stamp % 2 == 0 ? 1 : 2;
            }}
            {self.sample()}
        """

    def forward(self) -> str:
        put = "".join(f"ring_{n}[at] = {_genn(e)};\n" for n, e in self.model.recorded.items())
        return f"""
            spike = 0;
            if (k == 0) taken = backward && batch < num_back ? written : 0;
            if (forward && batch < num_samples) {{
                if (k == 0) {{
                    first = (first + written) % max_spikes; written = 0; tried = 0; count = 0.0;
                    {self.start_forward()}
                }}
                {self.step_forward()}{self.perturb()}
                if (k < num_steps - 1 && ({_genn(self.model.threshold)})) {{
                    {self.dropped()}
                    tried += 1;
                    if (taken + tried > most) most = taken + tried;
                    if (written + taken < max_spikes) {{
                        const int at = {self.in_ring("first + written")};
                        ring_step[at] = 2 * k + dropped;
                        {put}written += 1;
                    }}
                    else {{ lost += 1; }}
                    {_genn(self.model.reset)}
                    if (dropped == 0) {{ spike = 1; count += 1.0; {self.on_spike()} }}
                }}
            }}
        """

    def at_start(self) -> str:
        """More to do before the first step backwards."""
        return ""

    def jump(self) -> str:
        return self.model.jump

    def perturb(self) -> str:
        return ""

    def dropped(self) -> str:
        return "const int dropped = 0;"

    def on_spike(self) -> str:
        return ""


class _Hidden(_Spiking):
    """A hidden population: R comes from its targets; noise, dropout, regularisation."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        super().__init__(network, population, layout)
        self.inputs.append("R")
        self.dynamic |= {"dropout_limit": "uint32_t", "noise_amplitude": "scalar"}
        self.arrays |= dict.fromkeys(("dropout_key", "noise_key"), ("uint32_t", layout.batch))
        self.arrays["normal"] = ("scalar", 2048)
        self.constants |= network.regulariser_parameters
        used = names_in(network.regulariser.jump)
        if "spike_count" in used:
            self.has(("spike_count",), access="READ_ONLY" if network.average_counts else "READ_WRITE")
        if "layer_count" in used:
            self.has(("layer_count",), access="READ_ONLY_SHARED_NEURON")

    def at_start(self) -> str:
        return "spike_count = count;" if self.variables.get("spike_count", ("", "", 0))[1] == "READ_WRITE" else ""

    def jump(self) -> str:
        code = renamed(self.network.regulariser.jump, {"batch": "averaged"})
        return f"{self.model.jump}\nif (back_spike == 1) {{ {code} }}" if code else self.model.jump

    def perturb(self) -> str:
        if not self.model.perturb:
            return ""
        return f"""if (noise_amplitude != 0.0) {{
            {draw("u", "noise_key")}
            const scalar noise = noise_amplitude * (normal[u % 2048U] + normal[(u / 2048U) % 2048U]);
            {self.model.perturb}
        }}"""

    def dropped(self) -> str:
        return f"""int dropped = 0;
            if (dropout_limit != 0U) {{
                {draw("u", "dropout_key")}
                if (u < dropout_limit) dropped = 1;
            }}"""


class _SpikingOutput(_Spiking):
    """Outputs whose first spikes make the loss; the host says what that gives to R and, for silence, to lambda_V."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        super().__init__(network, population, layout)
        self.has(("first_step",), "int")
        self.has(("first_error", "phantom"), access="READ_ONLY_DUPLICATE")

    def start_forward(self) -> str:
        return f"{super().start_forward()} first_step = -1;"

    def on_spike(self) -> str:
        return "if (first_step < 0) first_step = k;"

    def at_start(self) -> str:
        return "lambda_V += phantom;"

    def jump(self) -> str:
        return f"const scalar R = left == 1 ? first_error : 0.0;\n{self.model.jump}"


class _ReadOut(_Builder):
    """Outputs that do not spike. ``error`` is the host's, or follows here from the voltages of each step."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        super().__init__(network, population, layout)
        loss = self.loss = network.loss
        self.has(loss.state)
        self.seen = [n for n in loss.state if n in names_in(loss.impulse + loss.cusp)]
        self.has(f"{n}_back" for n in self.seen)
        self.per_sample = "traffic" in names_in(loss.weight)
        trials = layout.halves * layout.batch if self.per_sample else 1
        self.arrays["weights"] = ("scalar", trials * network.num_steps)
        if loss.per_step:
            self.keeps("voltages")
            self.has(("label",), "int", "READ_ONLY_SHARED_NEURON")
            self.dynamic["loss_scale"] = "scalar"
        else:
            self.has(("error",), access="READ_ONLY_DUPLICATE")
        if loss.cusp:
            self.has(("negative", "negative_back", "cusp_share"))
            self.inputs.append("arriving_negative")

    def weight(self, half: str, step: str) -> str:
        return f"weights[({half} * num_batch + batch) * num_steps + {step}]" if self.per_sample else f"weights[{step}]"

    def forward(self) -> str:
        names = {"steps": "num_steps", "step": "((scalar)k)"}
        last = {"steps": "num_steps", "step": "((scalar)(k + 1))"}
        start = "".join(f"{n} = {_genn(v)};" for n, v in self.loss.state.items())
        code = f"if (k == 0) {{ {self.start_forward()} {start} }}\n"
        code += f"const scalar weight = {self.weight('half', 'k')};\n{renamed(_genn(self.loss.read), names)}\n"
        if self.loss.per_step:
            code += f"voltages[{self.at_step('half', 'k')}] = V;\n"
        if self.loss.cusp:
            code += "negative = max_step == (scalar)k ? arriving_negative : negative;\n"
        code += self.step_forward()
        if self.loss.finish:
            code += f"if (k == num_steps - 1) {{ {renamed(_genn(self.loss.finish), last)} }}\n"
        return f"if (forward && batch < num_samples) {{\n{code}}}\n"

    def backward(self) -> str:
        back = {n: f"{n}_back" for n in self.seen}
        names = {**back, "steps": "num_steps", "step": "((scalar)m)", "weight": "weight_back"}
        keep = " ".join(f"{n}_back = {n};" for n in [*self.seen, *(["negative"] if self.loss.cusp else [])])
        code = f"if (k == 0) {{ {self.start_backward()} {keep} }}\n{self.step_backward()}"
        code += f"const scalar weight_back = {self.weight('half_back', 'm')};\n"
        if self.loss.per_step:
            code += self.error_of_step()
        before = f"const scalar before = {self.synapse.transport};\n" if self.loss.cusp else ""
        code += f"{before}{renamed(_genn(self.loss.impulse), names)}\n{self.sample()}"
        if self.loss.cusp:
            code += f"""cusp_share = 0.0;
                if (max_step_back == (scalar)m) {{
                    const scalar cusp = {renamed(self.loss.cusp, back)};
                    if (cusp != 0.0) to_source = before;
                    if (cusp != 0.0 && m > 0 && negative_back < 0.0) cusp_share = cusp / negative_back;
                }}
            """
        return code

    def error_of_step(self) -> str:
        """Softmax over the voltages of all outputs at the start of step m."""
        return """
            const int row = ((half_back * num_batch + batch) * num_steps + m) * num_neurons;
            scalar top = voltages[row];
            for (int j = 1; j < num_neurons; j++) top = fmax(top, voltages[row + j]);
            scalar sum = 0.0;
            for (int j = 0; j < num_neurons; j++) sum += exp(voltages[row + j] - top);
            const scalar hit = id == label ? 1.0 : 0.0;
            const scalar error = (hit - exp(voltages[row + id] - top) / sum) * loss_scale / averaged;
        """


def _genn(code: str) -> str:
    """The current has another name in GeNN, where ``Isyn`` is what arrives in a step."""
    return renamed(code, {"Isyn": "I"})
