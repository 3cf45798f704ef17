// Adjoints where spikes have their exact times and neurons share their constants, and the read-out likewise.
#pragma once
#include "exact.hpp"

namespace eventprop {

// How adjoints go over the times between spikes and the end of their step, which are different for each spike.
template <class Model> class Passages {
public:
    static constexpr int VARS = Model::n_adjoint, CARRIED = Model::n_carried;
    alignas(64) real gradient[CARRIED + 1][P], transport[CARRIED + 1][P];  // of a unit of each variable at the step's end

    explicit Passages(const real *c) : c(c) {}
    void compute(const Event *events, int n) {
        alignas(64) real unit[VARS * P], dts[P], minus[P];
        bool jumps = false;
        for (int j = 0; j < n; ++j) {
            dts[j] = events[j].after;
            minus[j] = -dts[j];
            jumps |= events[j].kind != BELOW;
        }
        for (int v = 0; v < VARS; ++v) {
            for (int i = 0; i < VARS; ++i) std::fill(unit + i * P, unit + i * P + n, real(i == v));
            Model::back_each(c, nullptr, n, unit, dts, backward[v]);
            if (v < CARRIED) Model::seen_each(c, nullptr, n, backward[v], gradient[v], transport[v]);
            if (jumps) Model::back_each(c, nullptr, n, unit, minus, forward[v]);
        }
    }
    // Variable v of a lane at spike j, from that at the end of the step.
    real back(int v, int j, const real *lane) const {
        real sum = 0;
        for (int u = 0; u < VARS; ++u) sum += backward[u][v * P + j] * lane[u * P];
        return sum;
    }
    // And the other way, for a change of the variables at spike j.
    real forth(int v, int j, const real *change) const {
        real sum = 0;
        for (int u = 0; u < VARS; ++u) sum += forward[u][v * P + j] * change[u];
        return sum;
    }
    // R of spike j: sum over its targets of w times what goes back through a synapse.
    real error(int j, Panels w, size_t source, const real *adjoint, int vars, int n_panels, const real *drive = nullptr) const {
        vec_sum a{};
        for (int p = 0; p < n_panels; ++p) {
            const vec *row = reinterpret_cast<const vec *>(w.at(p, source));
            const real *x = adjoint + size_t(p) * vars * P;
            for (int i = 0; i < VECTORS; ++i) {
                vec met = transport[0][j] * reinterpret_cast<const vec *>(x)[i];
                for (int v = 1; v < CARRIED; ++v) met += transport[v][j] * reinterpret_cast<const vec *>(x + v * P)[i];
                if (drive) met += transport[CARRIED][j] * reinterpret_cast<const vec *>(drive + p * P)[i];
                a.v[i] += row[i] * met;
            }
        }
        return total(a);
    }

private:
    const real *c;
    alignas(64) real backward[VARS][VARS * P], forward[VARS][VARS * P];
};

// The reverse of exact_sweep() where neurons share their constants. The adjoints are those at the end of the step, as if no
// spike came before the one that is looked at: what a spike at time y before that end meets follows from them by the
// constants of y, and the neuron's own jump is added to them as what it would have been at the end of the step.
template <class Model, class Extra>
void reverse_together(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t,
                      Extra &&extra) {
    constexpr int VARS = Model::n_adjoint, CARRIED = Model::n_carried;
    const size_t stride = Panels::stride_of(K), step_stride = Panels::stride_of(size_t(K) * CARRIED);
    trace.live_events = trace.event_start[trace.rows];
    trace.step_adjoint.reserve(step_stride * l.n_panels);
    trace.seen.resize(trace.events.size() * CARRIED);
    trace.jumped.assign(trace.events.size() * CARRIED, real(0));
    if (!below) trace.gradient.reserve(stride * l.n_panels);
    real *adjoint = t.adjoint.data;
    const Panels g{trace.gradient.data, stride}, rows{trace.step_adjoint.data, step_stride};
    const real *c = l.constants.data();
    alignas(64) real unused[P];
    Passages<Model> passages(c);
    auto x = [&](int p) { return adjoint + size_t(p) * VARS * P; };
    for (int k = trace.rows - 1; k >= 0; --k) {
        const size_t first = trace.event_start[k];
        if (trace.event_start[k + 1] > first)
            for (int p = 0; p < l.n_panels; ++p) std::memcpy(rows.at(p, size_t(k) * CARRIED), x(p), CARRIED * P * sizeof(real));
        for (size_t end = trace.event_start[k + 1]; end > first;) {
            const size_t start = end - std::min(end - first, size_t(P));
            passages.compute(trace.events.data() + start, int(end - start));
            for (size_t e = end; e-- > start;) {
                const Event &event = trace.events[e];
                const uint32_t s = event.index;
                const int j = int(e - start);
                for (int v = 0; v < CARRIED; ++v) trace.seen[e * CARRIED + v] = passages.gradient[v][j];
                if (event.kind == BELOW) {
                    (*below_error)[s] += passages.error(j, l.forward.w, below->id[s], adjoint, VARS, l.n_panels);
                    continue;
                }
                const bool own = event.kind == OWN;
                const int neuron = own ? trace.spikes.id[s] : trace.dropped.id[s];
                if (own && l.recurrent.present)
                    trace.error[s] += passages.error(j, l.recurrent.w, neuron, adjoint, VARS, l.n_panels);
                real *own_lane = x(neuron / P) + neuron % P;
                alignas(64) real a[VARS * P];
                real before[VARS];
                for (int v = 0; v < VARS; ++v) before[v] = a[v * P] = passages.back(v, j, own_lane);
                Model::jump(c, nullptr, a, 0, own ? trace.error[s] : real(0),
                            &(own ? trace.recorded : trace.dropped_recorded)[size_t(s) * Model::n_recorded]);
                if (own) extra(a, s, 0);
                for (int v = 0; v < VARS; ++v) before[v] = a[v * P] - before[v];
                for (int v = 0; v < VARS; ++v) {
                    const real jump = passages.forth(v, j, before);
                    own_lane[v * P] += jump;
                    if (v < CARRIED) trace.jumped[e * CARRIED + v] = jump;
                }
            }
            end = start;
        }
        for (int p = 0; p < l.n_panels; ++p) Model::back(c, nullptr, x(p), below ? unused : g.at(p, k));
    }
    if (below) index_events(trace, BELOW, *below, trace.below_rows);
    if (l.recurrent.present) index_events(trace, OWN, trace.spikes, trace.own_rows);
}

// gradient[p][pre] += what pre's spikes collect in panel p, from the adjoints at the ends of their steps and from the jumps
// of the panel's own neurons that came later in the same steps. Of the events of `kind`, pre is the source.
inline void gather_together(const LayerTrace &trace, Cut kind, const SpikeLists &source, const std::vector<uint32_t> &event_of,
                            int n_pre, int carried, size_t step_stride, int p, Panels w) {
    for (int pre = 0; pre < n_pre; ++pre) {
        uint32_t s = source.id_start[pre], end = source.id_start[pre + 1];
        while (end > s && event_of[end - 1] >= trace.live_events) --end;
        if (s == end) continue;
        real *g = w.at(p, pre);
        vec_sum a = load(g);
        for (; s < end; ++s) {
            const uint32_t e = event_of[s];
            const vec *row = reinterpret_cast<const vec *>(trace.step_adjoint.data + p * step_stride +
                                                           size_t(trace.events[e].step) * carried * P);
            for (int v = 0; v < carried; ++v)
                for (int i = 0; i < VECTORS; ++i) a.v[i] += trace.seen[size_t(e) * carried + v] * row[v * VECTORS + i];
        }
        store(g, a);
    }
    for (uint32_t later = 0; later < trace.live_events && !trace.jumped.empty(); ++later) {
        const Event &event = trace.events[later];
        if (event.kind == BELOW) continue;
        const int neuron = event.kind == OWN ? trace.spikes.id[event.index] : trace.dropped.id[event.index];
        if (neuron / P != p) continue;
        for (uint32_t e = trace.event_start[event.step]; e < later; ++e) {
            if (trace.events[e].kind != kind) continue;
            real sum = 0;
            for (int v = 0; v < carried; ++v) sum += trace.seen[size_t(e) * carried + v] * trace.jumped[size_t(later) * carried + v];
            w.at(p, source.id[trace.events[e].index])[neuron % P] += sum;
        }
    }
}

// The read-out where outputs share their constants: the spikes of a step arrive together.
template <class Model>
void read_together(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, Scratch &t) {
    constexpr int VARS = Model::n_state, ROWS = VARS + 1;
    const real h = real(l.dt), trial = real(K * l.dt), *c = l.constants.data();
    t.state.reserve(size_t(l.n_panels) * ROWS * P);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    auto x = [&](int p) { return t.state.data + size_t(p) * ROWS * P; };
    for (int p = 0; p < l.n_panels; ++p) {
        Model::start(c, nullptr, x(p));
        std::fill(x(p) + VARS * P, x(p) + ROWS * P, real(0));
    }
    Arrivals<ROWS> arrivals;
    alignas(64) real unit[ROWS * P] = {}, shares[ROWS * P], dts[P], weights[P];
    std::fill(unit, unit + P, real(1));
    for (int k = 0; k < K; ++k) {
        const real slope = w.slope[k] / trial;
        for (int p = 0; p < l.n_panels; ++p) Model::integrate(c, nullptr, x(p), w.start[k] / trial, slope, h, x(p) + VARS * P);
        const uint32_t last = below.step_start[k + 1];
        arrivals.clear();
        for (uint32_t s = below.step_start[k]; s < last;) {
            const int n = int(std::min(last - s, uint32_t(P)));
            for (int j = 0; j < n; ++j, ++s) {
                arrivals.add(l.forward, below.id[s]);
                dts[j] = h - below.at[s];
                weights[j] = (w.start[k] + w.slope[k] * below.at[s]) / trial;
            }
            Model::integrate_each(c, nullptr, n, weights, slope, unit, dts, shares);
            for (int j = 0; j < n; ++j)
                for (int v = 0; v < ROWS; ++v) arrivals.share.push_back(shares[v * P + j]);
        }
        if (arrivals.size())
            for (int p = 0; p < l.n_panels; ++p) arrivals.template deliver<false>(p, x(p), nullptr, nullptr);
    }
    for (int p = 0; p < l.n_panels; ++p)
        std::memcpy(slot.readout.data + size_t(p) * Readout::n_state * P, x(p) + VARS * P, P * sizeof(real));
}

// Its reverse. The error of the outputs is carried beside their adjoints, since it drives these within a step.
template <class Model>
void reverse_read_together(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, std::vector<real> &below_error,
                           Scratch &t) {
    constexpr int VARS = Model::n_adjoint, CARRIED = Model::n_carried, ROWS = CARRIED + 1;
    LayerTrace &trace = slot.output;
    const real h = real(l.dt), trial = real(K * l.dt), *c = l.constants.data();
    const size_t step_stride = Panels::stride_of(size_t(K) * ROWS);
    trace.step_adjoint.reserve(step_stride * l.n_panels);
    trace.seen.resize(below.id.size() * ROWS);
    trace.jumped.clear();
    trace.events.resize(below.id.size());
    trace.live_events = uint32_t(below.id.size());
    clear_adjoint(l, VARS, t);
    const Panels rows{trace.step_adjoint.data, step_stride};
    Passages<Model> passages(c);
    auto x = [&](int p) { return t.adjoint.data + size_t(p) * VARS * P; };
    alignas(64) real none[VARS * P] = {}, driven[VARS * P], dts[P];
    for (int k = K - 1; k >= 0; --k) {
        const real start = w.start[k] / trial, slope = w.slope[k] / trial, end = start + slope * h;
        const uint32_t from = below.step_start[k], to = below.step_start[k + 1];
        if (from < to)
            for (int p = 0; p < l.n_panels; ++p) {
                std::memcpy(rows.at(p, size_t(k) * ROWS), x(p), CARRIED * P * sizeof(real));
                std::memcpy(rows.at(p, size_t(k) * ROWS + CARRIED), slot.error.data() + p * P, P * sizeof(real));
            }
        for (uint32_t first = from; first < to; first += P) {
            const int n = int(std::min(to - first, uint32_t(P)));
            for (int j = 0; j < n; ++j) {
                dts[j] = h - below.at[first + j];
                trace.events[first + j] = {0, dts[j], BELOW, first + j, uint32_t(k)};
            }
            passages.compute(trace.events.data() + first, n);
            Model::driven_each(c, nullptr, n, end, -slope, none, dts, driven);
            Model::seen_each(c, nullptr, n, driven, passages.gradient[CARRIED], passages.transport[CARRIED]);
            for (int j = 0; j < n; ++j) {
                const uint32_t s = first + j;
                for (int v = 0; v < ROWS; ++v) trace.seen[size_t(s) * ROWS + v] = passages.gradient[v][j];
                below_error[s] += passages.error(j, l.forward.w, below.id[s], t.adjoint.data, VARS, l.n_panels, slot.error.data());
            }
        }
        for (int p = 0; p < l.n_panels; ++p) Model::back_driven(c, nullptr, x(p), slot.error.data() + p * P, end, -slope, h);
    }
    trace.below_rows.assign(below.order.begin(), below.order.end());
}

}  // namespace eventprop
