// Adjoints where spikes have their exact times.
//
// The adjoints are those at the end of the step, as if no spike came before the one that is looked at: what a spike that
// arrives when y is left of the step sees follows from them by coefficients of y (nodes.hpp), and the neuron's own jump is
// added to them as what it would have been at the end of the step.
#pragma once
#include "exact.hpp"
#include "exact_replay.hpp"

namespace eventprop {

// What a synapse onto panel p collects, or with `errors` what goes back through it, at the nodes, for adjoints at the end of the
// step: rows of it. Where neurons share their constants the adjoints themselves.
template <class Model, bool errors> void rows_seen(const Layer &l, int p, const real *adjoint, real *rows) {
    if constexpr (shared<Model>) {
        std::memcpy(rows, adjoint, Model::n_carried * P * sizeof(real));
    } else {
        constexpr int E = Model::n_carried;
        const Buffer &table = errors ? l.nodes.returned : l.nodes.gathered;
        const vec *unit = reinterpret_cast<const vec *>(table.data + size_t(p) * l.nodes.n * E * P);
        for (int q = 0; q < l.nodes.n; ++q, unit += E * VECTORS) {
            vec_sum sum{};
            for (int v = 0; v < E; ++v)
                for (int i = 0; i < VECTORS; ++i)
                    sum.v[i] += unit[v * VECTORS + i] * reinterpret_cast<const vec *>(adjoint + v * P)[i];
            store(rows + q * P, sum);
        }
    }
}

// Rows that are kept of each step, to gather gradients from.
template <class Model> int rows_kept(const Layer &l) {
    return shared<Model> || !Model::spiking ? rows_back<Model>(l) : Model::n_carried;
}

// R of a spike: sum over its targets of w times what goes back through a synapse; rows of panel p are at rows + p * stride.
template <int ROWS> real error_of(Panels w, size_t source, const real *coefficient, const real *rows, int n, size_t stride, int n_panels) {
    vec_sum a{};
    for (int p = 0; p < n_panels; ++p) {
        const vec *row = reinterpret_cast<const vec *>(w.at(p, source)), *x = reinterpret_cast<const vec *>(rows + p * stride);
        for (int i = 0; i < VECTORS; ++i) {
            vec met = coefficient[0] * x[i];
            for (int v = 1; v < (ROWS ? ROWS : n); ++v) met += coefficient[v] * x[v * VECTORS + i];
            a.v[i] += row[i] * met;
        }
    }
    return total(a);
}
template <class Model>
__attribute__((noinline)) real error_of_rows(Panels w, size_t source, const real *coefficient, const real *rows, int n, size_t stride, int n_panels) {
    real error = 0;
    with_rows<Model, shared_back<Model>>(n, [&](auto count) { error = error_of<count.value>(w, source, coefficient, rows, n, stride, n_panels); });
    return error;
}

// The layer's own spikes of a step: how the adjoints of each one's neuron go from the end of the step to the spike, and a
// change of them there to the end of the step.
template <class Model> class Passages {
public:
    static constexpr int M = Model::n_adjoint;
    void compute(const Layer &l, const Event *events, int n, const LayerTrace &trace) {
        const int blocks = (n + LANES - 1) / LANES;
        buffer.reserve(size_t(blocks) * (2 * M * M) * LANES);
        alignas(64) real unit[M * P], own[(Model::n_lanes ? Model::n_lanes : 1) * P] = {}, end[M * P], left[P] = {};
        for (int b = 0; b < blocks; ++b) {
            for (int j = 0; j < LANES && b * LANES + j < n; ++j) {
                const Event &e = events[b * LANES + j];
                left[j] = e.after / real(l.dt);
                if (Model::n_lanes && e.kind != BELOW) {
                    const int i = (e.kind == OWN ? trace.spikes : trace.dropped).id[e.index];
                    for (int r = 0; r < Model::n_lanes; ++r) own[r * P + j] = l.lanes_of<Model>(i / P)[r * P + i % P];
                }
            }
            with_flow<Model>(l, own, l.terms, [&](auto &&f) {
                vec t[MOST_TERMS][M];
                const vec u = *reinterpret_cast<const vec *>(left);
                for (int w = 0; w < M; ++w) {
                    for (int v = 0; v < M; ++v) f.row(unit, v) = vec{} + real(v == w);
                    f.series_back(unit, t);
                    for (int way = 0; way < 2; ++way) {
                        f.template at<M>(unit, t, way ? -u : u, end);
                        for (int v = 0; v < M; ++v) std::copy(end + v * P, end + v * P + LANES, entries(b, way, v, w));
                    }
                }
            });
        }
    }
    // Variable v at spike j, from those at the end of the step, which are `stride` apart; and the other way.
    real back(int v, int j, const real *adjoint, int stride) const { return product(0, v, j, adjoint, stride); }
    real forth(int v, int j, const real *adjoint, int stride) const { return product(1, v, j, adjoint, stride); }

private:
    Buffer buffer;
    real *entries(int b, int way, int v, int w) const { return buffer.data + ((size_t(b) * 2 + way) * M * M + v * M + w) * LANES; }
    real product(int way, int v, int j, const real *x, int stride) const {
        real sum = 0;
        for (int w = 0; w < M; ++w)
            if (Model::follows_back[v][w]) sum += entries(j / LANES, way, v, w)[j % LANES] * x[w * stride];
        return sum;
    }
};

// The reverse of exact_sweep(). t.adjoint holds the adjoints at the end of the trial; nothing happens to them after step
// trace.rows - 1. Errors of the layer below are added to `below_error`. `extra(x, spike, lane)` follows each jump.
template <class Model, class Extra> class ExactReverse {
public:
    static constexpr int M = Model::n_adjoint, N = Model::n_state;

    ExactReverse(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t, Extra extra)
        : l(l), trace(trace), below(below), below_error(below_error), extra(extra), replay(l), adjoint(t.adjoint.data),
          n(rows_back<Model>(l)), c(l.constants.data()), g{trace.gradient.data, Panels::stride_of(K)},
          rows{trace.step_adjoint.data, Panels::stride_of(size_t(K) * rows_kept<Model>(l))}, now(shared<Model> ? adjoint : t.seen.data),
          now_stride(size_t(shared<Model> ? M : n) * P) {}

    void step(int k) {
        const uint32_t first = trace.event_start[k], end = trace.event_start[k + 1];
        const bool own = Model::n_collect && has_own(first, end);
        for (uint32_t e = k && l.recurrent.present ? trace.event_start[k - 1] : first; e < first; ++e)
            if (trace.events[e].kind == OWN) fetch_rows(l.recurrent, trace.spikes.id[trace.events[e].index], l.n_panels);
        if (own) replay.hold(trace, first, end, [&](int p) { return x(p); }, [&](int p) { return sum(p); });
        if constexpr (Model::n_collect > 0) collect(k);
        if (end > first) {
            const int kept = rows_kept<Model>(l);
            for (int p = 0; p < l.n_panels; ++p) {
                std::memcpy(rows.at(p, size_t(k) * kept), x(p), kept * P * sizeof(real));
                if (!shared<Model>) rows_seen<Model, true>(l, p, x(p), now + p * now_stride);
            }
            passages.compute(l, trace.events.data() + first, int(end - first), trace);
            for (uint32_t e = end; e-- > first;) event(e, int(e - first));
        }
        if (own)
            replay.back(trace, below, first, end, trace.kept.data + size_t(k) * l.n_panels * N * P, trace.tail[k],
                        [&](int p) { return sum(p); }, extra);
        for (int p = 0; p < l.n_panels; ++p) {
            alignas(64) real unused[P];
            Model::back(c, l.lanes_of<Model>(p), x(p), below ? unused : g.at(p, k));
        }
    }
    void finish() {
        if constexpr (Model::n_collect > 0)
            if (trace.rows)
                for (int p = 0; p < l.n_panels; ++p) Model::collect_start(c, l.lanes_of<Model>(p), x(p), sum(p));
    }

private:
    const Layer &l;
    LayerTrace &trace;
    const SpikeLists *below;
    std::vector<real> *below_error;
    Extra extra;
    Passages<Model> passages;
    Replay<Model> replay;
    real *adjoint;
    const int n;                          // rows
    const real *c;
    const Panels g, rows;
    real *now;                            // rows as they are before the events that have been seen
    const size_t now_stride;

    real *x(int p) const { return adjoint + size_t(p) * M * P; }
    real *sum(int p) const { return trace.collected.data + size_t(p) * Model::n_collect * P; }
    bool has_own(uint32_t first, uint32_t end) const {
        for (uint32_t e = first; e < end; ++e)
            if (trace.events[e].kind != BELOW) return true;
        return false;
    }
    // What parameters collect in step k where no neuron spikes: of the state at its start, and of what arrives.
    void collect(int k) {
        const int32_t row = trace.moment_row[k];
        for (int p = 0; p < l.n_panels; ++p) {
            Model::collect(c, l.lanes_of<Model>(p), x(p), trace.kept.data + (size_t(k) * l.n_panels + p) * N * P, sum(p));
            if (row >= 0)
                collect_moments(l.nodes, p, trace.moments.data + (size_t(row) * l.n_panels + p) * l.nodes.n * P, x(p), sum(p));
        }
    }
    void event(uint32_t number, int j) {
        const Event &e = trace.events[number];
        const uint32_t s = e.index;
        real back[MOST_NODES];
        const double z = NodeConstants::z_of(e.after, l.dt);
        real *seen = &trace.seen[size_t(number) * n];
        l.nodes.collected.at(n, z, seen);
        if (shared<Model>) l.nodes.back.at(n, z, back);
        else std::copy(seen, seen + n, back);
        if (e.kind == BELOW) {
            if (!below_error) return;         // of the input
            (*below_error)[s] += error_of_rows<Model>(l.forward.w, below->id[s], back, now, n, now_stride, l.n_panels);
            return;
        }
        const bool own = e.kind == OWN;
        const int neuron = own ? trace.spikes.id[s] : trace.dropped.id[s], p = neuron / P, lane = neuron % P;
        if (own && l.recurrent.present)
            trace.error[s] += error_of_rows<Model>(l.recurrent.w, neuron, back, now, n, now_stride, l.n_panels);
        alignas(64) real a[M * P];
        real change[M];
        for (int v = 0; v < M; ++v) change[v] = a[v * P + lane] = passages.back(v, j, x(p) + lane, P);
        Model::jump(c, l.lanes_of<Model>(p), a, lane, own ? trace.error[s] : real(0),
                    &(own ? trace.recorded : trace.dropped_recorded)[size_t(s) * Model::n_recorded]);
        if (own) extra(a, s, lane);
        for (int v = 0; v < M; ++v) change[v] = a[v * P + lane] - change[v];
        real jump[M];
        for (int v = 0; v < M; ++v) {
            jump[v] = passages.forth(v, j, change, 1);
            x(p)[v * P + lane] += jump[v];
        }
        jumped(number, p, lane, jump);
    }
    // Rows after a jump of one neuron.
    void jumped(uint32_t number, int p, int lane, const real *jump) {
        real *to = &trace.jumped[size_t(number) * n];
        if constexpr (shared<Model>) {
            std::copy(jump, jump + n, to);
        } else {
            constexpr int E = Model::n_carried;
            for (int q = 0; q < n; ++q) {
                const size_t first = (size_t(p) * n + q) * E * P + lane;
                real collected = 0, back = 0;
                for (int v = 0; v < E; ++v) {
                    collected += l.nodes.gathered.data[first + v * P] * jump[v];
                    back += l.nodes.returned.data[first + v * P] * jump[v];
                }
                to[q] = collected;
                now[p * now_stride + q * P + lane] += back;
            }
        }
    }
};

template <class Model, class Extra>
void reverse_exact(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t,
                   Extra &&extra) {
    const int n = rows_back<Model>(l);
    trace.step_adjoint.reserve(Panels::stride_of(size_t(K) * rows_kept<Model>(l)) * l.n_panels);
    trace.seen.resize(trace.events.size() * n);
    trace.jumped.assign(trace.events.size() * n, real(0));
    t.seen.reserve(size_t(l.n_panels) * MOST_NODES * P);
    if (!below) trace.gradient.reserve(Panels::stride_of(K) * l.n_panels);
    ExactReverse<Model, Extra &> reverse(l, trace, K, below, below_error, t, extra);
    for (int k = trace.rows - 1; k >= 0; --k) reverse.step(k);
    reverse.finish();
}

// g[source] += what spikes of the source collect in panel p. Step by step backwards, since what spikes see changes at
// the jumps of the panel's own neurons.
template <class Model> class ExactGather {
public:
    // Of the events of `kind`, `source` are the spikes; events of step k are those from starts[k] on.
    ExactGather(const Layer &l, const LayerTrace &trace, Cut kind, const SpikeLists &source, const std::vector<uint32_t> &starts, int K)
        : l(l), trace(trace), kind(kind), source(source), starts(starts), stride(Panels::stride_of(size_t(K) * rows_kept<Model>(l))) {}

    void panel(int steps, int p, real *g) const {
        with_rows<Model, shared_back<Model>>(rows_back<Model>(l), [&](auto n) { gather<n.value>(steps, p, g); });
    }

private:
    const Layer &l;
    const LayerTrace &trace;
    const Cut kind;
    const SpikeLists &source;
    const std::vector<uint32_t> &starts;
    const size_t stride;

    template <int ROWS> void gather(int steps, int p, real *g) const {
        constexpr int MOST = ROWS ? ROWS : MOST_NODES;
        const int n = ROWS ? ROWS : rows_back<Model>(l);
        alignas(64) real rows[MOST * P];
        for (int k = steps - 1; k >= 0; --k) {
            const uint32_t first = starts[k], end = starts[k + 1];
            if (first == end) continue;
            const real *kept = trace.step_adjoint.data + p * stride + size_t(k) * rows_kept<Model>(l) * P;
            if constexpr (Model::spiking) rows_seen<Model, false>(l, p, kept, rows);
            else std::copy(kept, kept + n * P, rows);
            for (uint32_t e = end; e-- > first;) {
                const Event &event = trace.events[e];
                const real *seen = &trace.seen[size_t(e) * n];
                if (event.kind == kind) {
                    vec *to = reinterpret_cast<vec *>(g + size_t(source.id[event.index]) * P);
                    for (int i = 0; i < VECTORS; ++i) {
                        vec sum = to[i];
                        for (int v = 0; v < n; ++v) sum += seen[v] * reinterpret_cast<const vec *>(rows)[v * VECTORS + i];
                        to[i] = sum;
                    }
                }
                if (event.kind == BELOW) continue;
                const int neuron = (event.kind == OWN ? trace.spikes : trace.dropped).id[event.index];
                if (neuron / P == p)
                    for (int v = 0; v < n; ++v) rows[v * P + neuron % P] += trace.jumped[size_t(e) * n + v];
            }
        }
    }
};

}  // namespace eventprop
