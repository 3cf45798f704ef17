// The published algorithm: spikes at the ends of steps. Forward sweep of a layer, and its reverse.
//
// Conventions (steps k = 0 .. K-1): a spike stamped k happens at the end of step k and reaches its targets' current in
// step k + 1; no spike is emitted in step K-1. Adjoint row m belongs to time m * dt.
#pragma once
#include <cmath>

#include "pending.hpp"
#if SUBSTEPS
#include "substep.hpp"
#endif

namespace eventprop {

// Whether the backward sweep reads the states of the forward sweep.
template <class Model> constexpr bool keeps_states = Model::n_collect || Model::reads_state;

template <class Model> bool quiet(const Layer &l, const real *state) {
    for (int p = 0; p < l.n_panels; ++p)
        if (!Model::quiet(l.constants.data(), l.lanes_of<Model>(p), state + p * Model::n_state * P)) return false;
    return true;
}

// Spikes of the panel's lanes that have reached their threshold at the end of step k.
template <class Model> void fire(const Layer &l, int p, int k, real *x, LayerTrace &out, const Draws &draws) {
    const real *c = l.constants.data(), *h = l.lanes_of<Model>(p);
    alignas(64) uint8_t fired[P];
    Model::fires(c, h, x, fired);
    each_marked(fired, l.n - p * P, [&](int lane) {
        real value[Model::n_recorded];
        Model::spike(c, h, x, lane, value);
        const int neuron = p * P + lane;
        const bool dropped = draws.drops(k, neuron);
        auto &list = dropped ? out.dropped : out.spikes;
        auto &recorded = dropped ? out.dropped_recorded : out.recorded;
        list.id.push_back(uint16_t(neuron));
        recorded.insert(recorded.end(), value, value + Model::n_recorded);
        if (dropped || !l.recurrent.present) return;
        l.recurrent.delayed ? fetch_near(l.recurrent, neuron) : fetch_rows(l.recurrent, neuron, l.n_panels);
    });
}

template <class Model, bool kept>
void sweep_steps(const Layer &l, Panels drive, int rows, int K, LayerTrace &out, const Draws &draws, bool whole, real *state,
                 bool record) {
    constexpr int VARS = Model::n_state;
    const real *c = l.constants.data();
    const bool noisy = draws.noise != 0;
    const size_t kept_stride = size_t(K) * VARS * P;
    SpikeLists &spikes = out.spikes;
    constexpr int INPUTS = Model::n_inputs;
    alignas(64) real current[INPUTS * P], normal[P], none[INPUTS * P] = {};
    alignas(64) real before[VARS * P];
#if SUBSTEPS
    Crossings<Model> crossings(l, out, draws);
#endif
    Pending<INPUTS> pending{l.recurrent, spikes, l.n_panels, K, drive, -1, rows};
    int k = 0;
    for (; k < K; ++k) {
        const uint32_t from = k ? spikes.step_start[k - 1] : 0, to = uint32_t(spikes.id.size());
        const bool driven = k > 0 && k <= rows;
        if (!noisy && !whole && !driven && from == to && k > rows && k > pending.until && k % 4 == 0 && quiet<Model>(l, state)) break;
        spikes.step_start[k] = to;
        if (l.recurrent.delayed) pending.send(k, from, to);
        if (draws.dropout) out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        for (int p = 0; p < l.n_panels; ++p) {
            const real *in = driven || k <= pending.until ? drive.at(p, size_t(k - 1) * INPUTS) : none;
            if (driven) fetch_row(in + 2 * INPUTS * P, INPUTS * P);
            if (from < to && l.recurrent.present && !l.recurrent.delayed) {
                const real *w = l.recurrent.w.at(p, 0);
                if constexpr (INPUTS == 2) {
                    std::copy(in, in + INPUTS * P, current);
                    sum_rows_by_sign(current, w, spikes.id.data(), from, to);
                } else store(current, sum_rows(load(in), w, spikes.id.data(), from, to));
                in = current;
            }
            if (noisy) draws.normal->fill(normal, draws.noise_key, k, p * P, draws.noise);
            real *x = state + p * VARS * P, *keep = kept ? out.kept.data + p * kept_stride + size_t(k) * VARS * P : before;
            const real *h = l.lanes_of<Model>(p);
            const int any = noisy ? Model::template step<true, kept || SUBSTEPS>(c, h, x, in, normal, keep)
                                  : Model::template step<false, kept || SUBSTEPS>(c, h, x, in, normal, keep);
            if (any && k < K - 1)
#if SUBSTEPS
                crossings.add(p, k, keep, state);
#else
                fire<Model>(l, p, k, x, out, draws);
#endif
        }
#if SUBSTEPS
        crossings.take(k, state);
#endif
        for (int p = 0; record && p < l.n_panels; ++p)
            std::copy(state + p * VARS * P, state + (p + 1) * VARS * P, out.states.data + (size_t(p) * K + k) * VARS * P);
    }
    for (int j = k; j <= K; ++j) spikes.step_start[j] = uint32_t(spikes.id.size());
    if (draws.dropout)
        for (; k <= K; ++k) out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
}

// A layer of spiking neurons through a trial; drive row k holds what arrives from below in step k + 1. `whole`: to the end
// of the trial, also where nothing happens any more. `record`: the state after each step is kept, too.
template <class Model>
void sweep(const Layer &l, Panels drive, int rows, int K, LayerTrace &out, const Draws &draws, bool kept, bool whole, bool record,
           Scratch &t) {
    constexpr int VARS = Model::n_state;
    t.state.reserve(size_t(l.n_panels) * VARS * P);
    real *state = t.state.data;
    for (int p = 0; p < l.n_panels; ++p)
        Model::start(l.constants.data(), l.lanes_of<Model>(p), state + p * VARS * P);
    out.spikes.clear(K);
    out.dropped.clear(draws.dropout ? K : 0);
    out.recorded.clear();
    out.dropped_recorded.clear();
    const size_t size = size_t(l.n_panels) * K * VARS * P;
    if (kept) out.kept.reserve(size);
    if (record) out.states.reserve(size);
    if (keeps_states<Model> && kept) sweep_steps<Model, keeps_states<Model>>(l, drive, rows, K, out, draws, whole, state, record);
    else sweep_steps<Model, false>(l, drive, rows, K, out, draws, whole, state, record);
    out.spikes.index_by_id(l.n, K);
}

// Space for the adjoints of a trial, all 0.
template <class Model> void start_adjoints(const Layer &l, LayerTrace &trace, int K) {
    const size_t n = size_t(l.n_panels) * K * Model::n_adjoint * P;
    trace.adjoints.reserve(n);
    std::fill(trace.adjoints.data, trace.adjoints.data + n, real(0));
}

// Keeps the adjoints of a panel at the start of step m, which is the end of step m - 1.
template <class Model> void record_adjoints(LayerTrace &trace, int p, int m, int K, const real *x) {
    constexpr int VARS = Model::n_adjoint;
    if (m > 0) std::copy(x, x + VARS * P, trace.adjoints.data + (size_t(p) * K + m - 1) * VARS * P);
}

// act(spike, weight) of those that arrive in step m at a lane, through negative weights.
template <class F> void each_arrival(const Weights &w, const SpikeLists &spikes, int p, int lane, int m, F &&act) {
    for (uint32_t s = spikes.step_start[w.delayed ? std::max(0, m - 1 - w.longest) : m - 1]; s < spikes.step_start[m]; ++s) {
        const real weight = w.w.at(p, spikes.id[s])[lane];
        const int k = m - 1 - (w.delayed ? w.steps_at(p, spikes.id[s])[lane] : 0);  // when it left
        if (weight < 0 && k >= 0 && spikes.step_start[k] <= s && s < spikes.step_start[k + 1]) act(s, weight);
    }
}

// act(spike, share) where the maximum of output j is a cusp: at the arrival of spikes it moves with those that end the rise
// of V, the ones with negative weight onto j, in proportion to it; with delays as with what spiked.
template <class F>
void each_at_cusp(const Layer &output, int j, const real *error, const real *readout, int which, const SpikeLists &spikes, int K,
                  F &&act) {
    const int p = j / P, lane = j % P;
    const real *r = readout + size_t(p) * Readout::n_state * P;
    const real cusp = Readout::cusp(which, r, lane, error[j]);
    const int m = Readout::cusp_step(which, r, lane);
    if (cusp == 0 || m < 1 || m >= K) return;
    real sum = 0;
    each_arrival(output.forward, spikes, p, lane, m, [&](uint32_t, real w) { sum += w; });
    if (sum < 0) each_arrival(output.forward, spikes, p, lane, m, [&](uint32_t s, real w) { act(s, cusp * w / sum); });
}
// Adds the cusps' share to the errors.
inline void add_cusps(const Layer &output, const real *error, const real *readout, int which, LayerTrace &hidden, int K) {
    for (int j = 0; j < output.n; ++j)
        each_at_cusp(output, j, error, readout, which, hidden.spikes, K, [&](uint32_t s, real share) { hidden.error[s] += share; });
}

// R of each spike from the layer above, of whose transport rows the first `rows` are not 0.
template <int inputs>
void errors_from_above(LayerTrace &trace, const Layer &above, real *transport, int rows, int K) {
    const SpikeLists &spikes = trace.spikes;
    const size_t stride = Panels::stride_of(size_t(K) * inputs);
    const Weights &w = above.forward;
    if (w.delayed) {
        clear_rows({transport, stride}, above.n_panels, inputs, rows, rows + 1);
        delayed_errors<inputs>(w, above.n_panels, spikes, 1, rows, {transport, stride}, rows, trace.error.data());
        return;
    }
    for (int k = 0; k + 1 < rows; ++k)
        for (uint32_t s = spikes.step_start[k]; s < spikes.step_start[k + 1]; ++s)
            trace.error[s] = dot_of<inputs>(w.w, spikes.id[s], transport + size_t(k + 1) * inputs * P, stride, above.n_panels);
}

// The reverse of sweep(). t.adjoint holds the adjoints at the end of the trial; trace.rows is the first row, seen
// backwards, that is not zero. `extra(x, spike, lane)` follows each jump.
template <class Model, class Extra> struct Reverse {
    static constexpr int VARS = Model::n_adjoint, KEPT = Model::n_state, INPUTS = Model::n_inputs;
    const Layer &l;
    LayerTrace &trace;
    const int K;
    real *adjoint, *row;
    const size_t stride, kept_stride;
    const Panels g, d;
    Extra extra;

    Reverse(const Layer &l, LayerTrace &trace, int K, Scratch &t, Extra extra)
        : l(l), trace(trace), K(K), adjoint(t.adjoint.data), row(t.transport_row.data), stride(Panels::stride_of(size_t(K) * INPUTS)),
          kept_stride(size_t(K) * KEPT * P), g{trace.gradient.data, stride}, d{transport_of(l, trace, t).data, stride}, extra(extra) {}

    const real *c() const { return l.constants.data(); }
    const real *h(int p) const { return l.lanes_of<Model>(p); }
    real *x(int p) const { return adjoint + size_t(p) * VARS * P; }
    real *sum(int p) const { return trace.collected.data + size_t(p) * Model::n_collect * P; }
    // The state at the start of step m, where it is kept.
    const real *keep(int p, int m) const { return trace.kept.data ? trace.kept.data + p * kept_stride + size_t(m) * KEPT * P : nullptr; }

    // The jump of a neuron at its spike, in lane `lane` of the panel of adjoints x; `sum` is that panel's.
    template <class F>
    void jump(const real *own, real *x, int lane, real *sum, real R, const real *recorded, F &&then) const {
        real after[VARS];
        if constexpr (Model::n_collect && Model::collects_jumps)
            for (int i = 0; i < VARS; ++i) after[i] = x[i * P + lane];
        Model::jump(c(), own, x, lane, R, recorded);
        then();
        if constexpr (Model::n_collect && Model::collects_jumps) Model::collect_jump(c(), own, x, after, lane, recorded, sum);
    }
    const real *recorded(bool dropped, uint32_t s) const {
        return (dropped ? trace.dropped_recorded : trace.recorded).data() + size_t(s) * Model::n_recorded;
    }
    template <class F> void each(const SpikeLists &list, int m, F &&act) const {
        if (!list.id.empty())
            for (uint32_t s = list.step_start[m]; s < list.step_start[m + 1]; ++s) act(s, list.id[s] / P, list.id[s] % P);
    }
    // The spikes of step m.
    void jumps(int m) {
        each(trace.spikes, m, [&](uint32_t s, int p, int lane) {
            jump(h(p), x(p), lane, sum(p), trace.error[s], recorded(false, s), [&] { extra(x(p), s, lane); });
            if (!Model::jump_first && Model::jump_changes_gradient) Model::gradient(c(), h(p), x(p), g.at(p, size_t(m) * INPUTS), keep(p, m));
        });
        each(trace.dropped, m, [&](uint32_t s, int p, int lane) {
            jump(h(p), x(p), lane, sum(p), real(0), recorded(true, s), [] {});
        });
    }
#if SUBSTEPS
    Recrossings<Model> recrossings{l};
    void hold(int m) {
        recrossings.clear();
        auto take = [&](const SpikeLists &list, bool dropped) {
            each(list, m, [&](uint32_t s, int p, int) {
                recrossings.hold({list.id[s], dropped, s}, x(p), sum(p), recorded(dropped, s), dropped ? real(0) : trace.error[s]);
            });
        };
        take(trace.spikes, false);
        take(trace.dropped, true);
    }
    // Once all have been taken back through the step without a spike: those that had one, again.
    void jumps_within(int m) {
        typedef typename Recrossings<Model>::Spike Spike;
        recrossings.take(
            [&](const Spike &s, const real *own, real *a, int j, const real *later, real *sums) {
                if (!s.dropped) extra(a, s.number, j);
                if constexpr (Model::n_collect && Model::collects_jumps) {
                    real after[VARS];
                    for (int i = 0; i < VARS; ++i) after[i] = later[i * P + j];
                    Model::collect_jump(c(), own, a, after, j, recorded(s.dropped, s.number), sums);
                }
            },
            [&](const Spike &s, const real *a, int j, const real *sums) {
                const int p = s.neuron / P, lane = s.neuron % P;
                for (int i = 0; i < VARS; ++i) x(p)[i * P + lane] = a[i * P + j];
                for (int i = 0; i < Model::n_collect; ++i) sum(p)[i * P + lane] = sums[i * P + j];
                Model::gradient_of(c(), h(p), x(p), lane, keep(p, m), g.at(p, size_t(m) * INPUTS));
            });
    }
#endif
    void back(int m) {
        for (int p = 0; p < l.n_panels; ++p) {
            fetch_row<1>(g.at(p, size_t(std::max(m - 2, 0)) * INPUTS), INPUTS * P);
            if (Model::n_collect) Model::collect(c(), h(p), x(p), keep(p, m), sum(p));
            Model::back(c(), h(p), x(p), g.at(p, size_t(m) * INPUTS), keep(p, m), sum(p));
        }
    }
    // What goes back to the layer's own spikes of step m - 1.
    void recur(int m) {
        const SpikeLists &spikes = trace.spikes;
        for (uint32_t s = spikes.step_start[std::max(m - 2, 0)]; s < spikes.step_start[m - 1]; ++s)
            fetch_rows(l.recurrent, spikes.id[s], l.n_panels);
        for (int p = 0; p < l.n_panels; ++p) Model::transport(c(), h(p), x(p), row + size_t(p) * INPUTS * P, keep(p, m));
        for (uint32_t s = spikes.step_start[m - 1]; s < spikes.step_start[m]; ++s)
            trace.error[s] += dot_of<INPUTS>(l.recurrent.w, spikes.id[s], row, size_t(INPUTS) * P, l.n_panels);
    }
};

template <class Model, class Extra>
void reverse(const Layer &l, LayerTrace &trace, int K, bool keep_transport, bool record, Scratch &t, Extra &&extra) {
    constexpr int INPUTS = Model::n_inputs;
    if (record) start_adjoints<Model>(l, trace, K);
    const size_t stride = Panels::stride_of(size_t(K) * INPUTS);
    trace.gradient.reserve(stride * l.n_panels);
    keep_transport = keep_transport || l.trains_delays() || l.recurrent.delayed;
    if (keep_transport) transport_of(l, trace, t).reserve(stride * l.n_panels);
    t.transport_row.reserve(size_t(l.n_panels) * INPUTS * P);
    Reverse<Model, Extra &> r(l, trace, K, t, extra);
    const Returning<INPUTS> returning{l.recurrent, trace.spikes, l.n_panels, trace.rows, r.d, trace.error.data()};
    const auto &start = trace.spikes.step_start;
    for (int m = trace.rows - 1; m >= 0; --m) {
        if (l.recurrent.delayed) returning.start(m);
#if SUBSTEPS
        r.hold(m);
        r.back(m);
        r.jumps_within(m);
#else
        if (Model::jump_first) r.jumps(m);
        r.back(m);
        if (!Model::jump_first) r.jumps(m);
#endif
        if (record)
            for (int p = 0; p < l.n_panels; ++p) record_adjoints<Model>(trace, p, m, K, r.x(p));
        for (int p = 0; p < l.n_panels && keep_transport; ++p) {
            fetch_row<1>(r.d.at(p, size_t(std::max(m - 2, 0)) * INPUTS), INPUTS * P);
            Model::transport(r.c(), r.h(p), r.x(p), r.d.at(p, size_t(m) * INPUTS), r.keep(p, m));
        }
        if (m > 0 && l.recurrent.present && start[m - 1] < start[m]) l.recurrent.delayed ? returning.take(m) : r.recur(m);
    }
    if (Model::n_collect && trace.rows)
        for (int p = 0; p < l.n_panels; ++p) Model::collect_start(r.c(), r.h(p), r.x(p), r.sum(p));
}

// The read-out that does not spike, read at the start of each step that counts. Where the loss compares voltages at each
// step they are kept in t.voltages, [step][panel][P].
template <class Model>
void read_steps(const Layer &l, Panels drive, int rows, int K, Window window, const real *weight, int which, const real *q,
                       Slot &slot, bool kept, bool record, Scratch &t) {
    constexpr int VARS = Model::n_state;
    const bool voltages = Readout::per_step(which);
    t.state.reserve(size_t(l.n_panels) * VARS * P);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    if (kept) slot.output.kept.reserve(size_t(l.n_panels) * K * VARS * P);
    if (record) slot.output.states.reserve(size_t(l.n_panels) * K * VARS * P);
    if (voltages) t.voltages.reserve(size_t(l.n_panels) * K * P);
    const real *c = l.constants.data();
    alignas(64) real none[Model::n_inputs * P] = {};
    for (int p = 0; p < l.n_panels; ++p) {
        const real *h = l.lanes_of<Model>(p);
        real *x = t.state.data + size_t(p) * VARS * P, *r = slot.readout.data + size_t(p) * Readout::n_state * P;
        real *keep = slot.output.kept.data + size_t(p) * K * VARS * P;
        Model::start(c, h, x);
        Readout::start(which, r);
        for (int k = 0; k < K; ++k) {
            const real *in = k > 0 && k <= rows ? drive.at(p, size_t(k - 1) * Model::n_inputs) : none;
            if (window.has(k)) Readout::read(which, c, h, q, x, r, weight[k], real(k), real(window.size()));
            if (voltages) std::memcpy(t.voltages.data + (size_t(k) * l.n_panels + p) * P, x + Model::v_row * P, sizeof(real) * P);
            if (keeps_states<Model> && kept) Model::template step<false, true>(c, h, x, in, none, keep + size_t(k) * VARS * P);
            else Model::template step<false, false>(c, h, x, in, none, nullptr);
            if (record) std::copy(x, x + VARS * P, slot.output.states.data + (size_t(p) * K + k) * VARS * P);
            if (k + 1 == window.last) Readout::finish(which, c, h, q, x, r, real(window.last));
        }
    }
}

// Adjoints of the read-out that does not spike. slot.error is [panel][P], or [step][panel][P] where the loss compares
// voltages at each step.
template <class Model>
void reverse_readout(const Layer &l, Slot &slot, int K, Window window, const real *weight, int which, const real *q, bool record,
                     Scratch &t) {
    constexpr int VARS = Model::n_adjoint, KEPT = Model::n_state, INPUTS = Model::n_inputs;
    LayerTrace &trace = slot.output;
    const size_t stride = Panels::stride_of(size_t(K) * INPUTS);
    trace.gradient.reserve(stride * l.n_panels);
    Buffer &transport = transport_of(l, trace, t);
    transport.reserve(stride * l.n_panels);
    if (record) start_adjoints<Model>(l, trace, K);
    trace.rows = slot.layers.back().spikes.id.empty() && !Model::n_collect && !record ? 0 : K;
    if (!trace.rows) return;
    t.adjoint.reserve(size_t(VARS) * P);
    const real *c = l.constants.data();
    const size_t error_step = Readout::per_step(which) ? size_t(l.n_panels) * P : 0;
    const bool cusps = Readout::has_cusps(which);
    alignas(64) real before[INPUTS * P];
    for (int p = 0; p < l.n_panels; ++p) {
        real *x = t.adjoint.data;
        const real *h = l.lanes_of<Model>(p), *r = slot.readout.data + size_t(p) * Readout::n_state * P;
        const real *error = slot.error.data() + p * P;
        std::fill(x, x + VARS * P, real(0));
        Panels g{trace.gradient.data, stride}, d{transport.data, stride};
        for (int m = K - 1; m >= 0; --m) {
            const real *keep = trace.kept.data ? trace.kept.data + (size_t(p) * K + m) * KEPT * P : nullptr;
            real *sum = trace.collected.data + size_t(p) * Model::n_collect * P, *to = g.at(p, size_t(m) * INPUTS);
            if (Model::n_collect) Model::collect(c, h, x, keep, sum);
            Model::back(c, h, x, to, keep, sum);
            if (cusps) Model::transport(c, h, x, before, keep);
            if (window.has(m))
                Readout::impulse(which, c, h, q, x, error + error_step * m, r, weight[m], real(m), real(window.size()));
            if (Readout::impulse_changes_gradient) Model::gradient(c, h, x, to, keep);
            Model::transport(c, h, x, d.at(p, size_t(m) * INPUTS), keep);
            if (Model::n_collect && m == 0) Model::collect_start(c, h, x, sum);
            if (record) record_adjoints<Model>(trace, p, m, K, x);
            if (cusps)                    // spikes that arrive at a cusp come too late for the maximum to depend on them
                for (int lane = 0; lane < P; ++lane)
                    if (Readout::cusp_step(which, r, lane) == m && Readout::cusp(which, r, lane, real(1)) != 0)
                        d.at(p, size_t(m) * INPUTS)[lane] = before[lane];
        }
    }
}

}  // namespace eventprop
