// The backward pass where spikes arrive at times of their own.
//
// Adjoints do not change at arrivals. They are kept at the end of each step, and where a neuron spikes in it also before that
// spike, taken to the end of the step as if there had been none: what an arrival sees is a polynomial of the part of the step
// that is left then, times these. So only the layer's own spikes are events here.
#pragma once
#include "arrival_replay.hpp"

namespace eventprop {

// The loss of a read-out in each step, by its end: the weight there, and how it changes towards the start (per ms).
struct Drive {
    const real *end = nullptr, *slope = nullptr, *error = nullptr;  // error: [panel][P]
};

// What arrivals see of a layer's adjoints.
template <class Model> class Sight {
public:
    static constexpr int C = Model::n_carried;
    const int rows;                       // steps with adjoints; from this one on they are 0

    Sight(const Layer &l, const ArrivalTrace &trace, int rows, Drive drive = {})
        : rows(rows), l(l), trace(trace), drive(drive), h(real(l.dt)), per(1 / h), powers(l.arrivals.powers) {}

    struct Seen { vec collected, back; };
    // Of spikes sent at `time` of step k, by a vector of neurons.
    template <bool COLLECTED, bool BACK> Seen of(int k, real time, const real *delay, int p, int first) const {
        When when(k, time, delay, h, per);
        limit(when.step, rows);
        const real *adjoint = trace.adjoint.data + size_t(p) * (rows + 1) * C * P + first;
        alignas(64) real a[sights<Model> * LANES];
        const int32_t *piece = trace.piece.data() + size_t(p) * (rows + 1) * P + first;
        int32_t cut = 0;
        for (int lane = 0; lane < LANES; ++lane) {
            const size_t step = size_t(when.step[lane]);
            for (int v = 0; v < C; ++v) a[v * LANES + lane] = adjoint[(step * C + v) * P + lane];
            if (Model::spiking) cut |= piece[step * P + lane];
        }
        if (Model::spiking && cut) before_events(when, piece, a);
        if constexpr (!Model::spiking) driven(when, p, first, a);
        Seen seen{};
        for (int v = 0; v < sights<Model>; ++v) {
            const size_t row = (size_t(p) * sights<Model> + v) * powers * P + first;
            const vec own = vec_at(a + v * LANES);
            if (COLLECTED) seen.collected += own * polynomial(l.arrivals.collected.data + row, powers, when.left);
            if (BACK) seen.back += own * polynomial(l.arrivals.back.data + row, powers, when.left);
        }
        return seen;
    }
    // What the loss gains as a spike arrives later everywhere.
    real error(const Weights &w, int source, int k, real time) const {
        vec sum{};
        for (int p = 0; p < l.n_panels; ++p)
            for (int first = 0; first < P && p * P + first < l.n; first += LANES)
                sum += vec_at(w.w.at(p, source) + first) * of<false, true>(k, time, delay_of(w, p, source, first), p, first).back;
        real total = 0;
        for (int lane = 0; lane < LANES; ++lane) total += sum[lane];
        return total;
    }
    void add_errors(const Weights &w, const SpikeLists &source, int K, std::vector<real> &error_of) const {
        each_spike(source, K, w, [&](int id, int k, real time, uint32_t s) { error_of[s] += error(w, id, k, time); });
    }
    // Adds to the gradients of panel p; spikes of each source in order of time.
    void gather(const Weights &w, const SpikeLists &source, int p, real *g, real *dg) const {
        if (w.delays_trained) gather_rows<true>(w, source, p, g, dg);
        else gather_rows<false>(w, source, p, g, dg);
    }

private:
    const Layer &l;
    const ArrivalTrace &trace;
    const Drive drive;
    const real h, per;
    const int powers;

    // Arrivals before a spike of their target's own see the adjoints before that; those at the same time come after it.
    void before_events(const When &when, const int32_t *piece, real *a) const {
        constexpr real same = 8 * std::numeric_limits<real>::epsilon();
        for (int lane = 0; lane < LANES; ++lane) {
            int32_t e = piece[size_t(when.step[lane]) * P + lane];
            while (e && trace.left[e - 1] + same >= when.left[lane]) e = trace.later[e - 1];
            if (e)
                for (int v = 0; v < C; ++v) a[v * LANES + lane] = trace.pieces[size_t(e - 1) * Model::n_adjoint + v];
        }
    }
    void driven(const When &when, int p, int first, real *a) const {
        for (int lane = 0; lane < LANES; ++lane) {
            const size_t step = size_t(when.step[lane]);
            const real error = int(step) < rows ? drive.error[p * P + first + lane] : real(0);
            const size_t there = std::min(step, size_t(rows) - 1);
            a[C * LANES + lane] = error * drive.end[there];
            a[(C + 1) * LANES + lane] = error * drive.slope[there];
        }
    }
    template <bool LATE> void gather_rows(const Weights &w, const SpikeLists &source, int p, real *g, real *dg) const {
        for (int pre = 0; pre < w.n_pre; ++pre) {
            const uint32_t from = source.id_start[pre], to = source.id_start[pre + 1];
            if (from == to || source.step[from] >= rows) continue;
            for (int first = 0; first < P && p * P + first < l.n; first += LANES) {
                Seen sum{};
                const real *delay = delay_of(w, p, pre, first);
                for (uint32_t s = from; s < to; ++s) {
                    const Seen seen = of<true, LATE>(source.step[s], source.at[source.order[s]], delay, p, first);
                    sum.collected += seen.collected;
                    if (LATE) sum.back += seen.back;
                }
                if (w.trained) *reinterpret_cast<vec *>(g + size_t(pre) * P + first) += sum.collected;
                if (LATE) *reinterpret_cast<vec *>(dg + size_t(pre) * P + first) += vec_at(w.w.at(p, pre) + first) * sum.back;
            }
        }
    }
};

inline void clear_sights(ArrivalTrace &trace, const Layer &l, int rows, int carried, bool spiking) {
    trace.adjoint.reserve(size_t(l.n_panels) * (rows + 1) * carried * P);
    for (int p = 0; p < l.n_panels; ++p) {
        real *last = trace.adjoint.data + (size_t(p) * (rows + 1) + rows) * carried * P;
        std::fill(last, last + carried * P, real(0));
    }
    trace.piece.assign(spiking ? size_t(l.n_panels) * (rows + 1) * P : 1, 0);
}

// What parameters collect in a step where no neuron spikes: of the state at its start, and of what arrives. `end` and `slope`
// are the read-out's drive, `error` its errors.
template <class Model>
void collect_landed(const Layer &l, int p, const real *landed, const real *adjoint, real end, real slope, const real *error, real *sum) {
    const int powers = l.arrivals.powers;
    for (int i = 0; i < Model::n_collect; ++i)
        for (int way = 0; way < ways<Model>; ++way) {
            const real *table = l.arrivals.parameters.data + ((size_t(p) * Model::n_collect + i) * ways<Model> + way) * powers * P;
            for (int first = 0; first < P; first += LANES) {
                vec met{};
                for (int k = 1; k < powers; ++k) met += vec_at(table + k * P + first) * vec_at(landed + k * P + first);
                vec &to = *reinterpret_cast<vec *>(sum + i * P + first);
                if (way < Model::n_adjoint) to += met * vec_at(adjoint + way * P + first);
                else to += met * vec_at(error + first) * (way == Model::n_adjoint ? end : slope);
            }
        }
}

// The reverse of arrival_sweep(). t.adjoint holds the adjoints at the end of the trial; nothing happens to them after step
// trace.rows - 1. `extra(x, spike, lane)` follows each jump.
template <class Model, class Extra> class ArrivalReverse {
public:
    static constexpr int M = Model::n_adjoint, N = Model::n_state, C = Model::n_carried;

    ArrivalReverse(const Layer &l, LayerTrace &trace, int K, Scratch &t, Extra extra)
        : l(l), trace(trace), to(trace.arrivals), K(K), adjoint(t.adjoint.data), extra(extra), sight(l, trace.arrivals, trace.rows), replay(l),
          landed(l.arrivals.powers + 1) {
        const size_t n = trace.events.size();
        clear_sights(to, l, trace.rows, C, true);
        to.later.assign(n, 0);
        to.left.assign(n, real(0));
        to.pieces.resize(n * M);
    }
    void run() {
        for (int k = trace.rows - 1; k >= 0; --k) step(k);
        if constexpr (Model::n_collect > 0)
            if (trace.rows)
                for (int p = 0; p < l.n_panels; ++p) Model::collect_start(l.constants.data(), l.lanes_of<Model>(p), x(p), sum(p));
    }

private:
    const Layer &l;
    LayerTrace &trace;
    ArrivalTrace &to;
    const int K;
    real *adjoint;
    Extra extra;
    const Sight<Model> sight;
    ArrivalReplay<Model> replay;
    const int landed;                     // rows

    real *x(int p) const { return adjoint + size_t(p) * M * P; }
    real *sum(int p) const { return trace.collected.data + size_t(p) * Model::n_collect * P; }

    void step(int k) {
        for (int p = 0; p < l.n_panels; ++p)
            std::copy(x(p), x(p) + C * P, to.adjoint.data + (size_t(p) * (trace.rows + 1) + k) * C * P);
        if constexpr (Model::n_collect > 0) {
            replay.hold(trace, k, [&](int p) { return x(p); }, [&](int p) { return sum(p); });
            for (int p = 0; p < l.n_panels; ++p) {
                Model::collect(l.constants.data(), l.lanes_of<Model>(p), x(p), trace.kept.data + (size_t(k) * l.n_panels + p) * N * P, sum(p));
                collect_landed<Model>(l, p, to.landed.data + (size_t(p) * (K + 1) + k) * landed * P, x(p), 0, 0, nullptr, sum(p));
            }
        }
        for (uint32_t e = trace.event_start[k + 1]; e-- > trace.event_start[k];) event(k, e);
        if constexpr (Model::n_collect > 0)
            replay.back(trace, trace.kept.data + size_t(k) * l.n_panels * N * P, [&](int p) { return sum(p); }, extra);
        alignas(64) real unused[P];
        for (int p = 0; p < l.n_panels; ++p) Model::back(l.constants.data(), l.lanes_of<Model>(p), x(p), unused);
    }

    void event(int k, uint32_t number) {
        const Event &e = trace.events[number];
        const bool own = e.kind == OWN;
        const int neuron = own ? trace.spikes.id[e.index] : trace.dropped.id[e.index], p = neuron / P, lane = neuron % P;
        const real time = own ? trace.spikes.at[e.index] : trace.dropped.at[e.index];
        if (own && l.recurrent.present) trace.error[e.index] += sight.error(l.recurrent, neuron, k, time);
        const When when(k, time, nullptr, real(l.dt), 1 / real(l.dt));
        real jump[M];
        jumped(e, neuron, jump);
        for (int v = 0; v < M; ++v) x(p)[v * P + lane] += jump[v];
        int32_t &first = to.piece[(size_t(p) * (trace.rows + 1) + k) * P + lane];
        to.later[number] = first;
        to.left[number] = when.step[0] > k ? real(0) : when.left[0];
        first = int32_t(number) + 1;
        for (int v = 0; v < M; ++v) to.pieces[size_t(number) * M + v] = x(p)[v * P + lane];
    }
    // By how much the adjoints at the end of the step change for what comes before an event.
    void jumped(const Event &e, int neuron, real *jump) {
        const bool own = e.kind == OWN;
        const int p = neuron / P, lane = neuron % P;
        alignas(64) real y[M * P] = {}, there[M * P], h[(Model::n_lanes ? Model::n_lanes : 1) * P] = {};
        for (int v = 0; v < M; ++v) y[v * P] = x(p)[v * P + lane];
        for (int r = 0; r < Model::n_lanes; ++r)
            for (int j = 0; j < LANES; ++j) h[r * P + j] = l.lanes_of<Model>(p)[r * P + lane];
        with_flow<Model>(l, h, l.terms, [&](auto &&f) {
            vec t[MOST_TERMS][M];
            const vec u = vec{} + e.after / real(l.dt);
            f.series_back(y, t);
            f.template at<M>(y, t, u, there);
            real change[M];
            for (int v = 0; v < M; ++v) change[v] = there[v * P];
            Model::jump(l.constants.data(), h, there, 0, own ? trace.error[e.index] : real(0),
                        &(own ? trace.recorded : trace.dropped_recorded)[size_t(e.index) * Model::n_recorded]);
            if (own) extra(there, e.index, 0);
            for (int v = 0; v < M; ++v) {
                f.row(y, v) = vec{};
                y[v * P] = there[v * P] - change[v];
            }
            f.series_back(y, t);
            f.template at<M>(y, t, -u, there);
            for (int v = 0; v < M; ++v) jump[v] = there[v * P];
        });
    }
};

}  // namespace eventprop
