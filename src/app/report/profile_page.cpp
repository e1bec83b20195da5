// SPDX-License-Identifier: Apache-2.0
#include "app/report/profile_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/report/markup.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

constexpr double height = 240, margin = 60, dot = 4;

/// Decades, from the smallest time to the largest.
void fitted_against_measured(Svg& svg, const FittedCurve& curve, const Box& area) {
  double least = curve.points.front().first, most = least;
  for (const auto& [fitted, measured] : curve.points) {
    least = std::min({least, fitted, measured});
    most = std::max({most, fitted, measured});
  }
  const double from = std::floor(std::log10(std::max(least, 1e-9))), to = std::max(from + 1, std::ceil(std::log10(most)));
  const Scale x{from, to, area.x, area.x + area.width}, y{from, to, area.y + area.height, area.y};
  svg.frame(area);
  for (double decade = from; decade <= to; ++decade) {
    svg.text(x(decade), area.y + area.height + 16, duration(std::pow(10, decade)), Anchor::middle);
    svg.text(area.x - 6, y(decade) + 4, duration(std::pow(10, decade)), Anchor::end);
  }
  svg.curve({{x(from), y(from)}, {x(to), y(to)}}, "#999999", 1);
  std::vector<Box> dots;
  for (const auto& [fitted, measured] : curve.points) {
    dots.push_back({x(std::log10(std::max(fitted, 1e-9))) - dot / 2, y(std::log10(std::max(measured, 1e-9))) - dot / 2, dot, dot});
  }
  svg.boxes(dots, "#0072b2");
  svg.text(area.x + area.width / 2, area.y + area.height + 34, "fitted (line: as measured)", Anchor::middle);
}

/// (measured - fitted) / measured of each sample, by fitted time.
void residuals(Svg& svg, const FittedCurve& curve, const Box& area) {
  double most = 0.1;
  for (const auto& [fitted, measured] : curve.points) most = std::max(most, std::abs(measured - fitted) / measured);
  const Scale x{0, static_cast<double>(curve.points.size()), area.x, area.x + area.width}, y{-most, most, area.y + area.height, area.y};
  svg.frame(area);
  svg.curve({{area.x, y(0)}, {area.x + area.width, y(0)}}, "#999999", 1);
  for (const double share : {-most, 0.0, most}) svg.text(area.x - 6, y(share) + 4, fmt::format("{:+.0f} %", 100 * share), Anchor::end);
  auto points = curve.points;
  std::ranges::sort(points);
  std::vector<Box> dots;
  for (std::size_t i = 0; i < points.size(); ++i) {
    dots.push_back({x(static_cast<double>(i) + 0.5) - dot / 2, y((points[i].second - points[i].first) / points[i].second) - dot / 2, dot, dot});
  }
  svg.boxes(dots, "#d55e00");
  svg.text(area.x + area.width / 2, area.y + area.height + 34, "residuals, samples by fitted time", Anchor::middle);
}

std::string figure_of(const FittedCurve& curve) {
  Svg svg(Svg::page_width, height, "measured against fitted times of " + curve.name);
  const double width = (Svg::page_width - 3 * margin) / 2;
  fitted_against_measured(svg, curve, {margin, 10, width, height - 60});
  residuals(svg, curve, {2 * margin + width, 10, width, height - 60});
  return fmt::format("<h2>{}</h2>\n<p>{} samples, R² {:.4f}</p>\n{}\n", escaped(curve.name), curve.points.size(), curve.r_squared, svg.take());
}

}  // namespace

std::string profile_page(std::string_view model, std::string_view compute, const std::vector<FittedCurve>& curves) {
  std::string page = fmt::format("<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\"><head><meta charset=\"utf-8\"/><title>Costs of stages</title>"
                                 "<style>body{{font:14px sans-serif;max-width:960px;margin:2em auto}} svg text{{font:11px sans-serif}}</style></head>\n<body>\n"
                                 "<h1>Costs of stages: {}, {}</h1>\n<p>Measured times of each stage and what alpha + beta x says, by least squares of the relative error.</p>\n",
                                 escaped(model), escaped(compute));
  for (const FittedCurve& curve : curves) {
    if (!curve.points.empty()) page += figure_of(curve);
  }
  return page + "</body></html>\n";
}

}  // namespace moebius::app
