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

double exchange_end_s(double ready_s, double sent_s, std::span<const double> begin_s, std::span<const double> message_s) {
  MOEBIUS_EXPECT(begin_s.size() == message_s.size());
  std::vector<std::size_t> order(begin_s.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t from) { return begin_s[from]; });
  LinkEnd in;
  for (const std::size_t from : order) {
    if (message_s[from] > 0) in.take(in.begin_s(begin_s[from]), message_s[from]);
  }
  return std::max({ready_s, sent_s, in.free_s()});
}

}  // namespace moebius::policy
