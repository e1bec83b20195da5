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
  part.tag = {header.micro_batch, header.part};
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

void PartQueue::merge(std::vector<Share>& shares, const Arrival& part) {
  while (shares.size() < part.rows_of.size()) shares.push_back({.place = PlaceId(shares.size()), .rows_of = {}});
  for (std::size_t place = 0; place < part.rows_of.size(); ++place) {
    if (part.rows_of[place] == 0) continue;
    shares[place].num_rows += part.rows_of[place];
    shares[place].rows_of.push_back({part.source, part.rows_of[place]});
  }
}

PartQueue::Part PartQueue::take() {
  MOEBIUS_EXPECT(!whole_.empty());
  Part taken{.layer = whole_.front().layer, .sources = {}, .shares = {}};
  std::deque<Arrival> left;
  for (Arrival& part : whole_) {
    if (part.layer != taken.layer || std::ranges::find(taken.sources, part.source, &std::pair<RankId, PartTag>::first) != taken.sources.end()) {
      left.push_back(std::move(part));
      continue;
    }
    taken.sources.emplace_back(part.source, part.tag);
    merge(taken.shares, part);
  }
  whole_ = std::move(left);
  std::erase_if(taken.shares, [](const Share& share) { return share.num_rows == 0; });
  return taken;
}

}  // namespace moebius::ranks
