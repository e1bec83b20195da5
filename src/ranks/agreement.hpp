// SPDX-License-Identifier: Apache-2.0
#pragma once
// Steps of the set-up that every rank does and any rank may fail: one message, all ranks end.

#include <exception>
#include <functional>
#include <string>

#include "base/failure.hpp"
#include "comm/session.hpp"

namespace moebius::ranks {

/// Thrown on every rank when a step failed on at least one. Only the lowest rank that failed with the
/// worst exit code carries a message, so one line is printed.
class AgreedFailure : public std::exception {
 public:
  AgreedFailure(ExitCode code, std::string message) : code_(code), message_(std::move(message)) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] ExitCode code() const { return code_; }
  [[nodiscard]] bool speaks() const { return !message_.empty(); }

 private:
  ExitCode code_;
  std::string message_;
};

/// Collective: run `step` here; throw AgreedFailure everywhere if it threw anywhere.
void together(comm::Session& session, const std::function<void()>& step);

}  // namespace moebius::ranks
