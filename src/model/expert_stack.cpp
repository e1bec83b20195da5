// SPDX-License-Identifier: Apache-2.0
#include "model/expert_stack.hpp"

#include <algorithm>

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
                         std::span<const HostedExpert> hosted, int max_rows, const ExpertRoom& room)
    : compute_(compute),
      hidden_(config.hidden_size),
      width_(config.moe_intermediate_size),
      max_rows_(max_rows),
      part_bytes_(expert_bytes(config, compute)),
      arena_(room.memory.empty() ? WeightArena::owning((hosted.size() + static_cast<std::size_t>(room.num_spare)) * part_bytes_)
                                 : WeightArena::over(room.memory)),
      layers_(static_cast<std::size_t>(config.num_layers)) {
  MOEBIUS_EXPECT(max_rows > 0);
  const std::size_t num_parts = hosted.size() + static_cast<std::size_t>(room.num_spare);
  MOEBIUS_EXPECT(room.memory.empty() || room.memory.size() == num_parts * part_bytes_);
  memory_ = arena_.all();
  WeightReader reader(tensors, compute, arena_);
  for (const HostedExpert& one : hosted) {
    MOEBIUS_EXPECT(one.layer.valid() && one.layer.value < config.num_layers && config.is_moe(one.layer));
    MOEBIUS_EXPECT(one.expert.valid() && one.expert.value < config.num_experts);
    layers_[one.layer.idx()].push_back({one.expert, 0, read_expert(config, one, reader)});
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    auto& places = layers_[static_cast<std::size_t>(layer)];
    if (config.is_moe(LayerId(layer))) places.resize(std::max(places.size(), static_cast<std::size_t>(room.num_places)));
  }
  if (!hosted.empty() || room.num_spare > 0) scratch_.reserve(max_rows, config.moe_intermediate_size);
}

int ExpertStack::num_hosted(LayerId layer) const {
  return static_cast<int>(std::ranges::count_if(layers_.at(layer.idx()), [](const Hosted& place) { return place.id.valid(); }));
}

void ExpertStack::adopt(LayerId layer, PlaceId place, ExpertId expert, int part_idx, std::uint32_t generation) {
  Hosted& hosted = layers_.at(layer.idx()).at(place.idx());
  MOEBIUS_EXPECT(!hosted.id.valid());
  WeightArena weights = WeightArena::over(part(part_idx));
  // As read_expert takes them.
  const auto matrix = [&](int num_out, int num_in) {
    return kernels::PackedMatrix(compute_, num_out, num_in, weights.take(kernels::packed_bytes(compute_, num_out, num_in)));
  };
  const kernels::PackedMatrix gate = matrix(width_, hidden_), up = matrix(width_, hidden_), down = matrix(hidden_, width_);
  hosted = {expert, generation, {.gate = gate, .up = up, .down = down}};
}

void ExpertStack::release(LayerId layer, PlaceId place) {
  Hosted& hosted = layers_.at(layer.idx()).at(place.idx());
  MOEBIUS_EXPECT(hosted.id.valid());
  hosted = {};
}

void ExpertStack::forward(LayerId layer, PlaceId place, std::span<const std::byte* const> inputs, std::span<float* const> outputs) {
  MOEBIUS_EXPECT(inputs.size() == outputs.size() && inputs.size() <= static_cast<std::size_t>(max_rows_));
  const kernels::RowsView rows{.type = compute_, .rows = inputs.data()};
  const Hosted& hosted = layers_.at(layer.idx()).at(place.idx());
  MOEBIUS_EXPECT(hosted.id.valid());
  kernels::expert_ffn(hosted.ffn, rows, static_cast<int>(inputs.size()),
                      kernels::RowsOut{.rows = outputs.data()}, scratch_);
}

std::size_t ExpertStack::expert_bytes(const ModelConfig& config, ComputeType compute) {
  WeightArena counting = WeightArena::counting();
  WeightReader reader(compute, counting);
  (void)read_expert(config, {}, reader);
  return counting.used();
}

}  // namespace moebius::model
