// Spikes at their exact times: steps are cut where a neuron crosses its threshold or a spike arrives from a layer below.
//
// Between two cuts state and adjoints have closed forms (the model's update with dt = time between the cuts), so the step
// only spaces the input, which arrives at starts of steps. A cut is found in three stages: a test of all neurons at once
// that misses no crossing, a root for those that pass it, and the earliest of these. Backwards the cuts are taken in
// reverse; at each the adjoints just after it give R and what the synapses collect, then the neuron's own jump follows.
#pragma once
#include <atomic>
#include <limits>

#include "layers.hpp"

namespace eventprop {

constexpr uint32_t MAX_CUTS = 1000000;    // in one trial and layer; more is runaway activity

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

// First time in (0, y] at which the neuron's V, from state x on, reaches its threshold from below; `never` if it does not.
constexpr real never = std::numeric_limits<real>::infinity();
template <class Model> real crossing(const real *c, const real *h, int lane, const real *x, real y) {
    constexpr int VARS = 1 + Model::n_state;
    real start[VARS], now[VARS];
    for (int i = 0; i < VARS; ++i) start[i] = x[i * P + lane];
    auto go = [&](real s) {
        std::copy(start, start + VARS, now);
        Model::flow(c, h, lane, s, now);
    };
    const real e0 = Model::excess(c, h, lane, start), r0 = Model::rise(c, h, lane, start);
    if (e0 >= 0) return r0 > 0 ? real(0) : never;
    go(y);
    real e1 = Model::excess(c, h, lane, now), high = y, low = 0;
    if (e1 < 0) {                         // not above at the end: is there a peak inside that is?
        if (r0 <= 0 || Model::rise(c, h, lane, now) >= 0) return never;
        for (int n = 0; n < 60 && high - low > std::numeric_limits<real>::epsilon() * y; ++n) {
            const real middle = (low + high) / 2;
            go(middle);
            if (Model::excess(c, h, lane, now) >= 0) { high = middle; break; }
            (Model::rise(c, h, lane, now) > 0 ? low : high) = middle;
        }
        go(high);
        e1 = Model::excess(c, h, lane, now);
        if (e1 < 0) return never;
        low = 0;
    }
    // Newton's method from a parabola's root, kept within the bracket.
    const real curve = (e1 - e0 - r0 * high) / (high * high), root = r0 * r0 - 4 * curve * e0;
    real s = root > 0 && r0 + std::sqrt(root) > 0 ? -2 * e0 / (r0 + std::sqrt(root)) : high / 2;
    for (int n = 0; n < 60; ++n) {
        if (!(s > low && s < high)) s = (low + high) / 2;
        go(s);
        const real e = Model::excess(c, h, lane, now), r = Model::rise(c, h, lane, now);
        (e < 0 ? low : high) = s;
        const real change = r > 0 ? e / r : never;
        if (std::fabs(change) <= 2 * std::numeric_limits<real>::epsilon() * y) return std::min(std::max(s - change, real(0)), y);
        if (high - low <= std::numeric_limits<real>::epsilon() * y) return high;
        s -= change;
    }
    return high;
}

template <class Model> struct ExactSweep {
    static constexpr int VARS = 1 + Model::n_state;
    const Layer &l;
    const SpikeLists *below;              // spikes with exact times; null where the drive is all there is
    LayerTrace &out;
    const Draws &draws;
    const bool kept;
    real *x, *next;
    Interval<Model> interval;
    size_t kept_rows = 0;

    ExactSweep(const Layer &l, const SpikeLists *below, LayerTrace &out, const Draws &draws, bool kept, Scratch &t)
        : l(l), below(below), out(out), draws(draws), kept(kept), interval(l, t.lanes) {
        const size_t size = size_t(l.n_panels) * VARS * P;
        t.state.reserve(size);
        t.next.reserve(size);
        x = t.state.data;
        next = t.next.data;
        for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), x + p * VARS * P);
    }

    void keep() {
        if (!kept) return;
        const size_t width = size_t(l.n_panels) * VARS * P;
        out.kept.grow((kept_rows + 1) * width);
        std::memcpy(out.kept.data + kept_rows++ * width, x, width * sizeof(real));
    }

    // The earliest own crossing within y; state `next` holds the end of the interval.
    real first_crossing(real y, int &neuron) {
        alignas(64) int fired[P];
        real first = never;
        interval.forward(y);
        for (int p = 0; p < l.n_panels; ++p) {
            real *panel = x + p * VARS * P;
            if (!Model::probe(interval.constants(), interval.lanes(p), panel, next + p * VARS * P, fired)) continue;
            const int n = std::min(P, l.n - p * P);
            for (int lane = 0; lane < n; ++lane)
                if (fired[lane]) {
                    const real s = crossing<Model>(l.constants.data(), l.lanes_of<Model>(p), lane, panel, y);
                    if (s < first) { first = s; neuron = p * P + lane; }
                }
        }
        return first;
    }

    // All neurons go on by d; then the weights of one spike arrive, if there is one.
    void advance(real d, const Weights *w, int source) {
        alignas(64) const real none[P] = {};
        if (d > 0) interval.forward(d);
        for (int p = 0; p < l.n_panels; ++p) {
            const real *row = w ? w->w.at(p, source) : none;
            real *panel = x + p * VARS * P;
            if (d > 0) Model::advance(interval.constants(), interval.lanes(p), panel, row);
            else if (w) for (int i = 0; i < P; ++i) panel[i] += row[i];
        }
    }

    // A neuron's own crossing after d: recorded with the state just before it, reset, delivered.
    void fire(int k, real at, real d, int neuron) {
        const int p = neuron / P, lane = neuron % P;
        real *panel = x + p * VARS * P, value[Model::n_recorded], before[VARS];
        for (int i = 0; i < VARS; ++i) before[i] = panel[i * P + lane];
        if (d > 0) Model::flow(l.constants.data(), l.lanes_of<Model>(p), lane, d, before);
        const uint32_t in_step = uint32_t(out.events.size()) - out.event_start[k];
        const bool dropped = draws.dropout && draw(mix(draws.dropout_key ^ in_step), k, neuron) < draws.dropout_limit;
        advance(d, dropped || !l.recurrent.present ? nullptr : &l.recurrent, neuron);
        const real arrived = panel[lane];
        panel[lane] = before[0];
        Model::spike(l.constants.data(), l.lanes_of<Model>(p), panel, lane, value);
        panel[lane] = arrived;
        auto &list = dropped ? out.dropped : out.spikes;
        auto &recorded = dropped ? out.dropped_recorded : out.recorded;
        out.events.push_back({d, dropped ? DROPPED : OWN, uint32_t(list.id.size())});
        list.id.push_back(uint16_t(neuron));
        list.at.push_back(at);
        recorded.insert(recorded.end(), value, value + Model::n_recorded);
    }

    // One step; `arriving` is the next spike from below.
    void step(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        const uint32_t last = below ? below->step_start[k + 1] : 0;
        real at = 0;
        for (;;) {
            int neuron = -1;
            const real own = first_crossing(h - at, neuron);
            const real other = arriving < last ? std::max(real(0), below->at[arriving] - at) : never;
            keep();
            if (own == never && other == never) break;
            if (out.events.size() >= MAX_CUTS) throw RunawayActivity();
            if (own <= other) {
                at = std::min(h, at + own);
                fire(k, at, own, neuron);
            } else {
                advance(other, &l.forward, below->id[arriving]);
                at = below->at[arriving];
                out.events.push_back({other, BELOW, arriving++});
            }
        }
        std::swap(x, next);
        out.tail[k] = h - at;
    }
};

// A layer of spiking neurons through a trial; drive row k holds what arrives at the start of step k + 1. `whole`: to the
// end of the trial, also where nothing happens any more.
template <class Model>
void exact_sweep(const Layer &l, Panels drive, int rows, int K, const SpikeLists *below, LayerTrace &out, const Draws &draws,
                 bool kept, bool whole, Scratch &t) {
    out.spikes.clear(K);
    out.dropped.clear(K);
    for (auto *values : {&out.recorded, &out.dropped_recorded}) values->clear();
    out.events.clear();
    out.event_start.assign(K + 1, 0);
    out.tail.assign(K, real(l.dt));
    ExactSweep<Model> sweep(l, below, out, draws, kept, t);
    uint32_t arriving = 0;
    int k = 0;
    for (; k < K; ++k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
        const bool driven = k > 0 && k <= rows, more = below && arriving < below->id.size();
        if (!driven && k > rows && !more && !whole && k % 4 == 0 && quiet<Model>(l, sweep.x)) break;
        if (driven)
            for (int p = 0; p < l.n_panels; ++p) {
                real *current = sweep.x + p * sweep.VARS * P;
                const real *in = drive.at(p, k - 1);
                for (int i = 0; i < P; ++i) current[i] += in[i];
            }
        sweep.step(k, arriving);
    }
    for (; k <= K; ++k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
    }
    out.spikes.index_by_id(l.n, K);
}

// Rows of event_gradient by source neuron, from the events of one kind.
inline void index_events(const LayerTrace &trace, Cut kind, const SpikeLists &source, std::vector<uint32_t> &rows) {
    std::vector<uint32_t> row_of(source.id.size());
    for (uint32_t e = 0; e < trace.events.size(); ++e)
        if (trace.events[e].kind == kind) row_of[trace.events[e].index] = e;
    rows.resize(source.id.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = row_of[source.order[i]];
}

// The reverse of exact_sweep(). t.adjoint holds the adjoints at the end of the trial; nothing happens to them after step
// trace.rows - 1. Errors of the layer below are added to `below_error`.
template <class Model, class Extra>
void exact_reverse(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t,
                   Extra &&extra) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
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

// The weight of the loss in each step: at its start, and how it changes until its end (per ms).
struct StepWeights {
    const real *start, *slope;
};

// The read-out that does not spike: integrals of V with the loss's weight, taken as linear in time within a step.
template <class Model>
void exact_read(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, bool kept, Scratch &t) {
    constexpr int VARS = 1 + Model::n_state;
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
            for (int p = 0; p < l.n_panels; ++p) {
                real *current = x + p * VARS * P;
                const real *in = l.forward.w.at(p, below.id[s]);
                for (int i = 0; i < P; ++i) current[i] += in[i];
            }
        }
        go(k, at, h - at);
    }
}

// Its reverse; event row s of the trace belongs to spike s from below.
template <class Model>
void exact_reverse_read(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot,
                               std::vector<real> &below_error, Scratch &t) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
    LayerTrace &trace = slot.output;
    const real h = real(l.dt), trial = real(K * l.dt);
    const size_t stride = Panels::stride_of(below.id.size()), kept_width = size_t(l.n_panels) * KEPT * P;
    trace.event_gradient.reserve(stride * l.n_panels);
    trace.live_events = uint32_t(below.id.size());
    t.adjoint.reserve(size_t(l.n_panels) * VARS * P);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    std::fill(t.adjoint.data, t.adjoint.data + size_t(l.n_panels) * VARS * P, real(0));
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
