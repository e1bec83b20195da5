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
#include "base/large_pages.hpp"

namespace moebius::model {

namespace {

std::span<const TokenId> block_of(std::span<const TokenId> tokens, int block_idx) {
  return tokens.subspan(static_cast<std::size_t>(block_idx) * KvCache::block_tokens, KvCache::block_tokens);
}

}  // namespace

kernels::KvLayout kv_layout(const ModelConfig& config, ComputeType compute) {
  if (config.is_mla()) {
    return {.type = compute,
            .num_kv_heads = 1,
            .key_dim = config.kv_lora_rank + config.qk_rope_head_dim,
            .value_dim = config.kv_lora_rank};
  }
  return {.type = compute, .num_kv_heads = config.num_kv_heads, .key_dim = config.head_dim, .value_dim = config.head_dim};
}

KvTable& KvTable::operator=(KvTable&& other) {
  MOEBIUS_EXPECT(blocks_.empty() && nodes_.empty());
  swap(other);
  return *this;
}

void KvTable::swap(KvTable& other) noexcept {
  blocks_.swap(other.blocks_);
  nodes_.swap(other.nodes_);
  std::swap(num_published_, other.num_published_);
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
    prefer_large_pages({memory_.data(), memory_.size()});
  } catch (const std::exception&) {
    refuse();
  }
  num_holders_.assign(static_cast<std::size_t>(num_blocks), 0);
  node_of_block_.assign(static_cast<std::size_t>(num_blocks), PrefixIndex::none);
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
  MOEBIUS_EXPECT(num_used_ <= num_reserved_ - blocks);  // blocks in use stay reserved
  num_reserved_ -= blocks;
}

std::int32_t KvCache::take_block() {
  MOEBIUS_EXPECT(num_used_ < num_reserved_);  // more blocks than were reserved
  if (free_blocks_.empty()) evict();
  const std::int32_t block = free_blocks_.back();
  free_blocks_.pop_back();
  MOEBIUS_ENSURE(num_holders_[static_cast<std::size_t>(block)] == 0);
  hold(block);
  return block;
}

void KvCache::hold(std::int32_t block) {
  if (++num_holders_[static_cast<std::size_t>(block)] > 1) return;
  ++num_used_;
  max_used_ = std::max(max_used_, num_used_);
}

void KvCache::evict() {
  const std::int32_t node = prefixes_.oldest_idle();
  MOEBIUS_ENSURE(node != PrefixIndex::none);  // fewer blocks are in use than there are
  const std::int32_t block = prefixes_.block(node);
  prefixes_.make_busy(node);
  prefixes_.erase(node);
  node_of_block_[static_cast<std::size_t>(block)] = PrefixIndex::none;
  free_blocks_.push_back(block);
  ++num_evicted_;
}

std::int64_t KvCache::append_until(KvTable& table, int num_tokens) {
  MOEBIUS_EXPECT(num_tokens >= 0);
  const int num_blocks_before = table.num_blocks();
  while (table.num_positions() < num_tokens) table.blocks_.push_back(take_block());
  return table.num_blocks() - num_blocks_before;
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
    for (int layer = 0; layer < num_layers_; ++layer) {
      kernels::copy_kv(layout_, memory_.data() + offset(original, LayerId(layer)), memory_.data() + offset(copy, LayerId(layer)),
                       num_tokens % block_tokens);
    }
  }
  for (int i = 0; i < num_full; ++i) hold(parent.blocks_[static_cast<std::size_t>(i)]);
  return child;
}

std::int64_t KvCache::free(KvTable& table) {
  for (; table.nodes_.size() > table.num_published_; table.nodes_.pop_back()) prefixes_.erase(table.nodes_.back());
  table.nodes_.clear();
  table.num_published_ = 0;
  // Backwards, so that the next sequence gets the blocks in the same order, and a prefix is kept longer
  // than what follows it.
  const std::int64_t num_used_before = num_used_;
  while (!table.blocks_.empty()) {
    const std::int32_t block = table.blocks_.back();
    table.blocks_.pop_back();
    std::int32_t& num_holders = num_holders_[static_cast<std::size_t>(block)];
    MOEBIUS_EXPECT(num_holders > 0);  // freed twice
    if (--num_holders > 0) continue;
    --num_used_;
    const std::int32_t node = node_of_block_[static_cast<std::size_t>(block)];
    if (node == PrefixIndex::none) {
      free_blocks_.push_back(block);
    } else {
      prefixes_.make_idle(node);
    }
  }
  return num_used_before - num_used_;
}

PrefixMatch KvCache::match_prefix(std::span<const TokenId> tokens, int max_blocks) const {
  PrefixMatch match;
  const int end = std::min(max_blocks, static_cast<int>(tokens.size()) / block_tokens);
  std::int32_t node = PrefixIndex::none;
  for (int i = 0; i < end; ++i) {
    node = prefixes_.find(node, block_of(tokens, i));
    if (node == PrefixIndex::none) break;
    // Blocks are written in order of their positions: none is written after one that is not.
    if (prefixes_.block(node) == PrefixIndex::none) {
      ++match.num_announced;
    } else {
      ++match.num_blocks;
      match.num_unheld += prefixes_.is_idle(node) ? 1 : 0;
    }
  }
  return match;
}

KvTable KvCache::adopt_prefix(std::span<const TokenId> tokens, int num_blocks) {
  KvTable table;
  std::int32_t node = PrefixIndex::none;
  for (int i = 0; i < num_blocks; ++i) {
    node = prefixes_.find(node, block_of(tokens, i));
    MOEBIUS_EXPECT(node != PrefixIndex::none && prefixes_.block(node) != PrefixIndex::none);
    if (prefixes_.is_idle(node)) {
      MOEBIUS_EXPECT(num_used_ < num_reserved_);  // more blocks than were reserved
      prefixes_.make_busy(node);
    }
    hold(prefixes_.block(node));
    table.blocks_.push_back(prefixes_.block(node));
    table.nodes_.push_back(node);
  }
  table.num_published_ = table.nodes_.size();
  return table;
}

void KvCache::announce(KvTable& table, std::span<const TokenId> tokens) {
  MOEBIUS_EXPECT(table.nodes_.size() == table.blocks_.size());  // it has not grown
  const int end = static_cast<int>(tokens.size()) / block_tokens;
  for (int i = table.num_blocks(); i < end; ++i) {
    const std::int32_t parent = table.nodes_.empty() ? PrefixIndex::none : table.nodes_.back();
    // What is known already belongs to another sequence: this one writes a block of its own, unseen.
    if (prefixes_.find(parent, block_of(tokens, i)) != PrefixIndex::none) return;
    table.nodes_.push_back(prefixes_.announce(parent, block_of(tokens, i)));
  }
}

void KvCache::publish(KvTable& table, int num_positions) {
  MOEBIUS_EXPECT(num_positions <= table.num_positions());
  const auto end = std::min(table.nodes_.size(), static_cast<std::size_t>(num_positions / block_tokens));
  for (; table.num_published_ < end; ++table.num_published_) {
    const std::int32_t block = table.blocks_[table.num_published_], node = table.nodes_[table.num_published_];
    MOEBIUS_EXPECT(node_of_block_[static_cast<std::size_t>(block)] == PrefixIndex::none);
    node_of_block_[static_cast<std::size_t>(block)] = node;
    prefixes_.set_block(node, block);
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
