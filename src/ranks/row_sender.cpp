// SPDX-License-Identifier: Apache-2.0
#include "ranks/row_sender.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"

namespace moebius::ranks {

namespace {

bool begins_row(std::span<const RowPair> pairs, std::size_t i) { return i == 0 || pairs[i].tag.row != pairs[i - 1].tag.row; }

/// Tags, pairs, and each hidden state once. block: layout.total_bytes for these rows and pairs.
void write_dispatch(std::span<const RowPair> pairs, const model::RowExchange& rows, std::size_t row_bytes, const BlockLayout& layout,
                    std::span<std::byte> block) {
  std::size_t row = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const bool new_row = begins_row(pairs, i);
    if (new_row && i > 0) ++row;
    store_at(block, layout.pairs_offset, i,
             ExpertPair{static_cast<std::uint16_t>(row), static_cast<std::uint16_t>(pairs[i].tag.k_idx), pairs[i].place});
    if (!new_row) continue;
    store_at(block, 0, row, pairs[i].tag.row);
    std::memcpy(block.data() + layout.data_offset + row * row_bytes, rows.input(static_cast<std::int32_t>(pairs[i].tag.row)), row_bytes);
  }
}

}  // namespace

RingSender::RingSender(Outbox& outbox, const model::RowExchange& rows, std::size_t row_bytes, int experts_per_token,
                       std::size_t max_payload_bytes, std::span<const RankId> in_reach, PartEnds ends)
    : outbox_(outbox),
      rows_(rows),
      row_bytes_(row_bytes),
      max_rows_per_block_(max_dispatch_rows(max_payload_bytes, static_cast<std::size_t>(experts_per_token), row_bytes)),
      max_pairs_in_place_(max_payload_bytes / sizeof(RowPair)),
      ends_(ends) {
  MOEBIUS_EXPECT(max_rows_per_block_ > 0 && max_pairs_in_place_ > 0);
  for (const RankId rank : in_reach) {
    if (in_reach_.size() <= rank.idx()) in_reach_.resize(rank.idx() + 1);
    in_reach_[rank.idx()] = 1;
  }
}

void RingSender::send(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part) {
  if (to.idx() < in_reach_.size() && in_reach_[to.idx()] != 0) {
    for (std::size_t begin = 0; begin < pairs.size(); begin += max_pairs_in_place_) {
      const std::size_t num_pairs = std::min(max_pairs_in_place_, pairs.size() - begin);
      send_in_place(layer, generation, to, pairs.subspan(begin, num_pairs), part, begin + num_pairs == pairs.size() ? Block::last : Block::more_to_come);
    }
    return;
  }
  while (!pairs.empty()) {  // each block takes as many whole rows as fit
    std::size_t num_rows = 0, end = 0;
    for (; end < pairs.size(); ++end) {
      const bool new_row = begins_row(pairs, end);
      if (new_row && num_rows == max_rows_per_block_) break;
      num_rows += new_row ? 1 : 0;
    }
    send_rows(layer, generation, to, pairs.first(end), part, end == pairs.size() ? Block::last : Block::more_to_come);
    pairs = pairs.subspan(end);
  }
}

std::uint16_t RingSender::kind(BlockKind kind, Block block) const {
  const bool marked = ends_ == PartEnds::marked && block == Block::last;
  return static_cast<std::uint16_t>(static_cast<std::uint16_t>(kind) | (marked ? part_end : 0));
}

void RingSender::send_in_place(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part, Block block) {
  const comm::MessageHeader header{.kind = kind(BlockKind::dispatch_in_place, block),
                                   .layer = static_cast<std::uint16_t>(layer.value),
                                   .generation = generation,
                                   .num_rows = 0,
                                   .num_pairs = static_cast<std::uint32_t>(pairs.size()),
                                   .micro_batch = part.micro_batch,
                                   .part = part.part};
  outbox_.send(to, header, pairs.size_bytes(), [&](std::span<std::byte> bytes) {
    std::memcpy(bytes.data(), pairs.data(), pairs.size_bytes());
  });
}

void RingSender::send_rows(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part, Block block) {
  std::size_t num_rows = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) num_rows += begins_row(pairs, i) ? 1 : 0;
  const BlockLayout layout = dispatch_layout(num_rows, pairs.size(), row_bytes_);
  const comm::MessageHeader header{.kind = kind(BlockKind::dispatch, block),
                                   .layer = static_cast<std::uint16_t>(layer.value),
                                   .generation = generation,
                                   .num_rows = static_cast<std::uint32_t>(num_rows),
                                   .num_pairs = static_cast<std::uint32_t>(pairs.size()),
                                   .micro_batch = part.micro_batch,
                                   .part = part.part};
  outbox_.send(to, header, layout.total_bytes, [&](std::span<std::byte> bytes) { write_dispatch(pairs, rows_, row_bytes_, layout, bytes); });
}

}  // namespace moebius::ranks
