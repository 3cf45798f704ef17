// Synapses with delays of a layer's own spikes, which are sent while the trial goes on; and errors that come back through any.
//
// The steps that a spike may reach, of all targets, are more than the innermost cache holds. So those of a SPAN of steps are
// sent together, panel by panel. What arrives before the span ends is sent at once, from lists that have, for each source,
// its synapses of less delay. Sending it again with the others is harmless: forwards these steps are over by then, and
// backwards their rows are still 0.
#pragma once
#include "delays.hpp"

namespace eventprop {

// Delays as spikes read them, row by row: a byte each where that is enough, since large networks' do not fit the caches.
template <class Steps> const Steps *rows_of_steps(const Weights &w) {
    if constexpr (sizeof(Steps) == 1) return w.narrow.data();
    else return w.steps.data();
}
inline void narrow_steps(Weights &w, int p) {
    const size_t from = p * w.d.stride;
    for (size_t i = from; i < from + size_t(w.n_pre) * P; ++i) w.narrow[i] = uint8_t(w.steps[i]);
}
inline bool narrow_enough(const Weights &w) { return w.longest < 256; }

// The delays of some synapses, read at once: loads and stores are what the sums below are bound by.
template <class Steps> struct Some {
    static constexpr int N = sizeof(uint64_t) / sizeof(Steps);
    uint64_t all;
    explicit Some(const Steps *steps) { std::memcpy(&all, steps, sizeof all); }
    size_t operator[](int i) const {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        i = N - 1 - i;
#endif
        return Steps(all >> (8 * sizeof(Steps) * i));
    }
};
// Where a lane finds what arrives through a synapse of weight x, `steps` rows on.
template <int inputs> size_t place(size_t steps, real x) { return (steps * inputs + (inputs == 2 && x < 0)) * P; }

// Delays of source i's synapses, or `own` where the row that is `left` rows away takes what would go beyond.
template <class Steps> const Steps *steps_within(const Weights &w, int p, int i, int left, Steps *own) {
    const Steps *steps = rows_of_steps<Steps>(w) + p * w.d.stride + size_t(i) * P;
    if (w.longest <= left) return steps;
    for (int l = 0; l < P; ++l) own[l] = std::min(steps[l], Steps(left));
    return own;
}
// What a spike soon after number s of a list will need of panel p. A call that only does this, compilers may leave out.
template <class Steps>
__attribute__((always_inline)) inline void fetch_ahead(const Weights &w, int p, const std::vector<uint16_t> &id, uint32_t s) {
    constexpr uint32_t AHEAD = 4;
    if (s + AHEAD >= id.size()) return;
    const Steps *steps = rows_of_steps<Steps>(w) + p * w.d.stride + size_t(id[s + AHEAD]) * P;
    const real *x = w.w.at(p, id[s + AHEAD]);
    for (int l = 0; l < P; l += 64 / int(sizeof(Steps))) __builtin_prefetch(steps + l);
    for (int l = 0; l < P; l += 64 / int(sizeof(real))) __builtin_prefetch(x + l);
}
template <int inputs, class Steps> __attribute__((noinline)) void send_spike(const Weights &w, int p, int i, real *rows, int left) {
    alignas(64) Steps own[P];
    const Steps *steps = steps_within(w, p, i, left, own);
    const real *x = w.w.at(p, i);
#pragma GCC unroll 16
    for (int first = 0; first < P; first += Some<Steps>::N) {
        const Some<Steps> d(steps + first);
#pragma GCC unroll 2
        for (int l = first; l < first + Some<Steps>::N; l += GROUP) {  // four at a time, whose loads are all before their stores
            real *at[GROUP];
            quad size = quad_at(x + l);
#pragma GCC unroll 4
            for (int t = 0; t < GROUP; ++t) {
                at[t] = rows + place<inputs>(d[l - first + t], x[l + t]) + l + t;
                if (inputs == 2) size[t] = std::abs(size[t]);
            }
            size += quad{*at[0], *at[1], *at[2], *at[3]};
#pragma GCC unroll 4
            for (int t = 0; t < GROUP; ++t) *at[t] = size[t];
        }
    }
}
// The sum over the panel's targets of weight times what is in `rows` at the arrival.
template <int inputs, class Steps> real error_of_spike(const Weights &w, int p, int i, const real *rows, int left) {
    constexpr int SUMS = 4;
    alignas(64) Steps own[P];
    const Steps *steps = steps_within(w, p, i, left, own);
    const real *x = w.w.at(p, i);
    quad sum[SUMS] = {};
#pragma GCC unroll 16
    for (int first = 0; first < P; first += Some<Steps>::N) {
        const Some<Steps> d(steps + first);
#pragma GCC unroll 2
        for (int l = first; l < first + Some<Steps>::N; l += GROUP) {
            auto at = [&](int t) { return rows[place<inputs>(d[l - first + t], x[l + t]) + l + t]; };
            sum[l / GROUP % SUMS] += quad_at(x + l) * quad{at(0), at(1), at(2), at(3)};
        }
    }
    const quad all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return (all[0] + all[1]) + (all[2] + all[3]);
}

// Synapses of less than SPAN steps, in order of delay, of source i; `stride` is that of the rows of a trial.
template <int inputs> void list_near(Weights &w, int i, int n, size_t stride) {
    uint32_t *start = w.near_start.data() + size_t(i) * (SPAN + 1);
    std::fill(start, start + SPAN + 1, 0u);
    for (int j = 0; j < n; ++j) {
        const int d = w.steps_at(j / P, i)[j % P];
        if (d < SPAN) ++start[d + 1];
    }
    for (int d = 0; d < SPAN; ++d) start[d + 1] += start[d];
    w.near[i].resize(start[SPAN]);
    uint32_t next[SPAN];
    std::copy_n(start, SPAN, next);
    for (int j = 0; j < n; ++j) {
        const int p = j / P, l = j % P, d = w.steps_at(p, i)[l];
        const real x = w.w.at(p, i)[l];
        if (d < SPAN) w.near[i][next[d]++] = {uint32_t(p * stride + place<inputs>(d, x) + l), x};
    }
}
// Those of a spike that is to be sent, or is looked at, soon. A call that only does this, compilers may leave out.
__attribute__((always_inline)) inline void fetch_near(const Weights &w, int i) {
    const Near *near = w.near[i].data(), *end = near + w.near[i].size();
    for (; near < end; near += 64 / sizeof(Near)) __builtin_prefetch(near);
}
// How many of them have less than `steps` steps.
inline uint32_t number_near(const Weights &w, int i, int steps) { return w.near_start[size_t(i) * (SPAN + 1) + steps]; }

// Adds to the errors of spikes whose undelayed arrivals are in steps first to last - 1. Row `rows` of the transport rows is 0,
// and the last that is looked at.
template <int inputs, class Steps>
void errors_of_spikes(const Weights &w, int n_panels, const SpikeLists &spikes, int first, int last, Panels transport, int rows, real *error) {
    for (int p = 0; p < n_panels; ++p)
        for (int m = first; m < last; ++m)
            for (uint32_t s = spikes.step_start[m - 1]; s < spikes.step_start[m]; ++s) {
                fetch_ahead<Steps>(w, p, spikes.id, s);
                error[s] += error_of_spike<inputs, Steps>(w, p, spikes.id[s], transport.at(p, size_t(m) * inputs), rows - m);
            }
}
template <int inputs>
void delayed_errors(const Weights &w, int n_panels, const SpikeLists &spikes, int first, int last, Panels transport, int rows, real *error) {
    narrow_enough(w) ? errors_of_spikes<inputs, uint8_t>(w, n_panels, spikes, first, last, transport, rows, error)
                     : errors_of_spikes<inputs, uint16_t>(w, n_panels, spikes, first, last, transport, rows, error);
}
inline void clear_rows(Panels a, int n_panels, int inputs, int first, int last) {
    for (int p = 0; p < n_panels && first < last; ++p) std::fill(a.at(p, size_t(first) * inputs), a.at(p, size_t(last) * inputs), real(0));
}

// The spikes of a layer on their way to itself, through rows of its drive: row k - 1 is what arrives in step k.
template <int inputs> struct Pending {
    const Weights &w;
    const SpikeLists &spikes;
    const int n_panels, K;
    const Panels drive;
    int until = -1;                       // the last step at which something arrives
    int clear;                            // rows that have something, or 0, in them

    // To be called at the start of step k; those of the step before are spikes from `from` to `to`.
    void send(int k, uint32_t from, uint32_t to) {
        if (k % SPAN == 0) {
            const int rows = std::min(K, k - 1 + std::max(SPAN, w.longest));
            clear_rows(drive, n_panels, inputs, clear, rows);
            clear = std::max(clear, rows);
            narrow_enough(w) ? send_span<uint8_t>(k) : send_span<uint16_t>(k);
        }
        if (from == to) return;
        until = std::max(until, k + w.longest);
        const int steps = std::min(SPAN - k % SPAN, K - k + 1);
        real *rows = drive.at(0, size_t(k - 1) * inputs);
        for (uint32_t s = from; s < to; ++s) {
            const Near *near = w.near[spikes.id[s]].data(), *end = near + number_near(w, spikes.id[s], steps);
            for (; near != end; ++near) rows[near->at] += inputs == 2 ? std::abs(near->w) : near->w;
        }
    }

private:
    // Those of the span that ends before step k.
    template <class Steps> void send_span(int k) const {
        for (int p = 0; p < n_panels; ++p)
            for (int j = std::max(1, k - SPAN); j < k; ++j)
                for (uint32_t s = spikes.step_start[j - 1]; s < spikes.step_start[j]; ++s) {
                    fetch_ahead<Steps>(w, p, spikes.id, s);
                    send_spike<inputs, Steps>(w, p, spikes.id[s], drive.at(p, size_t(j - 1) * inputs), K - (j - 1));
                }
    }
};

// Errors of a layer's spikes from itself, while its transport rows are made from the last one on: `rows` of them are not 0.
template <int inputs> struct Returning {
    const Weights &w;
    const SpikeLists &spikes;
    const int n_panels, rows;
    const Panels transport;
    real *error;

    // Before row m is made.
    void start(int m) const {
        if (m == rows - 1) clear_rows(transport, n_panels, inputs, rows, rows + 1);
        if (m != rows - 1 && m % SPAN != SPAN - 1) return;
        const int first = m - m % SPAN;
        clear_rows(transport, n_panels, inputs, first, m + 1);
        delayed_errors<inputs>(w, n_panels, spikes, std::max(1, first), m + 1, transport, rows, error);
    }
    // When it is there: what spikes see of it, and of those after it in its span.
    void take(int m) const {
        const int steps = std::min(SPAN - m % SPAN, rows - m);
        const real *from = transport.at(0, size_t(m) * inputs);
        for (uint32_t s = spikes.step_start[std::max(m - 2, 0)]; s < spikes.step_start[m - 1]; ++s) fetch_near(w, spikes.id[s]);
        for (uint32_t s = spikes.step_start[m - 1]; s < spikes.step_start[m]; ++s) {
            const Near *near = w.near[spikes.id[s]].data(), *end = near + number_near(w, spikes.id[s], steps);
            real sum = 0, other = 0;      // two, since one would wait for each of its additions
            for (; end - near > 1; near += 2) {
                sum += near[0].w * from[near[0].at];
                other += near[1].w * from[near[1].at];
            }
            if (near != end) sum += near->w * from[near->at];
            error[s] += sum + other;
        }
    }
};

}  // namespace eventprop
