// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "app/summary.hpp"
#include "io/shard_merge.hpp"

namespace moebius::app {
namespace {

struct MergeArguments {
  std::string directory;
  std::vector<std::string> shards;
  bool force_new = false;
};

ExitCode merge(const MergeArguments& arguments) {
  io::MergeRequest request{.directory = arguments.directory,
                           .on_existing = arguments.force_new ? io::OnExisting::replace : io::OnExisting::resume};
  request.shards.assign(arguments.shards.begin(), arguments.shards.end());
  if (request.shards.empty()) request.shards = io::find_shards(arguments.directory);
  const io::MergeOutcome outcome = io::merge_shards(request);
  for (const std::string& note : outcome.notes) fmt::print(stderr, "merge: {}\n", note);
  const io::MasterSummary& results = outcome.results;
  if (outcome.was_done) {
    fmt::print(stderr, "{} holds these {} shards already; nothing to do\n", arguments.directory, outcome.num_shards);
  } else {
    fmt::print(stderr, "{}\n{} shards merged into {}: {} blocks linked, {} copied ({} bytes); the folders of the shards may be deleted\n",
               describe(summarise_results(arguments.directory)), outcome.num_shards, arguments.directory, outcome.num_linked, outcome.num_copied,
               outcome.bytes_copied);
  }
  fmt::print("{{\"shards\":{},\"rows\":{},\"rows_failed\":{},\"tokens_out\":{},\"blocks\":{},\"blocks_linked\":{},\"blocks_copied\":{},\"digest\":\"{}\"}}\n",
             outcome.num_shards, results.num_rows, results.num_failed, results.num_tokens, results.num_blocks, outcome.num_linked, outcome.num_copied,
             to_hex(results.digest));
  return ExitCode::done;
}

}  // namespace

void add_merge_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<MergeArguments>();
  CLI::App* command = app.add_subcommand("merge", "The results of all shards of a job (run --shard) as those of one run");
  command->add_option("directory", arguments->directory, "Folder for the merged results; may be the output.path of the shards")->required();
  command->add_option("shards", arguments->shards, "Folders of all shards; none: those in the directory");
  command->add_flag("--force-new", arguments->force_new, "Delete results that are already in the directory, beside the shards");
  command->footer("Blocks are linked, not copied, where the file system allows it. Run again, a merge that was stopped goes on.\n"
                  "Examples:\n"
                  "  moebius merge results/score\n"
                  "  moebius merge results/all part/shard-0-of-2 elsewhere/shard-1-of-2");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return merge(*arguments); }));
  });
}

}  // namespace moebius::app
