"""What all populations of a GeNN model are made of: sizes, constants, variables, and code from the declarations."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eventprop.derivation.model import NeuronModel
from eventprop.derivation.values import constants_of as values_of
from eventprop.network import Network, Population
from eventprop.snippets import names_in, renamed

__all__ = ["CLOCK", "Builder", "Dynamic", "Layout", "Neurons", "constants_of", "genn", "seen_by"]

# Whole numbers that the host sets before each trial.
Dynamic = {
    "forward": "int",  # whether the forward part runs, and for how many samples of the batch
    "num_samples": "int",
    "backward": "int",
    "num_back": "int",
    "half": "int",  # where the trial that runs forwards keeps its traces, and where those of the other are
    "half_back": "int",
}

CLOCK = """
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
        real: "float" or "double", of all that is computed.
    """

    batch: int
    halves: int
    max_spikes: int
    real: str = "float"


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
    return values_of(population.model, {**population.parameters, **values}, dt_ms)


class Builder(ABC):
    """Puts a population's code together; see :meth:`neurons`."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        self.network, self.population, self.layout = network, population, layout
        self.model = population.model
        self.state = {genn(n): genn(start) for n, start in self.model.state.items()}
        self.trained = [n for n in self.model.parameters if n in population.trained]
        self.variables: dict[str, tuple[str, str, Any]] = {}
        self.sizes = {"num_steps": network.num_steps}
        self.constants: dict[str, float] = {}
        self.dynamic = {**Dynamic, "averaged": "scalar"}
        self.arrays: dict[str, tuple[str, int]] = {}
        self.inputs: list[str] = []
        self.has(self.state)
        self.has((*self.model.adjoint, *(f"{n}{i}" for i in seen_by(self.model) for n in ("to_weight", "to_source"))))
        if self.model.inputs == 2:
            self.inputs.append("arriving_1")
        self.has(f"d_{n}" for n in self.trained)
        self.keeps_state = bool(self.trained) or self.model.reads_state

    def has(self, names: Any, kind: str = "scalar", access: str = "READ_WRITE") -> None:
        """Declare variables that start at 0."""
        self.variables |= dict.fromkeys(names, (kind, access, 0))

    def keeps(self, name: str, kind: str = "scalar") -> str:
        """Declare an array with a value for each step, neuron, sample and half."""
        sizes = (self.layout.halves, self.layout.batch, self.network.num_steps, self.population.size)
        self.arrays[name] = (kind, int(np.prod(sizes)))
        return name

    def neurons(self) -> Neurons:
        code = f"{CLOCK}if (backward && batch < num_back) {{\n{self.backward()}}}\n{self.forward()}"
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
        if self.keeps_state:
            keep = "".join(f"{self.keeps(f'keep_{n}')}[{self.at_step('half', 'k')}] = {n};\n" for n in self.state)
        arriving = dict(zip(list(self.state)[: self.model.inputs], ("Isyn", "arriving_1"), strict=False))
        arrive = " ".join(f"{n} += {what};" for n, what in arriving.items())
        return f"{genn(self.model.arrive)}\n{arrive}\n{keep}{self.before_update()}{genn(self.model.update)}\n"

    def before_update(self) -> str:
        """What is done with the state after arrivals."""
        return ""

    def start_backward(self) -> str:
        return " ".join(f"{n} = 0.0;" for n in self.model.adjoint)

    def step_backward(self) -> str:
        """What parameters collect, and the adjoints at the start of the step, in a block of its own."""
        m = self.model
        collected = {n: m.collect[n] for n in self.trained if n in m.collect}
        sums = "".join(f"d_{n} += {genn(e)};\n" for n, e in collected.items())
        return f"{{ {genn(m.back_program)}\n{sums}{genn(m.adjoint_update)} }}\n"

    def kept_state(self) -> str:
        """The state at the start of the step that is taken back, where the backward pass reads it."""
        if not self.keeps_state:
            return ""
        at = self.at_step("half_back", "m")
        return "".join(f"const scalar {n}_then = keep_{n}[{at}];\n" for n in self.state)

    def at_trial_start(self) -> str:
        """What parameters collect of the adjoints at the start of the trial."""
        found = {n: self.model.collect_start[n] for n in self.trained if n in self.model.collect_start}
        sums = "".join(f"d_{n} += {genn(e)};\n" for n, e in found.items())
        return f"if (m == 0) {{ {sums} }}\n" if sums else ""

    def sample(self) -> str:
        """What synapses will read of the adjoints."""
        m = self.model
        both = zip(seen_by(m), m.gradient, m.transport, strict=True)
        return "".join(f"to_weight{i} = {genn(g)};\nto_source{i} = {genn(t)};\n" for i, g, t in both)

    @abstractmethod
    def backward(self) -> str:
        """Code of the backward part, where it runs."""

    @abstractmethod
    def forward(self) -> str:
        """Code of the forward part, with its own condition."""


def seen_by(model: NeuronModel) -> tuple[str, ...]:
    """What the names of what synapses read end in, by input."""
    return ("", "_1")[: model.inputs]


def genn(code: str) -> str:
    """Code of a model in GeNN: the current has another name, since ``Isyn`` is what arrives in a step there."""
    code = renamed(code, {"Isyn": "I", "Isyn_then": "I_then", "real": "scalar"})
    return _written_out(_written_out(code, "phi_slope", _PHI_SLOPE), "phi", _PHI)


def _written_out(code: str, name: str, text: str) -> str:
    """Code with ``text`` in the place of a function, its argument for ``z``."""
    while found := re.search(rf"\b{name}\(", code):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        argument = code[found.end() : end - 1]
        z = argument if argument.isidentifier() else f"({argument})"
        code = code[: found.start()] + renamed(text, {"z": z}) + code[end:]
    return code


# (exp(z) - 1) / z, and its derivative, by a series where its terms cancel.
_PHI = "(z == 0.0 ? 1.0 : expm1(z) / z)"
_PHI_SLOPE = (
    "(fabs(z) < 0.3 ? 0.5 + z * (1.0 / 3.0 + z * (0.125 + z * (1.0 / 30.0 + z * (1.0 / 144.0 + z * "
    "(1.0 / 840.0 + z * (1.0 / 5760.0 + z / 45360.0)))))) : (exp(z) - expm1(z) / z) / z)"
)
