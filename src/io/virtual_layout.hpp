// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mappings of HDF5 virtual datasets: which elements of the master lie where in which block.
// One object serves all datasets of one extent, since their rows (tokens, bytes) lie alike.
// For the sources of `io` only.
//
// A block's elements are consecutive at the source and lie in ascending runs in the master. HDF5 can map
// all runs at once as a union of hyperslabs, but reading such a union back takes time quadratic in
// its runs (HDF5 1.10.8: 177 s for 20 unions of 20000 runs), so a mapping takes a limited number.
// It also cannot store a union that reaches beyond 2^32 elements; there a mapping is one run.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/hdf5_handle.hpp"

namespace moebius::io {

/// Elements [first, first + count) of the master.
struct ElementRun {
  hsize_t first = 0, count = 0;
};

/// Append a run; one that starts where the last ended makes that one longer.
void append_run(std::vector<ElementRun>& runs, ElementRun run);

class VirtualLayout {
 public:
  /// Length of the master's first dimension and, for tables, its second.
  explicit VirtualLayout(hsize_t num_elements, std::optional<hsize_t> width = {});

  /// The block's elements 0, 1, ... are the elements of `runs` in order. `file` is relative to the master;
  /// `source_width` is that of the block's table, at most that of the master.
  void add_block(const std::string& file, std::span<const ElementRun> runs, hsize_t source_width = 1);
  /// Put the mappings for the dataset `path` (same in blocks and master) into a creation list.
  void apply(hid_t layout, const char* path) const;

  [[nodiscard]] const std::vector<hsize_t>& dims() const { return dims_; }
  [[nodiscard]] std::size_t num_mappings() const { return mappings_.size(); }

 private:
  struct Mapping {
    std::string file;
    Hdf5Space master, source;
  };
  [[nodiscard]] Hdf5Space select(std::span<const ElementRun> runs, hsize_t width) const;

  std::vector<hsize_t> dims_;
  std::vector<Mapping> mappings_;
};

}  // namespace moebius::io
