// SPDX-License-Identifier: Apache-2.0
#pragma once
// Contracts. A broken one is our bug: it throws ContractError, which `main` turns into exit code 70.
// The checks stay on in release builds: they guard protocol steps and array borders, not inner loops.

#include <stdexcept>
#include <string>

namespace moebius {

/// Thrown by MOEBIUS_EXPECT / MOEBIUS_ENSURE: the program, not its input, is wrong.
class ContractError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] inline void contract_failed(const char* kind, const char* condition, const char* file, int line) {
  throw ContractError(std::string(kind) + " broken: " + condition + " (" + file + ":" + std::to_string(line) +
                      ") this is a bug of moebius; please report it with the job file");
}

}  // namespace moebius

/// What the caller owes.
#define MOEBIUS_EXPECT(condition) \
  ((condition) ? void(0) : ::moebius::contract_failed("precondition", #condition, __FILE__, __LINE__))
/// What this code owes.
#define MOEBIUS_ENSURE(condition) \
  ((condition) ? void(0) : ::moebius::contract_failed("guarantee", #condition, __FILE__, __LINE__))
