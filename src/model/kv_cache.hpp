// SPDX-License-Identifier: Apache-2.0
#pragma once
// Keys and values of all positions that an attention rank works on, in kv blocks of 32 positions. A kv
// block holds its positions for every layer, [layer][KvLayout's block], so that a block is copied, shared
// or freed as one piece. Which block covers which positions of a sequence stands in its KvTable.
//
// Admission is by reservation: blocks are promised before a sequence starts and taken as it grows, so a
// sequence that was admitted never runs out. A block counts as reserved from its promise until no table
// holds it. Invariant: blocks in use <= blocks reserved <= num_blocks.
// A forked table shares its parent's full blocks; shared blocks are never written, since positions only
// grow. One thread; attention ranks only.
//
// Prefixes: a sequence may announce the full blocks of its tokens and publish each once it is written in
// all layers. A later sequence that begins with the same tokens adopts them. Published blocks outlive their
// tables: a block that nobody holds is kept until its memory is needed, least recently held first, and
// counts as free for reservations. Blocks in use + kept + free = num_blocks.

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "kernels/attention.hpp"
#include "model/prefix_index.hpp"

namespace moebius::model {

/// How keys and values of a model are stored. In latent attention all heads share one key, the compressed
/// one followed by its rotary part, and their value is the compressed one.
kernels::KvLayout kv_layout(const ModelConfig& config, ComputeType compute);

/// The kv blocks of one sequence, in order of position. It holds its blocks until KvCache::free; it moves
/// but does not copy, so no block is freed twice. Empty after a move and after free.
class KvTable {
 public:
  KvTable() = default;
  KvTable(KvTable&& other) noexcept { swap(other); }
  /// The table that is overwritten must be empty: its blocks would be lost.
  KvTable& operator=(KvTable&& other);

  [[nodiscard]] int num_blocks() const { return static_cast<int>(blocks_.size()); }
  /// Positions that have a block.
  [[nodiscard]] int num_positions() const { return num_blocks() * kernels::KvLayout::block_tokens; }

 private:
  friend class KvCache;
  void swap(KvTable& other) noexcept;
  std::vector<std::int32_t> blocks_;
  std::vector<std::int32_t> nodes_;    // of the prefix index, for the first blocks: adopted, then announced
  std::size_t num_published_ = 0;      // of nodes_
};

/// The first full blocks of a sequence that the cache knows.
struct PrefixMatch {
  int num_blocks = 0;             ///< written, may be adopted
  int num_unheld = 0;             ///< of these: nobody holds them, adopting takes as much of a reservation
  int num_announced = 0;          ///< after these: a sequence in the layers is about to write them
};

class KvCache {
 public:
  static constexpr int block_tokens = kernels::KvLayout::block_tokens;

  /// Memory is taken from the system when a block is first written, lowest blocks first. Throws
  /// Failure{does_not_fit} where the system refuses it.
  KvCache(const kernels::KvLayout& layout, int num_layers, std::int64_t num_blocks);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  [[nodiscard]] const kernels::KvLayout& layout() const { return layout_; }
  [[nodiscard]] int num_layers() const { return num_layers_; }
  [[nodiscard]] std::int64_t num_blocks() const { return num_blocks_; }
  [[nodiscard]] std::int64_t num_reserved() const { return num_reserved_; }
  [[nodiscard]] std::int64_t num_used() const { return num_used_; }
  /// Published blocks that nobody holds.
  [[nodiscard]] std::int64_t num_kept() const { return prefixes_.num_idle(); }
  [[nodiscard]] std::int64_t num_free() const { return static_cast<std::int64_t>(free_blocks_.size()); }
  /// Published blocks that were given up for their memory so far.
  [[nodiscard]] std::int64_t num_evicted() const { return num_evicted_; }
  /// Most blocks in use at any time so far.
  [[nodiscard]] std::int64_t max_used() const { return max_used_; }
  /// Of all blocks. Also as a function of the sizes, for plans.
  [[nodiscard]] std::size_t bytes() const { return bytes(layout_, num_layers_, num_blocks_); }
  static std::size_t bytes(const kernels::KvLayout& layout, int num_layers, std::int64_t num_blocks);

  /// Promise blocks; false, and nothing changed, where fewer are left.
  [[nodiscard]] bool reserve(std::int64_t blocks);
  /// Give promised blocks back that were not taken, or whose last holder has freed them.
  void release(std::int64_t blocks);

  [[nodiscard]] KvTable make_table() const { return {}; }
  /// Take reserved blocks until positions 0..num_tokens-1 have one. Returns how many it took.
  std::int64_t append_until(KvTable& table, int num_tokens);
  /// A table for a sequence that begins with the parent's first num_tokens positions, whose keys and values
  /// are written in all layers: full blocks are shared, a partly filled last one is copied (it takes one
  /// reserved block).
  [[nodiscard]] KvTable fork(const KvTable& parent, int num_tokens);
  /// Drop the table's hold on its blocks, and what it announced and did not publish; an empty table is
  /// fine. Returns how many blocks nobody holds any more: they are promised again, until release().
  std::int64_t free(KvTable& table);

  /// What the cache knows of the first max_blocks full blocks of `tokens`.
  [[nodiscard]] PrefixMatch match_prefix(std::span<const TokenId> tokens, int max_blocks) const;
  /// A table for a sequence that begins with `tokens`, holding the first num_blocks blocks, at most as many
  /// as match_prefix() gave. Those that nobody held are taken from the reservation.
  [[nodiscard]] KvTable adopt_prefix(std::span<const TokenId> tokens, int num_blocks);
  /// The table's sequence will write all full blocks of `tokens`: those after the adopted ones that nobody
  /// has announced yet become known. To be called before the table grows.
  void announce(KvTable& table, std::span<const TokenId> tokens);
  /// Positions 0..num_positions-1 are written in all layers: blocks announced there may be adopted.
  void publish(KvTable& table, int num_positions);
  /// Changes whenever match_prefix() may answer otherwise, but for num_unheld.
  [[nodiscard]] std::int64_t prefix_version() const { return prefixes_.version(); }

  /// The memory of one block of one layer. // [block_layer_bytes]
  [[nodiscard]] std::byte* block(const KvTable& table, int block_idx, LayerId layer);
  /// Where the blocks of one layer are that cover positions 0..num_tokens-1. Writes ceil(num_tokens / 32)
  /// pointers.
  void block_pointers(const KvTable& table, LayerId layer, int num_tokens, const std::byte** pointers) const;
  /// Blocks that num_tokens positions need.
  static constexpr int blocks_for(int num_tokens) { return (num_tokens + block_tokens - 1) / block_tokens; }

 private:
  [[nodiscard]] std::size_t offset(std::int32_t block, LayerId layer) const;
  std::int32_t take_block();
  void evict();
  /// A table more holds the block.
  void hold(std::int32_t block);

  kernels::KvLayout layout_;
  int num_layers_;
  std::int64_t num_blocks_;
  Kokkos::View<std::byte*, Kokkos::HostSpace> memory_;  // [num_blocks, num_layers, block_layer_bytes]
  std::vector<std::int32_t> num_holders_;               // [num_blocks] tables that hold the block
  std::vector<std::int32_t> free_blocks_;               // a stack; the lowest block on top at the start
  std::vector<std::int32_t> node_of_block_;             // [num_blocks] of the prefix index, or none
  PrefixIndex prefixes_;
  std::int64_t num_reserved_ = 0, num_used_ = 0, max_used_ = 0, num_evicted_ = 0;
};

}  // namespace moebius::model
