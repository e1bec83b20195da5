// SPDX-License-Identifier: Apache-2.0
#pragma once
// Colours that are told apart by the colour-blind too, and on paper: those of Okabe and Ito for what has names, a ramp of
// one hue, even in lightness, for what has a size.

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/timing.hpp"

namespace moebius::app {

/// Phases as the figures show them: fewer than there are, since no more colours are told apart.
struct PhaseGroup {
  std::string_view name, color;
};
inline constexpr std::size_t num_phase_groups = 9;
extern const std::array<PhaseGroup, num_phase_groups> phase_groups;
/// Loading is before the loop and in none of the figures; it counts as idle here.
std::size_t group_of(Phase phase);
inline constexpr std::size_t idle_group = num_phase_groups - 1;

/// For up to eight curves.
std::string_view line_color(std::size_t idx);

/// 0: nearly white, 1: dark.
std::string ramp_color(double share);
/// White or black, whichever is read on the ramp at `share`: a class of texts.
std::string_view text_class_on_ramp(double share);
/// The same on the colour of a group.
std::string_view text_class_on(std::size_t group);

/// Swatches and names; names are markup.
std::string legend(const std::vector<std::pair<std::string_view, std::string>>& colors);
std::string phase_legend();
/// The ramp with its numbers, from 0 to `largest`.
std::string ramp_legend(double largest, std::string_view what);

}  // namespace moebius::app
