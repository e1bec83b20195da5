// SPDX-License-Identifier: Apache-2.0
#pragma once
// Token blocks as bytes: what one attention rank and one expert rank say to each other.
// Blocks travel inside one job between ranks of the same build, so numbers are in native byte order.
//
//   dispatch (attention -> expert)           expert outputs (expert -> attention)
//     RowTag    [num_rows]                     OutputTag [num_rows]
//     ExpertPair[num_pairs]                    padding to 64 bytes
//     padding to 64 bytes                      fp32 output [num_rows, hidden_size]
//     hidden state [num_rows, hidden_size] in the compute type, each row once
//   fin (attention -> expert): empty; nothing follows from this source
//
// Where both ranks reach the attention rank's RowExchange, blocks name rows and carry none; the message orders who may
// touch the row:
//
//   dispatch in place                        expert outputs in place
//     RowPair[num_pairs]                       OutputTag[num_rows]
//
// In a pipeline the last block of a token part says so in its kind (part_end); blocks of a source come in order, and outputs
// name the part that their rows came with. The generation of expert outputs is the number of the expert call, from 0.
//
// A RowTag is opaque to the expert rank, which gives it back with the outputs: no state of a request
// ever lives on an expert rank.

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.hpp"
#include "base/ids.hpp"
#include "comm/transport.hpp"

namespace moebius::ranks {

enum class BlockKind : std::uint16_t {
  dispatch = 1,
  expert_outputs = 2,
  fin = 3,
  dispatch_in_place = 4,
  expert_outputs_in_place = 5,
};

/// On the kind of the last block of a token part, where there are parts (schedule.execution = pipeline).
constexpr std::uint16_t part_end = 0x8000;

inline BlockKind kind_of(const comm::MessageHeader& header) { return static_cast<BlockKind>(header.kind & ~part_end); }
inline bool ends_part(const comm::MessageHeader& header) { return (header.kind & part_end) != 0; }

/// Which token part of which micro-batch of its attention rank rows belong to; it goes to the experts and back. -1: no pipeline.
struct PartTag {
  std::int32_t micro_batch = -1, part = -1;
};

/// So many rows of one attention rank.
struct SourceRows {
  RankId source;
  std::int64_t num_rows = 0;
};

using RowTag = std::uint32_t;  ///< row of the attention rank's TokenStates

/// One (row, physical expert) pair of a dispatch block.
struct ExpertPair {
  std::uint16_t row_in_block;
  std::uint16_t k_idx;   ///< position in the row's top-k, given back with the output
  std::int32_t place;    ///< PlaceId of the physical expert on the destination
};

/// Which top-k entry of which row an expert output belongs to.
struct OutputTag {
  RowTag row;
  std::uint32_t k_idx;
};

/// One (row, physical expert) pair whose hidden state stands in the RowExchange.
struct RowPair {
  OutputTag tag;
  std::int32_t place;  ///< PlaceId of the physical expert on the destination
};

/// Byte positions of the parts of a block.
struct BlockLayout {
  std::size_t pairs_offset = 0, data_offset = 0, total_bytes = 0;
};

constexpr std::size_t round_up_64(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

constexpr BlockLayout dispatch_layout(std::size_t num_rows, std::size_t num_pairs, std::size_t row_bytes) {
  const std::size_t pairs_offset = round_up_64(num_rows * sizeof(RowTag));
  const std::size_t data_offset = round_up_64(pairs_offset + num_pairs * sizeof(ExpertPair));
  return {pairs_offset, data_offset, data_offset + num_rows * row_bytes};
}

constexpr BlockLayout outputs_layout(std::size_t num_rows, std::size_t row_bytes) {
  const std::size_t data_offset = round_up_64(num_rows * sizeof(OutputTag));
  return {0, data_offset, data_offset + num_rows * row_bytes};
}

/// Most rows that surely fit into a dispatch block of `payload_bytes`, each with up to k pairs.
constexpr std::size_t max_dispatch_rows(std::size_t payload_bytes, std::size_t k, std::size_t row_bytes) {
  std::size_t rows = 0;
  while (rows < UINT16_MAX && dispatch_layout(rows + 1, (rows + 1) * k, row_bytes).total_bytes <= payload_bytes) ++rows;
  return rows;
}

/// Most rows that fit into a block of expert outputs.
constexpr std::size_t max_output_rows(std::size_t payload_bytes, std::size_t row_bytes) {
  std::size_t rows = 0;
  while (rows < UINT16_MAX && outputs_layout(rows + 1, row_bytes).total_bytes <= payload_bytes) ++rows;
  return rows;
}

/// The i-th T of an array that starts at `offset`; a copy, since payloads promise no type.
template <class T>
T load_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t i) {
  T value;
  MOEBIUS_EXPECT(offset + (i + 1) * sizeof(T) <= bytes.size());
  std::memcpy(&value, bytes.data() + offset + i * sizeof(T), sizeof(T));
  return value;
}

/// Fetches the lines of a row that is soon written. Rows lie apart, so the processor cannot guess them; copying
/// them would wait for each.
inline void prefetch_for_write(const void* row, std::size_t bytes) {
  constexpr std::size_t line_bytes = 64;
  for (std::size_t at = 0; at < bytes; at += line_bytes) __builtin_prefetch(static_cast<const std::byte*>(row) + at, 1);
}

/// The same for one that is soon read, out of another core's cache.
inline void prefetch_for_read(const void* row, std::size_t bytes) {
  constexpr std::size_t line_bytes = 64;
  for (std::size_t at = 0; at < bytes; at += line_bytes) __builtin_prefetch(static_cast<const std::byte*>(row) + at, 0);
}

template <class T>
void store_at(std::span<std::byte> bytes, std::size_t offset, std::size_t i, const T& value) {
  std::memcpy(bytes.data() + offset + i * sizeof(T), &value, sizeof(T));
}

}  // namespace moebius::ranks
