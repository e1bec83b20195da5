// SPDX-License-Identifier: Apache-2.0
#include "io/results_reader.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/block_index.hpp"
#include "io/output_directory.hpp"
#include "io/rows_file.hpp"
#include "io/run_tables.hpp"

namespace moebius::io {
namespace {

// The program's own files: libraries, sockets and shared memory of MPI, the log, the checkpoint.
constexpr std::int64_t other_open_files = 128;

rlimit open_file_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

std::int64_t to_number(const std::optional<std::string>& text) {
  std::int64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

/// Rows of one block that a window needs: they are consecutive, since both are sorted alike.
struct BlockPart {
  std::int64_t first = std::numeric_limits<std::int64_t>::max(), last = 0;
  std::vector<std::size_t> positions;  ///< in the window, ascending
};

}  // namespace

ResultsReader::ResultsReader(ResultsReader&&) noexcept = default;
ResultsReader& ResultsReader::operator=(ResultsReader&&) noexcept = default;
ResultsReader::~ResultsReader() = default;

ResultsReader::ResultsReader(std::filesystem::path directory, RowSource source) : directory_(std::move(directory)) {
  const std::filesystem::path master = master_path(directory_);
  if (source == RowSource::master || std::filesystem::exists(master)) master_ = std::make_unique<RowsFile>(master);
  const bool through_master =
      source == RowSource::master || (source == RowSource::automatic && master_ != nullptr &&
                                      to_number(attribute("num_blocks")) <= ManyOpenFiles::room());
  if (!through_master) index_ = std::make_unique<BlockIndex>(read_block_index(directory_));
  num_rows_ = through_master ? master_->num_rows() : static_cast<std::int64_t>(index_->order.size());
}

std::vector<Row> ResultsReader::read_rows(std::int64_t first, std::int64_t count) const {
  MOEBIUS_EXPECT(first >= 0 && count >= 0);
  first = std::min(first, num_rows_);
  count = std::min(count, num_rows_ - first);
  if (index_ == nullptr) return master_->read_rows(first, count);
  return read_from_blocks(first, count);
}

std::vector<Row> ResultsReader::read_from_blocks(std::int64_t first, std::int64_t count) const {
  std::map<std::int32_t, BlockPart> parts;  // by block_idx
  for (std::size_t position = 0; position < static_cast<std::size_t>(count); ++position) {
    const RowPlace& place = index_->order[static_cast<std::size_t>(first) + position];
    BlockPart& part = parts[place.block_idx];
    part.first = std::min(part.first, place.row_idx);
    part.last = std::max(part.last, place.row_idx);
    part.positions.push_back(position);
  }
  std::vector<Row> rows(static_cast<std::size_t>(count));
  for (const auto& [block_idx, part] : parts) {
    const std::string& file = index_->blocks[static_cast<std::size_t>(block_idx)].record.file;
    std::vector<Row> some = RowsFile(directory_ / file).read_rows(part.first, part.last - part.first + 1);
    MOEBIUS_ENSURE(some.size() == part.positions.size());
    for (std::size_t i = 0; i < some.size(); ++i) rows[part.positions[i]] = std::move(some[i]);
  }
  return rows;
}

std::vector<std::pair<std::string, std::string>> ResultsReader::attributes() const {
  if (master_ == nullptr) return {};
  return read_attributes(master_->file());
}

std::optional<std::string> ResultsReader::attribute(std::string_view name) const {
  for (auto& [key, value] : attributes())
    if (key == name) return std::move(value);
  return {};
}

std::vector<RankTiming> ResultsReader::timing() const {
  return master_ == nullptr ? std::vector<RankTiming>{} : read_timing(master_->file());
}

std::vector<RankMemory> ResultsReader::memory() const {
  return master_ == nullptr ? std::vector<RankMemory>{} : read_memory(master_->file());
}

ExpertLoad ResultsReader::expert_load() const {
  return master_ == nullptr ? ExpertLoad{} : read_expert_load(master_->file());
}

PlacementHistory ResultsReader::placement() const {
  return master_ == nullptr ? PlacementHistory{} : read_placement(master_->file());
}

ManyOpenFiles::ManyOpenFiles() : limit_before_(open_file_limit().rlim_cur) {
  rlimit limit = open_file_limit();
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // where this is refused, room() tells
}

ManyOpenFiles::~ManyOpenFiles() {
  rlimit limit = open_file_limit();
  limit.rlim_cur = limit_before_;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::int64_t ManyOpenFiles::room() {
  const rlimit limit = open_file_limit();
  constexpr auto most = static_cast<rlim_t>(std::numeric_limits<std::int32_t>::max());
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(std::min(limit.rlim_cur, most)) - other_open_files);
}

}  // namespace moebius::io
