// SPDX-License-Identifier: Apache-2.0
#pragma once
// A set of ranks that does something together while a run is set up or wound up. Nothing here belongs
// on the asynchronous path: every member is a collective and waits for all ranks of the set.
// MPI types stay behind `Native` so that no other folder sees <mpi.h>.

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.hpp"

namespace moebius::comm {

class Communicator {
 public:
  struct Native;
  explicit Communicator(std::unique_ptr<Native> native);
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  /// Frees memory only. The MPI communicator is freed by free(), never during unwinding.
  ~Communicator();

  [[nodiscard]] RankId rank() const { return rank_; }  ///< within this set
  [[nodiscard]] int num_ranks() const { return num_ranks_; }

  void barrier();
  /// Every rank ends with the bytes of rank `root`, whatever it held before.
  void broadcast(std::vector<std::byte>& bytes, RankId root = RankId(0));
  /// On rank 0 what each rank gave, in order of ranks; empty elsewhere.
  std::vector<std::vector<std::byte>> gather_to_root(std::span<const std::byte> bytes);
  /// The largest value of all ranks, for example the worst exit code of a set-up step.
  int agree_max(int value);
  /// Collective; the communicator cannot be used afterwards.
  void free();

  [[nodiscard]] const Native& native() const { return *native_; }

 private:
  std::unique_ptr<Native> native_;
  RankId rank_;
  int num_ranks_ = 0;
};

}  // namespace moebius::comm
