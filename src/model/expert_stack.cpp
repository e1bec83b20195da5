// SPDX-License-Identifier: Apache-2.0
#include "model/expert_stack.hpp"

#include "base/check.hpp"
#include "model/weights.hpp"

namespace moebius::model {

namespace {

kernels::ExpertFfn read_expert(const ModelConfig& config, const HostedExpert& hosted, WeightReader& reader) {
  const std::vector<TensorSpec> tensors = expert_schema(config, hosted.layer, hosted.expert);
  return {.gate = reader.matrix(tensors[0]), .up = reader.matrix(tensors[1]), .down = reader.matrix(tensors[2])};
}

}  // namespace

ExpertStack::ExpertStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors,
                         std::span<const HostedExpert> hosted, int max_rows)
    : compute_(compute),
      max_rows_(max_rows),
      arena_(WeightArena::owning(hosted.size() * expert_bytes(config, compute))),
      layers_(static_cast<std::size_t>(config.num_layers)) {
  MOEBIUS_EXPECT(max_rows > 0);
  WeightReader reader(tensors, compute, arena_);
  for (const HostedExpert& one : hosted) {
    MOEBIUS_EXPECT(one.layer.valid() && one.layer.value < config.num_layers && config.is_moe(one.layer));
    MOEBIUS_EXPECT(one.expert.valid() && one.expert.value < config.num_experts);
    layers_[one.layer.idx()].push_back({one.expert, read_expert(config, one, reader)});
  }
  if (!hosted.empty()) scratch_.reserve(max_rows, config.moe_intermediate_size);
}

void ExpertStack::forward(LayerId layer, PlaceId place, std::span<const std::byte* const> inputs, std::span<float* const> outputs) {
  MOEBIUS_EXPECT(inputs.size() == outputs.size() && inputs.size() <= static_cast<std::size_t>(max_rows_));
  const kernels::RowsView rows{.type = compute_, .rows = inputs.data()};
  kernels::expert_ffn(layers_.at(layer.idx()).at(place.idx()).ffn, rows, static_cast<int>(inputs.size()),
                      kernels::RowsOut{.rows = outputs.data()}, scratch_);
}

std::size_t ExpertStack::expert_bytes(const ModelConfig& config, ComputeType compute) {
  WeightArena counting = WeightArena::counting();
  WeightReader reader(compute, counting);
  (void)read_expert(config, {}, reader);
  return counting.used();
}

}  // namespace moebius::model
