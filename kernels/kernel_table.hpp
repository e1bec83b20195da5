// SPDX-License-Identifier: Apache-2.0
#pragma once
// The functions that exist once per instruction set, as one table. The .cpp files of this folder split
// work and check arguments, then call through active_kernels(); the functions know no Kokkos, allocate
// nothing and check nothing. Internal to kernels.

#include <cstddef>
#include <cstdint>

#include "base/model_config.hpp"
#include "kernels/isa.hpp"

namespace moebius::kernels {

/// Most rows of one GemmStrip: eight tiles of twelve. With 2048 inputs their x takes 0.8 MB, which stays
/// in a second-level cache of 2 MB, and a weight is read once per 96 rows.
inline constexpr int max_strip_rows = 96;
/// Most columns of one GemmStrip: the unit of parallel work.
inline constexpr int max_strip_columns = 128;

/// Rows of x times some panels of w.
struct GemmStrip {
  ComputeType type;
  const void* w;         // from an even panel on, order of panel.hpp
  std::int64_t num_in;
  int num_columns;       ///< to be written; the last panel may be partly used
  const float* x;        // [pieces, num_rows, piece_stride]; bf16 as lay_bf16_row makes it
  int num_rows;          ///< at most max_strip_rows
  float* y;              // [num_rows, num_columns]; nullptr: see y_rows
  std::int64_t y_stride;
  float* const* y_rows = nullptr;  ///< [num_rows] where rows of y begin that do not lie side by side ...
  std::int64_t y_column = 0;       ///< ... and the first column of them to be written
};

/// Rows of x times some panels of gate_proj and up_proj, and silu(gate) * up of that.
struct GatedStrip {
  ComputeType type;
  const std::byte* gate;  // panels in the order of panel.hpp
  const std::byte* up;
  std::int64_t panel_bytes;
  std::int64_t num_in;
  int first_panel;       ///< even
  int end_panel;
  const float* x;        // [pieces of num_in, num_rows, piece_stride]
  int num_rows;          ///< at most max_strip_rows
  float* product;        // [pieces of the width, num_rows, piece_stride]
};

/// Some tokens of one segment for one kv head. A row is a (token, head) pair: row = token * group + head.
struct AttendTask {
  ComputeType type;
  int key_dim;
  int value_dim;
  int group;             ///< query heads of this kv head
  float scale;
  int window;            ///< keys that a query sees, its own included; at least 1
  const std::byte* const* blocks;  ///< kv blocks of the sequence, this layer; the first one covers position 0
  std::int64_t key_offset;         ///< of this kv head inside a block
  std::int64_t value_offset;
  const std::byte* const* next_blocks;  ///< the kv blocks that the next task begins with, to be fetched meanwhile
  int num_next_blocks;
  std::int64_t next_key_offset;
  int first_position;    ///< of the first token, counted from the first block
  int num_tokens;
  const float* q;        // [num_tokens, group, key_dim], q_stride from token to token
  std::int64_t q_stride;
  float* out;            // [num_tokens, group, value_dim]
  std::int64_t out_stride;
  float* scaled_q;       // scratch [pieces of key_dim, rows, piece_stride]
  float* scores;         // scratch [pieces of positions, rows, piece_stride]
  float* sums;           // scratch [rows]
  float* values;         // scratch [rows, value panels * 32]
};

struct PeakLoop {
  float (*run)(std::int64_t num_steps, float start);
  int flops_per_step;
};

struct KernelTable {
  Isa isa;
  void (*gemm_strip)(const GemmStrip&);
  void (*gated_strip)(const GatedStrip&);
  void (*attend)(const AttendTask&);
  void (*narrow_row)(const float* x, std::int64_t n, std::uint16_t* y);
  /// A row of bf16 (n of them) as the floats that gemm_strip takes: widened, or two in the bits of a float.
  void (*lay_bf16_row)(const std::uint16_t* x, std::int64_t n, float* y);
  int bf16_per_float;  ///< 1 or 2
  void (*rms_norm_row)(const float* x, const float* weight, std::int64_t n, float eps, float* y);
  /// x: [2, half], turned by the angles whose cosines and sines are given.
  void (*rope_row)(const float* cosines, const float* sines, std::int64_t half, float* x);
  /// residual += sum over k_idx of weights[k_idx] * expert_out[k_idx]; expert_out: [k, n].
  void (*combine_row)(float* residual, const float* expert_out, const float* weights, int k, std::int64_t n);
  float (*max_row)(const float* x, std::int64_t n);
  /// y = exp((x - shift) * factor)
  void (*exp_row)(const float* x, float shift, float factor, std::int64_t n, float* y);
  /// Sum of exp(x - shift).
  double (*sum_exp_row)(const float* x, float shift, std::int64_t n);
  /// Multiply-adds that stay in registers, as products of this type do them. For peak.hpp.
  PeakLoop fp32_peak;
  PeakLoop bf16_peak;
};

/// The table of the instruction set in use.
const KernelTable& active_kernels();
/// nullptr where the instruction set is not compiled in or not supported here.
const KernelTable* find_kernels(Isa isa);

}  // namespace moebius::kernels
