// Spikes at their exact times: steps are cut where a neuron crosses its threshold or a spike arrives from a layer below.
//
// Neurons are linear, so that the step only spaces the input, which arrives at starts of steps. Few neurons reach their
// threshold in a step: a test of all at its end names the candidates, and only these are followed from cut to cut. Then the
// spikes found arrive at all neurons at once (nodes.hpp), and a bound on how far they may have lifted each shows whether any
// other may have reached its threshold. If so it becomes a candidate too, and the step is taken again. The tests take the
// level to be concave while it falls after a crossing.
#pragma once
#include "exact_candidates.hpp"

namespace eventprop {

template <class Model> class ExactSweep {
public:
    static constexpr int VARS = Model::n_state;
    real *x;                              // states at the start of the step

    ExactSweep(const Layer &l, const SpikeLists *below, LayerTrace &out, const Draws &draws, bool kept, Scratch &t)
        : l(l), below(below), out(out), draws(draws), kept(kept), rows(rows_ahead<Model>(l)), candidates(l), others(l), moments(t.moments) {
        const size_t size = size_t(l.n_panels) * VARS * P;
        for (Buffer *b : {&t.state, &t.next}) b->reserve(size);
        t.gap.reserve(size_t(l.n_panels) * P);
        t.moments.reserve(size_t(l.n_panels) * MOST_NODES * P);
        x = t.state.data;
        next = t.next.data;
        gap = t.gap.data;
        for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), at(x, p));
    }

    // One step; `arriving` is the next spike from below.
    void step(int k, uint32_t &arriving) {
        out.tail[k] = real(l.dt);
        if (kept) {
            std::memcpy(out.kept.data + size_t(k) * l.n_panels * VARS * P, x, size_t(l.n_panels) * VARS * P * sizeof(real));
            out.moment_row[k] = -1;
        }
        candidates.clear();
        margin *= real(0.99);
        if (find() || (below && arriving < below->step_start[k + 1]))
            for (;;) {
                const Mark mark{out.events.size(), out.spikes.id.size(), out.dropped.id.size()};
                uint32_t after = arriving;
                follow(k, after);
                deliver(k);
                if (verified(mark.events)) {
                    for (size_t e = mark.events; e < out.events.size(); ++e)
                        if (out.events[e].kind != BELOW) candidates.store_to(neuron_of(out.events[e]), next);
                    arriving = after;
                    break;
                }
                undo(mark);
                find();
            }
        if (kept && arrivals.size() && out.event_start[k] < out.events.size()) out.moment_row[k] = int32_t(moment_rows++);
        std::swap(x, next);
    }

private:
    struct Mark { size_t events, spikes, dropped; };
    const Layer &l;
    const SpikeLists *below;
    LayerTrace &out;
    const Draws &draws;
    const bool kept;
    const int rows;
    real *next, *gap;                     // states at the end of the step; how high the level rises in it without spikes
    Candidates<Model> candidates, others; // others: that spikes may have brought to their threshold
    Buffer &moments;
    Arrivals arrivals;
    // Neurons that stay less than this below their threshold without spikes are candidates from the first, since spikes may
    // bring them there: as much as was missing of late.
    real margin = 0;
    size_t moment_rows = 0;

    real *at(real *states, int p) const { return states + size_t(p) * VARS * P; }
    int neuron_of(const Event &e) const { return e.kind == OWN ? out.spikes.id[e.index] : out.dropped.id[e.index]; }

    // Neurons of panel p that are marked.
    template <class F> void each_of(int p, const uint8_t *marks, F &&act) const {
        each_marked(marks, l.n - p * P, [&](int lane) { act(p * P + lane); });
    }

    // `next`, the states at the end of the step where nothing arrives meanwhile; whether a neuron may reach its threshold until
    // then.
    __attribute__((noinline)) bool find() {
        alignas(64) uint8_t fired[P];
        bool reached = false;
        for (int p = 0; p < l.n_panels; ++p) {
            const int found = Model::probe(l.constants.data(), l.lanes_of<Model>(p), at(x, p), at(next, p), real(l.dt), margin, gap + p * P, fired);
            reached |= found > 1;
            if (found) each_of(p, fired, [&](int i) { candidates.add(i); });
        }
        return reached;
    }

    // The step's cuts, by the candidates alone.
    void follow(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        const uint32_t last = below ? below->step_start[k + 1] : 0;
        real now = 0;
        arrivals.clear();
        candidates.gather(x);
        for (;;) {
            real own;
            const real other = arriving < last ? below->at[arriving] : never;
            const int first = candidates.next(own);
            own *= h;
            if (own == never && other == never) break;
            if (out.events.size() >= most_cuts(l)) throw RunawayActivity();
            const real before = now;
            now = std::min(h, std::max(now, std::min(own, other)));
            candidates.move_to(now / h);
            if (own <= other) {
                fire(k, now, now - before, first);
            } else {
                out.events.push_back({now - before, h - now, BELOW, arriving, uint32_t(k)});
                arrive(l.forward, below->id[arriving++], h - now);
            }
        }
        candidates.move_to(1);
        out.tail[k] = h - now;
    }
    void arrive(const Weights &w, int source, real left) {
        candidates.arrive(w, source);
        arrivals.add<Model>(l, w, source, left);
    }

    void fire(int k, real now, real d, int j) {
        const int neuron = candidates.neuron[j];
        const uint32_t in_step = uint32_t(out.events.size()) - out.event_start[k];
        const bool dropped = draws.drops_at(k, neuron, in_step);
        real value[Model::n_recorded];
        candidates.spike(j, value);
        auto &list = dropped ? out.dropped : out.spikes;
        auto &recorded = dropped ? out.dropped_recorded : out.recorded;
        out.events.push_back({d, real(l.dt) - now, dropped ? DROPPED : OWN, uint32_t(list.id.size()), uint32_t(k)});
        list.id.push_back(uint16_t(neuron));
        list.at.push_back(now);
        recorded.insert(recorded.end(), value, value + Model::n_recorded);
        if (dropped || !l.recurrent.present) return;
        fetch_rows(l.recurrent, neuron, l.n_panels);
        arrive(l.recurrent, neuron, real(l.dt) - now);
    }

    void undo(const Mark &mark) {
        out.events.resize(mark.events);
        out.spikes.id.resize(mark.spikes);
        out.spikes.at.resize(mark.spikes);
        out.recorded.resize(mark.spikes * Model::n_recorded);
        out.dropped.id.resize(mark.dropped);
        out.dropped.at.resize(mark.dropped);
        out.dropped_recorded.resize(mark.dropped * Model::n_recorded);
    }

    // All spikes of the step arrive in `next`.
    __attribute__((noinline)) void deliver(int k) {
        others.clear();
        if (!arrivals.size()) return;
        real *m = moments.data;
        if (kept) {
            const size_t width = size_t(l.n_panels) * rows * P;
            out.moments.grow((moment_rows + 1) * width);
            m = out.moments.data + moment_rows * width;
        }
        for (int p = 0; p < l.n_panels; ++p) {
            alignas(64) real bound[P];
            alignas(64) uint8_t fired[P];
            if constexpr (shared<Model>) {
                arrivals.template deliver_rows<Model>(p, rows, at(next, p), bound);
            } else {
                real *own = m + size_t(p) * rows * P;
                std::fill(own, own + rows * P, real(0));
                arrivals.template deliver_rows<Model>(p, rows, own, bound);
                bring<Model>(l, p, own, at(next, p));
            }
            int some = 0;
            const real *g = gap + p * P;
            for (int lane = 0; lane < P; ++lane) {
                const int flag = g[lane] + bound[lane] >= 0;
                fired[lane] = uint8_t(flag);
                some |= flag;
            }
            if (some)
                each_of(p, fired, [&](int i) { if (!candidates.has(i)) others.add(i); });
        }
    }
    // Whether none of the others crosses its threshold among the events found, from number `first` on; those that do become
    // candidates.
    __attribute__((noinline)) bool verified(size_t first) {
        if (!others.size()) return true;
        const real h = real(l.dt);
        real now = 0, crossing;
        others.gather(x);
        for (size_t e = first;; ++e) {
            const int j = others.next(crossing);
            const bool last = e == out.events.size();
            if (!last) now = h - out.events[e].after;
            if (j >= 0 && (last || crossing * h < now)) {
                others.each_crossing([&](int i) {
                    candidates.add(i);
                    margin = larger(margin, -gap[i]);
                });
                return false;
            }
            if (last) return true;
            others.move_to(now / h);
            int source;
            if (const Weights *w = brought(out.events[e], source)) others.arrive(*w, source);
        }
    }
    // The weights that an event brings, or null.
    const Weights *brought(const Event &e, int &source) const {
        source = e.kind == BELOW ? below->id[e.index] : e.kind == OWN ? out.spikes.id[e.index] : 0;
        return e.kind == BELOW ? &l.forward : e.kind == OWN && l.recurrent.present ? &l.recurrent : nullptr;
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
    if (kept) {
        out.kept.reserve(size_t(K) * l.n_panels * Model::n_state * P);
        out.moment_row.assign(K, -1);
    }
    ExactSweep<Model> sweep(l, below, out, draws, kept, t);
    auto starts = [&](int k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
    };
    uint32_t arriving = 0;
    int k = 0;
    for (; k < K; ++k) {
        starts(k);
        const bool driven = k > 0 && k <= rows, more = below && arriving < below->id.size();
        if (!driven && k > rows && !more && !whole && k % 4 == 0 && quiet<Model>(l, sweep.x)) break;
        if (driven)
            for (int p = 0; p < l.n_panels; ++p) add_row(sweep.x + size_t(p) * sweep.VARS * P, drive.at(p, k - 1));
        sweep.step(k, arriving);
    }
    for (; k <= K; ++k) starts(k);
    out.spikes.index_by_id(l.n, K);
}

}  // namespace eventprop
