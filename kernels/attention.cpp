// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.hpp"

#include <algorithm>

#include "base/bf16.hpp"
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

void store_element(ComputeType type, std::byte* base, std::int64_t element, float value) {
  if (type == ComputeType::bf16) {
    reinterpret_cast<std::uint16_t*>(base)[element] = to_bf16(value).bits;
  } else {
    reinterpret_cast<float*>(base)[element] = value;
  }
}

/// Tokens of a segment that one task takes, so that its rows stay within max_task_rows.
int tokens_per_task(int group) { return std::max(1, max_task_rows / group); }

struct TaskShape {
  int num_heads;
  float scale;
  int kv_head;
  int first_token;
  int num_tokens;
};

void run_task(const KernelTable& kernels, const KvLayout& layout, const SegmentQueries& segment,
              const TaskShape& shape) {
  thread_local Workspace workspace;
  const int group = shape.num_heads / layout.num_kv_heads;
  const std::int64_t rows = std::int64_t{shape.num_tokens} * group;
  const std::int64_t num_positions = std::int64_t{segment.first_position} + shape.first_token + shape.num_tokens;
  const std::int64_t q_floats = piece_offset(num_pieces(layout.head_dim), rows, 0);
  const std::int64_t score_floats = piece_offset(num_pieces(num_positions), rows, 0);
  const std::int64_t value_floats = rows * panel_width * layout.num_value_panels();
  float* scratch = workspace.floats(static_cast<std::size_t>(q_floats + score_floats + value_floats + rows));
  const std::int64_t head_offset = std::int64_t{shape.kv_head} * group * layout.head_dim;
  kernels.attend(AttendTask{.type = layout.type,
                            .head_dim = layout.head_dim,
                            .group = group,
                            .scale = shape.scale,
                            .blocks = segment.blocks,
                            .key_offset = layout.key_offset(shape.kv_head),
                            .value_offset = layout.value_offset(shape.kv_head),
                            .first_position = segment.first_position + shape.first_token,
                            .num_tokens = shape.num_tokens,
                            .q = segment.q + shape.first_token * segment.q_stride + head_offset,
                            .q_stride = segment.q_stride,
                            .out = segment.out + shape.first_token * segment.out_stride + head_offset,
                            .out_stride = segment.out_stride,
                            .scaled_q = scratch,
                            .scores = scratch + q_floats,
                            .sums = scratch + q_floats + score_floats + value_floats,
                            .values = scratch + q_floats + score_floats});
}

}  // namespace

void store_kv(const KvLayout& layout, std::byte* block_layer, int slot_in_block, const float* k, const float* v) {
  MOEBIUS_EXPECT(slot_in_block >= 0 && slot_in_block < KvLayout::block_tokens);
  const int key_column = panel_element(layout.type, slot_in_block);
  for (int head = 0; head < layout.num_kv_heads; ++head) {
    std::byte* keys = block_layer + layout.key_offset(head);
    std::byte* values = block_layer + layout.value_offset(head);
    const std::int64_t begin = std::int64_t{head} * layout.head_dim;
    for (int d = 0; d < layout.head_dim; ++d) {
      store_element(layout.type, keys, std::int64_t{d} * panel_width + key_column, k[begin + d]);
      const std::int64_t step = std::int64_t{d / panel_width} * KvLayout::block_tokens + slot_in_block;
      const int lane = panel_element(layout.type, d % panel_width);
      store_element(layout.type, values, step * panel_width + lane, v[begin + d]);
    }
  }
}

void attention(const KvLayout& layout, int num_heads, float scale, std::span<const SegmentQueries> segments) {
  MOEBIUS_EXPECT(layout.num_kv_heads > 0 && layout.head_dim > 0 && num_heads % layout.num_kv_heads == 0);
  const KernelTable& kernels = active_kernels();
  const int step = tokens_per_task(num_heads / layout.num_kv_heads);
  for (const SegmentQueries& segment : segments) {
    MOEBIUS_EXPECT(segment.first_position >= 0 && segment.num_tokens >= 0);
    const int parts = (segment.num_tokens + step - 1) / step;
    const HostRange tasks(0, parts * layout.num_kv_heads);
    Kokkos::parallel_for("attention", tasks, [=, &kernels, &layout](const int task) {
      const int first = task / layout.num_kv_heads * step;
      run_task(kernels, layout, segment,
               TaskShape{.num_heads = num_heads,
                         .scale = scale,
                         .kv_head = task % layout.num_kv_heads,
                         .first_token = first,
                         .num_tokens = std::min(step, segment.num_tokens - first)});
    });
  }
}

}  // namespace moebius::kernels
