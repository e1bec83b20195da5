// SPDX-License-Identifier: Apache-2.0
#include "io/predicted_table.hpp"

#include "base/check.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {
namespace {

using enum ElementKind;

struct Number {
  ArraySpec spec;
  double PredictedTable::*value;
};
constexpr Number numbers[] = {
    {{"/predicted/seconds", f64, "predicted time of the loop, of the device in slow motion; 0: nothing was predicted", "s"}, &PredictedTable::seconds},
    {{"/predicted/measured_seconds", f64, "measured time of the loop, of the device in slow motion", "s"}, &PredictedTable::measured_seconds},
    {{"/predicted/tokens", f64, "tokens that the prediction put through the layers", "1"}, &PredictedTable::tokens},
    {{"/predicted/measured_tokens", f64, "tokens that went through the layers", "1"}, &PredictedTable::measured_tokens},
    {{"/predicted/layer_seconds", f64, "predicted time of a layer for a mini-batch of a rank, in the mean", "s"}, &PredictedTable::layer_seconds},
    {{"/predicted/measured_layer_seconds", f64, "measured time of a token of a rank in a layer, for a mini-batch as large as was predicted", "s"},
     &PredictedTable::measured_layer_seconds},
    {{"/predicted/is_bound", f64, "1: no schedule can be faster than the prediction, but slower; 0: it is meant to be the time", "1"}, &PredictedTable::is_bound}};

}  // namespace

void write_predicted(hid_t file, const PredictedTable& table) {
  for (const auto& [spec, value] : numbers) {
    const hsize_t one[] = {1};
    write_array(file, spec, one, &(table.*value));
  }
}

PredictedTable read_predicted(hid_t file) {
  PredictedTable table;
  if (H5Lexists(file, "/predicted", H5P_DEFAULT) <= 0) return table;
  for (const auto& [spec, value] : numbers) {
    const OpenArray array = open_array(file, spec.path);
    MOEBIUS_EXPECT(array.dims.size() == 1 && array.dims[0] == 1);
    read_array(array, spec, 0, 1, &(table.*value));
  }
  return table;
}

}  // namespace moebius::io
