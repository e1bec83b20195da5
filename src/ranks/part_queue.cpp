// SPDX-License-Identifier: Apache-2.0
#include "ranks/part_queue.hpp"

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {

void PartQueue::add(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
  if (open_.size() <= from.idx()) open_.resize(from.idx() + 1);
  Arrival& part = open_[from.idx()];
  part.source = from;
  part.layer = header.layer;
  const bool in_place = kind_of(header) == BlockKind::dispatch_in_place;
  const std::size_t pairs_offset = dispatch_layout(header.num_rows, header.num_pairs, 0).pairs_offset;
  for (std::size_t i = 0; i < header.num_pairs; ++i) {
    const std::int32_t place = in_place ? load_at<RowPair>(payload, 0, i).place : load_at<ExpertPair>(payload, pairs_offset, i).place;
    MOEBIUS_EXPECT(place >= 0);
    if (part.rows_of.size() <= static_cast<std::size_t>(place)) part.rows_of.resize(static_cast<std::size_t>(place) + 1, 0);
    ++part.rows_of[static_cast<std::size_t>(place)];
  }
  if (!ends_part(header)) return;
  whole_.push_back(std::exchange(part, {}));
}

void PartQueue::merge(std::vector<std::int64_t>& rows_of, const std::vector<std::int64_t>& more) {
  if (rows_of.size() < more.size()) rows_of.resize(more.size(), 0);
  for (std::size_t place = 0; place < more.size(); ++place) rows_of[place] += more[place];
}

PartQueue::Part PartQueue::take() {
  MOEBIUS_EXPECT(!whole_.empty());
  const int layer = whole_.front().layer;
  std::vector<std::int64_t> rows_of;
  std::vector<RankId> taken;
  std::deque<Arrival> left;
  for (Arrival& part : whole_) {
    if (part.layer != layer || std::ranges::find(taken, part.source) != taken.end()) {
      left.push_back(std::move(part));
      continue;
    }
    taken.push_back(part.source);
    merge(rows_of, part.rows_of);
  }
  whole_ = std::move(left);
  Part part{.layer = layer, .shares = {}};
  for (std::size_t place = 0; place < rows_of.size(); ++place) {
    if (rows_of[place] > 0) part.shares.push_back({PlaceId(place), rows_of[place]});
  }
  return part;
}

}  // namespace moebius::ranks
