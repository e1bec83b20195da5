// SPDX-License-Identifier: Apache-2.0
#pragma once
// The figures of the report, one source file a subject. Each gives a section of the page: its title, what it shows, the
// drawing or the sentence why there is none.

#include <string>
#include <string_view>
#include <vector>

#include "app/report/report_data.hpp"

namespace moebius::app {

std::string facts_section(const ReportData& data);
std::string phases_section(const ReportData& data);
std::string throughput_section(const ReportData& data);
std::string queues_section(const ReportData& data);
std::string course_section(const ReportData& data);
std::string timeline_section(const ReportData& data);
std::string expert_load_section(const ReportData& data);
std::string rank_load_section(const ReportData& data);
std::string activation_section(const ReportData& data);
std::string capacity_section(const ReportData& data);
std::string rebalance_section(const ReportData& data);

/// A section with its drawing; the caption says so where the run was emulated.
std::string section(const ReportData& data, std::string_view id, std::string_view title, std::string_view caption, std::string_view content);
/// A section without one, and why.
std::string left_out(std::string_view id, std::string_view title, std::string_view why);

/// The ranks of a figure with a row for each: all, or so many, evenly spread.
std::vector<const RankCourse*> ranks_shown(const ReportData& data, std::size_t most);
/// A sentence for the caption where not all are shown.
std::string shown_note(const ReportData& data, std::size_t shown);
/// "rank 3, expert".
std::string rank_name(const RankCourse& rank);

}  // namespace moebius::app
