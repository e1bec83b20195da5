// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads tensors of a checkpoint under their published names, checked against config.json. Used by the
// stacks while they load; nothing here is called in the layer loop.
//
// Accepts f32, f16 and bf16. Every problem (absent tensor, other element type, other shape, too few bytes)
// is a Failure{unreadable_input} that names the file and the tensor.

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"
#include "kernels/ffn.hpp"
#include "kernels/gemm.hpp"
#include "model/weight_arena.hpp"

namespace moebius::model {

class WeightReader {
 public:
  /// Matrices are packed into `arena`. Both must outlive the reader, and the arena what was read.
  WeightReader(const TensorLookup& tensors, ComputeType compute, WeightArena& arena)
      : tensors_(tensors), compute_(compute), arena_(arena) {}

  /// A vector, as fp32. // [size]
  [[nodiscard]] std::vector<float> vector(const std::string& name, int size);
  /// One matrix for products, in compute type. // [num_out, num_in]
  [[nodiscard]] kernels::PackedMatrix matrix(const std::string& name, int num_out, int num_in);
  /// The same in a type of the caller's choice.
  [[nodiscard]] kernels::PackedMatrix matrix(const std::string& name, int num_out, int num_in, ComputeType type);
  /// Several matrices of the same width, one below the other.
  struct Part {
    std::string name;
    int num_out;
  };
  [[nodiscard]] kernels::PackedMatrix stacked(std::initializer_list<Part> parts, int num_in);
  /// gate_proj, up_proj and down_proj below `prefix`. // gate, up: [width, hidden]; down: [hidden, width]
  [[nodiscard]] kernels::ExpertFfn ffn(const std::string& prefix, int width, int hidden);
  /// A matrix as rows in compute type. // [num_rows, row_size]
  [[nodiscard]] std::vector<std::byte> rows(const std::string& name, int num_rows, int row_size);

 private:
  [[nodiscard]] TensorRef checked(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  /// Widens the whole tensor and adds it at the end of scratch_.
  void append(const TensorRef& tensor);

  [[nodiscard]] kernels::PackedMatrix pack(ComputeType type, int num_out, int num_in);

  const TensorLookup& tensors_;
  ComputeType compute_;
  WeightArena& arena_;
  std::vector<float> scratch_;  // the fp32 form of what is being read
};

/// dst = elements first, first + 1, ... of the tensor, widened exactly to fp32. The range must be inside.
void widen(const TensorRef& tensor, std::size_t first, std::span<float> dst);

/// "model.layers.3." and so on.
std::string layer_prefix(LayerId layer);

/// Bytes of an ExpertFfn, so that plans can count without loading.
std::size_t ffn_bytes(ComputeType type, int width, int hidden);

}  // namespace moebius::model
