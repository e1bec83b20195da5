// SPDX-License-Identifier: Apache-2.0
#include "ranks/job_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/hash.hpp"
#include "io/input_file.hpp"
#include "io/job_file.hpp"
#include "model/runtime.hpp"

namespace moebius::ranks {
namespace {

constexpr std::int64_t max_small_file_bytes = std::int64_t{1} << 30;

std::string content_of(const std::filesystem::path& file) {
  std::error_code ignored;  // what cannot be looked at is an error when it is read
  if (!std::filesystem::exists(file, ignored) && !ignored) return "not there";
  return to_hex(xxh3_64(io::read_text_file(file, max_small_file_bytes)));
}

}  // namespace

io::JobFacts job_facts(const ResolvedJob& resolved, const io::Checkpoint& checkpoint, const io::RequestFile& requests,
                       const RunOptions& options) {
  io::JobFacts facts = io::result_keys(resolved);
  facts.emplace_back("the input", fmt::format("{} ({} bytes)", to_hex(requests.fingerprint()), requests.num_bytes()));
  // A text that is one request is named after its file.
  if (requests.is_plain_text()) facts.emplace_back("input.path", std::filesystem::path(resolved.job.input.path).filename().string());
  facts.emplace_back("the weights", to_hex(checkpoint.fingerprint()));
  for (const char* file : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "chat_template.jinja"}) {
    facts.emplace_back(file, content_of(std::filesystem::path(resolved.job.model.path) / file));
  }
  facts.emplace_back("the kernels", model::instruction_set());
  const auto version = std::ranges::find(options.build_facts, "program_version", &std::pair<std::string, std::string>::first);
  facts.emplace_back("the program version", version == options.build_facts.end() ? "unknown" : version->second);
  if (options.shard) facts.emplace_back(io::shard_fact, to_string(*options.shard));
  return facts;
}

}  // namespace moebius::ranks
