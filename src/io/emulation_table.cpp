// SPDX-License-Identifier: Apache-2.0
#include "io/emulation_table.hpp"

#include "base/check.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {
namespace {

using enum ElementKind;

struct Number {
  ArraySpec spec;
  double EmulationTable::*value;
};
constexpr Number numbers[] = {
    {{"/emulation/dilation", f64, "seconds on the clock for a second of the device; 0: the run was in real time", "1"}, &EmulationTable::dilation},
    {{"/emulation/seconds", f64, "emulated time of the loop: its wall time over the dilation", "s"}, &EmulationTable::seconds},
    {{"/emulation/tokens_per_s", f64, "emulated tokens computed in a second of the device", "1/s"}, &EmulationTable::tokens_per_s},
    {{"/emulation/compute_share", f64, "share of real computation in the wall time of a core, the largest", "1"}, &EmulationTable::compute_share},
    {{"/emulation/slip", f64, "share of the wall time that no model accounts for", "1"}, &EmulationTable::slip},
    {{"/emulation/missed_share", f64, "share of messages that came too late for the choice that they should have been part of", "1"},
     &EmulationTable::missed_share}};

constexpr ArraySpec of_ranks[] = {
    {"/emulation/ranks/processor_s", f64, "processor time of the loop [rank]", "s"},
    {"/emulation/ranks/loop_s", f64, "wall time of the loop [rank]", "s"},
    {"/emulation/ranks/modelled_s", f64, "sum of the modelled durations of stages, dilated [rank]", "s"},
    {"/emulation/ranks/late_s", f64, "sum over stages of how late they ended [rank]", "s"},
    {"/emulation/ranks/latest_s", f64, "largest of these [rank]", "s"},
    {"/emulation/ranks/shortest_s", f64, "shortest stage, dilated; 0: no stage [rank]", "s"}};
constexpr std::vector<double> EmulationTable::*rank_values[] = {&EmulationTable::processor_s, &EmulationTable::loop_s, &EmulationTable::modelled_s,
                                                               &EmulationTable::late_s, &EmulationTable::latest_s, &EmulationTable::shortest_s};
constexpr ArraySpec counts_of_ranks[] = {{"/emulation/ranks/stages", i64, "stages with a modelled duration [rank]", "1"},
                                         {"/emulation/ranks/late_stages", i64, "of these, stages that ended late [rank]", "1"}};
constexpr std::vector<std::int64_t> EmulationTable::*rank_counts[] = {&EmulationTable::stages, &EmulationTable::late_stages};

template <class Value>
std::vector<Value> read_all(hid_t file, const ArraySpec& spec) {
  const OpenArray array = open_array(file, spec.path);
  MOEBIUS_EXPECT(array.dims.size() == 1);
  std::vector<Value> values(array.dims[0]);
  read_array(array, spec, 0, array.dims[0], values.data());
  return values;
}

}  // namespace

void write_emulation(hid_t file, const EmulationTable& table) {
  for (const auto& [spec, value] : numbers) {
    const hsize_t one[] = {1};
    write_array(file, spec, one, &(table.*value));
  }
  const hsize_t ranks[] = {table.stages.size()};
  for (std::size_t i = 0; i < std::size(of_ranks); ++i) {
    MOEBIUS_EXPECT((table.*rank_values[i]).size() == ranks[0]);
    write_array(file, of_ranks[i], ranks, (table.*rank_values[i]).data());
  }
  for (std::size_t i = 0; i < std::size(counts_of_ranks); ++i) write_array(file, counts_of_ranks[i], ranks, (table.*rank_counts[i]).data());
}

EmulationTable read_emulation(hid_t file) {
  EmulationTable table;
  for (const auto& [spec, value] : numbers) {
    const auto values = read_all<double>(file, spec);
    MOEBIUS_EXPECT(values.size() == 1);
    table.*value = values[0];
  }
  for (std::size_t i = 0; i < std::size(of_ranks); ++i) table.*rank_values[i] = read_all<double>(file, of_ranks[i]);
  for (std::size_t i = 0; i < std::size(counts_of_ranks); ++i) table.*rank_counts[i] = read_all<std::int64_t>(file, counts_of_ranks[i]);
  return table;
}

}  // namespace moebius::io
