// SPDX-License-Identifier: Apache-2.0
#pragma once
// A set of lines of the input: a bit a line.

#include <cstdint>
#include <vector>

#include "base/check.hpp"

namespace moebius::io {

class LineSet {
 public:
  /// `line` is 1-based. True where it is new.
  bool insert(std::int64_t line) {
    MOEBIUS_EXPECT(line >= 1);
    const auto idx = static_cast<std::size_t>(line);
    if (idx >= lines_.size()) lines_.resize(idx + 1);
    const bool is_new = !lines_[idx];
    lines_[idx] = true;
    if (is_new) ++num_lines_;
    return is_new;
  }
  [[nodiscard]] bool contains(std::int64_t line) const {
    return line >= 0 && static_cast<std::size_t>(line) < lines_.size() && lines_[static_cast<std::size_t>(line)];
  }
  [[nodiscard]] std::int64_t size() const { return num_lines_; }

 private:
  std::vector<bool> lines_;  // [last line + 1]
  std::int64_t num_lines_ = 0;
};

}  // namespace moebius::io
