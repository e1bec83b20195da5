// SPDX-License-Identifier: Apache-2.0
#pragma once
// When messages between ranks arrive, for slow motion: a message takes latency + bytes / rate of the link, and one at a
// time leaves a rank, and one at a time enters it. Pure; all times in seconds of one clock, the same for all ranks.
//
// The message that begins to leave at s is there at max(s, when the receiver's last one was there) + its time: it flows
// through, sender and receiver are busy together.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace moebius::policy {

struct Link {
  std::string name;
  double latency_s = 0;
  double bytes_per_s = 0;
  [[nodiscard]] double message_s(double bytes) const { return latency_s + bytes / bytes_per_s; }
};

/// One direction of a rank's link: what it does with messages one after the other.
class LinkEnd {
 public:
  /// When a message that may go at `ready_s` begins.
  [[nodiscard]] double begin_s(double ready_s) const { return std::max(ready_s, free_s_); }
  [[nodiscard]] double free_s() const { return free_s_; }
  /// It is busy with a message that began at `begin_s` and takes so long.
  void take(double begin_s, double message_s) { free_s_ = begin_s + message_s; }

 private:
  double free_s_ = 0;
};

/// Of an exchange in which all ranks take part: when the block of rank `self` to each rank begins to leave. They leave in the
/// order of ranks, from the next one on and around; empty ones take no time. message_s: [num_ranks] time of each, 0: empty
std::vector<double> departures_s(double ready_s, std::size_t self, std::span<const double> message_s);
/// When the rank has sent its own blocks and has all of the others', which come in the order in which they began; both:
/// [num_ranks], message_s 0: empty.
double exchange_end_s(double ready_s, double sent_s, std::span<const double> begin_s, std::span<const double> message_s);

/// Of that time, how long blocks from or to the rank were on its links.
double exchange_busy_s(double ready_s, double sent_s, std::span<const double> begin_s, std::span<const double> message_s);

}  // namespace moebius::policy
