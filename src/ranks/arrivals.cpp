// SPDX-License-Identifier: Apache-2.0
#include "ranks/arrivals.hpp"

#include <algorithm>

#include "ranks/wire.hpp"

namespace moebius::ranks {

void Arrivals::came(RankId from, const comm::MessageHeader& header, std::size_t payload_bytes, const Way& way) {
  if (timeline_ == nullptr) return;
  const BlockKind kind = kind_of(header);
  const bool outputs = kind == BlockKind::expert_outputs || kind == BlockKind::expert_outputs_in_place;
  if (!outputs && kind != BlockKind::dispatch && kind != BlockKind::dispatch_in_place) return;
  timeline_->add(Transfer{.begin_s = way.begin_s,
                          .end_s = way.end_s,
                          .link_s = way.link_s,
                          .pairs = outputs ? header.num_rows : header.num_pairs,
                          .bytes = static_cast<std::int64_t>(payload_bytes),
                          .from = from.value,
                          .layer = header.layer,
                          .micro_batch = header.micro_batch,
                          .part = header.part,
                          .call = outputs ? static_cast<std::int32_t>(header.generation) : -1});
}

void Arrivals::ended_waiting(double idle_since_s, double begin_s, double end_s) {
  exposed_s_ += std::max(0.0, end_s - std::max(idle_since_s, begin_s));
}

}  // namespace moebius::ranks
