// SPDX-License-Identifier: Apache-2.0
#pragma once
// The outside world going wrong: bad command, bad file, no memory. `main` catches a Failure on the
// rank that saw it, prints one line, and ends every rank with its exit code. A bad *row* is never a
// Failure: it is data with a RowStatus (request.hpp).

#include <stdexcept>
#include <string>

namespace moebius {

/// The one table of exit codes (README.md shows the same table to users).
enum class ExitCode : int {
  done = 0,
  bad_usage = 2,          ///< wrong command line or job file
  rows_failed = 3,        ///< rows failed under --strict
  unreadable_input = 4,   ///< input, checkpoint or results unreadable
  internal_error = 70,    ///< a contract of ours was broken
  watchdog = 71,          ///< a rank made no progress within its deadline
  does_not_fit = 72,      ///< out of memory, or the plan does not fit
  stopped_early = 75,     ///< stopped before the end; run again to go on
};

/// An expected failure of the outside world. `what()` has the form
/// "<problem> (<why it is one>) <what to do>" and names the file, line and key concerned.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace moebius
