// SPDX-License-Identifier: Apache-2.0
#include "policy/link_model.hpp"

#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {

std::vector<double> departures_s(double ready_s, std::size_t self, std::span<const double> message_s) {
  std::vector<double> begin(message_s.size(), ready_s);
  LinkEnd out;
  for (std::size_t i = 1; i < message_s.size(); ++i) {
    const std::size_t to = (self + i) % message_s.size();
    begin[to] = out.begin_s(ready_s);
    if (message_s[to] > 0) out.take(begin[to], message_s[to]);
  }
  return begin;
}

namespace {

/// What comes in takes the link one after the other, in the order in which it begins: calls see(begin, end) for each block.
template <class See>
void let_in(std::span<const double> begin_s, std::span<const double> message_s, See see) {
  MOEBIUS_EXPECT(begin_s.size() == message_s.size());
  std::vector<std::size_t> order(begin_s.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t from) { return begin_s[from]; });
  LinkEnd in;
  for (const std::size_t from : order) {
    if (message_s[from] <= 0) continue;
    const double block_begin_s = in.begin_s(begin_s[from]);
    in.take(block_begin_s, message_s[from]);
    see(block_begin_s, in.free_s());
  }
}

}  // namespace

double exchange_end_s(double ready_s, double sent_s, std::span<const double> begin_s, std::span<const double> message_s) {
  double end_s = std::max(ready_s, sent_s);
  let_in(begin_s, message_s, [&](double /*begin*/, double end) { end_s = std::max(end_s, end); });
  return end_s;
}

double exchange_busy_s(double ready_s, double sent_s, std::span<const double> begin_s, std::span<const double> message_s) {
  const double alone_from_s = std::max(ready_s, sent_s);  // before, the link out is busy anyway
  double busy_s = alone_from_s - ready_s;
  let_in(begin_s, message_s, [&](double begin, double end) { busy_s += std::max(0.0, end - std::max(begin, alone_from_s)); });
  return busy_s;
}

}  // namespace moebius::policy
