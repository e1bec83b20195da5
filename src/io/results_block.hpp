// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writes the finished rows of one rank as row blocks, the unit of commitment: rows are safe from the
// moment their block is in the journal, and lost with the process before.
// Invariants: the rows of one input line are in one block; rows of a block are sorted by
// (input_line, choice_idx); a block is written under a temporary name, synced, renamed, then journalled.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "base/ids.hpp"
#include "base/request.hpp"
#include "io/journal.hpp"

namespace moebius::io {

struct RowColumns;

class BlockWriter {
 public:
  /// `directory` has been made ready and run number `run` has begun in it. Sequence numbers go on after
  /// those of blocks of the same rank that are already there.
  BlockWriter(std::filesystem::path directory, RankId rank, int rows_per_block, std::string job_fingerprint,
              std::int64_t run = 0);

  /// All rows of one input line, at least one. Writes a block when the next line would not fit any more
  /// or the block is full; only a line with more rows than rows_per_block makes a longer block.
  void add(std::vector<Row> rows_of_one_request);
  /// Commits what is left. Call it at the end of the run; the destructor writes nothing, since it also
  /// runs while an error is on its way.
  void finish();

  // Of committed blocks only:
  [[nodiscard]] std::int64_t num_blocks() const { return num_blocks_; }
  [[nodiscard]] std::int64_t num_rows() const { return num_rows_; }
  [[nodiscard]] std::int64_t num_failed() const { return num_failed_; }
  [[nodiscard]] std::int64_t num_bytes() const { return num_bytes_; }
  [[nodiscard]] const Digest128& digest() const { return digest_; }

 private:
  void commit_block();
  void write_block_file(const std::filesystem::path& name, const RowColumns& columns) const;
  [[nodiscard]] JournalRecord record_of(const RowColumns& columns) const;

  std::filesystem::path directory_;
  RankId rank_;
  std::size_t rows_per_block_;
  std::string job_fingerprint_;
  std::int64_t run_;
  Journal journal_;
  std::int64_t sequence_ = 0;
  std::vector<Row> pending_;
  std::int64_t num_blocks_ = 0, num_rows_ = 0, num_failed_ = 0, num_bytes_ = 0;
  Digest128 digest_;
};

}  // namespace moebius::io
