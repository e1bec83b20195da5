// SPDX-License-Identifier: Apache-2.0
#include "io/shard_merge.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "base/failure.hpp"
#include "base/shard.hpp"
#include "io/block_index.hpp"
#include "io/durable_file.hpp"
#include "io/merged_record.hpp"
#include "io/output_folder.hpp"
#include "io/utc_time.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

struct ShardFolder {
  fs::path directory;
  Shard shard;
  JobFacts facts;  ///< of the undivided job
  BlockIndex index;
};

/// A block and the name that it gets.
struct MergedBlock {
  fs::path source;
  std::string file;      ///< in the merged folder
  BlockName name;
  JournalRecord record;  ///< of the shard
};

[[noreturn]] void refuse(const std::string& problem, const std::string& why, const std::string& what_to_do) {
  throw Failure{ExitCode::bad_usage, fmt::format("{} ({}) {}", problem, why, what_to_do)};
}

void require_finished(const fs::path& directory, const Shard& shard, const JournalContents& journal) {
  const JournalRecord* master = journal.master();
  const bool written = master != nullptr && journal.records.back() == *master && fs::is_regular_file(master_path(directory));
  if (!written)
    refuse(fmt::format("shard {} in {} is not finished", to_string(shard), directory.native()),
           fmt::format("{} blocks are committed, results.h5 is not written", journal.blocks().size()),
           fmt::format("run the job again with --shard {}, then merge again", to_string(shard)));
  if (file_checksum(master_path(directory)) != master->checksum)
    throw Failure{ExitCode::unreadable_input, fmt::format("{} is damaged (its bytes differ from those that were committed) run the job again with "
                                                          "--shard {}", master_path(directory).native(), to_string(shard))};
}

ShardFolder read_shard(const fs::path& directory) {
  const JournalContents journal = read_journal(directory);
  if (!journal.damaged_lines.empty() || journal.starts.empty())
    throw Failure{ExitCode::unreadable_input, fmt::format("cannot merge {} (its journal is damaged) run `moebius verify` there, and the shard "
                                                          "again with --force-new", directory.native())};
  ShardFolder folder{.directory = directory, .facts = journal.starts.front().facts};
  const auto fact = std::ranges::find(folder.facts, shard_fact, &JobFacts::value_type::first);
  const auto shard = fact == folder.facts.end() ? std::nullopt : parse_shard(fact->second);
  if (!shard) refuse(fmt::format("cannot merge {}", directory.native()), "it holds an undivided run", "name the folders that `moebius run --shard` wrote");
  folder.shard = *shard;
  folder.facts.erase(fact);
  require_finished(directory, *shard, journal);
  folder.index = read_block_index(directory);
  return folder;
}

/// Sorted by number; all of one job, each once, none missing.
std::vector<ShardFolder> read_shards(const std::vector<fs::path>& directories) {
  if (directories.empty()) refuse("there is nothing to merge", "no folder of a shard is named or found", "name the folders of all shards");
  std::vector<ShardFolder> folders;
  for (const fs::path& directory : directories) folders.push_back(read_shard(directory));
  std::ranges::stable_sort(folders, {}, [](const ShardFolder& folder) { return folder.shard.idx; });
  const ShardFolder& first = folders.front();
  for (const ShardFolder& other : folders) {
    const std::string both = fmt::format("cannot merge {} and {}", first.directory.native(), other.directory.native());
    if (other.shard.count != first.shard.count)
      refuse(both, fmt::format("they are shards {} and {}: the job was divided in two ways", to_string(first.shard), to_string(other.shard)),
             "name shards of one division");
    const auto texts = differences(first.facts, other.facts);
    if (!texts.empty()) refuse(both, fmt::format("they are of different jobs: {}", fmt::join(texts, "; ")), "name shards of one job");
  }
  std::vector<std::string> missing;
  auto next = folders.begin();
  for (int idx = 0; idx < first.shard.count; ++idx) {
    if (next == folders.end() || next->shard.idx != idx) missing.push_back(to_string(Shard{.idx = idx, .count = first.shard.count}));
    else if (++next != folders.end() && next->shard.idx == idx)
      refuse(fmt::format("cannot merge {} and {}", (next - 1)->directory.native(), next->directory.native()),
             fmt::format("both hold shard {}", to_string(next->shard)), "name each shard once");
  }
  if (!missing.empty())
    refuse(fmt::format("cannot merge {} shards of {}", folders.size(), first.shard.count), fmt::format("missing: {}", fmt::join(missing, ", ")),
           "run the job with --shard for these, or name their folders too");
  return folders;
}

/// In the order of the shards, with names that no other block of the merged folder has.
std::vector<MergedBlock> blocks_of(const std::vector<ShardFolder>& folders) {
  std::vector<MergedBlock> blocks;
  std::map<std::int32_t, std::int64_t> next_sequence;  // by rank
  for (const ShardFolder& folder : folders) {
    for (const IndexedBlock& block : folder.index.blocks) {
      const fs::path file = block.record.file;
      if (file.parent_path() != "blocks" || !parse_block_name(file.filename().native()))
        throw Failure{ExitCode::unreadable_input, fmt::format("cannot merge {} (its journal names {}, which is no block) run `moebius verify` there",
                                                              folder.directory.native(), block.record.file)};
      const BlockName name{.rank = block.record.rank, .sequence = next_sequence[block.record.rank.value]++};
      blocks.push_back({.source = folder.directory / file, .file = "blocks/" + block_name(name, block.record.checksum), .name = name,
                        .record = block.record});
    }
  }
  return blocks;
}

class Merge {
 public:
  Merge(const MergeRequest& request, const std::vector<ShardFolder>& folders)
      : directory_(request.directory), folder_(folder_request(request, folders)), blocks_(blocks_of(folders)) {
    for (const ShardFolder& folder : folders) shards_.push_back(folder.directory);
    outcome_.num_shards = static_cast<std::int64_t>(folders.size());
  }

  MergeOutcome run() {
    outcome_.notes = folder_.notes();
    if (folder_.state() == FolderState::finished) return finished();
    run_ = folder_.begin();
    std::set<std::string> there;
    for (const JournalRecord& record : read_journal(directory_).blocks()) there.insert(record.file);
    refuse_other_rows(there);
    Journal journal(directory_);
    for (const MergedBlock& block : blocks_)
      if (!there.contains(block.file)) commit(block, journal);
    outcome_.results = write_master(directory_, merged_record(shards_, directory_), folder_.fingerprint(), run_);
    folder_.release();
    return std::move(outcome_);
  }

 private:
  static FolderRequest folder_request(const MergeRequest& request, const std::vector<ShardFolder>& folders) {
    FolderRequest wanted{.directory = request.directory, .on_existing = request.on_existing, .facts = folders.front().facts};
    for (const ShardFolder& folder : folders)
      for (const RowPlace& row : folder.index.order) wanted.lines.push_back(row.input_line);
    return wanted;
  }

  MergeOutcome finished() {
    outcome_.was_done = true;
    for (const JournalRecord& block : read_journal(directory_).blocks()) {
      ++outcome_.results.num_blocks;
      outcome_.results.num_rows += block.num_rows;
      outcome_.results.num_tokens += block.num_tokens;
      outcome_.results.num_failed += block.num_failed;
      outcome_.results.digest += block.digest;
    }
    return std::move(outcome_);
  }

  /// What is committed here must be blocks of these shards: an undivided run that was stopped has the same facts.
  void refuse_other_rows(const std::set<std::string>& there) const {
    std::set<std::string> ours;
    for (const MergedBlock& block : blocks_) ours.insert(block.file);
    for (const std::string& file : there)
      if (!ours.contains(file))
        refuse(fmt::format("cannot merge into {}", directory_.native()), fmt::format("it holds other rows of this job: {}", file),
               "choose another folder, or pass --force-new to delete those results");
  }

  void commit(const MergedBlock& block, Journal& journal) {
    const fs::path temporary = blocks_path(directory_) / temporary_block_name(block.name, run_);
    if (file_checksum(block.source) != block.record.checksum)
      throw Failure{ExitCode::unreadable_input, fmt::format("cannot merge {} (its bytes differ from those that were committed) run that shard "
                                                            "again: its rows are computed anew", block.source.native())};
    std::error_code error;
    fs::remove(temporary, error);
    // A link to a symbolic link would point elsewhere from here.
    error = std::make_error_code(std::errc::not_supported);
    if (!fs::is_symlink(block.source)) fs::create_hard_link(block.source, temporary, error);
    if (error) copy(block, temporary);
    else ++outcome_.num_linked;
    commit_file(temporary, directory_ / block.file);
    fs::remove(temporary, error);  // a rename between two names of one file leaves both
    JournalRecord record = block.record;
    record.run = run_;
    record.file = block.file;
    record.sequence = block.name.sequence;
    record.job_fingerprint = folder_.fingerprint();
    record.utc = utc_now();
    journal.append(record);
  }

  void copy(const MergedBlock& block, const fs::path& temporary) {
    std::error_code error;
    if (!fs::copy_file(block.source, temporary, fs::copy_options::overwrite_existing, error)) {
      errno = error.value();
      os_failed("copy into", temporary);
    }
    ++outcome_.num_copied;
    outcome_.bytes_copied += static_cast<std::int64_t>(fs::file_size(temporary));
  }

  fs::path directory_;
  OutputFolder folder_;
  std::vector<MergedBlock> blocks_;
  std::vector<fs::path> shards_;
  std::int64_t run_ = 0;
  MergeOutcome outcome_;
};

}  // namespace

std::vector<fs::path> find_shards(const fs::path& directory) {
  std::vector<std::pair<int, fs::path>> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
    if (const auto shard = parse_shard_folder_name(entry.path().filename().native())) found.emplace_back(shard->idx, entry.path());
  std::ranges::sort(found);
  std::vector<fs::path> folders;
  for (auto& [idx, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

MergeOutcome merge_shards(const MergeRequest& request) {
  const std::vector<ShardFolder> folders = read_shards(request.shards);
  for (const ShardFolder& folder : folders) {
    std::error_code ignored;
    if (fs::equivalent(folder.directory, request.directory, ignored))
      refuse(fmt::format("cannot merge into {}", request.directory.native()), "it is the folder of a shard", "choose another folder");
  }
  return Merge(request, folders).run();
}

}  // namespace moebius::io
