// SPDX-License-Identifier: Apache-2.0
#pragma once
// How rows leave an attention rank for the experts of another: the difference between ways of execution.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/row_exchange.hpp"
#include "ranks/outbox.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {

class RowSender {
 public:
  virtual ~RowSender() = default;
  /// Rows of a micro-batch for experts of `to`, by a generation of the placement; their hidden states stand in the exchange
  /// of this rank. The pairs of a row are side by side.
  virtual void send(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part) = 0;
};

/// Through rings, at once: only the pairs where `to` reaches the exchange, else each hidden state once beside them.
/// Whether the last block of each send says so: it is a token part.
enum class PartEnds : std::uint8_t { unmarked, marked };

class RingSender final : public RowSender {
 public:
  /// row_bytes: of a hidden state. in_reach: expert ranks that reach `rows`.
  RingSender(Outbox& outbox, const model::RowExchange& rows, std::size_t row_bytes, int experts_per_token,
             std::size_t max_payload_bytes, std::span<const RankId> in_reach, PartEnds ends);
  void send(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part) override;

 private:
  enum class Block : std::uint8_t { more_to_come, last };
  void send_in_place(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part, Block block);
  void send_rows(LayerId layer, std::uint32_t generation, RankId to, std::span<const RowPair> pairs, PartTag part, Block block);
  [[nodiscard]] std::uint16_t kind(BlockKind kind, Block block) const;

  Outbox& outbox_;
  model::RowExchange rows_;
  std::size_t row_bytes_, max_rows_per_block_, max_pairs_in_place_;
  PartEnds ends_;
  std::vector<std::uint8_t> in_reach_;  // [num_ranks]
};

}  // namespace moebius::ranks
