// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages that came to a rank, as they tell of communication: their times on the way, where the job records a timeline, and
// how long the rank had no work while one was on its way to it: communication that nothing hid.
//
// In real time a message is under way from the moment at which its sender handed it over until this rank looks for it; both
// read one clock, so that the ranks have to be on one node. In slow motion it is under way while it takes up the link into
// this rank. A message that waits for the link while another is on it adds nothing of its own.

#include <cstddef>

#include "base/timeline.hpp"
#include "comm/transport.hpp"

namespace moebius::ranks {

class Arrivals {
 public:
  struct Way {
    double begin_s = 0, end_s = 0, link_s = 0;  ///< as in Transfer
  };
  /// From here on `timeline` hears of every block of rows; nullptr: nobody does.
  void record_in(Timeline* timeline) { timeline_ = timeline; }
  [[nodiscard]] bool recording() const { return timeline_ != nullptr; }
  /// A message was handed over.
  void came(RankId from, const comm::MessageHeader& header, std::size_t payload_bytes, const Way& way);
  /// The rank had no work since `idle_since_s`; a message that was under way since `begin_s` came at `end_s`.
  void ended_waiting(double idle_since_s, double begin_s, double end_s);
  /// Without work while a message was under way.
  [[nodiscard]] double exposed_s() const { return exposed_s_; }

 private:
  Timeline* timeline_ = nullptr;
  double exposed_s_ = 0;
};

}  // namespace moebius::ranks
