"""C++ of a population's model: one struct with its constants, and what happens in a step, at a spike, and backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventprop.backends.cpu.codegen_constants import constants_function, varying
from eventprop.backends.cpu.codegen_text import boolean, changes, cpp, fast, lane_loop, rows_of
from eventprop.network import Population
from eventprop.snippets import names_in

__all__ = ["Struct"]


class Struct:
    """The struct of a population: constants, forward step, spike, quiet test and, backwards, step and jump.

    Args:
        struct: its name in C++.
        population: whose model, per-neuron and trained parameters it is made for.

    Attributes:
        recorded_besides: how many values another kind of sweep records of each spike besides.
    """

    recorded_besides = 0

    def __init__(self, struct: str, population: Population) -> None:
        self.struct, self.model = struct, population.model
        self.trained = [n for n in self.model.parameters if n in population.trained]
        entries = self.model.propagator.names if self.model.propagator else ()
        self.constants = self.model.constants
        self.names = (*self.model.parameters, *entries, *self.constants)
        changing = varying(self.model, population.per_neuron)
        self.lanes = [n for n in self.names if n in changing]
        self.state = rows_of(self.model.state, "x")
        self.adjoint = rows_of(self.model.adjoint, "a")
        self.kept = {f"{v}_then": f"(keep + {i} * P)" for i, v in enumerate(self.model.state)}

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
            f"    static constexpr int n_state = {len(m.state)}, n_inputs = {m.inputs}, n_adjoint = {len(m.adjoint)}, "
            f"n_recorded = {max(1, len(m.recorded)) + self.recorded_besides}, n_collect = {len(self.trained)};\n"
            f"    static constexpr bool spiking = {boolean(bool(m.threshold))}, jump_first = {boolean(m.jump_first)}, "
            f"reads_state = {boolean(m.reads_state)}, collects_jumps = {boolean(bool(self.jumping()))},\n"
            f"        jump_changes_gradient = {changes(m.jump, m.gradient[0])};\n"
            + constants_function(m)
            + self.forward()
            + self.backward()
            + self.collecting()
            + self.further()
            + "};\n"
        )

    def closure(self, code: str) -> tuple[list[str], list[str]]:
        """Constants that ``code`` uses and that depend on ``dt``, in order; and the others, with parameters."""
        timed = self.model.timed(code)
        used = names_in(code).union(*(names_in(self.constants[n]) for n in timed))
        return timed, [n for n in self.names if n in used and n not in timed]

    def computed(self, names: Sequence[str]) -> list[str]:
        return [f"const real {n} = {fast(self.constants[n])};" for n in names]

    def further(self) -> str:
        """What a struct for another kind of sweep has besides."""
        return ""

    def forward(self) -> str:
        """Start of a trial, step, quiet test and spike."""
        m, state = self.model, self.state
        start = "".join(f"            {a}[l] = {cpp(m.state[v])};\n" for v, a in state.items())
        recorded = " ".join(m.recorded.values()) + m.reset
        one_lane = "".join(f"        real &{v} = {a}[lane];\n        (void){v};\n" for v, a in state.items())
        record = "".join(f"        recorded[{i}] = {cpp(e)};\n" for i, e in enumerate(m.recorded.values()))
        return (
            self.function("void start(const real *c, const real *h, real *x)", self.loop({}, "", "", start))
            + self.step()
            + self.fires()
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

    def step(self) -> str:
        """Arrivals, step, noise and threshold of all lanes."""
        m, state = self.model, self.state
        keep = "".join(f"                keep[{i} * P + l] = {v};\n" for i, v in enumerate(state))
        arrive = f"            {cpp(m.arrive)}\n" if m.arrive else ""
        for i, v in enumerate(list(m.state)[: m.inputs]):
            arrive += f"            {v} += current[{f'{i} * P + ' if i else ''}l];\n"
        arrive += f"            if constexpr (kept) {{\n{keep}            }}\n"
        fires = f"            any |= {cpp(m.threshold)};\n" if m.threshold else ""
        if m.perturb:
            noise = f"            if constexpr (noisy) {{ const real noise = normal[l]; {cpp(m.perturb)} }}\n"
        else:
            noise = ""
        stores = "".join(f"            {a}[l] = {v};\n" for v, a in state.items())
        code = m.arrive + m.update + m.perturb + m.threshold
        used = names_in(code) | set(state)
        rows = {**self.per_lane(), **state}
        loads = "".join(f"            real {v} = {a}[l];\n" for v, a in rows.items() if v in used)
        return self.function(
            "int step(const real *c, const real *h, real *__restrict x, const real *__restrict current, "
            "const real *__restrict normal, real *__restrict keep)",
            "        int any = 0;\n        (void)normal, (void)keep;\n"
            + self.scalars(code)
            + f"        for (int l = 0; l < P; ++l) {{\n{loads}{arrive}            {fast(m.update)}\n{noise}"
            + f"{stores}{fires}        }}\n        return any;\n",
            "template <bool noisy, bool kept> ",
        )

    def fires(self) -> str:
        """Which lanes have reached their threshold after a step: some have, in few steps."""
        threshold = self.model.threshold
        if not threshold:
            return ""
        return self.function(
            "void fires(const real *c, const real *h, const real *__restrict x, uint8_t *__restrict fired)",
            self.loop(self.state, "", "", f"            fired[l] = {cpp(threshold)};\n"),
        )

    def backward(self) -> str:
        """Step back in time with what synapses collect, jump at a spike, what goes back through synapses."""
        m, adjoint = self.model, {**self.adjoint, **self.kept}
        replay = "".join(f"        const real {v} = recorded[{i}];\n" for i, v in enumerate(m.recorded))
        used = names_in(m.jump)
        one_lane = "".join(f"        real &{v} = {a}[lane];\n" for v, a in self.adjoint.items() if v in used)
        collect = self.per_input("out", m.gradient)
        sums = self.sums(m.collect) if m.back_program else ""
        program = f"            {fast(m.back_program)}\n" if m.back_program else ""
        return (
            self.function(
                "void back(const real *c, const real *h, real *__restrict a, real *__restrict out, "
                "const real *__restrict keep = nullptr, real *__restrict sum = nullptr)",
                "        (void)keep, (void)sum;\n" + self.back_loop(program + sums, m.adjoint_update, collect),
            )
            + self.function(
                "void jump(const real *c, const real *h, real *a, int lane, real R, const real *recorded)",
                f"{self.scalars(m.jump)}{self.of_lane(m.jump)}{one_lane}{replay}"
                f"        (void)a, (void)lane, (void)R, (void)recorded;\n        {cpp(m.jump)}\n",
            )
            + self.function(
                "void gradient(const real *c, const real *h, const real *__restrict a, real *__restrict out, "
                "const real *__restrict keep = nullptr)",
                "        (void)keep;\n" + self.loop(adjoint, "", "", collect),
            )
            + self.function(
                "void transport(const real *c, const real *h, const real *__restrict a, real *__restrict out, "
                "const real *__restrict keep = nullptr)",
                "        (void)keep;\n" + self.loop(adjoint, "", "", self.per_input("out", m.transport)),
            )
        )

    def back_loop(self, program: str, update: str, collect: str) -> str:
        """``program`` is C++, ``update`` GeNNCode that changes the adjoints."""
        arrays = {**self.per_lane(), **self.adjoint, **self.kept}
        used = names_in(program + update + collect)
        loads = "".join(f"            real {n} = {a}[l];\n" for n, a in arrays.items() if n in used)
        stores = "".join(f"            {a}[l] = {n};\n" for n, a in self.adjoint.items() if n in used)
        body = f"{loads}{program}            {fast(update)}\n{stores}{collect}"
        return f"{self.scalars(program + update + collect)}        for (int l = 0; l < P; ++l) {{\n{body}        }}\n"

    @staticmethod
    def per_input(to: str, expressions: tuple[str, ...]) -> str:
        rows = enumerate(expressions)
        return "".join(f"            {to}[{f'{i} * P + ' if i else ''}l] = {cpp(e)};\n" for i, e in rows)

    def sums(self, collected: Mapping[str, str], lane: str = "l") -> str:
        """What trained parameters collect, added to their rows of ``sum``."""
        found = [(i, collected[n]) for i, n in enumerate(self.trained) if n in collected]
        return "".join(f"            sum[{i} * P + {lane}] += {fast(e)};\n" for i, e in found)

    def jumping(self) -> str:
        return self.sums(self.model.collect_jump, "lane")

    def collecting(self) -> str:
        """What trained parameters collect in a step of a linear model, at a spike and at the start of a trial."""
        m = self.model
        arrays = {**self.adjoint, **self.kept}
        steps, start, jumping = (
            "" if m.back_program else self.sums(m.collect),
            self.sums(m.collect_start),
            self.jumping(),
        )
        after = "".join(f"        const real {v}_after = after[{i}];\n" for i, v in enumerate(m.adjoint))
        new = "".join(f"        const real {v}_new = {a}[lane];\n" for v, a in self.adjoint.items())
        replay = "".join(f"        const real {v} = recorded[{i}];\n" for i, v in enumerate(m.recorded))
        silence = "".join(f"        (void){v}_after, (void){v}_new;\n" for v in m.adjoint)
        silence += "".join(f"        (void){v};\n" for v in m.recorded)
        return (
            self.function(
                "void collect(const real *c, const real *h, const real *__restrict a, const real *__restrict keep, "
                "real *__restrict sum)",
                "        (void)a, (void)keep, (void)sum;\n" + self.loop(arrays, "", "", steps),
            )
            + self.function(
                "void collect_start(const real *c, const real *h, const real *__restrict a, real *__restrict sum)",
                "        (void)a, (void)sum;\n" + self.loop(self.adjoint, "", "", start),
            )
            + self.function(
                "void collect_jump(const real *c, const real *h, const real *a, const real *after, int lane, "
                "const real *recorded, real *sum)",
                "        (void)a, (void)after, (void)lane, (void)recorded, (void)sum;\n"
                f"{self.scalars(jumping)}{self.of_lane(jumping)}{after}{new}{replay}{silence}{jumping}",
            )
        )
