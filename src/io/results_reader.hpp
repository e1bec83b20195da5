// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a result folder: rows in input order, what is known of the run. `report`, `export` and `verify`
// stand on it. Memory is bounded by what a call asks for (and about 80 bytes a row where there is no master).

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

class RowsFile;
struct BlockIndex;

enum class RowSource : std::uint8_t {
  automatic,  ///< the master where it is there and the process may open all of its blocks, else the blocks
  master,     ///< results.h5 and its virtual datasets
  blocks,     ///< the committed blocks, also of a run that has not ended
};

class ResultsReader {
 public:
  /// Failure(unreadable_input) where the folder holds no results or they are not whole.
  explicit ResultsReader(std::filesystem::path directory, RowSource source = RowSource::automatic);
  ResultsReader(ResultsReader&&) noexcept;
  ResultsReader& operator=(ResultsReader&&) noexcept;
  ~ResultsReader();

  [[nodiscard]] std::int64_t num_rows() const { return num_rows_; }
  /// Rows [first, first + count) in input order, cut at the end. Failure where a block is missing.
  [[nodiscard]] std::vector<Row> read_rows(std::int64_t first, std::int64_t count) const;

  /// The rest is known once the run has written results.h5; empty before.
  [[nodiscard]] bool has_master() const { return master_ != nullptr; }
  /// Root attributes in the order of their names, numbers as decimal text.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> attributes() const;
  [[nodiscard]] std::optional<std::string> attribute(std::string_view name) const;
  [[nodiscard]] std::vector<RankTiming> timing() const;
  [[nodiscard]] std::vector<RankMemory> memory() const;
  [[nodiscard]] ExpertLoad expert_load() const;
  [[nodiscard]] PlacementHistory placement() const;

 private:
  [[nodiscard]] std::vector<Row> read_from_blocks(std::int64_t first, std::int64_t count) const;

  std::filesystem::path directory_;
  std::unique_ptr<RowsFile> master_;
  std::unique_ptr<BlockIndex> index_;  ///< set: rows come from the blocks
  std::int64_t num_rows_ = 0;
};

/// Lets the process open as many files as the system allows while it lives, since HDF5 keeps every block
/// behind a virtual dataset open and reads fill values where it cannot open one more.
class ManyOpenFiles {
 public:
  ManyOpenFiles();
  ManyOpenFiles(const ManyOpenFiles&) = delete;
  ManyOpenFiles& operator=(const ManyOpenFiles&) = delete;
  ~ManyOpenFiles();
  /// Files that may be open now, less some for everything else.
  [[nodiscard]] static std::int64_t room();

 private:
  std::uint64_t limit_before_;
};

}  // namespace moebius::io
