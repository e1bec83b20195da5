// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory of a run that other ranks reach: one MPI_Win_allocate over all ranks (rings, credit words,
// control words), opened by one MPI_Win_lock_all for the whole run; and beside it one
// MPI_Win_allocate_shared per node for the rings of pairs that share memory. Used by RingTransport and
// ControlBoard; made and closed by the program.
//
// After construction nothing here is collective and nothing takes an exclusive lock. The constructor
// and close() are collectives; the destructor makes no MPI call, so a Window may die by unwinding.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "comm/session.hpp"
#include "comm/window_layout.hpp"

namespace moebius::comm {

/// Whether pairs on one node use load and store. `off` forces Puts everywhere.
enum class FastPath : std::uint8_t { off, on };
/// `off` where the environment has MOEBIUS_SHARED_MEMORY=off, else `on`.
FastPath fast_path_from_environment();

class Window {
 public:
  /// Collective; all ranks give the same options, and `writes` gives the same answers everywhere.
  /// Where this MPI cannot share memory (its shared-memory component is switched off), pairs on one
  /// node use Puts as well: see fast_path().
  Window(Session& session, const RingOptions& options, const WritesTo& writes,
         FastPath fast_path = fast_path_from_environment());
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window();
  /// Collective: end the epoch and free both windows. Call it on the good path, after all traffic.
  void close();

  [[nodiscard]] RankId rank() const { return rank_; }
  [[nodiscard]] int num_ranks() const { return num_ranks_; }
  [[nodiscard]] const RingOptions& ring_options() const { return options_; }
  [[nodiscard]] FastPath fast_path() const { return fast_path_; }  ///< what came of the option
  /// Where the ring of a pair lies; nothing where `from` does not write to `to`.
  [[nodiscard]] std::optional<RingPlace> place(RankId from, RankId to) const { return layout_.place(from, to); }
  /// Bytes of this rank's memory that others reach, both windows together.
  [[nodiscard]] std::size_t num_bytes() const;

  /// This rank's own Put segment from `offset` on.
  [[nodiscard]] std::byte* local(std::size_t offset);
  /// The shared segment of a rank on this node from `offset` on.
  [[nodiscard]] std::byte* shared(RankId owner, std::size_t offset);

  /// One contiguous MPI_BYTE Put into the Put segment of `to`. `origin` must keep its bytes until a
  /// flush of `to`. Puts are not ordered among themselves.
  void put(RankId to, std::size_t offset, const void* origin, std::size_t bytes);
  /// Complete, here and there, all that was put to `to`.
  void flush(RankId to);
  /// MPI_Win_sync: see what others have put, show what was stored here.
  void sync();
  /// Let the MPI library work: one MPI_Iprobe.
  void progress();

  /// Atomically add to a control word of rank `owner`; returns what stood there before.
  std::int64_t fetch_add(RankId owner, std::size_t word_idx, std::int64_t value);
  /// Own control word, for local stores followed by sync().
  [[nodiscard]] std::uint64_t* control_word(std::size_t word_idx);
  /// Read control words [first, first + count) of all ranks. A rank that does not answer within
  /// `patience_s` gives no words: the caller may be a watchdog, and must not hang with the hung.
  /// Each such read may leave a request behind that completes when that rank comes back.
  std::vector<std::optional<std::vector<std::uint64_t>>> read_control_words(std::size_t first, std::size_t count,
                                                                            double patience_s);

 private:
  struct Native;
  void allocate_world(Session& session);
  bool allocate_shared(Session& session);
  void clear_and_meet(Session& session);
  void check_layout() const;

  std::unique_ptr<Native> native_;
  RankId rank_;
  int num_ranks_;
  RingOptions options_;
  FastPath fast_path_;
  WindowLayout layout_;
};

}  // namespace moebius::comm
