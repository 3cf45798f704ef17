// Spikes at their exact times: steps are cut where a neuron crosses its threshold or a spike arrives from a layer below.
//
// Between two cuts state and adjoints have closed forms (the model's update with dt = time between the cuts), so the step
// only spaces the input, which arrives at starts of steps. Few neurons reach their threshold in a step: a test of all at
// its end names the candidates, and only these are followed from cut to cut (Together, or Candidates where constants differ
// between neurons). Then the spikes found arrive at all neurons at once, each by what is left of the step, and a second test
// looks for neurons that these spikes may have brought to their threshold. Only if one of them may really have crossed it
// between two cuts do they become candidates too, and the step is taken again. The tests take V to be concave while it rises, as it is while its current is positive.
#pragma once
#include "exact_together.hpp"

namespace eventprop {

template <class Model> class ExactSweep {
public:
    static constexpr int VARS = Model::n_state;
    real *x;                              // states at the start of the step

    ExactSweep(const Layer &l, const SpikeLists *below, LayerTrace &out, const Draws &draws, bool kept, Scratch &t)
        : l(l), below(below), out(out), draws(draws), kept(kept), candidates(l), interval(l, t.lanes) {
        const size_t size = size_t(l.n_panels) * VARS * P;
        for (Buffer *b : {&t.state, &t.next, &t.walk}) b->reserve(size);
        x = t.state.data;
        next = t.next.data;
        walk = t.walk.data;
        for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), at(x, p));
    }

    // One step; `arriving` is the next spike from below.
    void step(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        out.tail[k] = h;
        candidates.clear();
        const bool reached = find(true);
        if (reached || (below && arriving < below->step_start[k + 1])) {
            for (;;) {
                const Mark mark{out.events.size(), out.spikes.id.size(), out.dropped.id.size(), kept_rows};
                uint32_t after = arriving;
                follow(k, after);
                if (take(k)) {
                    arriving = after;
                    break;
                }
                undo(mark);
                if (together<Model>) find(false);
            }
        } else if (kept) keep(x);
        std::swap(x, next);
    }

private:
    struct Mark { size_t events, spikes, dropped, kept; };
    const Layer &l;
    const SpikeLists *below;
    LayerTrace &out;
    const Draws &draws;
    const bool kept;
    real *next, *walk;
    std::conditional_t<together<Model>, Together<Model>, Candidates<Model>> candidates;
    Interval<Model> interval;
    size_t kept_rows = 0;

    real *at(real *states, int p) const { return states + size_t(p) * VARS * P; }

    // Neurons of panel p that are marked: one byte for each lane, 0 or 1.
    template <class F> void each_of(int p, const uint8_t *marks, F &&act) const {
        for (int first = 0; first < P; first += 8) {
            uint64_t word;
            std::memcpy(&word, marks + first, 8);
            if (word)
                for (int lane = first; lane < first + 8; ++lane)
                    if (marks[lane] && p * P + lane < l.n) act(p * P + lane);
        }
    }

    // `next`, the states at the end of the step where nothing arrives meanwhile; whether a neuron may reach its threshold until
    // then.
    bool find(bool collect) {
        alignas(64) uint8_t fired[P];
        bool reached = false;
        for (int p = 0; p < l.n_panels; ++p) {
            const int found = Model::probe(l.constants.data(), l.lanes_of<Model>(p), at(x, p), at(next, p), candidates.margin, fired);
            reached |= found > 1;
            if (found && collect) each_of(p, fired, [&](int i) { candidates.add(i); });
        }
        return reached;
    }

    // The step's cuts, by the candidates alone.
    void follow(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        const uint32_t last = below ? below->step_start[k + 1] : 0;
        real now = 0;
        candidates.gather(x);
        for (;;) {
            real own, other = arriving < last ? below->at[arriving] : never;
            const int first = candidates.next(own);
            if (own == never && other == never) break;
            if (out.events.size() >= most_cuts(l)) throw RunawayActivity();
            const real before = now;
            now = std::min(h, std::max(now, std::min(own, other)));
            candidates.move_to(now);
            if (own <= other) {
                fire(k, now, now - before, first);
            } else {
                out.events.push_back({now - before, h - now, BELOW, arriving, uint32_t(k)});
                candidates.arrive(l.forward, below->id[arriving++]);
            }
        }
        if (!together<Model>) candidates.move_to(h);
        out.tail[k] = h - now;
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
        if (!dropped && l.recurrent.present) candidates.arrive(l.recurrent, neuron);
    }

    void undo(const Mark &mark) {
        out.events.resize(mark.events);
        out.spikes.id.resize(mark.spikes);
        out.spikes.at.resize(mark.spikes);
        out.recorded.resize(mark.spikes * Model::n_recorded);
        out.dropped.id.resize(mark.dropped);
        out.dropped.at.resize(mark.dropped);
        out.dropped_recorded.resize(mark.dropped * Model::n_recorded);
        kept_rows = mark.kept;
    }

    // The weights that an event brings, or null.
    const Weights *brought(const Event &e, int &source) const {
        source = e.kind == BELOW ? below->id[e.index] : e.kind == OWN ? out.spikes.id[e.index] : 0;
        return e.kind == BELOW ? &l.forward : e.kind == OWN && l.recurrent.present ? &l.recurrent : nullptr;
    }

    bool take(int k) {
        if constexpr (together<Model>) return take_together();
        else return take_in_order(k);
    }

    // All spikes of the step arrive in `next`. Returns false if that may have brought further neurons to their threshold.
    bool take_together() {
        bool complete = true;
        alignas(64) real before[P], sum[P];
        alignas(64) uint8_t fired[P];
        const auto &arrivals = candidates.arrivals;
        candidates.margin *= real(0.98);
        if (arrivals.size())
            for (int p = 0; p < l.n_panels; ++p) {
                arrivals.template deliver<true>(p, at(next, p), before, sum);
                // the sum of weights is the change of the current, but for the share of it that has decayed
                const real many = 2 - arrivals.least + real(1e-5);
                if (!Model::missed(l.constants.data(), nullptr, at(next, p), before, sum, many, arrivals.most, fired)) continue;
                each_of(p, fired, [&](int i) {
                    if (!candidates.may_cross(i, x)) return;
                    candidates.add(i);
                    complete = false;
                });
            }
        if (complete) candidates.store_to(next);
        return complete;
    }

    // The same from cut to cut, keeping the state at each where time constants are trained.
    bool take_in_order(int k) {
        alignas(64) uint8_t fired[P];
        std::memcpy(walk, x, size_t(l.n_panels) * VARS * P * sizeof(real));
        for (size_t e = out.event_start[k]; e <= out.events.size(); ++e) {
            const bool cut = e < out.events.size();
            const real d = cut ? out.events[e].before : out.tail[k];
            if (kept) keep(walk);
            if (d > 0) {
                interval.forward(d);
                bool complete = true;
                for (int p = 0; p < l.n_panels; ++p)
                    if (Model::probe(interval.constants(), interval.lanes(p), at(walk, p), at(next, p), real(0), fired))
                        each_of(p, fired, [&](int i) { complete &= !candidates.add(i); });
                if (!complete) return false;
            } else {
                std::memcpy(next, walk, size_t(l.n_panels) * VARS * P * sizeof(real));
            }
            if (!cut) break;
            std::swap(walk, next);
            take_cut(out.events[e]);
        }
        candidates.store_to(next);
        return true;
    }
    void take_cut(const Event &event) {
        int source;
        const Weights *w = brought(event, source);
        if (event.kind != BELOW) {
            real value[Model::n_recorded];
            const int neuron = event.kind == OWN ? out.spikes.id[event.index] : out.dropped.id[event.index];
            Model::spike(l.constants.data(), l.lanes_of<Model>(neuron / P), at(walk, neuron / P), neuron % P, value);
        }
        if (w)
            for (int p = 0; p < l.n_panels; ++p) add_row(at(walk, p), w->w.at(p, source));
    }
    void keep(const real *states) {
        const size_t width = size_t(l.n_panels) * VARS * P;
        out.kept.grow((kept_rows + 1) * width);
        std::memcpy(out.kept.data + kept_rows++ * width, states, width * sizeof(real));
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
