"""C++ from the declarations in :mod:`models` where crossings are solved within a step: what ``substep.hpp`` needs besides.

All functions are of one neuron, a lane, whose state and adjoints are in small arrays of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_text import cpp, fast
from eventprop.backends.snippets import names_in
from eventprop.network import Population

__all__ = ["SubstepStruct"]


class SubstepStruct(Struct):
    """A population's struct with the flow of a single neuron over part of a step."""

    def __init__(self, struct: str, population: Population) -> None:
        super().__init__(struct, population)
        if self.model.threshold:
            self.recorded_besides = 1 + len(self.model.state)  # where in the step, and the state at its start

    def further(self) -> str:
        m = self.model
        if not m.threshold:
            return ""
        linear = bool(m.flow)
        lazy = m.inputs if m.arrive else 0
        return (
            f"    static constexpr bool linear = {str(linear).lower()};\n"
            f"    static constexpr int lazy_inputs = {lazy}, n_before = {max(1, len(m.recorded))};\n"
            + self.lane_value("level", m.level)
            + self.lane_value("climb", m.climb)
            + self.lane_gradient()
            + (self.linear_flow() if linear else self.step_of_a_lane())
        )

    def constants_of_lane(self, code: str, besides: Iterable[str] = ()) -> str:
        """Declarations of what ``code`` uses of the constants."""
        used = names_in(code) - set(besides)
        index = {n: i for i, n in enumerate(self.names)}
        rows = self.per_lane()
        return "".join(
            f"        const real {n} = {f'{rows[n]}[lane]' if n in rows else f'c[{index[n]}]'};\n"
            for n in self.names
            if n in used
        )

    @staticmethod
    def own(names: Iterable[str], array: str, code: str, suffix: str = "") -> str:
        """Declarations of what ``code`` uses of a neuron's own variables."""
        used = names_in(code)
        return "".join(
            f"        const real {n}{suffix} = {array}[{i}];\n" for i, n in enumerate(names) if f"{n}{suffix}" in used
        )

    def lane_value(self, name: str, code: str) -> str:
        return self.function(
            f"real {name}(const real *c, const real *h, int lane, const real *y)",
            f"        (void)lane, (void)y;\n{self.constants_of_lane(code)}{self.own(self.model.state, 'y', code)}"
            f"        return {fast(code)};\n",
        )

    def lane_gradient(self) -> str:
        """What a synapse collects of one neuron, of adjoints and state in panels."""
        m, code = self.model, " ".join(self.model.gradient)
        rows = {**self.adjoint, **self.kept}
        loads = "".join(f"        const real {n} = {a}[lane];\n" for n, a in rows.items() if n in names_in(code))
        outs = "".join(f"        out[{i} * P + lane] = {cpp(e)};\n" for i, e in enumerate(m.gradient))
        return self.function(
            "void gradient_of(const real *c, const real *h, const real *a, int lane, const real *keep, real *out)",
            f"        (void)keep;\n{self.constants_of_lane(code)}{loads}{outs}",
        )

    def linear_flow(self) -> str:
        m = self.model
        state, adjoint = list(m.state), list(m.adjoint)

        def rates(name: str, source: str, names: list[str], of: Mapping[str, str], sign: str = "=") -> str:
            code = " ".join(of.values())
            lines = "".join(f"        d[{i}] {sign} {cpp(of[n])};\n" for i, n in enumerate(names) if n in of)
            return self.function(
                f"void {name}(const real *c, const real *h, int lane, const real *{source}, real *d)",
                f"        (void)lane, (void){source}, (void)d;\n{self.constants_of_lane(code)}"
                f"{self.own(names, source, code)}{lines}",
            )

        return (
            rates("flow", "y", state, m.flow)
            + rates("drift", "y", state, m.drift, "+=")
            + rates("flow_back", "b", adjoint, m.flow_back)
            + self.flow_collect()
        )

    def flow_collect(self) -> str:
        m = self.model
        found = [(i, m.flow_collect[n]) for i, n in enumerate(self.trained) if n in m.flow_collect]
        code = " ".join(e for _, e in found)
        sums = "".join(f"        sum[{i} * P + lane] += factor * ({cpp(e)});\n" for i, e in found)
        return self.function(
            "void flow_collect(const real *c, const real *h, int lane, const real *b, const real *y, real factor, real *sum)",
            "        (void)lane, (void)b, (void)y, (void)factor, (void)sum;\n"
            f"{self.constants_of_lane(code)}{self.own(m.adjoint, 'b', code)}{self.own(m.state, 'y', code)}{sums}",
        )

    def step_of_a_lane(self) -> str:
        """The step map over a time of its own, and its transpose."""
        m = self.model
        state, adjoint = list(m.state), list(m.adjoint)
        collected = {n: m.collect[n] for n in self.trained if n in m.collect}
        back = f"{m.back_program} {m.adjoint_update}"
        sums = "".join(
            f"        sum[{i} * P + lane] += {fast(collected[n])};\n"
            for i, n in enumerate(self.trained)
            if n in collected
        )

        def prelude(code: str) -> str:
            timed, inputs = self.closure(code)
            there = self.constants_of_lane(" ".join(inputs))
            return there + "".join(f"        {line}\n" for line in self.computed(timed))

        return self.function(
            "void advance(const real *c, const real *h, int lane, const real *y, real dt, real *out)",
            f"        (void)lane, (void)dt;\n{prelude(m.update)}"
            + "".join(f"        real {n} = y[{i}];\n" for i, n in enumerate(state))
            + f"        {fast(m.update)}\n"
            + "".join(f"        out[{i}] = {n};\n" for i, n in enumerate(state)),
        ) + self.function(
            "void retreat(const real *c, const real *h, int lane, real *b, const real *y, real dt, real *sum)",
            f"        (void)lane, (void)dt, (void)sum;\n{prelude(back + ' '.join(collected.values()))}"
            + "".join(f"        real {n} = b[{i}];\n" for i, n in enumerate(adjoint))
            + "".join(f"        const real {n}_then = y[{i}];\n        (void){n}_then;\n" for i, n in enumerate(state))
            + f"        {fast(m.back_program)}\n{sums}        {cpp(m.adjoint_update)}\n"
            + "".join(f"        b[{i}] = {n};\n" for i, n in enumerate(adjoint)),
        )
