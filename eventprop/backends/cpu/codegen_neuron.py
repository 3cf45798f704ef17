"""C++ of a population's model: one struct with its constants, and what happens in a step, at a spike, and backwards."""

from __future__ import annotations

from collections.abc import Mapping

from eventprop import models
from eventprop.backends.cpu.codegen_text import changes, cpp, lane_loop, rows_of
from eventprop.backends.snippets import names_in
from eventprop.network import Population

__all__ = ["Struct"]


class Struct:
    """The struct of a population: constants, forward step, spike, quiet test and, backwards, step and jump.

    Args:
        struct: its name in C++.
        population: whose model, per-neuron and trained parameters it is made for.
    """

    def __init__(self, struct: str, population: Population, synapse: models.SynapseModel) -> None:
        self.struct, self.model, self.synapse = struct, population.model, synapse
        self.trained = [n for n in self.model.parameters if n in population.trained]
        self.constants = {**self.model.constants, **synapse.constants}
        self.names = (*self.model.parameters, *self.constants)
        varying = set(population.per_neuron)
        for name, expression in self.constants.items():
            if names_in(expression) & varying:
                varying.add(name)
        self.lanes = [n for n in self.names if n in varying]
        self.state = {"Isyn": "x", **rows_of(self.model.state, "x", 1)}
        self.adjoint = rows_of(self.model.adjoint, "a")

    def scalars(self, code: str) -> str:
        """Declarations of the constants in ``code`` that are the same for all neurons."""
        used = names_in(code) - set(self.lanes)
        return "".join(f"        const real {n} = c[{i}];\n" for i, n in enumerate(self.names) if n in used)

    def per_lane(self) -> dict[str, str]:
        """Constants that differ between neurons, as rows of the panel's array ``h``."""
        return rows_of(self.lanes, "h")

    def of_lane(self, code: str) -> str:
        """Declarations of the constants in ``code`` that differ between neurons, for one ``lane``."""
        used = names_in(code)
        return "".join(f"        const real {n} = {a}[lane];\n" for n, a in self.per_lane().items() if n in used)

    def loop(self, arrays: Mapping[str, str], code: str, head: str = "", tail: str = "") -> str:
        """The loop over lanes, with the constants that it uses."""
        return self.scalars(head + code + tail) + lane_loop({**self.per_lane(), **arrays}, code, head, tail)

    @staticmethod
    def function(head: str, body: str, template: str = "") -> str:
        return f"    {template}static {head} {{\n        (void)c, (void)h;\n{body}    }}\n"

    def text(self) -> str:
        m = self.model
        indices = ", ".join(str(self.names.index(n)) for n in self.lanes) or "0"
        trained = ", ".join(str(self.names.index(n)) for n in self.trained) or "0"
        return (
            f"struct {self.struct} {{  // {m.name}\n"
            f"    static constexpr int n_parameters = {len(m.parameters)}, n_constants = {len(self.names)}, "
            f"n_lanes = {len(self.lanes)};\n"
            f"    static constexpr int lane_index[] = {{{indices}}}, trained_index[] = {{{trained}}};\n"
            f"    static constexpr int v_row = {list(self.state).index('V')};\n"
            f"    static constexpr int n_state = {len(m.state)}, n_adjoint = {len(m.adjoint)}, "
            f"n_recorded = {max(1, len(m.recorded))}, n_collect = {len(self.trained)};\n"
            f"    static constexpr bool spiking = {'true' if m.threshold else 'false'}, "
            f"jump_changes_gradient = {changes(m.jump, self.synapse.gradient)};\n"
            + self.compute_constants()
            + self.forward()
            + self.backward()
            + self.further()
            + "};\n"
        )

    def further(self) -> str:
        """What a struct for another kind of sweep has besides."""
        return ""

    def compute_constants(self) -> str:
        lines = "".join(f"        const double {n} = p[{i}];\n" for i, n in enumerate(self.model.parameters))
        lines += "".join(f"        const double {n} = {cpp(e, 'double')};\n" for n, e in self.constants.items())
        lines += "".join(f"        c[{i}] = real({n});\n" for i, n in enumerate(self.names))
        return f"    static void constants(const double *p, double dt, real *c) {{\n{lines}        (void)dt;\n    }}\n"

    def forward(self) -> str:
        """Start of a trial, step, quiet test and spike."""
        m, state = self.model, self.state
        start = "".join(f"            {a}[l] = {cpp(m.state.get(v, '0.0'))};\n" for v, a in state.items())
        keep = "".join(f"                keep[{i} * P + l] = {v};\n" for i, v in enumerate(state))
        arrive = f"            {cpp(self.synapse.decay)}\n            Isyn += current[l];\n"
        arrive += f"            if constexpr (kept) {{\n{keep}            }}\n"
        fires = f"            fired[l] = {cpp(m.threshold)};\n            any |= fired[l];\n" if m.threshold else ""
        if m.perturb:
            noise = f"            if constexpr (noisy) {{ const real noise = normal[l]; {cpp(m.perturb)} }}\n"
        else:
            noise = ""
        stores = "".join(f"            {a}[l] = {v};\n" for v, a in state.items())
        code = self.synapse.decay + m.update + m.perturb + m.threshold
        used = names_in(code) | set(state)
        rows = {**self.per_lane(), **state}
        loads = "".join(f"            real {v} = {a}[l];\n" for v, a in rows.items() if v in used)
        recorded = " ".join(m.recorded.values()) + m.reset
        one_lane = "".join(f"        real &{v} = {a}[lane];\n        (void){v};\n" for v, a in state.items())
        record = "".join(f"        recorded[{i}] = {cpp(e)};\n" for i, e in enumerate(m.recorded.values()))
        return (
            self.function("void start(const real *c, const real *h, real *x)", self.loop({}, "", "", start))
            + self.function(
                "int step(const real *c, const real *h, real *__restrict x, const real *__restrict current, "
                "int *__restrict fired, const real *__restrict normal, real *__restrict keep)",
                "        int any = 0;\n        (void)fired, (void)normal, (void)keep;\n"
                + self.scalars(code)
                + f"        for (int l = 0; l < P; ++l) {{\n{loads}{arrive}            {cpp(m.update)}\n{noise}"
                + f"{stores}{fires}        }}\n        return any;\n",
                "template <bool noisy, bool kept> ",
            )
            + self.function(
                "int quiet(const real *c, const real *h, const real *x)",
                "        int still = 1;\n"
                + self.loop(state, "", "", f"            still &= {cpp(m.quiet)};\n")
                + "        return still;\n",
            )
            + self.function(
                "void spike(const real *c, const real *h, real *x, int lane, real *recorded)",
                f"{self.scalars(recorded)}{self.of_lane(recorded)}{one_lane}"
                f"        (void)recorded;\n{record}        {cpp(m.reset)}\n",
            )
        )

    def backward(self) -> str:
        """Step back in time with what synapses collect, jump at a spike, what goes back through synapses."""
        m, synapse, adjoint = self.model, self.synapse, self.adjoint
        replay = "".join(f"        const real {v} = recorded[{i}];\n" for i, v in enumerate(m.recorded))
        one_lane = "".join(f"        real &{v} = {a}[lane];\n" for v, a in adjoint.items() if v in names_in(m.jump))
        collect = f"            out[l] = {cpp(synapse.gradient)};\n"
        carry = f"            out[l] = {cpp(synapse.transport)};\n"
        kept = {v: f"(keep + {i} * P)" for i, v in enumerate(self.state)}
        sums = "".join(f"            sum[{i} * P + l] += {cpp(m.collect[n])};\n" for i, n in enumerate(self.trained))
        return (
            self.function(
                "void back(const real *c, const real *h, real *__restrict a, real *__restrict out)",
                self.loop(adjoint, m.adjoint_update, "", collect),
            )
            + self.function(
                "void jump(const real *c, const real *h, real *a, int lane, real R, const real *recorded)",
                f"{self.scalars(m.jump)}{self.of_lane(m.jump)}{one_lane}{replay}"
                f"        (void)a, (void)lane, (void)R, (void)recorded;\n        {cpp(m.jump)}\n",
            )
            + self.function(
                "void gradient(const real *c, const real *h, const real *__restrict a, real *__restrict out)",
                self.loop(adjoint, "", "", collect),
            )
            + self.function(
                "void transport(const real *c, const real *h, const real *__restrict a, real *__restrict out)",
                self.loop(adjoint, "", "", carry),
            )
            + self.function(
                "void collect(const real *c, const real *h, const real *__restrict a, const real *__restrict keep, "
                "real *__restrict sum)",
                "        (void)a, (void)keep, (void)sum;\n" + self.loop({**adjoint, **kept}, "", "", sums),
            )
        )
