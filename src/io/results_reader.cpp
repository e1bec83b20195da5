// SPDX-License-Identifier: Apache-2.0
#include "io/results_reader.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "base/check.hpp"
#include "io/block_index.hpp"
#include "io/emulation_table.hpp"
#include "io/predicted_table.hpp"
#include "io/hdf5_data.hpp"
#include "io/output_directory.hpp"
#include "io/rows_file.hpp"
#include "io/run_tables.hpp"

namespace moebius::io {

struct ResultsReader::Opened {
  std::filesystem::path directory;
  std::optional<Hdf5File> master;
  std::vector<std::pair<std::string, std::string>> attributes;  // of the master
  std::optional<RowsFile> master_rows;                          // set: rows come from the master
  BlockIndex index;                                             // else they come from the blocks
};

namespace {

/// Rows of one block that a window needs: they are consecutive, since both are sorted alike.
struct BlockPart {
  std::int64_t first = std::numeric_limits<std::int64_t>::max(), last = 0;
  std::vector<std::size_t> positions;  ///< in the window, ascending
};

std::vector<Row> read_from_blocks(const std::filesystem::path& directory, const BlockIndex& index, std::size_t first,
                                  std::size_t count) {
  std::map<std::int32_t, BlockPart> parts;  // by block_idx
  for (std::size_t position = 0; position < count; ++position) {
    const RowPlace& place = index.order[first + position];
    BlockPart& part = parts[place.block_idx];
    part.first = std::min(part.first, place.row_idx);
    part.last = std::max(part.last, place.row_idx);
    part.positions.push_back(position);
  }
  std::vector<Row> rows(count);
  for (const auto& [block_idx, part] : parts) {
    const std::string& file = index.blocks[static_cast<std::size_t>(block_idx)].record.file;
    std::vector<Row> some = RowsFile(directory / file).read_rows(part.first, part.last - part.first + 1);
    MOEBIUS_ENSURE(some.size() == part.positions.size());
    for (std::size_t i = 0; i < some.size(); ++i) rows[part.positions[i]] = std::move(some[i]);
  }
  return rows;
}

}  // namespace

ResultsReader::ResultsReader(ResultsReader&&) noexcept = default;
ResultsReader& ResultsReader::operator=(ResultsReader&&) noexcept = default;
ResultsReader::~ResultsReader() = default;

ResultsReader::ResultsReader(std::filesystem::path directory, RowSource source) : opened_(std::make_unique<Opened>()) {
  opened_->directory = std::move(directory);
  const std::filesystem::path master = master_path(opened_->directory);
  const bool has_journal = std::filesystem::exists(journal_path(opened_->directory));
  if (std::filesystem::exists(master) || source == RowSource::master) {
    opened_->master = open_hdf5(master);
    opened_->attributes = read_attributes(opened_->master->get());
  }
  if (source == RowSource::master || (source == RowSource::automatic && !has_journal && opened_->master)) {
    opened_->master_rows.emplace(master);
    return;
  }
  opened_->index = read_block_index(opened_->directory);
  for (IndexedBlock& block : opened_->index.blocks) block.layout = {};  // the order is all that reading needs
}

std::int64_t ResultsReader::num_rows() const {
  if (opened_->master_rows) return opened_->master_rows->num_rows();
  return static_cast<std::int64_t>(opened_->index.order.size());
}

std::vector<Row> ResultsReader::read_rows(std::int64_t first, std::int64_t count) const {
  MOEBIUS_EXPECT(first >= 0 && count >= 0);
  first = std::min(first, num_rows());
  count = std::min(count, num_rows() - first);
  if (opened_->master_rows) return opened_->master_rows->read_rows(first, count);
  return read_from_blocks(opened_->directory, opened_->index, static_cast<std::size_t>(first),
                          static_cast<std::size_t>(count));
}

bool ResultsReader::has_master() const { return opened_->master.has_value(); }

const std::vector<std::pair<std::string, std::string>>& ResultsReader::attributes() const {
  return opened_->attributes;
}

std::optional<std::string> ResultsReader::attribute(std::string_view name) const {
  for (const auto& [key, value] : opened_->attributes)
    if (key == name) return value;
  return {};
}

template <class Table>
Table ResultsReader::table(Table (*read)(std::int64_t)) const {
  return has_master() ? read(opened_->master->get()) : Table{};
}

std::vector<RankTiming> ResultsReader::timing() const { return table(read_timing); }
std::vector<RankMemory> ResultsReader::memory() const { return table(read_memory); }
std::vector<RankPrefixCache> ResultsReader::prefix_caches() const { return table(read_prefix_caches); }
std::vector<RankLatency> ResultsReader::latencies() const { return table(read_latencies); }
std::vector<RankWork> ResultsReader::work() const { return table(read_work); }
std::vector<RankInterval> ResultsReader::timeline() const { return table(read_timeline); }
std::vector<RankTransfer> ResultsReader::transfers() const { return table(read_transfers); }
std::vector<RankSeriesPoint> ResultsReader::series() const { return table(read_series); }
ExpertLoad ResultsReader::expert_load() const { return table(read_expert_load); }
PlacementHistory ResultsReader::placement() const { return table(read_placement); }
RoutingTrace ResultsReader::routing_trace() const { return table(read_routing_trace); }
ExpertActivation ResultsReader::expert_activation() const { return table(read_expert_activation); }
CapacityTable ResultsReader::capacity() const { return table(read_capacity); }
std::vector<RankRebalance> ResultsReader::rebalance() const { return table(read_rebalance); }
std::vector<PlacementChange> ResultsReader::placement_changes() const { return table(read_placement_changes); }
EmulationTable ResultsReader::emulation() const { return table(read_emulation); }
PredictedTable ResultsReader::predicted() const { return table(read_predicted); }

}  // namespace moebius::io
