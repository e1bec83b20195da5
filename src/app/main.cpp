// SPDX-License-Identifier: Apache-2.0
// The command line: one subcommand a file. main only chooses; errors become one line and an exit code.
#include <CLI/CLI.hpp>

#include "app/commands.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Moebius: offline inference and scoring with Mixture-of-Experts language models over MPI.\n"
               "Example:  mpirun -n 4 moebius run inputs/score.toml"};
  app.require_subcommand(1);
  app.set_version_flag("--version", moebius::app::version_text());
  int exit_code = 0;
  moebius::app::add_run_command(app, exit_code);
  moebius::app::add_verify_command(app, exit_code);
  moebius::app::add_plan_command(app, exit_code);
  moebius::app::add_show_command(app, exit_code);
  moebius::app::add_make_model_command(app, exit_code);
  moebius::app::add_report_command(app, exit_code);
  moebius::app::add_compare_command(app, exit_code);
  moebius::app::add_merge_command(app, exit_code);
  moebius::app::add_place_command(app, exit_code);
  moebius::app::add_profile_command(app, exit_code);
  moebius::app::add_selftest_command(app, exit_code);
  moebius::app::add_version_command(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return moebius::app::report_parse_error(app, error);
  }
  return exit_code;
}
