// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the one-sided operations of this MPI do, and how fast, on the ranks of this launch: for `moebius selftest`, before
// a long job. The same Window and rings as in a run, but over Puts only, since load and store need no checks.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/session.hpp"

namespace moebius::comm {

/// Of rank 0 as the origin and the last rank as the target, where ranks are not named.
struct WindowChecks {
  bool rings_ok = false;         ///< every rank's messages arrived at its neighbour, whole and in order
  std::string ring_problem;      ///< what did not
  bool atomics_ok = false;       ///< Fetch_and_op of all ranks on one word: every value was there once
  double put_s = 0;              ///< 8 bytes, with their flush; median
  double put_bytes_per_s = 0;    ///< large Puts under one flush
  double fetch_add_s = 0;        ///< median
  /// How long a Put with flush, and a Fetch_and_op, take while the target sleeps for `sleep_s` outside of MPI.
  double sleep_s = 0, put_asleep_s = 0, fetch_add_asleep_s = 0;
};

/// Collective, on at least 2 ranks; takes a few seconds. Known to rank 0. Failure(bad_usage) where this MPI has no window that
/// could carry rings.
WindowChecks check_windows(Session& session);

/// Collective: how far the calendar clocks of the ranks are apart at most, as far as a barrier can tell. Known to rank 0.
double clock_spread_s(Session& session);

}  // namespace moebius::comm
