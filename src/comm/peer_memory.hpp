// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory of each rank that all ranks of a run may read, one-sidedly: expert weights that move while a job runs, and the
// words by which the ranks agree on that. Each rank writes its own memory alone; nobody puts, nobody adds.
//
// Where all ranks sit on one node and may share, it is memory of the node, read by load. Elsewhere it is one
// MPI_Win_allocate over all ranks, read by MPI_Rget, of which none is waited for: the target has to make progress
// (Transport::progress). A word (64 bits, aligned) is read as a whole. Whoever has read a word that store_word wrote sees
// what its owner had stored before. The constructor over a Session, publish() and close() are collectives; the
// destructor makes no MPI call.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/session.hpp"
#include "comm/window.hpp"

namespace moebius::comm {

class PeerMemory {
 public:
  /// Over all ranks; own_bytes may differ. Throws Failure{does_not_fit}.
  PeerMemory(Session& session, std::size_t own_bytes, FastPath fast_path = fast_path_from_environment());
  /// The same inside one process: memories[r] is that of rank r, on a cache line border. A read copies as late as it may,
  /// when it is found finished.
  PeerMemory(RankId rank, std::span<const std::span<std::byte>> memories);
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;
  ~PeerMemory();

  [[nodiscard]] RankId rank() const { return rank_; }
  /// This rank's memory, on a cache line border. Not initialised.
  [[nodiscard]] std::span<std::byte> own() const { return own_; }
  [[nodiscard]] bool loads_directly() const { return !memories_.empty(); }

  /// Collective: what everybody stored so far is seen by reads that begin afterwards.
  void publish(Session& session);
  /// Shows a word of the own memory, and all that was stored before it.
  void store_word(std::size_t offset, std::uint64_t value);

  using ReadId = std::size_t;
  /// Begins to copy `to.size()` bytes of a rank from `offset` on. `to` stays until finished() has said true.
  ReadId start_read(RankId from, std::size_t offset, std::span<std::byte> to);
  /// Does not wait. Once it has said true the id means another read, or none.
  bool finished(ReadId read);

  /// Waits for reads that were begun; on the good path, when nobody begins another.
  void close();

 private:
  struct Native;
  struct Read;
  void allocate_window(Session& session, std::size_t own_bytes);

  RankId rank_;
  std::span<std::byte> own_;
  std::vector<std::span<std::byte>> memories_;  // [num_ranks] where they are loaded from; empty: over the window
  std::vector<Read> reads_;
  std::vector<ReadId> free_reads_;
  std::unique_ptr<Native> native_;
};

}  // namespace moebius::comm
