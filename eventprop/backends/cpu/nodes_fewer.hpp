// Fewer nodes: functions that belong together are known everywhere from their values at as many nodes as there are really
// different ones among them.
#pragma once
#include <cmath>
#include <vector>

#include "layers.hpp"

namespace eventprop {

// Chooses among n nodes by the values of some functions there, [function][n], which are used up. `from[m][q]`: how much of the value
// at node m is that at the q-th one chosen, such that no function is off by more than `tolerance`. Each choice is
// the largest value that is left, of which the same multiple of all functions is taken off (adaptive cross approximation).
[[gnu::cold]] inline std::vector<int> choose_nodes(std::vector<double> values, int n, double tolerance, double (*from)[MOST_NODES]) {
    const std::vector<double> all = values;
    const size_t functions = values.size() / size_t(n);
    std::vector<int> chosen;
    std::vector<size_t> rows;
    while (int(chosen.size()) < n) {
        size_t top = 0;
        for (size_t i = 1; i < values.size(); ++i)
            if (std::fabs(values[i]) > std::fabs(values[top])) top = i;
        if (std::fabs(values[top]) <= tolerance) break;
        const size_t row = top / n, node = top % n;
        double pivot[MOST_NODES];
        for (int m = 0; m < n; ++m) pivot[m] = values[row * n + m] / values[top];
        for (size_t f = 0; f < functions; ++f) {
            const double part = values[f * n + node];
            for (int m = 0; m < n; ++m) values[f * n + m] -= part * pivot[m];
        }
        chosen.push_back(int(node));
        rows.push_back(row);
    }
    // all[rows][m] = sum over q of all[rows][chosen[q]] * from[m][q], by elimination in the order of choice
    const int r = int(chosen.size());
    double a[MOST_NODES][2 * MOST_NODES];
    for (int i = 0; i < r; ++i) {
        for (int q = 0; q < r; ++q) a[i][q] = all[rows[i] * n + chosen[q]];
        for (int m = 0; m < n; ++m) a[i][r + m] = all[rows[i] * n + m];
    }
    for (int i = 0; i < r; ++i)
        for (int j = 0; j < r; ++j) {
            if (j == i) continue;
            const double factor = a[j][i] / a[i][i];
            for (int m = i; m < r + n; ++m) a[j][m] -= factor * a[i][m];
        }
    for (int m = 0; m < n; ++m)
        for (int q = 0; q < r; ++q) from[m][q] = a[q][r + m] / a[q][q];
    return chosen;
}

}  // namespace eventprop
