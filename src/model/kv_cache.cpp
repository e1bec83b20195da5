// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::model {

kernels::KvLayout kv_layout(const ModelConfig& config, ComputeType compute) {
  return {.type = compute, .num_kv_heads = config.num_kv_heads, .key_dim = config.head_dim, .value_dim = config.head_dim};
}

KvTable& KvTable::operator=(KvTable&& other) {
  MOEBIUS_EXPECT(blocks_.empty());
  blocks_ = std::move(other.blocks_);
  other.blocks_.clear();
  return *this;
}

std::size_t KvCache::bytes(const kernels::KvLayout& layout, int num_layers, std::int64_t num_blocks) {
  return static_cast<std::size_t>(num_blocks) * static_cast<std::size_t>(num_layers) * layout.block_layer_bytes();
}

KvCache::KvCache(const kernels::KvLayout& layout, int num_layers, std::int64_t num_blocks)
    : layout_(layout), num_layers_(num_layers), num_blocks_(num_blocks) {
  MOEBIUS_EXPECT(num_layers > 0 && num_blocks > 0);
  const double wanted_bytes =
      static_cast<double>(num_blocks) * static_cast<double>(num_layers) * static_cast<double>(layout.block_layer_bytes());
  const auto refuse = [&] {
    throw Failure{ExitCode::does_not_fit,
                  fmt::format("the KV cache of {:.3g} bytes cannot be allocated ({} kv blocks of {} positions and {} layers) "
                              "lower limits.kv_tokens",
                              wanted_bytes, num_blocks, block_tokens, num_layers)};
  };
  // More blocks than a table can number, or more bytes than a process of 48-bit addresses may have.
  if (num_blocks > std::numeric_limits<std::int32_t>::max() || wanted_bytes > 0x1p47) refuse();
  try {
    // Not initialised: pages that no sequence reaches are never touched.
    memory_ = decltype(memory_)(Kokkos::view_alloc("kv_cache", Kokkos::WithoutInitializing), bytes());
  } catch (const std::exception&) {
    refuse();
  }
  num_holders_.assign(static_cast<std::size_t>(num_blocks), 0);
  free_blocks_.reserve(static_cast<std::size_t>(num_blocks));
  for (std::int64_t block = num_blocks; block-- > 0;) free_blocks_.push_back(static_cast<std::int32_t>(block));
}

bool KvCache::reserve(std::int64_t blocks) {
  MOEBIUS_EXPECT(blocks >= 0);
  if (blocks > num_blocks_ - num_reserved_) return false;
  num_reserved_ += blocks;
  return true;
}

void KvCache::release(std::int64_t blocks) {
  MOEBIUS_EXPECT(blocks >= 0 && blocks <= num_reserved_);
  MOEBIUS_EXPECT(num_used_ <= num_reserved_ - blocks);  // a table outlived its reservation
  num_reserved_ -= blocks;
}

std::int32_t KvCache::take_block() {
  MOEBIUS_EXPECT(num_used_ < num_reserved_);  // more blocks than were reserved
  MOEBIUS_ENSURE(!free_blocks_.empty());
  const std::int32_t block = free_blocks_.back();
  free_blocks_.pop_back();
  std::int32_t& num_holders = num_holders_[static_cast<std::size_t>(block)];
  MOEBIUS_ENSURE(num_holders == 0);
  num_holders = 1;
  ++num_used_;
  max_used_ = std::max(max_used_, num_used_);
  return block;
}

void KvCache::append_until(KvTable& table, int num_tokens) {
  MOEBIUS_EXPECT(num_tokens >= 0);
  while (table.num_positions() < num_tokens) table.blocks_.push_back(take_block());
}

KvTable KvCache::fork(const KvTable& parent, int num_tokens) {
  MOEBIUS_EXPECT(num_tokens >= 0 && num_tokens <= parent.num_positions());
  const int num_full = num_tokens / block_tokens;
  KvTable child;
  child.blocks_.assign(parent.blocks_.begin(), parent.blocks_.begin() + num_full);
  if (num_tokens % block_tokens != 0) {
    const std::int32_t copy = take_block();  // before the shared blocks are counted: it may throw
    child.blocks_.push_back(copy);
    const std::int32_t original = parent.blocks_[static_cast<std::size_t>(num_full)];
    std::memcpy(memory_.data() + offset(copy, LayerId(0)), memory_.data() + offset(original, LayerId(0)),
                static_cast<std::size_t>(num_layers_) * layout_.block_layer_bytes());
  }
  for (int i = 0; i < num_full; ++i) ++num_holders_[static_cast<std::size_t>(parent.blocks_[static_cast<std::size_t>(i)])];
  return child;
}

void KvCache::free(KvTable& table) {
  // Backwards, so that the next sequence gets the blocks in the same order.
  while (!table.blocks_.empty()) {
    const std::int32_t block = table.blocks_.back();
    table.blocks_.pop_back();
    std::int32_t& num_holders = num_holders_[static_cast<std::size_t>(block)];
    MOEBIUS_EXPECT(num_holders > 0);  // freed twice
    if (--num_holders > 0) continue;
    free_blocks_.push_back(block);
    --num_used_;
  }
}

std::size_t KvCache::offset(std::int32_t block, LayerId layer) const {
  return (static_cast<std::size_t>(block) * static_cast<std::size_t>(num_layers_) + layer.idx()) * layout_.block_layer_bytes();
}

std::byte* KvCache::block(const KvTable& table, int block_idx, LayerId layer) {
  MOEBIUS_EXPECT(block_idx >= 0 && block_idx < table.num_blocks() && layer.valid() && layer.value < num_layers_);
  return memory_.data() + offset(table.blocks_[static_cast<std::size_t>(block_idx)], layer);
}

void KvCache::block_pointers(const KvTable& table, LayerId layer, int num_tokens, const std::byte** pointers) const {
  MOEBIUS_EXPECT(num_tokens <= table.num_positions() && layer.valid() && layer.value < num_layers_);
  const int num_blocks = blocks_for(num_tokens);
  for (int i = 0; i < num_blocks; ++i) pointers[i] = memory_.data() + offset(table.blocks_[static_cast<std::size_t>(i)], layer);
}

}  // namespace moebius::model
