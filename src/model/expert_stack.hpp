// SPDX-License-Identifier: Apache-2.0
#pragma once
// The routed experts that a rank hosts. Keeps nothing of a row after a call, and an output row's bits
// depend on its input row and its expert only. One thread.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"
#include "kernels/ffn.hpp"
#include "model/weights.hpp"

namespace moebius::model {

/// A logical expert of which the rank holds a copy. Its place is its rank among those of the same layer, in
/// the order in which they are listed.
struct HostedExpert {
  LayerId layer;
  ExpertId expert;
};

class ExpertStack {
 public:
  /// Reads the weights of the hosted experts. Throws Failure{unreadable_input}.
  ExpertStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors,
              std::span<const HostedExpert> hosted, int max_rows);
  ExpertStack(const ExpertStack&) = delete;
  ExpertStack& operator=(const ExpertStack&) = delete;

  [[nodiscard]] int num_layers() const { return static_cast<int>(layers_.size()); }
  [[nodiscard]] int num_hosted(LayerId layer) const { return static_cast<int>(layers_.at(layer.idx()).size()); }
  [[nodiscard]] ExpertId expert(LayerId layer, PlaceId place) const { return layers_.at(layer.idx()).at(place.idx()).id; }
  [[nodiscard]] int max_rows() const { return max_rows_; }

  /// outputs = unweighted outputs of one expert. inputs: where each row lies, [hidden_size] in compute type, aligned
  /// to its element, as AttentionStack::route made it; outputs: where each row's output goes, [hidden_size], apart
  /// from all inputs. At most max_rows rows.
  void forward(LayerId layer, PlaceId place, std::span<const std::byte* const> inputs, std::span<float* const> outputs);

  [[nodiscard]] std::size_t weight_bytes() const { return arena_.used(); }
  [[nodiscard]] std::size_t scratch_bytes() const { return scratch_.bytes(); }
  [[nodiscard]] std::size_t bytes() const { return weight_bytes() + scratch_bytes(); }
  /// Of one hosted expert, without loading.
  static std::size_t expert_bytes(const ModelConfig& config, ComputeType compute);

 private:
  struct Hosted {
    ExpertId id;
    kernels::ExpertFfn ffn;
  };

  ComputeType compute_;
  int max_rows_;
  WeightArena arena_;                        // holds the matrices
  std::vector<std::vector<Hosted>> layers_;  // [num_layers][place]
  kernels::FfnScratch scratch_;
};

}  // namespace moebius::model
