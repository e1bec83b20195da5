// SPDX-License-Identifier: Apache-2.0
// moebius_study NAME [--quick] [--out FILE.h5] [--markdown FILE]: runs a study, prints its table. Run again, it goes on.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <map>

#include "tests/bench/study.hpp"

int main(int argc, char** argv) {
  using namespace moebius::bench;
  const std::map<std::string, std::string (*)(const StudyOptions&, bool)> studies{
      {"async", async_study}, {"pipeline", pipeline_study}, {"placement", placement_study}, {"replicas", replicas_study}, {"capacity", capacity_study}};
  CLI::App app("Studies of Moebius: many small jobs, each beside its control");
  StudyOptions options;
  options.program = MOEBIUS_PROGRAM;
  std::string name, file, work, markdown;
  bool quick = false;
  app.add_option("study", name, "async, pipeline, placement, replicas or capacity")->required()->check(CLI::IsMember({"async", "pipeline", "placement", "replicas", "capacity"}));
  app.add_flag("--quick", quick, "A few cells, to see that all works");
  app.add_option("--only", options.only, "async, pipeline: cells whose section or name holds this text, for example \"top-k\" or \"16 ranks\"");
  app.add_option("--out", file, "HDF5 file of all figures; runs that it holds are not run again (default: study_NAME.h5 in --work)");
  app.add_option("--work", work, "Folder for models, requests and results of runs (default: moebius_studies in the folder for temporary files)");
  app.add_option("--markdown", markdown, "Write the table to this file too");
  app.add_option("--program", options.program, "The moebius to run")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    options.work = std::filesystem::absolute(work.empty() ? std::filesystem::temp_directory_path() / "moebius_studies" : std::filesystem::path(work));
    std::filesystem::create_directories(options.work);
    options.file = file.empty() ? options.work / ("study_" + name + (quick ? "_quick.h5" : ".h5")) : std::filesystem::path(file);
    const std::string text = studies.at(name)(options, quick);
    std::fputs(text.c_str(), stdout);
    if (!markdown.empty()) std::ofstream(markdown) << text;
    std::fprintf(stderr, "figures of all runs: %s\n", options.file.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moebius_study: %s\n", error.what());
    return 1;
  }
}
