// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small JSON files that one command writes and a later job loads: where experts live (`moebius place`) and how fast
// expert ranks are (`moebius profile`). Their form is in FORMAT.md. Reading throws Failure{bad_usage} that names
// file and key; whether a placement suits a job is for its caller to say.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/stage_costs.hpp"

namespace moebius::io {

struct PlacementFile {
  std::string planner;  ///< who made it, for people
  int num_experts = 0, num_ranks = 0;
  /// Expert ids by layer, expert rank and place; a dense layer is empty, and a rank may have fewer places than others.
  std::vector<std::vector<std::vector<std::int32_t>>> expert;
  bool operator==(const PlacementFile&) const = default;
};

PlacementFile read_placement_file(const std::filesystem::path& path);
void write_placement_file(const std::filesystem::path& path, const PlacementFile& placement);

struct SpeedProfile {
  struct Point {
    double rows = 0, seconds = 0;
    bool operator==(const Point&) const = default;
  };
  std::string model_path, compute;
  StageCosts costs;                        ///< of stages and links; not known in files of older versions
  std::vector<std::string> node;           ///< [expert ranks]
  std::vector<std::vector<Point>> curves;  ///< [expert ranks] by ascending rows
  bool operator==(const SpeedProfile&) const = default;
};

SpeedProfile read_speed_profile(const std::filesystem::path& path);
void write_speed_profile(const std::filesystem::path& path, const SpeedProfile& profile);

}  // namespace moebius::io
