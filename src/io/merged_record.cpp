// SPDX-License-Identifier: Apache-2.0
#include "io/merged_record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/failure.hpp"
#include "io/job_file.hpp"
#include "io/output_directory.hpp"
#include "io/results_reader.hpp"

namespace moebius::io {
namespace {

/// Written from the rows and the other members of RunRecord.
constexpr std::string_view counted_attributes[] = {"format_version", "seed", "restart_count", "start_utc", "end_utc", "num_rows_expected",
                                                   "num_rows", "num_tokens", "num_failed", "num_blocks", "invariance_digest"};

std::string text_of(const ResultsReader& shard, const char* name, const std::filesystem::path& directory) {
  auto value = shard.attribute(name);
  if (value) return *value;
  throw Failure{ExitCode::unreadable_input, fmt::format("{} has no attribute {} (it was not written by this version) run the shard again",
                                                        master_path(directory).native(), name)};
}

template <class Integer>
Integer integer_of(const ResultsReader& shard, const char* name, const std::filesystem::path& directory) {
  const std::string text = text_of(shard, name, directory);
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return value;
  throw Failure{ExitCode::unreadable_input, fmt::format("{} says {} = {} (that is no number) run the shard again",
                                                        master_path(directory).native(), name, text)};
}

/// Texts of another shard: new names are added, new values are written behind the others.
void add_texts(const ResultsReader& shard, std::set<std::pair<std::string, std::string>>& seen, RunRecord& record) {
  for (const auto& [name, value] : shard.attributes()) {
    if (std::ranges::find(counted_attributes, name) != std::end(counted_attributes) || !seen.emplace(name, value).second) continue;
    const auto known = std::ranges::find(record.texts, name, &std::pair<std::string, std::string>::first);
    if (known == record.texts.end()) record.texts.emplace_back(name, value);
    else known->second += "; " + value;
  }
}

void replace_text(RunRecord& record, std::string_view name, std::string value) {
  const auto known = std::ranges::find(record.texts, name, &std::pair<std::string, std::string>::first);
  if (known == record.texts.end()) record.texts.emplace_back(name, std::move(value));
  else known->second = std::move(value);
}

/// Element by element, where both have the same shape; an empty sum takes any.
void add_up(std::vector<std::int64_t>& sum, const std::vector<std::int64_t>& values) {
  if (sum.empty()) sum = values;
  else if (sum.size() == values.size()) std::ranges::transform(sum, values, sum.begin(), std::plus<>());
}

void add_tables(const ResultsReader& shard, RunRecord& record) {
  const int first_rank = record.timing.empty() ? 0 : record.timing.back().rank + 1;
  for (RankTiming timing : shard.timing()) {
    timing.rank += first_rank;
    record.timing.push_back(timing);
  }
  for (RankMemory memory : shard.memory()) {
    memory.rank += first_rank;
    record.memory.push_back(memory);
  }
  for (RankPrefixCache cache : shard.prefix_caches()) {
    cache.rank += first_rank;
    record.prefix_caches.push_back(cache);
  }
  const ExpertLoad load = shard.expert_load();
  if (record.load.rows.empty()) record.load = load;
  else add_up(record.load.rows, load.rows);
  const CapacityTable capacity = shard.capacity();
  for (const auto column : {&CapacityTable::micro_batches, &CapacityTable::cut, &CapacityTable::kept, &CapacityTable::dropped, &CapacityTable::added})
    add_up(record.capacity.*column, capacity.*column);
}

}  // namespace

RunRecord merged_record(const std::vector<std::filesystem::path>& shards, const std::filesystem::path& directory) {
  RunRecord record;
  std::set<std::pair<std::string, std::string>> seen;
  std::string job_toml;
  for (const std::filesystem::path& folder : shards) {
    const ResultsReader shard(folder, RowSource::master);
    add_texts(shard, seen, record);
    add_tables(shard, record);
    record.seed = integer_of<std::uint64_t>(shard, "seed", folder);
    record.restart_count += integer_of<std::int64_t>(shard, "restart_count", folder);
    record.num_rows_expected += integer_of<std::int64_t>(shard, "num_rows_expected", folder);
    const std::string start = text_of(shard, "start_utc", folder), end = text_of(shard, "end_utc", folder);
    if (record.start_utc.empty() || start < record.start_utc) record.start_utc = start;
    record.end_utc = std::max(record.end_utc, end);
    if (job_toml.empty()) job_toml = text_of(shard, "job_toml", folder);
  }
  const std::string overrides[] = {fmt::format("output.path={}", directory.native())};
  replace_text(record, "job_toml", to_toml(read_job_text(job_toml, master_path(shards.front()).native(), overrides)));
  replace_text(record, "shard", fmt::format("merged from {}", shards.size()));
  return record;
}

}  // namespace moebius::io
