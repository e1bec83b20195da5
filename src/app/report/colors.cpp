// SPDX-License-Identifier: Apache-2.0
#include "app/report/colors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

// Okabe and Ito (2008), "Color Universal Design".
constexpr std::string_view blue = "#0072B2", sky_blue = "#56B4E9", orange = "#E69F00", yellow = "#F0E442", purple = "#CC79A7", green = "#009E73",
                           vermillion = "#D55E00", black = "#000000";

/// OKLab (Ottosson 2020) to sRGB, one channel each 0 to 255.
std::array<int, 3> srgb_of_oklab(double lightness, double a, double b) {
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3), m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3),
               s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  const std::array<double, 3> linear = {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
                                        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
                                        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
  std::array<int, 3> channels{};
  for (std::size_t i = 0; i < 3; ++i) {
    const double value = std::clamp(linear[i], 0.0, 1.0);
    channels[i] = static_cast<int>(std::lround(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * std::pow(value, 1 / 2.4) - 0.055)));
  }
  return channels;
}

}  // namespace

const std::array<PhaseGroup, num_phase_groups> phase_groups = {{{"attention", blue},
                                                                {"router, combine", sky_blue},
                                                                {"routed experts", orange},
                                                                {"shared experts", purple},
                                                                {"LM head", yellow},
                                                                {"dispatch, rebalance", green},
                                                                {"waits for credit", vermillion},
                                                                {"requests and results", black},
                                                                {"idle", "#E4E4E4"}}};

std::size_t group_of(Phase phase) {
  switch (phase) {
    case Phase::attention: return 0;
    case Phase::router:
    case Phase::combine: return 1;
    case Phase::expert: return 2;
    case Phase::shared_experts: return 3;
    case Phase::lm_head: return 4;
    case Phase::dispatch:
    case Phase::rebalance: return 5;
    case Phase::dispatch_wait: return 6;
    case Phase::admit:
    case Phase::io: return 7;
    case Phase::load:
    case Phase::idle: return idle_group;
  }
  return idle_group;
}

std::string_view line_color(std::size_t idx) {
  constexpr std::array<std::string_view, 8> colors = {blue, vermillion, green, purple, orange, sky_blue, black, yellow};
  return colors[idx % colors.size()];
}

std::string ramp_color(double share) {
  const double t = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  const double chroma = 0.015 + 0.115 * std::sin(std::numbers::pi * t * 0.75), hue = 255 * std::numbers::pi / 180;
  const auto [red, green_part, blue_part] = srgb_of_oklab(0.975 - 0.70 * t, chroma * std::cos(hue), chroma * std::sin(hue));
  return fmt::format("#{:02x}{:02x}{:02x}", red, green_part, blue_part);
}

std::string_view text_class_on_ramp(double share) { return share > 0.58 ? "c light" : "c"; }

std::string_view text_class_on(std::size_t group) { return group == 0 || group == 5 || group == 6 || group == 7 ? "c light" : "c"; }

std::string legend(const std::vector<std::pair<std::string_view, std::string>>& colors) {
  std::string out = "<ul class=\"legend\">";
  for (const auto& [color, name] : colors) {
    out += fmt::format("<li><svg viewBox=\"0 0 14 14\" class=\"swatch\"><rect width=\"14\" height=\"14\" fill=\"{}\"/></svg>{}</li>", color, name);
  }
  return out + "</ul>\n";
}

std::string phase_legend() {
  std::vector<std::pair<std::string_view, std::string>> colors;
  for (const PhaseGroup& group : phase_groups) colors.emplace_back(group.color, group.name);
  return legend(colors);
}

std::string ramp_legend(double largest, std::string_view what) {
  Svg svg(Svg::page_width, 52, what);
  constexpr double left = 120, width = 360;
  for (int i = 0; i < 60; ++i) svg.rect({left + i * width / 60, 4, width / 60 + 0.4, 14}, ramp_color((i + 0.5) / 60));
  const Scale scale{0, largest, left, left + width};
  for (const double tick : ticks(0, largest, 5)) {
    svg.line(scale(tick), 18, scale(tick), 22, "axis");
    svg.text(scale(tick), 36, fmt::format("{:.6g}", tick), Anchor::middle);
  }
  svg.text(left + width + 16, 16, what);
  return svg.take();
}

}  // namespace moebius::app
