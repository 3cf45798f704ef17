// Functions without branches, which the compiler turns into vector code. The exponentials are right to rounding in float, and
// the library's in double.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace eventprop {

template <class T> T larger(T a, T b) { return a > b ? a : b; }
template <class T> T smaller(T a, T b) { return a < b ? a : b; }

// exp(x) = 2^n exp(r), |r| <= log(2) / 2, with a polynomial for exp(r) (Cephes, Moshier 1989).
inline float fast_exp(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float n = std::floor(x * 1.44269504088896341f + 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return y * power;
}
inline float fast_expm1(float x) {
    const float series =
        x * (1.0f + x * (0.5f + x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120 + x * (1.0f / 720 + x * (1.0f / 5040)))))));
    const float direct = fast_exp(x) - 1.0f;
    return std::fabs(x) < 0.4f ? series : direct;
}
inline double fast_exp(double x) { return std::exp(x); }
inline double fast_expm1(double x) { return std::expm1(x); }

}  // namespace eventprop
