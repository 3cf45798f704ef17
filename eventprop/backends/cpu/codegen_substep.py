"""C++ from the declarations in :mod:`models` where crossings are solved within a step: for ``substep.hpp``."""

from __future__ import annotations

from eventprop.backends.cpu.codegen_flow import FlowStruct
from eventprop.backends.cpu.codegen_text import boolean, cpp, fast, rows_of
from eventprop.network import Population
from eventprop.snippets import names_in

__all__ = ["SubstepStruct"]


class SubstepStruct(FlowStruct):
    """A population's struct with the flow of some neurons over part of a step."""

    def __init__(self, struct: str, population: Population) -> None:
        super().__init__(struct, population)
        self.keeps_start = bool(self.trained) or not self.model.flow
        if self.model.threshold:  # where in the step, and the state at its start
            self.recorded_besides = 1 + (len(self.model.state) if self.keeps_start else 0)

    def further(self) -> str:
        m = self.model
        if not m.threshold:
            return ""
        lazy = m.inputs if m.arrive else 0
        return (
            (self.linear_flow() if m.flow else self.step_over_a_time())
            + f"    static constexpr bool keeps_start = {boolean(self.keeps_start)};\n"
            f"    static constexpr int lazy_inputs = {lazy}, n_before = {max(1, len(m.recorded))};\n"
            + self.levels()
            + self.spikes()
            + self.lane_gradient()
        )

    def lane_gradient(self) -> str:
        """What a synapse collects of one neuron, of adjoints and state in panels."""
        m, code = self.model, " ".join(self.model.gradient)
        rows = {**self.adjoint, **self.kept}
        loads = "".join(f"        const real {n} = {a}[lane];\n" for n, a in rows.items() if n in names_in(code))
        outs = "".join(f"        out[{i} * P + lane] = {cpp(e)};\n" for i, e in enumerate(m.gradient))
        return self.function(
            "void gradient_of(const real *c, const real *h, const real *a, int lane, const real *keep, real *out)",
            f"        (void)keep;\n{self.scalars(code)}{self.of_lane(code)}{loads}{outs}",
        )

    def step_over_a_time(self) -> str:
        """The step map over a time of each neuron's own, and its transpose."""
        m = self.model
        state, adjoint = rows_of(m.state, "y"), rows_of(m.adjoint, "b")
        collected = [(i, m.collect[n]) for i, n in enumerate(self.trained) if n in m.collect]
        back = f"{m.back_program} {m.adjoint_update} " + " ".join(e for _, e in collected)
        ahead_timed, ahead_inputs = self.closure(m.update)
        back_timed, back_inputs = self.closure(back)
        variables = [f"real {n} = {a}[l];" for n, a in state.items()]
        ahead = ["const real dt = dts[l];", "(void)dt;", *self.computed(ahead_timed), *variables, fast(m.update)]
        ahead += [f"(out + {i} * P)[l] = {n};" for i, n in enumerate(m.state)]
        lines = ["const real dt = dts[l];", "(void)dt, (void)sum;", *self.computed(back_timed)]
        lines += [f"real {n} = {a}[l];" for n, a in adjoint.items()]
        lines += [f"const real {n}_then = {a}[l]; (void){n}_then;" for n, a in state.items()]
        lines += [fast(m.back_program), *(f"(sum + {i} * P)[l] += {fast(e)};" for i, e in collected)]
        lines += [fast(m.adjoint_update), *(f"{a}[l] = {n};" for n, a in adjoint.items())]
        head = (
            "    static constexpr int LANES = VECTOR_BYTES / int(sizeof(real));\n"
            "    static constexpr bool linear = false, drifts = false;\n"
        )
        ahead_text = self.vector(
            "void advance(const real *c, const real *h, const real *__restrict y, const real *__restrict dts, "
            "real *__restrict out)",
            " ".join(ahead_inputs),
            {},
            ahead,
        )
        return (
            head
            + ahead_text
            + self.vector(
                "void retreat(const real *c, const real *h, real *__restrict b, const real *__restrict y, "
                "const real *__restrict dts, real *__restrict sum)",
                " ".join(back_inputs),
                {},
                lines,
            )
        )
