// Counter-based random numbers: each draw belongs to a seed, a sample, a step and a neuron, whatever thread makes it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace eventprop {

inline uint32_t mix(uint32_t x) {
    x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16;
    return x;
}
inline uint32_t key_of(uint32_t seed, uint32_t sample, uint32_t layer = 0) { return mix(seed ^ mix(sample) ^ layer * 0x9e3779b9U); }
// A uniform 32-bit number.
inline uint32_t draw(uint32_t key, uint32_t step, uint32_t neuron) { return mix(key ^ mix(step << 16 | neuron)); }
// draw() < limit_of(p) has probability p.
inline uint32_t limit_of(double p) { return uint32_t(std::min(4294967295.0, p * 4294967296.0)); }

// Normal deviates: the sum of two entries of a table of quantiles, scaled to unit variance.
class Normal {
public:
    static constexpr uint32_t SIZE = 2048;
    Normal() : table(SIZE) {
        double square = 0;
        for (uint32_t i = 0; i < SIZE; ++i) {
            const double q = (i + 0.5) / SIZE;
            double low = -10, high = 10;
            for (int n = 0; n < 60; ++n) {
                const double middle = (low + high) / 2;
                (0.5 * std::erfc(-middle / std::sqrt(2.0)) < q ? low : high) = middle;
            }
            table[i] = real(low);
            square += low * low;
        }
        const double scale = 1.0 / std::sqrt(2.0 * square / SIZE);
        for (real &x : table) x = real(x * scale);
    }
    // amplitude times a deviate for each of the P neurons from `first` on
    void fill(real *out, uint32_t key, uint32_t step, uint32_t first, real amplitude) const {
        for (uint32_t l = 0; l < uint32_t(P); ++l) {
            const uint32_t u = draw(key, step, first + l);
            out[l] = amplitude * (table[u % SIZE] + table[u / SIZE % SIZE]);
        }
    }
private:
    std::vector<real> table;
};

}  // namespace eventprop
