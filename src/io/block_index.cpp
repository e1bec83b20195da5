// SPDX-License-Identifier: Apache-2.0
#include "io/block_index.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/failure.hpp"

namespace moebius::io {
namespace {

[[noreturn]] void not_whole(const std::filesystem::path& directory, const std::string& why) {
  throw Failure{ExitCode::unreadable_input,
                fmt::format("the results in {} are not whole ({}) run `moebius verify` there, bring the files back "
                            "or run the job again into another output.path",
                            directory.native(), why)};
}

std::pair<std::int64_t, std::int32_t> key(const RowPlace& place) { return {place.input_line, place.choice_idx}; }

void check_unique(const std::filesystem::path& directory, const BlockIndex& index) {
  const auto same = std::adjacent_find(index.order.begin(), index.order.end(),
                                       [](const RowPlace& a, const RowPlace& b) { return key(a) == key(b); });
  if (same == index.order.end()) return;
  const auto file = [&](const RowPlace& place) {
    return index.blocks[static_cast<std::size_t>(place.block_idx)].record.file;
  };
  not_whole(directory, fmt::format("input line {} choice {} is both in {} and in {}", same->input_line,
                                   same->choice_idx, file(*same), file(*(same + 1))));
}

}  // namespace

BlockIndex read_block_index(const std::filesystem::path& directory) {
  const JournalContents journal = read_journal(directory);
  if (!journal.damaged_lines.empty())
    not_whole(directory, fmt::format("line {} of the journal is damaged", journal.damaged_lines.front()));
  BlockIndex index;
  index.run = journal.run();
  for (JournalRecord& record : journal.blocks()) {
    const RowsFile file(directory / record.file);
    if (file.num_rows() != record.num_rows || file.num_tokens() != record.num_tokens)
      not_whole(directory, fmt::format("{} does not hold as many rows and tokens as its record says", record.file));
    IndexedBlock block{std::move(record), file.layout()};
    const auto block_idx = static_cast<std::int32_t>(index.blocks.size());
    for (std::size_t row = 0; row < block.layout.input_line.size(); ++row) {
      const RowPlace place{block.layout.input_line[row], block.layout.choice_idx[row], block_idx,
                           static_cast<std::int64_t>(row)};
      if (row > 0 && key(index.order.back()) >= key(place))
        not_whole(directory, fmt::format("the rows of {} are not in order", block.record.file));
      index.order.push_back(place);
    }
    index.blocks.push_back(std::move(block));
  }
  std::sort(index.order.begin(), index.order.end(),
            [](const RowPlace& a, const RowPlace& b) { return key(a) < key(b); });
  check_unique(directory, index);
  return index;
}

}  // namespace moebius::io
