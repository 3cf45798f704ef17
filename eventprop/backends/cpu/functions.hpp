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

// phi(z) = (exp(z) - 1) / z, its derivative, and both by the fast exponentials.
template <class T> T phi(T z) { return z == T(0) ? T(1) : std::expm1(z) / z; }
template <class T> T phi_slope_with(T z, T exp_z, T phi_z) {
    const T series = T(0.5) + z * (T(1) / 3 + z * (T(0.125) + z * (T(1) / 30 + z * (T(1) / 144 + z * (T(1) / 840 + z * (T(1) / 5760 + z / 45360))))));
    return std::fabs(z) < T(0.3) ? series : (exp_z - phi_z) / z;
}
template <class T> T phi_slope(T z) { return phi_slope_with(z, std::exp(z), phi(z)); }
template <class T> T fast_phi(T z) {
    const T direct = fast_expm1(z) / z;
    return z == T(0) ? T(1) : direct;
}
template <class T> T fast_phi_slope(T z) { return phi_slope_with(z, fast_exp(z), fast_phi(z)); }

// exp(a dt) in the place of a, [N][N]: a Taylor series of the matrix halved until it is small, then squared as often.
template <int N> void exponential(double *a, double dt) {
    double norm = 0;
    for (int i = 0; i < N; ++i) {
        double sum = 0;
        for (int j = 0; j < N; ++j) sum += std::fabs(a[i * N + j] * dt);
        norm = larger(norm, sum);
    }
    int halvings = 0;
    for (; norm > 0.25 && halvings < 1000; norm /= 2) ++halvings;
    const double h = std::ldexp(dt, -halvings);
    double sum[N * N], term[N * N], next[N * N];
    auto multiply = [&](const double *x, const double *y, double factor) {
        for (int i = 0; i < N; ++i)
            for (int j = 0; j < N; ++j) {
                double s = 0;
                for (int k = 0; k < N; ++k) s += x[i * N + k] * y[k * N + j];
                next[i * N + j] = s * factor;
            }
    };
    for (int i = 0; i < N * N; ++i) sum[i] = term[i] = i % (N + 1) == 0 ? 1.0 : 0.0;
    for (int k = 1; k <= 14; ++k) {
        multiply(term, a, h / k);
        for (int i = 0; i < N * N; ++i) sum[i] += term[i] = next[i];
    }
    for (; halvings > 0; --halvings) {
        multiply(sum, sum, 1.0);
        for (int i = 0; i < N * N; ++i) sum[i] = next[i];
    }
    for (int i = 0; i < N * N; ++i) a[i] = sum[i];
}

}  // namespace eventprop
