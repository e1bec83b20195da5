// SPDX-License-Identifier: Apache-2.0
#pragma once
// Collective exchange between all ranks, for the execution in which all step together. Every call is a collective over
// the world. While it waits it calls back, so that a rank can still tell what it waits for.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "comm/session.hpp"

namespace moebius::comm {

class AllToAll {
 public:
  /// Collective.
  explicit AllToAll(Session& session);
  AllToAll(const AllToAll&) = delete;
  AllToAll& operator=(const AllToAll&) = delete;
  ~AllToAll();

  enum class Wait : std::uint8_t { ranks, bytes };  ///< some have not come yet, maybe for long; they are there, and blocks move between them
  /// `f` is called again and again while a call waits.
  void while_waiting(std::function<void(Wait)> f) { while_waiting_ = std::move(f); }
  [[nodiscard]] int num_ranks() const { return num_ranks_; }
  /// Blocks are whole multiples of this many bytes.
  static constexpr std::size_t unit_bytes = 64;

  /// from[r] = what rank r has in to[own rank]: one number for each pair of ranks. MPI_Alltoall. // both: [num_ranks]
  void exchange_counts(std::span<const std::int64_t> to, std::span<std::int64_t> from);
  /// Block r of `to`, to_bytes[r] long, goes to rank r; the blocks from all ranks come to lie one after the other in
  /// `from`, of from_bytes[r] each, which the caller knows. MPI_Alltoallv. Bytes are multiples of unit_bytes.
  void exchange(std::span<const std::byte> to, std::span<const std::size_t> to_bytes, std::span<std::byte> from,
                std::span<const std::size_t> from_bytes);
  /// Each value becomes the sum over all ranks. MPI_Allreduce.
  void sum(std::span<std::int64_t> values);
  /// Does any rank say yes? MPI_Allreduce.
  bool any(bool mine);
  /// Collective; on the good path.
  void close();

 private:
  struct Native;
  std::unique_ptr<Native> native_;
  std::function<void(Wait)> while_waiting_ = [](Wait) {};
  int num_ranks_;
};

}  // namespace moebius::comm
