// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

static_assert(KvLayout::block_tokens == panel_width, "a kv block is one panel of keys");

namespace {

/// Rows (token, head) of one task: four tiles of twelve, which share keys and values in the caches while
/// the scores of a long context still fit the second level.
constexpr int max_task_rows = 48;

/// Tokens of a segment that one task takes, so that its rows stay within max_task_rows.
int tokens_per_task(int group) { return std::max(1, max_task_rows / group); }

struct TokenRange {
  int first;
  int count;
};

/// Full or partial blocks up to the last position of some tokens, from the first one that any of them sees.
struct BlockRange {
  int first;
  int count;
};

BlockRange seen_blocks(const AttentionShape& shape, int first_position, int num_tokens) {
  const int first_key = shape.window > 0 ? std::max(0, first_position - shape.window + 1) : 0;
  const int first = first_key / KvLayout::block_tokens;
  const int end = (first_position + num_tokens + KvLayout::block_tokens - 1) / KvLayout::block_tokens;
  return {first, end - first};
}

/// What the task after this one begins with; no blocks where there is none.
struct NextTask {
  const std::byte* const* blocks;
  int num_blocks;
  int kv_head;
};

/// Some tokens of a segment for one kv head. The task counts positions and blocks from the first block that
/// any of its tokens sees, a multiple of 32, so that a window bounds its work and its scratch.
void run_task(const KernelTable& kernels, const KvLayout& layout, const AttentionShape& shape,
              const SegmentQueries& segment, int kv_head, TokenRange tokens, const NextTask& next) {
  thread_local Workspace workspace;
  const int group = shape.num_heads / layout.num_kv_heads;
  const int first_position = segment.first_position + tokens.first;
  const int skipped_blocks = seen_blocks(shape, first_position, tokens.count).first;
  const int first_in_task = first_position - skipped_blocks * KvLayout::block_tokens;
  const std::int64_t rows = std::int64_t{tokens.count} * group;
  const std::int64_t q_floats = piece_offset(num_pieces(layout.key_dim), rows, 0);
  const std::int64_t score_floats = piece_offset(num_pieces(std::int64_t{first_in_task} + tokens.count), rows, 0);
  const std::int64_t value_floats = rows * panel_width * layout.num_value_panels();
  float* scratch = workspace.floats(static_cast<std::size_t>(q_floats + score_floats + value_floats + rows));
  const std::int64_t first_head = std::int64_t{kv_head} * group;
  kernels.attend(
      AttendTask{.type = layout.type,
                 .key_dim = layout.key_dim,
                 .value_dim = layout.value_dim,
                 .group = group,
                 .scale = shape.scale,
                 .window = shape.window > 0 ? shape.window : first_in_task + tokens.count,
                 .blocks = segment.blocks + skipped_blocks,
                 .key_offset = static_cast<std::int64_t>(layout.key_offset(kv_head)),
                 .value_offset = static_cast<std::int64_t>(layout.value_offset(kv_head)),
                 .next_blocks = next.blocks,
                 .num_next_blocks = next.num_blocks,
                 .next_key_offset = static_cast<std::int64_t>(layout.key_offset(next.kv_head)),
                 .first_position = first_in_task,
                 .num_tokens = tokens.count,
                 .q = segment.q + tokens.first * segment.q_stride + first_head * layout.key_dim,
                 .q_stride = segment.q_stride,
                 .out = segment.out + tokens.first * segment.out_stride + first_head * layout.value_dim,
                 .out_stride = segment.out_stride,
                 .scaled_q = scratch,
                 .scores = scratch + q_floats,
                 .sums = scratch + q_floats + score_floats + value_floats,
                 .values = scratch + q_floats + score_floats});
}

void store_fp32(const KvLayout& layout, std::byte* block_layer, int slot, const float* k, const float* v) {
  for (int head = 0; head < layout.num_kv_heads; ++head) {
    auto* keys = reinterpret_cast<float*>(block_layer + layout.key_offset(head)) + slot;
    auto* values = reinterpret_cast<float*>(block_layer + layout.value_offset(head));
    for (int d = 0; d < layout.key_dim; ++d) keys[std::int64_t{d} * panel_width] = k[head * layout.key_dim + d];
    for (int d = 0; d < layout.value_dim; ++d) {
      const std::int64_t step = std::int64_t{d / panel_width} * KvLayout::block_tokens + slot;
      values[step * panel_width + d % panel_width] = v[head * layout.value_dim + d];
    }
  }
}

/// Two numbers of a key are written as one word; a value only writes its half of the words of its pair.
void store_bf16(const KvLayout& layout, std::byte* block_layer, int slot, const float* k, const float* v) {
  thread_local Workspace workspace;
  const KernelTable& kernels = active_kernels();
  auto* narrow = reinterpret_cast<std::uint16_t*>(
      workspace.floats(static_cast<std::size_t>(std::max(layout.key_dim, layout.value_dim))));
  for (int head = 0; head < layout.num_kv_heads; ++head) {
    auto* keys = reinterpret_cast<std::uint32_t*>(block_layer + layout.key_offset(head)) + slot;
    auto* values = reinterpret_cast<std::uint16_t*>(block_layer + layout.value_offset(head));
    kernels.narrow_row(k + std::int64_t{head} * layout.key_dim, layout.key_dim, narrow);
    if (layout.key_dim % 2 != 0) narrow[layout.key_dim] = 0;
    for (int d = 0; d < layout.key_dim; d += 2) {
      keys[std::int64_t{d / 2} * panel_width] = narrow[d] | std::uint32_t{narrow[d + 1]} << 16;
    }
    kernels.narrow_row(v + std::int64_t{head} * layout.value_dim, layout.value_dim, narrow);
    for (int d = 0; d < layout.value_dim; ++d) {
      const std::int64_t panel = std::int64_t{d / panel_width} * KvLayout::block_tokens * panel_width;
      values[panel + pair_element(slot, d % panel_width)] = narrow[d];
    }
  }
}

}  // namespace

void store_kv(const KvLayout& layout, std::byte* block_layer, int slot_in_block, const float* k, const float* v) {
  MOEBIUS_EXPECT(slot_in_block >= 0 && slot_in_block < KvLayout::block_tokens);
  if (layout.type == ComputeType::bf16) {
    store_bf16(layout, block_layer, slot_in_block, k, v);
  } else {
    store_fp32(layout, block_layer, slot_in_block, k, v);
  }
}

void copy_kv(const KvLayout& layout, const std::byte* from, std::byte* to, int num_positions) {
  MOEBIUS_EXPECT(num_positions >= 0 && num_positions <= KvLayout::block_tokens);
  // Both halves are lines of 32 words: of keys a word is one position, of values a line is one or two.
  constexpr std::size_t word_bytes = 4, line_bytes = KvLayout::block_tokens * word_bytes;
  const auto positions = static_cast<std::size_t>(num_positions);
  const std::size_t values = layout.value_offset(0), end = layout.block_layer_bytes();
  for (std::size_t at = 0; at < values; at += line_bytes) std::memcpy(to + at, from + at, positions * word_bytes);
  const std::size_t panel_bytes = element_bytes(layout.type) * KvLayout::block_tokens * panel_width;
  const std::size_t num_lines = layout.type == ComputeType::bf16 ? (positions + 1) / 2 : positions;
  for (std::size_t at = values; at < end; at += panel_bytes) std::memcpy(to + at, from + at, num_lines * line_bytes);
}

void attention(const KvLayout& layout, const AttentionShape& shape, std::span<const SegmentQueries> segments) {
  MOEBIUS_EXPECT(layout.num_kv_heads > 0 && layout.key_dim > 0 && layout.value_dim > 0);
  MOEBIUS_EXPECT(shape.num_heads % layout.num_kv_heads == 0 && shape.window >= 0);
  const KernelTable& kernels = active_kernels();
  const int step = tokens_per_task(shape.num_heads / layout.num_kv_heads);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const SegmentQueries& segment = segments[i];
    const auto begins_with = [&](const SegmentQueries& of, int first_token, int kv_head) {
      const BlockRange range = seen_blocks(shape, of.first_position + first_token, std::min(step, of.num_tokens - first_token));
      return NextTask{of.blocks + range.first, range.count, kv_head};
    };
    MOEBIUS_EXPECT(segment.first_position >= 0 && segment.num_tokens >= 0);
    const int parts = (segment.num_tokens + step - 1) / step;
    const HostRange tasks(0, parts * layout.num_kv_heads);
    Kokkos::parallel_for("attention", tasks, [=, &kernels, &layout, &shape](const int task) {
      const int first = task / layout.num_kv_heads * step, next = task + 1;
      const NextTask next_task = next < parts * layout.num_kv_heads
                                     ? begins_with(segment, next / layout.num_kv_heads * step, next % layout.num_kv_heads)
                                     : i + 1 < segments.size() && segments[i + 1].num_tokens > 0 ? begins_with(segments[i + 1], 0, 0)
                                                                                               : NextTask{segment.blocks, 0, 0};
      run_task(kernels, layout, shape, segment, task % layout.num_kv_heads,
               {.first = first, .count = std::min(step, segment.num_tokens - first)}, next_task);
    });
  }
}

}  // namespace moebius::kernels
