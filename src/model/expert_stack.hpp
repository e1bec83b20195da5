// SPDX-License-Identifier: Apache-2.0
#pragma once
// The routed experts that a rank hosts. Keeps nothing of a row after a call, and an output row's bits
// depend on its input row and its expert only. One thread.
//
// Packed weights of an expert are one piece of memory, of the same size for all experts: a part. Parts 0, 1, ... lie side
// by side; the experts that are read at the start take the first ones, in the order in which they are listed. A spare part
// may be filled with the bytes of a part of another rank and become an expert of this one, while others leave.

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

/// Room for experts that come while the job runs.
struct ExpertRoom {
  std::span<std::byte> memory = {};  ///< for all parts, on an alignment border of WeightArena; empty: memory of the stack's own
  int num_spare = 0;                 ///< parts beyond those of the hosted experts
  int num_places = 0;                ///< places of a layer with experts, at least; fewer are enough where nothing comes
};

class ExpertStack {
 public:
  /// Reads the weights of the hosted experts. Throws Failure{unreadable_input}.
  ExpertStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors,
              std::span<const HostedExpert> hosted, int max_rows, const ExpertRoom& room = {});
  ExpertStack(const ExpertStack&) = delete;
  ExpertStack& operator=(const ExpertStack&) = delete;

  [[nodiscard]] int num_layers() const { return static_cast<int>(layers_.size()); }
  /// Places of a layer, empty ones among them.
  [[nodiscard]] int num_places(LayerId layer) const { return static_cast<int>(layers_.at(layer.idx()).size()); }
  [[nodiscard]] int num_hosted(LayerId layer) const;
  /// Invalid where the place is empty.
  [[nodiscard]] ExpertId expert(LayerId layer, PlaceId place) const { return layers_.at(layer.idx()).at(place.idx()).id; }
  /// The generation of the placement with which the expert came to its place.
  [[nodiscard]] std::uint32_t since(LayerId layer, PlaceId place) const { return layers_.at(layer.idx()).at(place.idx()).since; }
  [[nodiscard]] int max_rows() const { return max_rows_; }

  /// outputs = unweighted outputs of one expert. inputs: where each row lies, [hidden_size] in compute type, aligned
  /// to its element, as AttentionStack::route made it; outputs: where each row's output goes, [hidden_size], apart
  /// from all inputs. At most max_rows rows.
  void forward(LayerId layer, PlaceId place, std::span<const std::byte* const> inputs, std::span<float* const> outputs);

  /// The bytes of a part. To be written only while no place uses it.
  [[nodiscard]] std::span<std::byte> part(int part_idx) const {
    return memory_.subspan(static_cast<std::size_t>(part_idx) * part_bytes_, part_bytes_);
  }
  /// An empty place begins to hold an expert, whose packed weights stand in a part that no place uses.
  void adopt(LayerId layer, PlaceId place, ExpertId expert, int part_idx, std::uint32_t generation);
  /// A place becomes empty; nobody uses its part any more.
  void release(LayerId layer, PlaceId place);

  [[nodiscard]] std::size_t weight_bytes() const { return memory_.size(); }
  [[nodiscard]] std::size_t scratch_bytes() const { return scratch_.bytes(); }
  [[nodiscard]] std::size_t bytes() const { return weight_bytes() + scratch_bytes(); }
  /// Of one hosted expert, without loading.
  static std::size_t expert_bytes(const ModelConfig& config, ComputeType compute);

 private:
  struct Hosted {
    ExpertId id;
    std::uint32_t since = 0;
    kernels::ExpertFfn ffn;
  };

  ComputeType compute_;
  int hidden_, width_;
  int max_rows_;
  std::size_t part_bytes_;
  WeightArena arena_;                        // holds the matrices
  std::span<std::byte> memory_;              // [parts, part_bytes_]
  std::vector<std::vector<Hosted>> layers_;  // [num_layers][place]
  kernels::FfnScratch scratch_;
};

}  // namespace moebius::model
