// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads tensors of a checkpoint under their published names, checked against config.json, and packs them into an
// arena. Used by the stacks while they load; nothing here is called in the layer loop.
//
// Ranks of a node may share an arena and the work: each walks the same weights and checks all of them, but reads
// and fills only its share, so no byte is read twice. What a reader returns is therefore a view of memory that
// is complete only when all of them have finished; whoever loads must not look into it.
//
// Accepts F32, F16 and BF16, and for matrices F8_E4M3 with scales (weight_scale_inv). Every problem (absent
// tensor, other element type, other shape, too few bytes) is a Failure{unreadable_input} that names the file
// and the tensor.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"
#include "kernels/ffn.hpp"
#include "kernels/gemm.hpp"
#include "model/family.hpp"
#include "model/tensor_rows.hpp"
#include "model/weight_arena.hpp"

namespace moebius::model {

/// Which of the pieces of work are this reader's: every num_sharers-th, from idx on.
struct LoadShare {
  int idx = 0;
  int num_sharers = 1;
};

/// Where weights are put, and who shares the work. Without memory: memory of the reader's own.
struct WeightPlace {
  std::span<std::byte> memory;
  LoadShare share;
};

class WeightReader {
 public:
  /// Reads and packs into `arena`. Both must outlive the reader, and the arena what was read.
  WeightReader(const TensorLookup& tensors, ComputeType compute, WeightArena& arena, LoadShare share = {});
  /// Walks the weights without a checkpoint: afterwards a counting arena knows their size.
  WeightReader(ComputeType compute, WeightArena& counting);

  [[nodiscard]] ComputeType compute() const { return compute_; }

  /// A vector, as fp32. // [size]
  [[nodiscard]] std::span<const float> vector(const std::string& name, int size);
  /// One matrix for products, in compute type. // [num_out, num_in]
  [[nodiscard]] kernels::PackedMatrix matrix(const std::string& name, int num_out, int num_in);
  /// The same in a type of the caller's choice.
  [[nodiscard]] kernels::PackedMatrix matrix(const std::string& name, int num_out, int num_in, ComputeType type);
  /// The same for an entry of a checkpoint_schema.
  [[nodiscard]] kernels::PackedMatrix matrix(const TensorSpec& tensor) { return matrix(tensor, compute_); }
  [[nodiscard]] kernels::PackedMatrix matrix(const TensorSpec& tensor, ComputeType type) {
    return matrix(tensor.name, static_cast<int>(tensor.shape[0]), static_cast<int>(tensor.shape[1]), type);
  }
  /// Several matrices of the same width, one below the other. `rows` picks rows of the tensor, in any order.
  struct Part {
    std::string name;
    int num_rows = 0;        ///< of the tensor
    std::vector<int> rows{};  ///< empty: all, in order
  };
  [[nodiscard]] kernels::PackedMatrix stacked(std::initializer_list<Part> parts, int num_in);
  /// A matrix that has to be computed from tensors: `make` is called where the work is this reader's, and reads
  /// through values(). // [num_out, num_in]
  [[nodiscard]] kernels::PackedMatrix computed(ComputeType type, int num_out, int num_in,
                                               const std::function<std::vector<float>()>& make);
  /// Likewise a vector. // [size]
  [[nodiscard]] std::span<const float> computed_vector(int size, const std::function<std::vector<float>()>& make);
  /// All that `load` asks for is one piece of work: several weights that are computed from one tensor.
  void as_one(const std::function<void()>& load);
  /// A matrix as rows in compute type. // [num_rows, row_size]
  [[nodiscard]] std::span<const std::byte> rows(const std::string& name, int num_rows, int row_size);

  /// A whole tensor of one or two dimensions, as fp32: for `make` of computed().
  [[nodiscard]] std::vector<float> values(const std::string& name, std::vector<std::int64_t> shape);

 private:
  enum class Fp8 : std::uint8_t { refused, allowed };
  /// A checked matrix that has not been read yet.
  struct Source {
    TensorRows rows;
    std::optional<TensorRef> scales;  // of FP8
    std::vector<int> picked;          // rows of the tensor; empty: all
    [[nodiscard]] int num_rows() const { return picked.empty() ? rows.num_rows() : static_cast<int>(picked.size()); }
  };

  [[nodiscard]] TensorRef checked(const std::string& name, std::span<const std::int64_t> shape, Fp8 fp8) const;
  [[nodiscard]] Source source(const Part& part, int num_in) const;
  [[nodiscard]] kernels::PackedMatrix pack(ComputeType type, std::span<const Part> parts, int num_in);
  /// Rows first to end - 1 of a matrix of num_out rows; first is the first of a group.
  void pack_range(ComputeType type, std::span<Source> sources, int num_in, int first, int end, int num_out,
                  std::span<std::byte> memory);
  /// Is the next piece of work this reader's?
  [[nodiscard]] bool mine();

  const TensorLookup* tensors_;  // nullptr: only counts
  ComputeType compute_;
  WeightArena& arena_;
  LoadShare share_;
  std::int64_t next_work_ = 0;
  std::optional<bool> group_is_mine_;  // inside as_one
  std::vector<float> scratch_;  // the fp32 form of the rows in hand
};

}  // namespace moebius::model
