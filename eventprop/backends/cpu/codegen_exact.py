"""C++ from the declarations in :mod:`models` where spikes have their exact times: what ``exact.hpp`` needs besides.

A step is cut at its spikes. Constants that depend on ``dt`` are computed for the time between two cuts: once for all
neurons of an interval, or, in the functions whose names end in ``_each``, for a time of each lane's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_text import cpp
from eventprop.backends.snippets import names_in

__all__ = ["ExactStruct"]


def _lines(lines: Sequence[str], indent: int) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


class ExactStruct(Struct):
    """A population's struct with flows over any time, crossings, and integrals of the read-out."""

    def further(self) -> str:
        m = self.model
        self.flow = f"{m.update} {m.arrive}"
        backward = f"{m.adjoint_update} {' '.join(m.collect[n] for n in self.trained)}"
        if m.integrals[0] and self.trained:
            backward += self.flow + " ".join(" ".join(m.integral_slopes[n]) for n in self.trained)
        carried = self._carried()
        return (
            f"    static constexpr int n_carried = {carried};\n"
            + self._interval("forward", f"{self.flow} {m.reach}")
            + self._interval("backward", backward)
            + self._each("flow_each", "const real *__restrict x, ", "out", self.state, self.flow, "x")
            + self._each("back_each", "const real *__restrict a, ", "out", self.adjoint, m.adjoint_update, "a")
            + self._seen_each()
            + (self._crossings() if m.threshold else self._integrals())
        )

    def _carried(self) -> int:
        """How many adjoint variables, the first ones, reach a synapse directly or after some time."""
        m, used = self.model, names_in(self.model.gradient[0] + self.model.transport[0])
        for statement in m.adjoint_update.split(";") * len(m.adjoint):
            target = statement.split("=")[0].strip()
            if target in used:
                used |= names_in(statement)
        carried = [v in used for v in m.adjoint]
        if sorted(carried, reverse=True) != carried:
            raise ValueError(f"{m.name}: adjoint variables that reach synapses must come first")
        return sum(carried)

    def _interval(self, which: str, code: str) -> str:
        """Functions that compute the constants of ``code`` for an interval of length ``dt``."""
        timed, inputs = self.closure(code)
        shared = [n for n in timed if n not in self.lanes]
        own = [n for n in timed if n in self.lanes]
        index = {n: i for i, n in enumerate(self.names)}
        rows = self.per_lane()
        body = [f"const real {n} = c[{index[n]}];" for n in inputs if n not in self.lanes]
        body += self.computed(shared) + [f"c[{index[n]}] = {n};" for n in shared]
        lanes = [f"const real {n} = {rows[n]}[l];" for n in inputs if n in self.lanes]
        lanes += self.computed(own) + [f"{rows[n]}[l] = {n};" for n in own]
        loop = f"        for (int l = 0; l < P; ++l) {{\n{_lines(lanes, 12)}        }}\n" if own else ""
        head = self.scalars(" ".join(self.constants[n] for n in own)) if own else ""
        return self.function(
            f"void {which}_interval(const real *h, real dt, real *c)", "        (void)dt;\n" + _lines(body, 8)
        ) + self.function(f"void {which}_lanes(const real *c, real dt, real *h)", f"        (void)dt;\n{head}{loop}")

    def _each(self, name: str, source: str, target: str, arrays: Mapping[str, str], code: str, rows: str) -> str:
        """A function that takes each of the first ``n`` lanes through a time of its own."""
        timed, inputs = self.closure(code)
        lanes = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in inputs]
        lanes += ["const real dt = dts[l];", *self.computed(timed)]
        lanes += [f"real {v} = ({rows} + {i} * P)[l];" for i, v in enumerate(arrays)]
        lanes += [cpp(code)] + [f"({target} + {i} * P)[l] = {v};" for i, v in enumerate(arrays)]
        shared = self.scalars(" ".join(n for n in inputs if n not in self.lanes))
        return self.function(
            f"void {name}(const real *c, const real *h, int n, {source}const real *__restrict dts, "
            f"real *__restrict {target})",
            f"{shared}        for (int l = 0; l < n; ++l) {{\n{_lines(lanes, 12)}        }}\n",
        )

    def _seen_each(self) -> str:
        """What the synapses collect and carry back, for each of the first ``n`` lanes."""
        code = self.model.gradient[0] + " " + self.model.transport[0]
        lanes = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in names_in(code)]
        lanes += [f"const real {v} = {a}[l];" for v, a in self.adjoint.items() if v in names_in(code)]
        lanes += [f"gradient[l] = {cpp(self.model.gradient[0])};", f"transport[l] = {cpp(self.model.transport[0])};"]
        return self.function(
            "void seen_each(const real *c, const real *h, int n, const real *__restrict a, real *__restrict gradient, "
            "real *__restrict transport)",
            f"{self.scalars(code)}        for (int l = 0; l < n; ++l) {{\n{_lines(lanes, 12)}        }}\n",
        )

    def _crossings(self) -> str:
        """Whether neurons may have reached their threshold, and how far above it they are and rise."""
        m = self.model
        used = names_in(self.flow + m.reach) | set(self.state)
        lanes = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in used]
        lanes += [f"real {v} = {a}[l];" for v, a in self.state.items()]
        after = [f"(next + {i} * P)[l] = {v};" for i, v in enumerate(self.state)]
        reach = f"int({cpp(m.reach)})"
        near = ["const real kick = 0;", f"{{ const real lift = 0; any |= {reach}; }}", "const real lift = margin;"]
        test = [f"const int flag = {reach};", "fired[l] = uint8_t(flag);", "some |= flag;"]
        kicked = ["const real all = many * sum[l], shift = x[l] - before[l];"]
        kicked += ["const real kick = real(0.5) * (all + shift), lift = most * real(0.5) * (all - shift);"]
        level = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in names_in(m.excess + m.rise)]
        level += [f"const real {v} = {a}[l]; (void){v};" for v, a in self.state.items()]
        level += [f"excess[l] = {cpp(m.excess)};", f"rise[l] = {cpp(m.rise)};"]

        def loop(lines: list[str], count: str = "P") -> str:
            return f"        for (int l = 0; l < {count}; ++l) {{\n{_lines(lines, 12)}        }}\n"

        return (
            self.function(
                "int probe(const real *c, const real *h, const real *__restrict x, real *__restrict next, real margin, "
                "uint8_t *__restrict fired)",
                self.scalars(self.flow + m.reach)
                + "        int any = 0, some = 0;\n"
                + loop([*lanes, cpp(self.flow), *after, *near, *test])
                + "        return 2 * any + some;\n",
            )
            + self.function(
                "int missed(const real *c, const real *h, const real *__restrict x, const real *__restrict before, "
                "const real *__restrict sum, real many, real most, uint8_t *__restrict fired)",
                self.scalars(m.reach)
                + "        int some = 0;\n"
                + loop([*lanes, *kicked, *test])
                + "        return some;\n",
            )
            + self.function(
                "void levels(const real *c, const real *h, int n, const real *__restrict x, real *__restrict excess, "
                "real *__restrict rise)",
                self.scalars(m.excess + m.rise) + loop(level, "n"),
            )
        )

    def _integrals(self) -> str:
        """The integral of V with a weight that is linear in time, its adjoint and its derivatives."""
        m = self.model
        first, second = m.integrals
        zeroth = f"real Isyn_start = Isyn; real V_start = V; {self.flow}"
        code = (
            f"{zeroth} real integral = {first}; real moment = {second}; "
            "sum += weight * integral + weight_slope * moment;"
        )
        driven = self._driven()
        return (
            self.function(
                "void integrate(const real *c, const real *h, real *__restrict x, real weight, real weight_slope, "
                "real dt, real *__restrict sums)",
                self.loop({**self.state, "sum": "sums"}, code),
            )
            + self._each(
                "integrate_each",
                "const real *__restrict weights, real weight_slope, const real *__restrict x, ",
                "out",
                {**self.state, "sum": ""},
                f"real weight = weights[l]; {code}",
                "x",
            )
            + self._collect_integral()
            + self.function(
                "void back_driven(const real *c, const real *h, real *__restrict a, const real *__restrict error, "
                "real end, real slope, real dt)",
                self.loop({**self.adjoint, "e": "error"}, driven),
            )
            + self._each(
                "driven_each",
                "real end, real slope, const real *__restrict a, ",
                "out",
                self.adjoint,
                f"const real e = 1; {driven}",
                "a",
            )
        )

    def _driven(self) -> str:
        m = self.model
        shift = " ".join(f"{v} {{}}= {e};" for v, e in m.driven.items())
        return (
            "real A = end * e; const real A_slope = slope * e; "
            f"{shift.replace('{}', '-')} {m.adjoint_update} A += A_slope * dt; {shift.replace('{}', '+')}"
        )

    def _collect_integral(self) -> str:
        """What the time constants collect of the integral itself, from the state at the first cut."""
        m, flow = self.model, self.flow
        kept = {v: f"(keep + {i} * P)" for i, v in enumerate(self.state)}
        lanes = [f"real {v} = {a}[l];" for v, a in {**self.per_lane(), **kept}.items()]
        lanes += ["real Isyn_start = Isyn, V_start = V;", cpp(flow), f"const real integral = {cpp(m.integrals[0])};"]
        slopes = [m.integral_slopes[n] for n in self.trained]
        for i, (a, b) in enumerate(slopes):
            value = f"weight * slope + weight_slope * ({cpp(b)})"
            lanes += [f"{{ const real slope = {cpp(a)}; (sum + {i} * P)[l] -= error[l] * ({value}); }}"]
        used = flow + m.integrals[0] + " ".join(" ".join(pair) for pair in slopes)
        loop = f"        for (int l = 0; l < P; ++l) {{\n{_lines(lanes, 12)}        }}\n"
        body = self.scalars(used) + loop if slopes else ""
        return self.function(
            "void collect_integral(const real *c, const real *h, const real *__restrict keep, "
            "const real *__restrict error, real weight, real weight_slope, real dt, real *__restrict sum)",
            f"{body}        (void)keep, (void)error, (void)weight, (void)weight_slope, (void)dt, (void)sum;\n",
        )
