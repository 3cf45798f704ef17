"""Outputs that do not spike, in GeNNCode."""

from __future__ import annotations

from eventprop.backends.genn.builder import Builder, Layout, genn
from eventprop.network import Network, Population
from eventprop.snippets import names_in, renamed

__all__ = ["ReadOut"]

_COUNTED = "(window_last - window_first)"


class ReadOut(Builder):
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
        self.sizes["window_first"], self.sizes["window_last"] = network.counted
        if loss.per_step:
            self.keeps("voltages")
            if loss.compare:
                self.keeps("targets")
            else:
                self.arrays["labels"] = ("int", layout.halves * layout.batch * network.num_steps)
                self.dynamic["label_smoothing"] = "scalar"
            self.dynamic["loss_scale"] = "scalar"
        else:
            self.has(("error",), access="READ_ONLY_DUPLICATE")
        if loss.cusp:
            self.has(("negative", "negative_back", "cusp_share"))
            self.inputs.append("arriving_negative")

    def weight(self, half: str, step: str) -> str:
        return f"weights[({half} * num_batch + batch) * num_steps + {step}]" if self.per_sample else f"weights[{step}]"

    def forward(self) -> str:
        names = {"steps": _COUNTED, "step": "((scalar)k)"}
        last = {"steps": _COUNTED, "step": "((scalar)(k + 1))"}
        start = "".join(f"{n} = {genn(v)};" for n, v in self.loss.state.items())
        code = f"if (k == 0) {{ {self.start_forward()} {start} }}\n"
        read = f"const scalar weight = {self.weight('half', 'k')};\n{renamed(genn(self.loss.read), names)}\n"
        if self.loss.per_step:
            read += f"voltages[{self.at_step('half', 'k')}] = V;\n"
        if self.loss.cusp:
            read += "negative = max_step == (scalar)k ? arriving_negative : negative;\n"
        code += f"if (k >= window_first && k < window_last) {{\n{read}}}\n{self.step_forward()}"
        if self.loss.finish:
            code += f"if (k == window_last - 1) {{ {renamed(genn(self.loss.finish), last)} }}\n"
        return f"if (forward && batch < num_samples) {{\n{code}}}\n"

    def backward(self) -> str:
        back = {n: f"{n}_back" for n in self.seen}
        names = {**back, "steps": _COUNTED, "step": "((scalar)m)", "weight": "weight_back"}
        names["scale_V"] = self.model.scale_v
        keep = " ".join(f"{n}_back = {n};" for n in [*self.seen, *(["negative"] if self.loss.cusp else [])])
        code = f"if (k == 0) {{ {self.start_backward()} {keep} }}\n{self.kept_state()}{self.step_backward()}"
        gain = f"const scalar weight_back = {self.weight('half_back', 'm')};\n"
        if self.loss.per_step:
            gain += self.error_of_step()
        gain += f"{renamed(genn(self.loss.impulse), names)}\n"
        before = f"const scalar before = {genn(self.model.transport[0])};\n" if self.loss.cusp else ""
        code += f"{before}if (m >= window_first && m < window_last) {{\n{gain}}}\n"
        code += f"{self.at_trial_start()}{self.sample()}"
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
        """What the voltage at the start of step m is to become, or softmax over the voltages of all outputs."""
        if self.loss.compare:
            at = self.at_step("half_back", "m")
            values = {name: repr(float(value)) for name, value in self.network.loss_parameters.items()}
            slope = renamed(genn(self.loss.slope), {**values, "y": f"voltages[{at}]", "target": f"targets[{at}]"})
            return f"const scalar error = -({slope}) * loss_scale / averaged / num_neurons;\n"
        return """
            const int row = ((half_back * num_batch + batch) * num_steps + m) * num_neurons;
            scalar top = voltages[row];
            for (int j = 1; j < num_neurons; j++) top = fmax(top, voltages[row + j]);
            scalar sum = 0.0;
            for (int j = 0; j < num_neurons; j++) sum += exp(voltages[row + j] - top);
            const scalar hit = id == labels[(half_back * num_batch + batch) * num_steps + m] ? 1.0 : 0.0;
            const scalar target = hit * (1.0 - label_smoothing) + label_smoothing / num_neurons;
            const scalar error = (target - exp(voltages[row + id] - top) / sum) * loss_scale / averaged;
        """
