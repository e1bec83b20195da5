// SPDX-License-Identifier: Apache-2.0
#pragma once
// Token parts that have arrived at an expert rank of a pipeline: whole ones, in the order in which their last block came. A
// part is the rows of one micro-batch that one attention rank sent here at once (policy/pipeline_schedule.hpp); its rows wait in the
// micro-queues of ExpertSide, which keep the order of each source, so that it is enough to know how many there are of each place.

#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "comm/transport.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {

class PartQueue {
 public:
  struct Share {
    PlaceId place;
    std::int64_t num_rows = 0;
    std::vector<SourceRows> rows_of;  ///< of each source with rows here
  };
  struct Part {
    int layer = 0;
    std::vector<std::pair<RankId, PartTag>> sources;  ///< a part of each
    std::vector<Share> shares;  ///< ascending places, each with rows
  };

  /// A dispatch block whose rows joined the micro-queues. Blocks of a source come in order.
  void add(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload);
  /// No part is whole.
  [[nodiscard]] bool empty() const { return whole_.empty(); }
  /// The oldest whole part, with one of each other source that waits for the same layer: their weights are read once.
  Part take();

 private:
  struct Arrival {
    RankId source;
    PartTag tag;
    int layer = 0;
    std::vector<std::int64_t> rows_of;  // [places, as far as there were rows]
  };
  static void merge(std::vector<Share>& shares, const Arrival& part);

  std::vector<Arrival> open_;  // [sources] of which more blocks are to come
  std::deque<Arrival> whole_;
};

}  // namespace moebius::ranks
