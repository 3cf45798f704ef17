// The input's spikes, where they arrive at times of their own.
#pragma once
#include <cmath>

#include "layers.hpp"

namespace eventprop {

// True times of a sample's spikes: `at` tells how much of their steps is over, of which each is `per_step` here.
struct InputTimes {
    const float *at;                      // parts of steps; null: spikes arrive as the step after theirs starts
    int per_step;
    real h;

    int part(int64_t s) const { return std::min(per_step - 1, std::max(0, int(real(at[s]) * per_step))); }
    int stamp(int64_t s, int step) const { return at ? step * per_step + part(s) : (step + 1) * per_step - 1; }
    real within(int64_t s) const { return at ? std::min(h, std::max(real(0), (real(at[s]) * per_step - part(s)) * h)) : h; }
    // Several spikes of a channel in a step are not dropped together.
    uint32_t key(uint32_t of_sample, int64_t s) const {
        uint32_t bits = 0;
        if (at) std::memcpy(&bits, at + s, sizeof bits);
        return at ? mix(of_sample ^ bits) : of_sample;
    }
};

// The smoothed number of input spikes in a step, x at its start and then at its end, as a line that has the same integral, also
// of its product with time: each spike adds 0.01 / tau when it comes, which decays with tau.
struct Line { double start, end; };
inline Line traffic_of_step(const SpikeLists &spikes, int k, double tau, double h, double &x) {
    const double size = 0.01 / tau, decay = std::exp(-h / tau);
    Line line{x, x * decay};
    x *= decay;
    for (uint32_t s = spikes.step_start[k]; s < spikes.step_start[k + 1]; ++s) {
        const double at = spikes.at[s], left = std::exp(-(h - at) / tau);
        const double area = size * tau * (1 - left), moment = size * tau * (at + tau - (h + tau) * left);
        const double slope = 12 * (moment - h / 2 * area) / (h * h * h);
        line.start += area / h - slope * h / 2;
        line.end += area / h + slope * h / 2;
        x += size * left;
    }
    return line;
}

// Each spike `copies` times, in order of time; copy i has the numbers from i * n on.
[[gnu::cold]] inline void copy_spikes(const SpikeLists &from, Delays source, int K, SpikeLists &to) {
    std::vector<uint32_t> next(source.copies), end(source.copies);  // of each copy's spikes, which are in order
    to.clear(K);
    for (int k = 0; k < K; ++k) {
        for (int c = 0; c < source.copies; ++c) {
            const int left = k - c * source.delay;
            next[c] = left < 0 ? 0 : from.step_start[left];
            end[c] = left < 0 ? 0 : from.step_start[left + 1];
        }
        for (;;) {
            int first = -1;
            for (int c = 0; c < source.copies; ++c)
                if (next[c] < end[c] && (first < 0 || from.at[next[c]] < from.at[next[first]])) first = c;
            if (first < 0) break;
            to.id.push_back(uint16_t(first * source.n + from.id[next[first]]));
            to.at.push_back(from.at[next[first]++]);
        }
        to.step_start[k + 1] = uint32_t(to.id.size());
    }
    to.index_by_id(source.n * source.copies, K);
}

}  // namespace eventprop
