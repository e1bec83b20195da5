// SPDX-License-Identifier: Apache-2.0
#pragma once
// Causal attention over a paged KV cache: a query at position p sees the keys 0..p, or with a sliding window
// of w positions the keys p - w + 1..p. The bits of a result depend on its query and on those keys only,
// whatever the segments: every score is one chain over key_dim, the maximum is exact and known first, the
// exponentials are summed by position modulo 16, and every output element is one chain over the visible
// positions, ascending. Keys that are not visible are never read into a result, so unwritten KV memory may
// hold anything.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// The memory of one kv block (32 positions) of one layer, K of all kv heads and then V of all:
///   K [kv_head][key_dim][32 positions]
///   V [kv_head][value panel][32 positions][32 lanes]   value_dim padded to panels of 32 lanes
/// In bf16 two numbers of a key (an odd key_dim is padded), and two positions of a value, share a 32-bit word,
/// as two k in a PackedMatrix: K [kv_head][key_dim / 2][32][2], V [kv_head][value panel][16][32 lanes][2].
struct KvLayout {
  ComputeType type = ComputeType::fp32;
  int num_kv_heads = 0;
  int key_dim = 0;    ///< numbers of a key, and of a query
  int value_dim = 0;  ///< numbers of a value, and of an output
  static constexpr int block_tokens = 32;

  [[nodiscard]] int num_value_panels() const { return (value_dim + 31) / 32; }
  [[nodiscard]] std::size_t key_bytes() const {  ///< of one kv head
    const int padded = type == ComputeType::bf16 ? key_dim + key_dim % 2 : key_dim;
    return element_bytes(type) * block_tokens * static_cast<std::size_t>(padded);
  }
  [[nodiscard]] std::size_t value_bytes() const {  ///< of one kv head
    return element_bytes(type) * block_tokens * static_cast<std::size_t>(32 * num_value_panels());
  }
  [[nodiscard]] std::size_t key_offset(int kv_head) const { return key_bytes() * static_cast<std::size_t>(kv_head); }
  [[nodiscard]] std::size_t value_offset(int kv_head) const {
    return key_offset(num_kv_heads) + value_bytes() * static_cast<std::size_t>(kv_head);
  }
  /// K and V of one kv block of one layer; a multiple of 64, and blocks must start on a multiple of 4.
  [[nodiscard]] std::size_t block_layer_bytes() const { return value_offset(num_kv_heads); }
};

/// Writes key and value of one position. k: [num_kv_heads, key_dim]; v: [num_kv_heads, value_dim].
/// slot_in_block = position % 32.
void store_kv(const KvLayout& layout, std::byte* block_layer, int slot_in_block, const float* k, const float* v);

/// Copies keys and values of the first num_positions positions of a block of one layer; what else `to` holds may
/// stay or become anything.
void copy_kv(const KvLayout& layout, const std::byte* from, std::byte* to, int num_positions);

/// The queries of one segment and where its sequence's keys are. Non-owning.
struct SegmentQueries {
  const float* q = nullptr;  // [num_tokens, num_heads, key_dim]
  std::int64_t q_stride = 0;  ///< floats from token to token
  float* out = nullptr;       // [num_tokens, num_heads, value_dim]
  std::int64_t out_stride = 0;
  const std::byte* const* blocks = nullptr;  ///< block b of this layer covers positions [32b, 32b + 32)
  int first_position = 0;
  int num_tokens = 0;
};

/// What a layer's queries do with the keys.
struct AttentionShape {
  int num_heads = 0;  ///< a multiple of the kv heads; head h reads the kv head h / (num_heads / num_kv_heads)
  float scale = 1.0F;
  int window = 0;     ///< keys that a query sees, its own included; 0: all up to its own
};

/// out = softmax(scale * q K^T) V for all segments, over the visible keys. K and V of all positions up to
/// each segment's last one are already stored. out must not overlap q. Queries and probabilities are
/// fp32, but rounded to bf16 where the keys are bf16 and products take pairs of it (avx512_bf16). Each executing thread keeps scratch that grows to its largest call and stays.
void attention(const KvLayout& layout, const AttentionShape& shape, std::span<const SegmentQueries> segments);

}  // namespace moebius::kernels
