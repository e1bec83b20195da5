// SPDX-License-Identifier: Apache-2.0
#pragma once
// MPI from start to end of the program, and who sits on which node. One Session per process, made by
// the one thread that talks to MPI and destroyed by nobody's unwinding: finalize() is called on the
// good path, abort() on every other.
//
// The environment variable MOEBIUS_RANKS_PER_NODE=n makes each n consecutive ranks count as a node of
// their own, so that one machine can test what several do. Ranks that do not share memory never become
// one node by it.

#include <string>
#include <vector>

#include "base/failure.hpp"
#include "base/roles.hpp"
#include "comm/communicator.hpp"
#include "comm/meeting_deadline.hpp"

namespace moebius::comm {

/// The attention and the expert communicator; a rank is in one of them, or in both.
struct RoleCommunicators {
  std::unique_ptr<Communicator> attention;  ///< null where this rank is none
  std::unique_ptr<Communicator> expert;
  /// Collective; before Session::finalize().
  void free();
};

/// One line, for example "Open MPI v4.1.4, ..."; may be asked before MPI has started.
std::string mpi_library_version();

class Session {
 public:
  /// MPI_Init_thread with MPI_THREAD_FUNNELED. Where the host program has initialised MPI already,
  /// it keeps MPI, and finalize() gives back only what the Session made.
  Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Collective, the last call.
  void finalize();
  /// End all ranks with this exit code, also where a constructor here threw. Not from a destructor or
  /// a catch block: leave it first.
  [[noreturn]] static void abort(ExitCode code);

  [[nodiscard]] RankId rank() const { return world_->rank(); }
  [[nodiscard]] int num_ranks() const { return world_->num_ranks(); }
  [[nodiscard]] int num_nodes() const { return num_nodes_; }
  [[nodiscard]] int node_idx() const { return node_idx_of_[rank().idx()]; }
  [[nodiscard]] int node_idx_of(RankId rank) const { return node_idx_of_[rank.idx()]; }
  [[nodiscard]] const std::vector<RankId>& ranks_on_my_node() const { return ranks_on_my_node_; }  ///< ascending
  [[nodiscard]] const std::string& processor_name() const { return processor_name_; }
  /// One line, for example "Open MPI v4.1.4, ...".
  [[nodiscard]] const std::string& library_version() const { return library_version_; }

  // Collectives over all ranks, for set-up and wind-up only. Each is a meeting for the deadline.
  void barrier();
  void broadcast(std::vector<std::byte>& bytes);
  std::vector<std::vector<std::byte>> gather_to_root(std::span<const std::byte> bytes);
  int agree_max(int value);
  /// Between two of them at most so much time passes, from now on; 0: no limit, as where ranks do not meet.
  void limit_waiting(double limit_s) { deadline_.start(limit_s, rank()); }
  /// Ranks do not meet from now on until the next limit; a one-sided call that waits longer than this for its target ends the
  /// rank (MeetingDeadline::watch_calls).
  void watch_calls(double limit_s, const std::string& role) { deadline_.watch_calls(limit_s, rank(), role); }
  /// The communicators of the roles, ranks in world order.
  RoleCommunicators split(Roles roles);

  [[nodiscard]] Communicator& world() { return *world_; }
  /// The ranks that really share memory with this one, whatever MOEBIUS_RANKS_PER_NODE says.
  [[nodiscard]] Communicator& memory_node() { return *memory_node_; }

 private:
  enum class Ownership : std::uint8_t { session, host_program };
  void find_nodes();

  Ownership ownership_ = Ownership::session;
  MeetingDeadline deadline_;
  std::unique_ptr<Communicator> world_, memory_node_;
  std::vector<int> node_idx_of_;  // [num_ranks]
  int num_nodes_ = 0;
  std::vector<RankId> ranks_on_my_node_;
  std::string processor_name_, library_version_;
};

}  // namespace moebius::comm
