// SPDX-License-Identifier: Apache-2.0
// How evenly experts and ranks were loaded: heat maps.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/report/colors.hpp"
#include "app/report/figures.hpp"
#include "app/report/markup.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

constexpr double left = 62, top = 8;
/// Even loads are never darker than the middle of the ramp.
constexpr double least_scale = 2;

/// Loads over the mean of their layer; layers without load (dense ones) are not in it.
struct HeatMap {
  std::vector<int> layers;     ///< names of the rows
  std::vector<int> columns;    ///< names of the columns
  std::vector<double> values;  // [layers, columns]
  [[nodiscard]] double largest() const { return values.empty() ? 0 : *std::ranges::max_element(values); }
  /// Mean over layers of the largest of a layer.
  [[nodiscard]] double mean_of_largest() const {
    double sum = 0;
    for (std::size_t row = 0; row < layers.size(); ++row) {
      sum += *std::max_element(values.begin() + static_cast<std::ptrdiff_t>(row * columns.size()),
                               values.begin() + static_cast<std::ptrdiff_t>((row + 1) * columns.size()));
    }
    return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
  }
};

void add_layer(HeatMap& map, int layer, const std::vector<double>& load) {
  double sum = 0;
  for (const double one : load) sum += one;
  if (sum <= 0) return;
  map.layers.push_back(layer);
  for (const double one : load) map.values.push_back(one * static_cast<double>(load.size()) / sum);
}

HeatMap map_of_experts(const io::ExpertLoad& load) {
  HeatMap map;
  for (int expert = 0; expert < load.num_experts; ++expert) map.columns.push_back(expert);
  for (int layer = 0; layer < load.num_layers; ++layer) {
    const auto first = load.rows.begin() + static_cast<std::ptrdiff_t>(layer) * load.num_experts;
    add_layer(map, layer, {first, first + load.num_experts});
  }
  return map;
}

/// Rows of each rank that hosts experts, the rows of an expert shared out evenly to its copies.
HeatMap map_of_ranks(const io::ExpertLoad& load, const io::PlacementHistory& placement, int generation) {
  const auto ranks = static_cast<std::size_t>(placement.num_ranks), places = static_cast<std::size_t>(placement.num_places);
  std::vector<std::vector<double>> rows_of;  // [layers, ranks]
  std::vector<bool> hosts(ranks);
  for (int layer = 0; layer < placement.num_layers; ++layer) {
    const std::int32_t* at =
        placement.expert.data() +
        (static_cast<std::size_t>(generation) * static_cast<std::size_t>(placement.num_layers) + static_cast<std::size_t>(layer)) * ranks * places;
    std::vector<double> copies(static_cast<std::size_t>(load.num_experts)), of_layer(ranks);
    for (std::size_t i = 0; i < ranks * places; ++i) {
      if (at[i] >= 0 && at[i] < load.num_experts) ++copies[static_cast<std::size_t>(at[i])];
    }
    for (std::size_t i = 0; i < ranks * places; ++i) {
      if (at[i] < 0 || at[i] >= load.num_experts) continue;
      const auto expert = static_cast<std::size_t>(at[i]);
      hosts[i / places] = true;
      of_layer[i / places] += static_cast<double>(load.rows[static_cast<std::size_t>(layer * load.num_experts) + expert]) / copies[expert];
    }
    rows_of.push_back(std::move(of_layer));
  }
  HeatMap map;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (hosts[rank]) map.columns.push_back(static_cast<int>(rank));
  }
  for (std::size_t layer = 0; layer < rows_of.size(); ++layer) {
    std::vector<double> of_hosts;
    for (const int rank : map.columns) of_hosts.push_back(rows_of[layer][static_cast<std::size_t>(rank)]);
    add_layer(map, static_cast<int>(layer), of_hosts);
  }
  return map;
}

std::size_t every(double size, double room) { return static_cast<std::size_t>(std::max(1.0, std::ceil(room / size))); }

std::string draw_map(const HeatMap& map, double scale_to, double width, std::string_view column_name, std::string_view label) {
  const auto rows = static_cast<double>(map.layers.size()), columns = static_cast<double>(map.columns.size());
  const double cell_width = std::min((width - left - 8) / columns, 90.0), cell_height = std::clamp(560.0 / rows, 5.0, 26.0);
  const double bottom = top + rows * cell_height;
  Svg svg(width, bottom + 44, label);
  const bool with_numbers = cell_width >= 30 && cell_height >= 14;
  const double gap = cell_width > 5 && cell_height > 5 ? 0.6 : 0.0;
  for (std::size_t row = 0; row < map.layers.size(); ++row) {
    const double y = top + static_cast<double>(row) * cell_height;
    if (row % every(cell_height, 14) == 0) svg.text(left - 8, y + cell_height / 2 + 4.5, std::to_string(map.layers[row]), Anchor::end);
    for (std::size_t column = 0; column < map.columns.size(); ++column) {
      const double value = map.values[row * map.columns.size() + column], x = left + static_cast<double>(column) * cell_width;
      svg.rect({x, y, cell_width - gap, cell_height - gap}, ramp_color(value / scale_to),
               fmt::format("layer {}, {} {}: {:.2f} times the mean", map.layers[row], column_name, map.columns[column], value));
      if (with_numbers)
        svg.text(x + cell_width / 2, y + cell_height / 2 + 4, fmt::format("{:.2f}", value), Anchor::middle, text_class_on_ramp(value / scale_to));
    }
  }
  for (std::size_t column = 0; column < map.columns.size(); column += every(cell_width, 34)) {
    svg.text(left + (static_cast<double>(column) + 0.5) * cell_width, bottom + 16, std::to_string(map.columns[column]), Anchor::middle);
  }
  svg.text(left + columns * cell_width / 2, bottom + 35, column_name, Anchor::middle);
  svg.text_upwards(15, top + std::max(rows * cell_height / 2, 20.0), "layer");
  return "<figure>" + svg.take() + "</figure>\n";
}

}  // namespace

std::string expert_load_section(const ReportData& data) {
  constexpr std::string_view title = "Load of the experts";
  if (data.load.rows.empty()) return left_out("experts", title, "These results hold no loads of experts: they were merged from shards, or an earlier version wrote them.");
  const HeatMap map = map_of_experts(data.load);
  const double scale_to = std::max(map.largest(), least_scale);
  if (map.layers.empty()) return left_out("experts", title, "No row went to a routed expert.");
  return section(data, "experts", title,
                 fmt::format("Rows of each routed expert over the mean of its layer: 1 is even. The busiest expert of a layer has {:.2f} times the "
                             "mean, averaged over layers.",
                             map.mean_of_largest()),
                 "<figure>" + ramp_legend(scale_to, "rows over the mean of the layer") + "</figure>" +
                     draw_map(map, scale_to, Svg::page_width, "expert", "Heat map of layers and experts"));
}

std::string rank_load_section(const ReportData& data) {
  constexpr std::string_view title = "Load of the expert ranks";
  if (data.load.rows.empty() || data.placement.expert.empty())
    return left_out("rank-load", title, "These results hold no placement: they were merged from shards, or an earlier version wrote them.");
  const int last = data.placement.num_generations - 1;
  const HeatMap before = map_of_ranks(data.load, data.placement, 0), after = map_of_ranks(data.load, data.placement, last);
  if (before.layers.empty()) return left_out("rank-load", title, "No row went to a routed expert.");
  const double largest = std::max({before.largest(), after.largest(), least_scale});
  std::string content = "<figure>" + ramp_legend(largest, "rows over the mean of the layer") + "</figure>";
  std::string caption = fmt::format(
      "Rows of each expert rank over the mean of the layer, from the loads of the whole run; copies of an expert share its rows evenly. The busiest "
      "rank of "
      "a layer has {:.2f} times the mean",
      before.mean_of_largest());
  if (last == 0) {
    return section(data, "rank-load", title, caption + ".",
                   content + draw_map(before, largest, Svg::page_width, "rank", "Heat map of layers and expert ranks"));
  }
  caption += fmt::format(" with the first placement and {:.2f} with the last of {}.", after.mean_of_largest(), data.placement.num_generations);
  content +=
      "<h3>First placement</h3>\n" + draw_map(before, largest, Svg::page_width, "rank", "Heat map of layers and expert ranks, first placement");
  content += "<h3>Last placement</h3>\n" + draw_map(after, largest, Svg::page_width, "rank", "Heat map of layers and expert ranks, last placement");
  return section(data, "rank-load", title, caption, content);
}

}  // namespace moebius::app
