// SPDX-License-Identifier: Apache-2.0
#pragma once
// The subcommands. Each add_* declares one with its options, help and example; its callback sets
// `exit_code`. Commands that use several ranks start MPI themselves; the others never touch MPI.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "base/failure.hpp"

namespace moebius::app {

void add_run_command(CLI::App& app, int& exit_code);
void add_verify_command(CLI::App& app, int& exit_code);
void add_plan_command(CLI::App& app, int& exit_code);
void add_show_command(CLI::App& app, int& exit_code);
void add_make_model_command(CLI::App& app, int& exit_code);
void add_report_command(CLI::App& app, int& exit_code);
void add_compare_command(CLI::App& app, int& exit_code);
void add_merge_command(CLI::App& app, int& exit_code);
void add_place_command(CLI::App& app, int& exit_code);
void add_profile_command(CLI::App& app, int& exit_code);
void add_selftest_command(CLI::App& app, int& exit_code);
void add_version_command(CLI::App& app, int& exit_code);

std::string version_text();

/// The exit code for what CLI11 found wrong (or 0 for --help), printed by one rank only.
int report_parse_error(const CLI::App& app, const CLI::ParseError& error);

/// Run `body` and turn what it throws into one line on stderr and an exit code of failure.hpp.
ExitCode guarded(const std::function<ExitCode()>& body);

/// Is this process the one of its launch that may print? Judged from the launcher's environment, so
/// that it can be asked before MPI has started.
bool is_first_process();

}  // namespace moebius::app
