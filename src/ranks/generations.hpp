// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which generation of the placement an attention rank sends by, and whether anything that it sent by an older one is still
// to be answered: only then are the places of that one free of it. One older generation at a time, since the next change
// begins when all have left the last one.

#include <cstdint>

#include "base/check.hpp"

namespace moebius::ranks {

class Generations {
 public:
  [[nodiscard]] std::uint32_t current() const { return current_; }
  /// From here on everything is sent by this generation.
  void begin(std::uint32_t generation) {
    MOEBIUS_EXPECT(generation > current_ && older_in_flight_ == 0);
    current_ = generation;
    older_in_flight_ = current_in_flight_;
    current_in_flight_ = 0;
  }
  /// A segment was sent to experts; returns the generation that answered() is to be told.
  std::uint32_t sent() {
    ++current_in_flight_;
    return current_;
  }
  /// All outputs of the segment are back.
  void answered(std::uint32_t generation) {
    std::int64_t& in_flight = generation == current_ ? current_in_flight_ : older_in_flight_;
    MOEBIUS_EXPECT(in_flight > 0 && generation <= current_);
    --in_flight;
  }
  /// Nothing of an older generation is to be answered.
  [[nodiscard]] bool only_current() const { return older_in_flight_ == 0; }

 private:
  std::uint32_t current_ = 0;
  std::int64_t current_in_flight_ = 0, older_in_flight_ = 0;  // segments
};

}  // namespace moebius::ranks
