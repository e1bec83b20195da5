// SPDX-License-Identifier: Apache-2.0
#include "model/expert_stack.hpp"

#include <fmt/format.h>

#include "base/check.hpp"
#include "model/weights.hpp"

namespace moebius::model {

ExpertStack::ExpertStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors,
                         std::span<const HostedExpert> hosted, int max_rows)
    : compute_(compute),
      hidden_size_(config.hidden_size),
      max_rows_(max_rows),
      layers_(static_cast<std::size_t>(config.num_layers)) {
  MOEBIUS_EXPECT(max_rows > 0);
  WeightReader reader(tensors, compute, arena_);
  for (const auto& [layer, expert] : hosted) {
    MOEBIUS_EXPECT(layer.valid() && layer.value < config.num_layers && config.is_moe(layer));
    MOEBIUS_EXPECT(expert.valid() && expert.value < config.num_experts);
    const std::string prefix = fmt::format("{}mlp.experts.{}.", layer_prefix(layer), expert.value);
    layers_[layer.idx()].push_back({expert, reader.ffn(prefix, config.moe_intermediate_size, config.hidden_size)});
  }
  if (!hosted.empty()) scratch_.reserve(max_rows, config.moe_intermediate_size);
}

void ExpertStack::forward(LayerId layer, PlaceId place, const std::byte* inputs, int num_rows, float* outputs) {
  MOEBIUS_EXPECT(num_rows >= 0 && num_rows <= max_rows_);
  const kernels::RowsView rows{.type = compute_, .data = inputs, .row_stride = hidden_size_};
  kernels::expert_ffn(layers_.at(layer.idx()).at(place.idx()).ffn, rows, num_rows, outputs, scratch_);
}

std::size_t ExpertStack::weight_bytes() const {
  std::size_t bytes = 0;
  for (const auto& layer : layers_) {
    for (const Hosted& hosted : layer) bytes += hosted.ffn.bytes();
  }
  return bytes;
}

std::size_t ExpertStack::expert_bytes(const ModelConfig& config, ComputeType compute) {
  return ffn_bytes(compute, config.moe_intermediate_size, config.hidden_size);
}

}  // namespace moebius::model
