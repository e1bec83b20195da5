// SPDX-License-Identifier: Apache-2.0
#pragma once
// The job file: TOML with a fixed set of keys, each of which can also be set on the command line. Every
// rank reads it, so that all know the same job; nobody writes it.
//
// Everything wrong with it is a Failure{bad_usage} of one line that names file, line and key; an unknown
// key is an error that names the nearest known one. Relative paths in a job, like those of any command,
// start at the current directory. Whether they exist is for those to say who open them.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/job.hpp"

namespace moebius::io {

/// `overrides` are "section.key=value", later ones win; the value is TOML, and words and paths may go
/// without their quotes.
ResolvedJob read_job(const std::filesystem::path& file, std::span<const std::string> overrides);

/// The same for a job that stands elsewhere, as in the attribute job_toml of results; `name` is what messages
/// call it.
ResolvedJob read_job_text(const std::string& text, const std::string& name, std::span<const std::string> overrides);

/// Every key with its value, as a job file that resolves to the same job.
std::string to_toml(const ResolvedJob& job);

/// Over the keys of which another value gives other results (compute type, seed, capacity), without
/// paths: the caller adds the content of model and input. Layout, schedule and limits do not count.
std::uint64_t fingerprint(const ResolvedJob& job);
/// Names and values of those keys.
std::vector<std::pair<std::string, std::string>> result_keys(const ResolvedJob& job);

/// One line of `moebius show --keys`.
struct KeyDoc {
  std::string key;            ///< "limits.kv_tokens"
  std::string allowed;        ///< "an integer from 0 to ..."
  std::string default_value;  ///< as TOML; empty: must be given
  std::string help;
};
/// In the order of the documentation.
std::span<const KeyDoc> job_keys();

}  // namespace moebius::io
