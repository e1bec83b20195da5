// SPDX-License-Identifier: Apache-2.0
#include "io/placement_file.hpp"

#include <fmt/format.h>

#include <fstream>
#include <span>

#include "io/durable_file.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_file_bytes = std::int64_t{1} << 30;
constexpr const char* placement_format = "moebius placement 1";
constexpr const char* profile_format = "moebius profile 1";

/// One of the two files, with messages that name it.
class File {
 public:
  File(const std::filesystem::path& path, const char* format)
      : path_(path.string()), json_(read_json_file(path, max_file_bytes, ExitCode::bad_usage)) {
    if (!json_.is_object() || !json_.contains("format") || json_["format"] != format) fail("format", fmt::format("it must be \"{}\"", format));
  }
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    throw Failure{ExitCode::bad_usage, fmt::format("{}: key {} is not right ({}) name a file that moebius wrote", path_, key, problem)};
  }
  const Json& list(const Json& parent, const std::string& key) const {
    const Json* value = parent.is_object() && parent.contains(key) ? &parent[key] : nullptr;
    if (value == nullptr || !value->is_array()) fail(key, "it must be a list");
    return *value;
  }
  std::string text(const Json& parent, const std::string& key) const {
    if (!parent.contains(key) || !parent[key].is_string()) fail(key, "it must be a string");
    return parent[key].get<std::string>();
  }
  std::int64_t integer(const Json& value, const std::string& key, std::int64_t min, std::int64_t max) const {
    if (!value.is_number_integer() || value < min || value > max) fail(key, fmt::format("it must be an integer from {} to {}", min, max));
    return value.get<std::int64_t>();
  }
  double positive(const Json& value, const std::string& key) const {
    if (!value.is_number() || !(value.get<double>() > 0)) fail(key, "it must be a number above 0");
    return value.get<double>();
  }
  const Json& root() const { return json_; }
  const Json& value(const std::string& key) const {
    if (!json_.contains(key)) fail(key, "it is missing");
    return json_[key];
  }

 private:
  std::string path_;
  Json json_;
};

void write_json(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) os_failed("write", path);
}

}  // namespace

PlacementFile read_placement_file(const std::filesystem::path& path) {
  const File file(path, placement_format);
  PlacementFile placement{.planner = file.text(file.root(), "planner"), .expert = {}};
  placement.num_experts = static_cast<int>(file.integer(file.value("num_experts"), "num_experts", 1, 1 << 20));
  placement.num_ranks = static_cast<int>(file.integer(file.value("num_ranks"), "num_ranks", 1, 1 << 20));
  for (const Json& layer : file.list(file.root(), "expert")) {
    const std::string where = fmt::format("expert[{}]", placement.expert.size());
    if (!layer.is_array() || (!layer.empty() && layer.size() != static_cast<std::size_t>(placement.num_ranks))) {
      file.fail(where, "it must be a list with an entry for each of num_ranks, or empty for a dense layer");
    }
    auto& ranks = placement.expert.emplace_back();
    for (const Json& places : layer) {
      if (!places.is_array()) file.fail(where, "the entry of a rank must be a list of expert ids");
      auto& ids = ranks.emplace_back();
      for (const Json& id : places) ids.push_back(static_cast<std::int32_t>(file.integer(id, where, 0, placement.num_experts - 1)));
    }
  }
  return placement;
}

void write_placement_file(const std::filesystem::path& path, const PlacementFile& placement) {
  std::string text = fmt::format("{{\"format\": \"{}\", \"planner\": {}, \"num_experts\": {}, \"num_ranks\": {},\n \"expert\": [", placement_format,
                                 Json(placement.planner).dump(), placement.num_experts, placement.num_ranks);
  for (std::size_t layer = 0; layer < placement.expert.size(); ++layer) {
    text += (layer == 0 ? "\n  " : ",\n  ") + Json(placement.expert[layer]).dump();
  }
  write_json(path, text + "]}\n");
}

namespace {

struct CostKey {
  const char* name;
  std::span<double> (*of)(StageCosts&);
};
constexpr CostKey cost_keys[] = {{"attention", [](StageCosts& costs) { return std::span<double>(costs.attention); }},
                                 {"expert", [](StageCosts& costs) { return std::span<double>(costs.expert); }},
                                 {"shared", [](StageCosts& costs) { return std::span<double>(costs.shared); }},
                                 {"dense", [](StageCosts& costs) { return std::span<double>(costs.dense); }},
                                 {"head", [](StageCosts& costs) { return std::span<double>(costs.head); }},
                                 {"link_in_node", [](StageCosts& costs) { return std::span<double>(costs.link_in_node); }},
                                 {"link_between_nodes", [](StageCosts& costs) { return std::span<double>(costs.link_between_nodes); }}};

StageCosts read_costs(const File& file) {
  StageCosts costs;
  if (!file.root().contains("costs")) return costs;
  for (const CostKey& key : cost_keys) {
    const std::string where = std::string("costs.") + key.name;
    const Json& numbers = file.list(file.root()["costs"], key.name);
    const std::span<double> to = key.of(costs);
    if (numbers.size() != to.size()) file.fail(where, fmt::format("it must have {} numbers", to.size()));
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (!numbers[i].is_number() || !(numbers[i].get<double>() >= 0)) file.fail(where, "a number is never negative");
      to[i] = numbers[i].get<double>();
    }
  }
  return costs;
}

Json json_of(StageCosts costs) {
  Json json = Json::object();
  for (const CostKey& key : cost_keys) {
    Json numbers = Json::array();
    for (const double number : key.of(costs)) numbers.push_back(number);
    json[key.name] = numbers;
  }
  return json;
}

}  // namespace

SpeedProfile read_speed_profile(const std::filesystem::path& path) {
  const File file(path, profile_format);
  SpeedProfile profile{.model_path = file.text(file.root(), "model_path"), .compute = file.text(file.root(), "compute"), .costs = read_costs(file), .node = {}, .curves = {}};
  for (const Json& rank : file.list(file.root(), "ranks")) {
    const std::string where = fmt::format("ranks[{}].points", profile.curves.size());
    if (!rank.is_object()) file.fail("ranks", "each entry must be an object");
    profile.node.push_back(file.text(rank, "node"));
    auto& curve = profile.curves.emplace_back();
    for (const Json& point : file.list(rank, "points")) {
      if (!point.is_array() || point.size() != 2) file.fail(where, "a point is [rows, seconds]");
      curve.push_back({file.positive(point[0], where), file.positive(point[1], where)});
      if (curve.size() > 1 && curve[curve.size() - 2].rows >= curve.back().rows) file.fail(where, "rows must ascend");
    }
    if (curve.empty()) file.fail(where, "there are no points");
  }
  if (profile.curves.empty()) file.fail("ranks", "there are none");
  return profile;
}

void write_speed_profile(const std::filesystem::path& path, const SpeedProfile& profile) {
  Json ranks = Json::array();
  for (std::size_t i = 0; i < profile.curves.size(); ++i) {
    Json points = Json::array();
    for (const SpeedProfile::Point& point : profile.curves[i]) points.push_back({point.rows, point.seconds});
    ranks.push_back({{"node", profile.node[i]}, {"points", points}});
  }
  Json json = {{"format", profile_format}, {"model_path", profile.model_path}, {"compute", profile.compute}, {"ranks", ranks}};
  if (profile.costs.known()) json["costs"] = json_of(profile.costs);
  write_json(path, json.dump(1) + "\n");
}

}  // namespace moebius::io
