// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long the stages of a rank last on a device that is not here (ALGORITHMS section 6): a roofline. Pure; seconds of the
// device. Slow motion waits so long times its dilation; a simulator may ask the same.
//
//   expert call      a_e + max(weight bytes / BW, flops(rows, rounded up to a tile) / F)
//   attention stage  a_a + max(weight bytes / BW, flops / F) + kv bytes read / BW
//   shared experts, dense layers   as an expert call;   LM head   as attention without kv
//   router, combine  part of their attention stage: no overhead of their own
// F and BW are what programs reach: the device's rates times a stated efficiency, which may be another one for attention
// (stages and LM head) than for feed-forward networks.

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "base/stage_costs.hpp"
#include "policy/link_model.hpp"

namespace moebius::policy {

struct Device {
  std::string name;
  double flops = 0;            ///< per second, as published
  double bytes_per_s = 0;      ///< of its memory, as published
  double efficiency = 1;       ///< of both
  double attention_efficiency = 1;  ///< the same for attention stages and the LM head
  double expert_overhead_s = 0, attention_overhead_s = 0;
  int row_tile = 1;            ///< rows are rounded up to whole tiles of a product
};

/// The sizes that stage times are made of.
struct ModelSizes {
  std::string name;
  ModelConfig config;
  double weight_bytes = 2, kv_bytes = 2;      ///< of a number
  double hidden_bytes = 2, output_bytes = 2;  ///< of a number of a hidden state, and of an expert output, on a link
  double tokens_per_row = 1;                  ///< tokens, side by side in a sequence and with the same experts, that a row stands for
};

/// What the attention of a micro-batch looks at.
struct AttentionWork {
  std::int64_t rows = 0;
  std::int64_t kv_positions = 0;  ///< read, each once for a segment
  std::int64_t score_pairs = 0;   ///< (query, key)
  /// A segment of `num_tokens` from `first_position` on; window: keys that a query sees, 0: all before it.
  void add_segment(std::int64_t first_position, std::int64_t num_tokens, int window);
};

class StageTimes {
 public:
  StageTimes(Device device, ModelSizes model);
  /// Of a machine that was measured with this model (stage_costs.hpp), in place of a roofline.
  StageTimes(std::string name, const StageCosts& costs, ModelSizes model);
  [[nodiscard]] const Device& device() const { return device_; }
  [[nodiscard]] const ModelSizes& model() const { return model_; }

  [[nodiscard]] double expert_overhead_s() const { return costs_ ? costs_->expert[0] : device_.expert_overhead_s; }
  /// One expert without a_e; 0 rows: nothing.
  [[nodiscard]] double expert_s(std::int64_t rows) const;
  [[nodiscard]] double expert_call_s(std::int64_t rows) const { return rows > 0 ? expert_overhead_s() + expert_s(rows) : 0.0; }
  [[nodiscard]] double attention_s(const AttentionWork& work) const;
  [[nodiscard]] double router_s(std::int64_t rows) const;
  /// Reading the outputs of the experts of each row, and the residual twice.
  [[nodiscard]] double combine_s(std::int64_t rows) const;
  [[nodiscard]] double shared_experts_s(std::int64_t rows) const;
  [[nodiscard]] double dense_mlp_s(std::int64_t rows) const;
  [[nodiscard]] double lm_head_s(std::int64_t rows) const;
  /// Of a routed expert.
  [[nodiscard]] double expert_weight_bytes() const { return 3.0 * model_.config.hidden_size * model_.config.moe_intermediate_size * model_.weight_bytes; }
  /// On a link: rows each once and (row, expert) pairs to the experts; outputs back, one for each pair. Tags included.
  [[nodiscard]] double dispatch_bytes(std::int64_t rows, std::int64_t pairs) const;
  [[nodiscard]] double outputs_bytes(std::int64_t pairs) const;

 private:
  [[nodiscard]] double tokens_of(std::int64_t rows) const { return model_.tokens_per_row * static_cast<double>(rows); }
  /// max(bytes of the weights / BW, flops / F) of a product with so many weights, and flops beside it.
  [[nodiscard]] double roofline_s(double efficiency, double num_weights, std::int64_t rows, double more_flops = 0) const;
  /// The same of what attention ranks compute, feed-forward networks apart.
  [[nodiscard]] double attention_roofline_s(double num_weights, std::int64_t rows, double more_flops = 0) const;
  /// Reading or writing so much, on attention ranks.
  [[nodiscard]] double copy_s(double bytes) const { return bytes / (device_.bytes_per_s * device_.attention_efficiency); }
  static double line_s(const std::array<double, 2>& cost, std::int64_t rows);
  [[nodiscard]] double ffn_s(int width, std::int64_t rows) const;

  Device device_;
  ModelSizes model_;
  std::optional<StageCosts> costs_;
  double attention_weights_, kv_numbers_, flops_per_pair_;  // of a layer; of a position; of a query and a key
};

/// The link that was measured: the slower class where there are two.
Link measured_link(const StageCosts& costs);

/// Sizes as published, in published_models.cpp. `own` is no published model.
ModelSizes published_model(EmulatedModel model);

/// Those of a checkpoint as it is computed.
ModelSizes own_sizes(const ModelConfig& config, ComputeType compute);

struct Emulation {
  StageTimes times;
  Link link;
  double dilation = 1;
};

/// What the job asks for; none in real time. Throws Failure(bad_usage) where the numbers do not make a device, and where the
/// checkpoint (`config`) has other layers, experts or top-k than the published model.
std::optional<Emulation> make_emulation(const Job& job, const ModelConfig& config);

}  // namespace moebius::policy
