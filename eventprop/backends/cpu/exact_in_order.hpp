// Steps cut at spikes, and what is computed interval by interval: for time constants that differ between neurons or are
// trained, each interval needs constants of its own for every neuron.
#pragma once
#include <limits>

#include "layers.hpp"

namespace eventprop {

// Whether cuts may be taken together: neurons share their constants, and none of these is trained.
template <class Model> constexpr bool together = Model::n_lanes == 0 && Model::n_collect == 0;

constexpr real never = std::numeric_limits<real>::infinity();
// Cuts in one trial of a layer; more is runaway activity.
inline size_t most_cuts(const Layer &l) { return 100000 + 1000 * size_t(l.n); }

// First time in (0, y] at which V of one lane of panel x reaches its threshold from below, or `never`: bisection to a peak
// if V ends below, then Newton's method within the bracket.
template <class Model> real crossing(const real *c, const real *h, int lane, const real *x, real y, real &r) {
    real now[Model::n_state * P], e;
    auto go = [&](real s) {
        Model::flow_each(c, h + lane, 1, x + lane, &s, now);
        Model::levels(c, h + lane, 1, now, &e, &r);
    };
    const real tiny = std::numeric_limits<real>::epsilon() * y;
    go(0);
    if (e >= 0) return r > 0 ? real(0) : never;
    const real r0 = r;
    go(y);
    real high = y, low = 0;
    if (e < 0) {
        if (r0 <= 0 || r >= 0) return never;
        while (high - low > tiny) {
            const real middle = (low + high) / 2;
            go(middle);
            if (e >= 0) { high = middle; break; }
            (r > 0 ? low : high) = middle;
        }
        go(high);
        if (e < 0) return never;
        low = 0;
    }
    real s = high / 2;
    for (int n = 0; n < 100; ++n) {
        if (!(s > low && s < high)) s = (low + high) / 2;
        go(s);
        (e < 0 ? low : high) = s;
        const real change = r > 0 ? e / r : never;
        if (std::fabs(change) <= 2 * tiny) return std::min(std::max(s - change, real(0)), y);
        if (high - low <= tiny) return high;
        s -= change;
    }
    return high;
}

// Neurons that may reach their threshold in a step, each once, in the order in which they were named.
class Listed {
public:
    std::vector<uint16_t> neuron;

    explicit Listed(int n) : listed(n) {}
    void clear() {
        for (uint16_t i : neuron) listed[i] = 0;
        neuron.clear();
    }
    bool add(int i) {
        if (listed[i]) return false;
        listed[i] = 1;
        neuron.push_back(uint16_t(i));
        return true;
    }
    int size() const { return int(neuron.size()); }

protected:
    std::vector<uint8_t> listed;
};

// Such neurons, gathered in panels of their own.
template <class Model> class Candidates : public Listed {
public:
    static constexpr int VARS = Model::n_state;
    static constexpr real margin = 0;
    std::vector<real> when;               // the crossing's time since the start of the step, `never` if there is none

    explicit Candidates(const Layer &l) : Listed(l.n), l(l), step(real(l.dt)) {
        for (int p = 0; p < l.n_panels; ++p) {
            alignas(64) real one[VARS * P] = {}, dts[P], after[VARS * P];
            std::fill(one, one + P, real(1));
            std::fill(dts, dts + P, step);
            Model::flow_each(l.constants.data(), l.lanes_of<Model>(p), P, one, dts, after);
            unit = std::max(unit, *std::max_element(after + Model::v_row * P, after + (Model::v_row + 1) * P));
        }
    }
    int panels_used() const { return panels(size()); }
    int lanes_used(int q) const {         // whole vectors
        const int n = std::min(P, size() - q * P);
        return (n + LANES - 1) / LANES * LANES;
    }
    real *state(int q) { return x.data + size_t(q) * VARS * P; }
    const real *constants() const { return l.constants.data(); }
    const real *lanes(int q) const { return h.data + size_t(q) * Model::n_lanes * P; }

    // Start of a step: their states and constants from those of all neurons.
    void gather(const real *all) {
        const int n = panels_used();
        now = 0;
        x.reserve(size_t(n) * VARS * P);
        h.reserve(std::max(size_t(1), size_t(n) * Model::n_lanes * P));
        for (int j = 0; j < n * P; ++j) {
            const int i = neuron[j < size() ? j : 0], p = i / P, lane = i % P;
            for (int v = 0; v < VARS; ++v) state(j / P)[v * P + j % P] = all[(size_t(p) * VARS + v) * P + lane];
            for (int v = 0; v < Model::n_lanes; ++v)
                h.data[(size_t(j / P) * Model::n_lanes + v) * P + j % P] = l.lanes_of<Model>(p)[v * P + lane];
        }
        solve();
    }
    // Time goes on to the next cut, or to the end of the step.
    void move_to(real time) {
        const real d = time - now;
        now = time;
        alignas(64) real dts[P], after[VARS * P];
        std::fill(dts, dts + P, d);
        if (d > 0)
            for (int q = 0; q < panels_used(); ++q) {
                Model::flow_each(constants(), lanes(q), lanes_used(q), state(q), dts, after);
                std::copy(after, after + VARS * P, state(q));
            }
    }
    // The next crossing after `now`: which candidate, and when. A candidate's crossing that spikes have moved is known to first
    // order, and computed anew only where it might be the next.
    int next(real &time) {
        for (;;) {
            int first = -1;
            time = never;
            for (int j = 0; j < size(); ++j) {
                const real least = when[j] - unsure[j];
                if (least < time && (least <= step || stale[j])) { time = least; first = j; }
            }
            if (first < 0 || !stale[first]) return first;
            real s = when[first] - now;
            if (!refine(first, step - now, s))
                settle(1, first / P, first % P, step - now, &s, &rise[first], &bend[first], &room[first]);
            when[first] = s == never ? never : now + s;
            unsure[first] = 0;
            stale[first] = 0;
        }
    }
    // A spike of `source` arrives.
    void arrive(const Weights &w, int source) {
        for (int j = 0; j < size(); ++j) {
            const real wj = w.w.at(neuron[j] / P, source)[neuron[j] % P];
            state(j / P)[j % P] += wj;
            if (when[j] == never) {
                room[j] -= larger(wj, real(0)) * unit;
                if (room[j] <= 0) { when[j] = now; stale[j] = 1; }
            } else {
                const real shift = wj * unit * larger(when[j] - now, real(0)) / (step * rise[j]);
                when[j] -= shift;
                unsure[j] += std::fabs(shift) * (std::fabs(shift) < real(0.2) * step ? real(0.5) : real(2));
                stale[j] = 1;
            }
        }
    }
    // Candidate j spikes. V then rises ever more slowly, so that it stays below its tangent.
    void spike(int j, real *recorded) {
        real e, r, *own = state(j / P);
        Model::spike(constants(), lanes(j / P), own, j % P, recorded);
        Model::levels(constants(), lanes(j / P) + j % P, 1, own + j % P, &e, &r);
        const real top = e + larger(r, real(0)) * (step - now);
        when[j] = top < 0 ? never : now;
        room[j] = -top;
        unsure[j] = 0;
        stale[j] = top >= 0;
    }
    void store_to(real *all) {
        for (int j = 0; j < size(); ++j)
            for (int v = 0; v < VARS; ++v)
                all[(size_t(neuron[j] / P) * VARS + v) * P + neuron[j] % P] = state(j / P)[v * P + j % P];
    }

private:
    // The time of each crossing within the step.
    void solve() {
        const size_t n = size_t(panels_used()) * P;
        for (auto *values : {&when, &rise, &bend, &room, &unsure}) values->resize(n);
        for (int q = 0; q < panels_used(); ++q) {
            const size_t first = size_t(q) * P;
            settle(lanes_used(q), q, 0, step, when.data() + first, rise.data() + first, bend.data() + first, room.data() + first);
        }
        std::fill(unsure.begin(), unsure.end(), real(0));
        stale.assign(n, 0);
    }
    // Whether what a Newton step leaves, change^2 V'' / 2 V', is down to rounding.
    static bool fine(real change, real bend, real rise, real y) {
        return rise > 0 && change * change * std::fabs(bend) < 8 * std::numeric_limits<real>::epsilon() * y * rise;
    }
    // One Newton step from an estimate of the time until a crossing within y; false if that does not settle it.
    bool refine(int j, real y, real &s) {
        if (!(s > 0 && s < y)) return false;
        real e, r, now[VARS * P];
        const int lane = j % P;
        Model::flow_each(constants(), lanes(j / P) + lane, 1, state(j / P) + lane, &s, now);
        Model::levels(constants(), lanes(j / P) + lane, 1, now, &e, &r);
        const real change = e / r;
        if (!fine(change, bend[j], r, y) || !(s - change > 0 && s - change <= y)) return false;
        s -= change;
        rise[j] = r;
        return true;
    }
    // Time s until the crossing of n lanes within the next y, or `never`; V's rise there, and where there is no crossing how
    // much is left to the threshold. By a cubic's root and Newton's method from there; lanes that this does not settle are
    // left to crossing().
    void settle(int n, int q, int lane, real y, real *s, real *rise_at, real *bend_at, real *left_over) {
        const real *c = constants(), *h = lanes(q) + lane, *x = state(q) + lane;
        alignas(64) real e0[P], r0[P], e1[P], r1[P], e[P], top[P], end[VARS * P], change[P];
        for (int l = 0; l < n; ++l) s[l] = y;
        Model::levels(c, h, n, x, e0, r0);
        Model::flow_each(c, h, n, x, s, end);
        Model::levels(c, h, n, end, e1, r1);
        for (int l = 0; l < n; ++l) {     // the cubic with V's values and slopes at both ends: its peak, and its first root
            const real a = 2 * (e0[l] - e1[l]) + (r0[l] + r1[l]) * y, b = 3 * (e1[l] - e0[l]) - (2 * r0[l] + r1[l]) * y, g = r0[l] * y;
            const real turn = g / (std::sqrt(larger(b * b - 3 * a * g, real(0))) - b);
            top[l] = e0[l] + turn * (g + turn * (b + turn * a));
            real u = e1[l] < 0 ? -e0[l] / g : -e0[l] / (e1[l] - e0[l]);
            for (int i = 0; i < 4; ++i) {
                const real slope = g + u * (2 * b + 3 * a * u);
                u = smaller(larger(u - (e0[l] + u * (g + u * (b + u * a))) / slope, real(0)), real(1));
            }
            s[l] = u * y;
        }
        constexpr int STEPS = sizeof(real) == 4 ? 1 : 3;
        for (int i = 0; i < STEPS; ++i) {
            Model::flow_each(c, h, n, x, s, end);
            Model::levels(c, h, n, end, e, rise_at);
            for (int l = 0; l < n; ++l) {
                change[l] = e[l] / rise_at[l];
                s[l] -= change[l];
            }
        }
        for (int l = 0; l < n; ++l) {
            const bool turns = r0[l] > 0 && r1[l] < 0;
            const real doubt = turns ? real(2e-3) * (r0[l] - r1[l]) * y : real(0);  // how far the cubic's peak may be off
            const real most = turns ? top[l] + doubt : larger(e0[l], e1[l]);
            const bool found = e0[l] < 0 && r0[l] > 0 && (e1[l] >= 0 || most > 2 * doubt);
            bend_at[l] = (r0[l] - r1[l]) / y;
            if (most < 0) s[l] = never;
            else if (!(found && fine(change[l], bend_at[l], rise_at[l], y) && s[l] > 0 && s[l] <= y))
                s[l] = crossing<Model>(c, h, l, x, y, rise_at[l]);
            left_over[l] = larger(-most, real(0));
        }
    }
    const Layer &l;
    const real step;
    real now = 0, unit = 0;               // what a unit of current does to V in a step, at the most
    std::vector<uint8_t> stale;
    std::vector<real> rise, bend, room, unsure;  // V' at the crossing, and -V''; what is left to the threshold; error of `when`
    Buffer x, h;
};

// The model's constants for an interval that need not be a step.
template <class Model> class Interval {
public:
    Interval(const Layer &l, Buffer &lanes) : l(l), h(lanes) {
        std::copy(l.constants.begin(), l.constants.end(), c);
        const size_t size = size_t(l.n_panels) * Model::n_lanes * P;
        h.reserve(std::max(size_t(1), size));
        std::copy(l.lanes.data, l.lanes.data + size, h.data);
    }
    void forward(real d) { set(d, Model::forward_interval, Model::forward_lanes); }
    void backward(real d) { set(d, Model::backward_interval, Model::backward_lanes); }
    const real *constants() const { return whole ? l.constants.data() : c; }
    const real *lanes(int p) const { return whole ? l.lanes_of<Model>(p) : h.data + size_t(p) * Model::n_lanes * P; }
private:
    template <class F, class G> void set(real d, F &&shared, G &&own) {
        whole = d == real(l.dt);
        if (whole || d == current) return;
        current = d;
        shared(h.data, d, c);
        if (Model::n_lanes)
            for (int p = 0; p < l.n_panels; ++p) own(c, d, h.data + size_t(p) * Model::n_lanes * P);
    }
    const Layer &l;
    Buffer &h;
    real c[Model::n_constants], current = -1;
    bool whole = true;
};

// The weight of the loss in each step: at its start, and how it changes until its end (per ms).
struct StepWeights {
    const real *start, *slope;
};

// Rows of event_gradient by source neuron, from the events of one kind.
inline void index_events(const LayerTrace &trace, Cut kind, const SpikeLists &source, std::vector<uint32_t> &rows) {
    std::vector<uint32_t> row_of(source.id.size());
    for (uint32_t e = 0; e < trace.events.size(); ++e)
        if (trace.events[e].kind == kind) row_of[trace.events[e].index] = e;
    rows.resize(source.id.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = row_of[source.order[i]];
}

// The reverse of exact_sweep(), interval by interval. t.adjoint holds the adjoints at the end of the trial; nothing happens
// to them after step trace.rows - 1. Errors of the layer below are added to `below_error`.
template <class Model, class Extra>
void reverse_in_order(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t,
                      Extra &&extra) {
    constexpr int VARS = Model::n_adjoint, KEPT = Model::n_state;
    const size_t stride = Panels::stride_of(K), events = trace.events.size(), event_stride = Panels::stride_of(events);
    const size_t kept_width = size_t(l.n_panels) * KEPT * P;
    trace.live_events = trace.event_start[trace.rows];
    trace.event_gradient.reserve(event_stride * l.n_panels);
    if (!below) trace.gradient.reserve(stride * l.n_panels);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    real *adjoint = t.adjoint.data, *row = t.transport_row.data;
    const Panels g{trace.gradient.data, stride}, eg{trace.event_gradient.data, event_stride};
    const real *c = l.constants.data();
    Interval<Model> interval(l, t.lanes);
    alignas(64) real unused[P];
    auto x = [&](int p) { return adjoint + size_t(p) * VARS * P; };
    auto h = [&](int p) { return l.lanes_of<Model>(p); };
    auto back = [&](real d, size_t kept_row) {
        if (!(d > 0)) return;
        interval.backward(d);
        for (int p = 0; p < l.n_panels; ++p) {
            if (Model::n_collect)
                Model::collect(interval.constants(), interval.lanes(p), x(p), trace.kept.data + kept_row * kept_width + size_t(p) * KEPT * P,
                               trace.collected.data + size_t(p) * Model::n_collect * P);
            Model::back(interval.constants(), interval.lanes(p), x(p), unused);
        }
    };
    auto arrived = [&](size_t e, const Weights &w, int source) {  // what the spike's synapses collect; returns its error
        for (int p = 0; p < l.n_panels; ++p) {
            Model::gradient(c, h(p), x(p), eg.at(p, e));
            Model::transport(c, h(p), x(p), row + p * P);
        }
        return dot_row(w.w, source, row, P, l.n_panels);
    };
    for (int k = trace.rows - 1; k >= 0; --k) {
        back(trace.tail[k], size_t(trace.event_start[k + 1]) + k);
        for (size_t e = trace.event_start[k + 1]; e-- > trace.event_start[k];) {
            const Event &event = trace.events[e];
            const uint32_t s = event.index;
            if (event.kind == BELOW) {
                (*below_error)[s] += arrived(e, l.forward, below->id[s]);
            } else {
                const bool own = event.kind == OWN;
                const int neuron = own ? trace.spikes.id[s] : trace.dropped.id[s], p = neuron / P;
                if (own && l.recurrent.present) trace.error[s] += arrived(e, l.recurrent, neuron);
                Model::jump(c, h(p), x(p), neuron % P, own ? trace.error[s] : real(0),
                            &(own ? trace.recorded : trace.dropped_recorded)[size_t(s) * Model::n_recorded]);
                if (own) extra(x(p), s, neuron % P);
            }
            back(event.before, e + k);
        }
        if (!below)
            for (int p = 0; p < l.n_panels; ++p) Model::gradient(c, h(p), x(p), g.at(p, k));
    }
    if (below) index_events(trace, BELOW, *below, trace.below_rows);
    if (l.recurrent.present) index_events(trace, OWN, trace.spikes, trace.own_rows);
}

// The read-out that does not spike: integrals of V with the loss's weight, taken as linear in time within a step.
template <class Model>
void read_in_order(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, bool kept, Scratch &t) {
    constexpr int VARS = Model::n_state;
    const real h = real(l.dt), trial = real(K * l.dt);
    const size_t width = size_t(l.n_panels) * VARS * P;
    t.state.reserve(width);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    std::fill(slot.readout.data, slot.readout.data + size_t(l.n_panels) * Readout::n_state * P, real(0));
    if (kept) slot.output.kept.reserve((size_t(K) + below.id.size()) * width);
    real *x = t.state.data;
    for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), x + p * VARS * P);
    Interval<Model> interval(l, t.lanes);
    size_t row = 0;
    auto go = [&](int k, real from, real d) {
        if (kept) std::memcpy(slot.output.kept.data + row++ * width, x, width * sizeof(real));
        if (!(d > 0)) return;
        interval.forward(d);
        const real weight = (w.start[k] + w.slope[k] * from) / trial, slope = w.slope[k] / trial;
        for (int p = 0; p < l.n_panels; ++p)
            Model::integrate(interval.constants(), interval.lanes(p), x + p * VARS * P, weight, slope, d,
                             slot.readout.data + size_t(p) * Readout::n_state * P);
    };
    for (int k = 0; k < K; ++k) {
        real at = 0;
        for (uint32_t s = below.step_start[k]; s < below.step_start[k + 1]; ++s) {
            go(k, at, below.at[s] - at);
            at = below.at[s];
            for (int p = 0; p < l.n_panels; ++p) add_row(x + p * VARS * P, l.forward.w.at(p, below.id[s]));
        }
        go(k, at, h - at);
    }
}

// Its reverse; event row s of the trace belongs to spike s from below.
template <class Model>
void reverse_read_in_order(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot,
                           std::vector<real> &below_error, Scratch &t) {
    constexpr int VARS = Model::n_adjoint, KEPT = Model::n_state;
    LayerTrace &trace = slot.output;
    const real h = real(l.dt), trial = real(K * l.dt);
    const size_t stride = Panels::stride_of(below.id.size()), kept_width = size_t(l.n_panels) * KEPT * P;
    trace.event_gradient.reserve(stride * l.n_panels);
    trace.live_events = uint32_t(below.id.size());
    clear_adjoint(l, VARS, t);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    const Panels eg{trace.event_gradient.data, stride};
    const real *c = l.constants.data();
    Interval<Model> interval(l, t.lanes);
    auto x = [&](int p) { return t.adjoint.data + size_t(p) * VARS * P; };
    size_t kept_row = size_t(K) + below.id.size();
    auto back = [&](int k, real from, real d) {
        --kept_row;
        if (!(d > 0)) return;
        interval.backward(d);
        const real start = (w.start[k] + w.slope[k] * from) / trial, slope = w.slope[k] / trial;
        for (int p = 0; p < l.n_panels; ++p) {
            const real *ci = interval.constants(), *hi = interval.lanes(p), *error = slot.error.data() + p * P;
            if (Model::n_collect) {
                const real *keep = trace.kept.data + kept_row * kept_width + size_t(p) * KEPT * P;
                real *sum = trace.collected.data + size_t(p) * Model::n_collect * P;
                Model::collect(ci, hi, x(p), keep, sum);
                Model::collect_integral(ci, hi, keep, error, start, slope, d, sum);
            }
            Model::back_driven(ci, hi, x(p), error, start + slope * d, -slope, d);
        }
    };
    for (int k = K - 1; k >= 0; --k) {
        const uint32_t from = below.step_start[k], to = below.step_start[k + 1];
        const real last = from < to ? below.at[to - 1] : real(0);
        back(k, last, h - last);
        for (uint32_t s = to; s-- > from;) {
            for (int p = 0; p < l.n_panels; ++p) {
                Model::gradient(c, l.lanes_of<Model>(p), x(p), eg.at(p, s));
                Model::transport(c, l.lanes_of<Model>(p), x(p), t.transport_row.data + p * P);
            }
            below_error[s] += dot_row(l.forward.w, below.id[s], t.transport_row.data, P, l.n_panels);
            const real before = s > from ? below.at[s - 1] : real(0);
            back(k, before, below.at[s] - before);
        }
    }
    trace.below_rows.assign(below.order.begin(), below.order.end());
}

}  // namespace eventprop
