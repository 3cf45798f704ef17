"""Populations that spike, in GeNNCode: hidden layers, and outputs whose first spikes make the loss."""

from __future__ import annotations

from collections.abc import Iterable

from eventprop.backends.genn.builder import Builder, Layout, genn
from eventprop.backends.genn.random import draw
from eventprop.backends.genn.within import Within
from eventprop.network import Network, Population
from eventprop.snippets import names_in, renamed

__all__ = ["Hidden", "SpikingOutput"]


class Spiking(Builder):
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
        self.within: Within | None = None
        in_ring = list(self.model.recorded)
        if network.spike_timing == "substep":
            self.within = Within(self.model, self.trained, layout.real)
            self.keeps_state |= self.within.keeps_start
            in_ring.append("part__")
        self.arrays |= {f"ring_{n}": ("scalar", size) for n in in_ring}

    def in_ring(self, slot: str) -> str:
        return f"((batch * num_neurons + id) * max_spikes + ({slot}) % max_spikes)"

    def backward(self) -> str:
        last = self.in_ring("back_first + left - 1")
        return f"""
            if (k == 0) {{ {self.start_backward()} left = written; back_first = first; {self.at_start()} }}
            {self.kept_state()}{self.within_step() if self.within else self.at_its_end()}
            back_spike = 0;
            {self.step_backward() if self.model.jump_first and not self.within else ""}{self.at_trial_start()}
            if (left > 0) {{
                const int stamp = ring_step[{last}];
                if (stamp / 2 == m - 1) back_spike = stamp % 2 == 0 ? 1 : 2;
            }}
            {self.sample()}
        """

    def at_its_end(self) -> str:
        """The jump of a spike at the end of the step, after or before all of this has been taken back."""
        return f"""{"" if self.model.jump_first else self.step_backward()}
            if (back_spike != 0) {{ {self.from_ring(self.model.recorded)}{self.jump_there()}left -= 1; }}"""

    def within_step(self) -> str:
        """As if without a spike, or by both parts of the step with the jump between them."""
        assert self.within is not None
        there = self.from_ring([*self.model.recorded, "part__"])
        return f"""if (back_spike == 0) {{ {self.step_backward()} }}
            else {{ {there}{self.within.back(self.jump_there())}left -= 1; }}"""

    def from_ring(self, names: Iterable[str]) -> str:
        """What was kept with the last spike that has not been replayed yet."""
        values = "".join(f"const scalar {n} = ring_{n}[last];\n" for n in names)
        return f"const int last = {self.in_ring('back_first + left - 1')};\n{values}"

    def jump_there(self) -> str:
        return f"{self.before_jump()}{self.jump()}\n{self.after_jump()}"

    def before_jump(self) -> str:
        return "".join(f"const scalar {v}_after = {v};\n" for v in self.model.adjoint) if self.jumping() else ""

    def jumping(self) -> str:
        """What trained parameters collect at a spike."""
        found = {n: self.model.collect_jump[n] for n in self.trained if n in self.model.collect_jump}
        return "".join(f"d_{n} += {genn(e)};\n" for n, e in found.items())

    def after_jump(self) -> str:
        sums = self.jumping()
        return "".join(f"const scalar {v}_new = {v};\n" for v in self.model.adjoint) + sums if sums else ""

    def before_update(self) -> str:
        return self.within.start() if self.within else ""

    def forward(self) -> str:
        within = self.within
        recorded = {n: genn(e) for n, e in self.model.recorded.items()} if not within else within.recorded()
        put = "".join(
            f"ring_{n}[at] = {e};\n" for n, e in (recorded | ({"part__": "part__"} if within else {})).items()
        )
        return f"""
            spike = 0;
            if (k == 0) taken = backward && batch < num_back ? written : 0;
            if (forward && batch < num_samples) {{
                if (k == 0) {{
                    first = (first + written) % max_spikes; written = 0; tried = 0; count = 0.0;
                    {self.start_forward()}
                }}
                {self.step_forward()}{self.perturb()}
                if (k < num_steps - 1 && ({genn(self.model.threshold)})) {{
                    {self.dropped()}
                    tried += 1;
                    if (taken + tried > most) most = taken + tried;
                    {within.cross() if within else ""}
                    if (written + taken < max_spikes) {{
                        const int at = {self.in_ring("first + written")};
                        ring_step[at] = 2 * k + dropped;
                        {put}written += 1;
                    }}
                    else {{ lost += 1; }}
                    {within.reset() + within.finish() if within else genn(self.model.reset)}
                    if (dropped == 0) {{ spike = 1; count += 1.0; {self.on_spike()} }}
                }}
            }}
        """

    def at_start(self) -> str:
        """More to do before the first step backwards."""
        return ""

    def jump(self) -> str:
        return genn(self.model.jump)

    def perturb(self) -> str:
        return ""

    def dropped(self) -> str:
        return "const int dropped = 0;"

    def on_spike(self) -> str:
        return ""


class Hidden(Spiking):
    """A hidden population: R comes from its targets; noise, dropout, regularisation."""

    def __init__(self, network: Network, population: Population, layout: Layout) -> None:
        super().__init__(network, population, layout)
        self.inputs.append("R")
        self.dynamic |= {"dropout_limit": "uint32_t", "noise_amplitude": "scalar"}
        self.arrays |= dict.fromkeys(("dropout_key", "noise_key"), ("uint32_t", layout.batch))
        self.arrays["normal"] = ("scalar", 2048)
        self.constants |= network.regularisation[[q.name for q in network.hidden].index(population.name)]
        used = names_in(network.regulariser.jump)
        if "spike_count" in used:
            self.has(("spike_count",), access="READ_ONLY" if network.average_counts else "READ_WRITE")
        if "layer_count" in used:
            self.has(("layer_count",), access="READ_ONLY_SHARED_NEURON")

    def at_start(self) -> str:
        return "spike_count = count;" if self.variables.get("spike_count", ("", "", 0))[1] == "READ_WRITE" else ""

    def jump(self) -> str:
        code = renamed(self.network.regulariser.jump, {"batch": "averaged"})
        jump = genn(self.model.jump)
        return f"{jump}\nif (back_spike == 1) {{ {code} }}" if code else jump

    def perturb(self) -> str:
        if not self.model.perturb:
            return ""
        return f"""if (noise_amplitude != 0.0) {{
            {draw("bits", "noise_key")}
            const scalar noise = noise_amplitude * (normal[bits % 2048U] + normal[(bits / 2048U) % 2048U]);
            {genn(self.model.perturb)}
        }}"""

    def dropped(self) -> str:
        return f"""int dropped = 0;
            if (dropout_limit != 0U) {{
                {draw("bits", "dropout_key")}
                if (bits < dropout_limit) dropped = 1;
            }}"""


class SpikingOutput(Spiking):
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
        return f"const scalar R = left == 1 ? first_error : 0.0;\n{genn(self.model.jump)}"
