// Synapses with delays of their own: what a spike of step k brings arrives `delay` steps after step k + 1 begins.
//
// Each target sees each source at another time, so that rows of weights cannot be added as they are. Four targets are
// worked on at once, with what they get, or collect, over the whole trial in the innermost cache: the list of a source's
// spikes is read once for all four. Every sum has a fixed order.
#pragma once
#include "layers.hpp"

namespace eventprop {

constexpr int GROUP = 4;                  // targets that are worked on at once
typedef real pair __attribute__((vector_size(2 * sizeof(real))));
typedef real quad __attribute__((vector_size(GROUP * sizeof(real))));

#if defined(__clang__)
inline quad low_pairs(quad a, quad b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline quad high_pairs(quad a, quad b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
typedef std::conditional_t<sizeof(real) == 4, int32_t, int64_t> lane_index;
typedef lane_index quad_index __attribute__((vector_size(GROUP * sizeof(real))));
inline quad low_pairs(quad a, quad b) { return __builtin_shuffle(a, b, quad_index{0, 4, 1, 5}); }
inline quad high_pairs(quad a, quad b) { return __builtin_shuffle(a, b, quad_index{2, 6, 3, 7}); }
#endif
// Four numbers in memory, where they may begin at any.
inline quad quad_at(const real *p) {
    quad x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
inline void put(real *p, quad x) { std::memcpy(p, &x, sizeof x); }

// Compilers take apart what addresses have in common and put it together in the innermost loops; not that of this one.
template <class T> T *in_register(T *p) {
    __asm__("" : "+r"(p));
    return p;
}

// Delays to whole steps, the nearest ones.
inline void round_delays(Weights &w, int p, double dt) {
    const real *d = w.d.at(p, 0);
    uint16_t *to = w.steps.data() + p * w.d.stride;
    int longest = 0;
    for (int i = 0; i < w.n_pre * P; ++i) {
        const int steps = std::min(65535, std::max(0, int(std::floor(double(d[i]) / dt + 0.5))));
        to[i] = uint16_t(steps);
        longest = std::max(longest, steps);
    }
    w.longest_of[p] = longest;
}

// Lanes of a panel's rows, [pre][P], as [group][pre][GROUP], and back.
template <class T> void to_groups(const T *rows, int n_pre, T *groups) {
    for (int i = 0; i < n_pre; ++i, rows += P, groups += GROUP)
        for (int g = 0; g < P / GROUP; ++g) std::memcpy(groups + size_t(g) * n_pre * GROUP, rows + g * GROUP, GROUP * sizeof(T));
}
inline void from_groups(const real *groups, int n_pre, real *rows) {
    for (int i = 0; i < n_pre; ++i, rows += P, groups += GROUP)
        for (int g = 0; g < P / GROUP; ++g) std::memcpy(rows + g * GROUP, groups + size_t(g) * n_pre * GROUP, GROUP * sizeof(real));
}
// Weights and steps of panel p by group.
inline void group_panel(Weights &w, int p) {
    const size_t start = size_t(p) * w.n_pre * P;
    to_groups(w.w.at(p, 0), w.n_pre, w.group_w.data() + start);
    to_groups(w.steps_at(p, 0), w.n_pre, w.group_steps.data() + start);
}

// While gradients of panel p are collected they are in `sums`, by group: those of weights, and behind them those of delays.
inline void open_sums(const Weights &w, const real *g, const real *dg, bool fresh, Buffer &sums) {
    const size_t n = size_t(w.n_pre) * P;
    sums.reserve(2 * n);
    std::fill(sums.data, sums.data + 2 * n, real(0));
    if (!fresh && w.trained) to_groups(g, w.n_pre, sums.data);
    if (!fresh && w.delays_trained) to_groups(dg, w.n_pre, sums.data + n);
}
inline void close_sums(const Weights &w, real *g, real *dg, const Buffer &sums) {
    if (w.trained) from_groups(sums.data, w.n_pre, g);
    if (w.delays_trained) from_groups(sums.data + size_t(w.n_pre) * P, w.n_pre, dg);
}
inline real &delay_sum(const Weights &w, int pre, int lane, Buffer &sums) {
    return sums.data[size_t(w.n_pre) * P + (size_t(lane / GROUP) * w.n_pre + pre) * GROUP + lane % GROUP];
}

// act(row of weights, how much later this copy is, first and last of its spikes) for each copy of a source that spiked.
template <class F> void each_source(const SpikeLists &spikes, Delays source, F &&act) {
    for (int c = 0; c < source.copies; ++c)
        for (int pre = 0; pre < source.n; ++pre) {
            const uint32_t from = spikes.id_start[pre], to = spikes.id_start[pre + 1];
            if (from < to) act(size_t(c) * source.n + pre, size_t(c) * source.delay, from, to);
        }
}
// Rows that arrivals of these spikes reach.
inline size_t rows_of(const SpikeLists &spikes, Delays source, const Weights &w) {
    return size_t(spikes.last() + 2 + (source.copies - 1) * source.delay + w.longest);
}

// What the spikes bring the targets of a group, [row][input][GROUP]. Addresses count bytes, so that all of them stay in registers;
// a function of its own, since its inner loop needs them all. Likewise below.
template <int inputs>
__attribute__((noinline)) void drive_group(const SpikeLists &spikes, Delays source, const real *weights, const uint16_t *steps, real *drive) {
    constexpr size_t ROW = inputs * GROUP * sizeof(real);
    const uint16_t *step = spikes.step.data();
    each_source(spikes, source, [&](size_t row, size_t late, uint32_t from, uint32_t to) {
        const real *x = weights + row * GROUP;
        const uint16_t *d = steps + row * GROUP;
        real size[GROUP];
        char *at[GROUP];
        for (int t = 0; t < GROUP; ++t) {
            const bool negative = inputs == 2 && x[t] < 0;
            size[t] = negative ? -x[t] : x[t];
            at[t] = in_register(reinterpret_cast<char *>(drive) + (late + d[t]) * ROW + (negative * GROUP + t) * sizeof(real));
        }
        for (const uint16_t *s = step + from, *end = step + to; s < end; ++s) {
            const size_t k = *s * ROW;
#pragma GCC unroll 4
            for (int t = 0; t < GROUP; ++t) *reinterpret_cast<real *>(at[t] + k) += size[t];
        }
    });
}

// As gather_drive(): drive[p][k] is what arrives in step k + 1, for k < rows.
template <int inputs>
void delayed_drive(const SpikeLists &spikes, Delays source, int rows, const Weights &w, int n, int n_panels, Panels drive, Buffer &b) {
    const size_t size = rows_of(spikes, source, w) * inputs * GROUP;
    b.reserve(size);
    for (int p = 0; p < n_panels; ++p) {
        if ((p + 1) * P > n)              // lanes behind the last neuron, whose state has to stay finite
            std::fill(drive.at(p, 0), drive.at(p, size_t(rows) * inputs), real(0));
        for (int first = 0; first < P && p * P + first < n; first += GROUP) {
            const size_t group = size_t(p * P + first) * w.n_pre;
            std::fill(b.data, b.data + size, real(0));
            drive_group<inputs>(spikes, source, w.group_w.data() + group, w.group_steps.data() + group, b.data);
            for (int r = 0; r < rows * inputs; ++r) put(drive.at(p, r) + first, quad_at(b.data + size_t(r) * GROUP));
        }
    }
}

// Adds the sums of pairs [row][input][GROUP][2], at arrivals at the targets of a group, to `sums`, where the group's begin.
template <int inputs>
__attribute__((noinline)) void gather_group(const SpikeLists &spikes, Delays source, const real *pairs, const real *weights,
                                            const uint16_t *steps, real *sums, real *delay_sums) {
    constexpr size_t ROW = inputs * GROUP * sizeof(pair);
    const uint16_t *step = spikes.step.data();
    each_source(spikes, source, [&](size_t row, size_t late, uint32_t from, uint32_t to) {
        const real *x = weights + row * GROUP;
        const uint16_t *d = steps + row * GROUP;
        const char *at[GROUP];
        pair sum[GROUP] = {};
        for (int t = 0; t < GROUP; ++t)
            at[t] = in_register(reinterpret_cast<const char *>(pairs) + (late + d[t] + 1) * ROW + ((inputs == 2 && x[t] < 0) * GROUP + t) * sizeof(pair));
        for (const uint16_t *s = step + from, *end = step + to; s < end; ++s) {
            const size_t k = *s * ROW;
#pragma GCC unroll 4
            for (int t = 0; t < GROUP; ++t) sum[t] += *reinterpret_cast<const pair *>(at[t] + k);
        }
        put(sums + row * GROUP, quad_at(sums + row * GROUP) + quad{sum[0][0], sum[1][0], sum[2][0], sum[3][0]});
        real *late_sums = delay_sums + row * GROUP;
        put(late_sums, quad_at(late_sums) + quad_at(x) * quad{sum[0][1], sum[1][1], sum[2][1], sum[3][1]});
    });
}

// Adds to the gradients of weights and delays of panel p, which are in `sums`, by group: `gradient` and `transport` are its
// rows, and those from `given` on are 0.
template <int inputs>
void gather_delayed(const SpikeLists &spikes, Delays source, size_t given, const real *gradient, const real *transport, const Weights &w,
                    int n, int p, real *sums, Buffer &b) {
    constexpr int AHEAD = 16;             // rows
    const size_t rows = rows_of(spikes, source, w), panel = size_t(w.n_pre) * P;
    const size_t size = ((rows + 1) / 4 * 4 + 2) * inputs * 2 * GROUP;  // no power of two, which would fill a few sets of the cache
    b.reserve(P / GROUP * size);
    given = std::min(given, rows);
    real *to = b.data;                    // one load has both parts
    for (size_t r = 0; r < given * inputs; ++r, to += 2 * GROUP) {
        fetch_row(gradient + AHEAD * P, P);
        fetch_row(transport + AHEAD * P, P);
        real *pairs = to;                 // of all groups, so that rows are read one after the other
#pragma GCC unroll 4
        for (int g = 0; g < P; g += GROUP, gradient += GROUP, transport += GROUP, pairs += size) {
            put(pairs, low_pairs(quad_at(gradient), quad_at(transport)));
            put(pairs + GROUP, high_pairs(quad_at(gradient), quad_at(transport)));
        }
    }
    real *pairs = b.data;
    for (int lane = 0; lane < P && p * P + lane < n; lane += GROUP, pairs += size) {
        std::fill(pairs + given * inputs * 2 * GROUP, pairs + size, real(0));
        const size_t group = size_t(lane) * w.n_pre;
        gather_group<inputs>(spikes, source, pairs, w.group_w.data() + p * panel + group, w.group_steps.data() + p * panel + group,
                             sums + group, sums + panel + group);
    }
}

// One value for all synapses of a source, or of a target: each gets the sum of their gradients.
inline void share_gradients(Weights &w, int n, int n_panels) {
    if (w.shared == Weights::SOURCE)
        for (int pre = 0; pre < w.n_pre; ++pre) {
            double sum = 0;
            for (int j = 0; j < n; ++j) sum += double(w.dg.at(j / P, pre)[j % P]);
            for (int j = 0; j < n; ++j) w.dg.at(j / P, pre)[j % P] = real(sum);
        }
    if (w.shared == Weights::TARGET)
        for (int p = 0; p < n_panels; ++p) {
            double sum[P] = {};
            for (int pre = 0; pre < w.n_pre; ++pre)
                for (int l = 0; l < P; ++l) sum[l] += double(w.dg.at(p, pre)[l]);
            for (int pre = 0; pre < w.n_pre; ++pre)
                for (int l = 0; l < P; ++l) w.dg.at(p, pre)[l] = real(sum[l]);
        }
}

}  // namespace eventprop
