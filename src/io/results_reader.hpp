// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a result folder: rows in input order, and what is known of the run. `report`, `export` and the
// summary at the end of a run stand on it. Memory is bounded by what a call asks for, beside an index of
// 24 bytes a row.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/request.hpp"
#include "io/results_master.hpp"

namespace moebius::io {

enum class RowSource : std::uint8_t {
  automatic,  ///< the blocks where there is a journal, else the master
  blocks,     ///< the committed blocks themselves, also of a run that has not ended
  master,     ///< results.h5 and its virtual datasets, as other programs see the rows; slower, needs more memory
};

class ResultsReader {
 public:
  /// Failure(unreadable_input) where the folder holds no results or they are not whole.
  explicit ResultsReader(std::filesystem::path directory, RowSource source = RowSource::automatic);
  ResultsReader(ResultsReader&&) noexcept;
  ResultsReader& operator=(ResultsReader&&) noexcept;
  ~ResultsReader();

  [[nodiscard]] std::int64_t num_rows() const;
  /// Rows [first, first + count) in input order, cut at the end. Failure where a block is missing.
  [[nodiscard]] std::vector<Row> read_rows(std::int64_t first, std::int64_t count) const;

  /// The rest is known once the run has written results.h5; empty before, and where the file is of a version that did
  /// not write it yet.
  [[nodiscard]] bool has_master() const;
  /// Root attributes in the order of their names, numbers as decimal text.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& attributes() const;
  [[nodiscard]] std::optional<std::string> attribute(std::string_view name) const;
  [[nodiscard]] std::vector<RankTiming> timing() const;
  [[nodiscard]] std::vector<RankMemory> memory() const;
  [[nodiscard]] std::vector<RankPrefixCache> prefix_caches() const;
  [[nodiscard]] std::vector<RankLatency> latencies() const;
  [[nodiscard]] std::vector<RankWork> work() const;
  [[nodiscard]] std::vector<RankInterval> timeline() const;
  [[nodiscard]] std::vector<RankTransfer> transfers() const;
  [[nodiscard]] std::vector<RankSeriesPoint> series() const;
  [[nodiscard]] ExpertLoad expert_load() const;
  [[nodiscard]] PlacementHistory placement() const;
  [[nodiscard]] RoutingTrace routing_trace() const;
  [[nodiscard]] ExpertActivation expert_activation() const;
  [[nodiscard]] CapacityTable capacity() const;
  [[nodiscard]] EmulationTable emulation() const;
  [[nodiscard]] PredictedTable predicted() const;
  [[nodiscard]] std::vector<PlacementChange> placement_changes() const;
  [[nodiscard]] std::vector<RankRebalance> rebalance() const;

 private:
  struct Opened;
  template <class Table>
  [[nodiscard]] Table table(Table (*read)(std::int64_t file)) const;
  std::unique_ptr<Opened> opened_;  // keeps HDF5 out of this header
};

}  // namespace moebius::io
