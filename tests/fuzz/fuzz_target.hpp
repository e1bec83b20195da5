// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is fuzzed: every reader of something that comes from outside, with the texts it begins from and what
// must hold for each input. A target throws Problem for what must not happen; a Failure is a good answer to
// bad input and stays inside. Whatever else leaves a target, or an input that takes too much time or memory,
// is a finding of fuzz_main.

#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/fuzz/mutator.hpp"

namespace moebius::test {

/// A property of a reader that does not hold.
struct Problem : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Did the reader take the input? Both answers are right; a target that only ever refuses tests little.
enum class Verdict : std::uint8_t { accepted, refused };

struct FuzzTarget {
  std::string name;
  /// Runs one input that `mutator` makes.
  std::function<Verdict(Mutator& mutator)> run;
  int inputs_in_ci;  ///< of a bounded run: about a second in a release build
};

/// Texts that several readers see come from tests/data; `scratch` is a folder for the files of a process.
std::vector<FuzzTarget> weight_targets(const std::filesystem::path& scratch);
std::vector<FuzzTarget> model_targets(const std::filesystem::path& scratch);
std::vector<FuzzTarget> job_targets(const std::filesystem::path& scratch);

/// Runs `read`; a Failure must have a message of one line.
Verdict read_or_refuse(const std::function<void()>& read);
std::string read_whole(const std::filesystem::path& file);
void write_whole(const std::filesystem::path& file, const std::string& content);
std::filesystem::path source_path(const std::string& path);

}  // namespace moebius::test
