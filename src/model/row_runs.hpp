// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of TokenStates are handed out in runs, so that a kernel can take many rows that lie side by side in
// one call. Used by the stacks; the cut into runs changes no bits, since kernels treat rows independently.

#include <cstddef>
#include <cstdint>
#include <span>

namespace moebius::model {

/// Calls f(index of the run's first row in `rows`, its id, number of rows) for each run of ids that follow
/// one another.
template <class F>
void for_each_run(std::span<const std::int32_t> rows, const F& f) {
  for (std::size_t first = 0; first < rows.size();) {
    std::size_t end = first + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    f(first, rows[first], static_cast<int>(end - first));
    first = end;
  }
}

}  // namespace moebius::model
