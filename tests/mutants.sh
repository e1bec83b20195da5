#!/usr/bin/env bash
# Breaks the program on purpose, one rule at a time, in a copy of the tree, and expects a test to notice.
# For people, not for CI: each mutant is built and tested, about half a minute each.
#   tests/mutants.sh [NAME...]        default: all; prints a line each, exit code 1 if one survived
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/jobs/mpi_env.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name | file | sed expression that breaks it | test (regular expression of ctest) that has to fail
mutants='
collective_on_path     | src/comm/window.cpp           | s/^std::int64_t Window::fetch_add(.*{$/&\n  mpi_check(MPI_Barrier(MPI_COMM_SELF));/ | ^mpi_calls_test_2
two_sided_on_path      | src/comm/window.cpp           | s/^std::int64_t Window::fetch_add(.*{$/&\n  int i = 0, o = 0; mpi_check(MPI_Sendrecv(\&i, 1, MPI_INT, 0, 7, \&o, 1, MPI_INT, 0, 7, MPI_COMM_SELF, MPI_STATUS_IGNORE));/ | ^mpi_calls_test_2
no_progress_call       | src/ranks/event_loop.cpp      | s/^  parts_.transport.progress();$// | ^event_loop_test
watchdog_sleeps        | src/ranks/heartbeat.cpp       | s/^  check_for_stall(status, now);$// | ^watchdog$
watchdog_code          | src/ranks/heartbeat.cpp       | s/ExitCode::watchdog/ExitCode::internal_error/ | ^watchdog$
watchdog_no_table      | src/ranks/heartbeat.cpp       | s/waits for/looks at/ | ^watchdog$
everybody_speaks       | src/ranks/agreement.cpp       | s/speaker == session.rank().value ? message : std::string()/message/ | ^bad_input$
wrong_exit_code        | src/ranks/agreement.cpp       | s/static_cast<ExitCode>(worst), /ExitCode::internal_error, / | ^bad_input$
bad_row_is_done        | src/base/names.cpp            | s/"bad_utf8"/"fine"/ | ^bad_input$
strict_is_ignored      | src/app/run_command.cpp       | s/ExitCode::rows_failed/ExitCode::done/ | ^bad_input$
overwrites_results     | src/io/output_folder.cpp      | s/if (texts.empty()) return;/return;/ | ^bad_input$
shard_takes_all        | src/ranks/job_setup.cpp       | s/if (options.shard) keep_shard/if (false) keep_shard/ | ^shard$
shard_is_no_fact       | src/ranks/job_facts.cpp       | s/if (options.shard) facts/if (false) facts/ | ^shard$
merge_trusts_blocks    | src/io/shard_merge.cpp        | s/file_checksum(block.source) != block.record.checksum/false/ | ^io_shard_merge_test
merge_misses_a_shard   | src/io/shard_merge.cpp        | s/if (!missing.empty())/if (false)/ | ^io_shard_merge_test
merge_commits_again    | src/io/shard_merge.cpp        | s/if (!there.contains(block.file)) commit/commit/ | ^io_shard_merge_test
launcher_is_trusted    | src/app/launcher.cpp          | s/launcher.num_processes < 2/true/ | ^launcher$
errors_without_end     | src/ranks/stop_control.cpp    | s/> max_errors_) plan_/> max_errors_ + 1000000) plan_/ | ^dirty_rows$
errors_of_old_runs     | src/ranks/run_job.cpp         | s/setup.output->num_failed_committed())/0)/ | ^dirty_rows$
selftest_sees_no_loss  | src/comm/window_checks.cpp    | s/window_.fetch_add(RankId(0), sum_word, 1);$/window_.fetch_add(RankId(0), sum_word, i % 2);/ | ^selftest$
calls_are_not_watched  | src/comm/meeting_deadline.cpp | s/^  watches_calls = true;$/  return;/ | ^mpich_watchdog$
stop_comes_too_late    | src/ranks/run_job.cpp         | s/^    stop.check_before_loop();$// | ^walltime$
discard_is_not_told    | src/io/output_directory.cpp   | s/^    fs::rename(journal_path(directory), mark);$/    fs::remove(journal_path(directory));/ | ^force_new$
mark_goes_first        | src/io/output_directory.cpp   | s/^    for (const fs::path& file : our_files(directory)) fs::remove(file);$/    if (discarded) fs::remove(mark);\n&/ | ^force_new$
peers_in_odd_bytes     | src/comm/peer_memory.cpp      | s,(own_bytes + 2 \* cache_line_bytes - 1) / cache_line_bytes \* cache_line_bytes,own_bytes + cache_line_bytes, | ^peer_memory_test_4_mpich
stop_is_not_told       | src/ranks/stop_control.cpp    | s/board_.fetch_add(signals_told_ == 0 ? Counter::stop : Counter::stop_at_once, 1)/(void)0/ | ^walltime$
walltime_is_ignored    | src/ranks/stop_control.cpp    | s/if (job.run.walltime_s > 0) left_s/if (false) left_s/ | ^walltime$
resume_runs_all        | src/ranks/job_setup.cpp       | s/return setup.output->committed().contains(line.line);/(void)line; return false;/ | ^resume$
torn_line_stays        | src/io/journal.cpp            | s/else if (::ftruncate(file_.get(), end) != 0)/else if (false)/ | ^kill$
late_record_counts     | src/io/journal.cpp            | s/record.run == contents.run()/true/ | ^io_output_folder_test$
lock_is_ignored        | src/io/output_lock.cpp        | s/return Attempt::held_by_other;/return Attempt::held;/ | ^io_output_lock_test$
missing_block_counts   | src/io/output_folder.cpp      | s/file_checksum(file) != block.checksum/false/ | ^io_output_folder_test$
checksum_is_ignored    | src/io/results_verify.cpp     | s/file_checksum(directory_ \/ name) != /file_checksum(directory_ \/ name) == / | ^bad_input$
sampling_sees_rank     | src/ranks/scorer.cpp          | s/next_position = sequence.first_position/next_position = (getenv("OMPI_COMM_WORLD_RANK")[0] \& 1) + sequence.first_position/ | ^invariance_fp32$
batch_in_norm          | src/model/attention_stack.cpp | s/static_cast<float>(config_.rms_norm_eps), num_rows,$/static_cast<float>(config_.rms_norm_eps) * (1.0F + 0.1F * static_cast<float>(rows.size())), num_rows,/ | ^invariance_fp32$
expert_sees_batch      | src/model/expert_stack.cpp    | s/^                      kernels::RowsOut.*$/&\n  if (outputs.size() > 3) *outputs[0] *= 1.0001F;/ | ^invariance_bf16$
segment_sees_neighbour | src/ranks/attention_side.cpp  | s/batch_positions_.push_back(next.first_position() + i)/batch_positions_.push_back(next.first_position() + i + (next.num_tokens() == 5 ? 1 : 0))/ | ^invariance_fp32$
lost_output            | src/ranks/attention_side.cpp  | s/counters_.outputs_received += header.num_rows;/counters_.outputs_received += header.num_rows > 8 ? 8 : header.num_rows;/ | ^invariance_fp32$
tile_sees_rows         | kernels/panel_tile.hpp        | s/^  const float\* x = call.x;$/  const float* x = call.x + (rows == 2 ? 1 : 0);/ | ^kernels_test$
head_not_rescaled      | kernels/logits.cpp            | s/sum_ \* std::exp(static_cast<double>(max_) - static_cast<double>(max))/sum_/ | ^kernels_test$
head_misses_last_token | kernels/lm_head.cpp           | s/column >= chunk.num_tokens/column + 1 >= chunk.num_tokens/ | ^kernels_test$
cut_sees_neighbour     | kernels/attention_tile.hpp    | s/rows, keys.end \/ 2, 0x0000ffffU/rows, keys.end \/ 2, 0xffffffffU/ | ^kernels_test$
swapped_experts        | src/base/model_family.cpp     | s/.up_proj = "w3"/.up_proj = "w1"/ | ^stacks_golden_test
pairs_not_parted       | src/model/attention_weights.cpp | s/^  if (!config.rope_interleaved) return {};/  return {};/ | ^stacks_golden_test
no_mscale              | src/model/attention_stack.cpp | s/config_.yarn->score_factor/1.0/ | ^stacks_golden_test
yarn_without_ramp      | kernels/rope.cpp              | s/slow_part \/ yarn->factor + (1.0 - slow_part)/1.0 \/ yarn->factor/ | ^stacks_golden_test
no_clip                | src/model/attention_projections.cpp | s/config_.clip_qkv > 0/false/ | ^stacks_golden_test
no_bias                | src/model/attention_projections.cpp | s/!layer.qkv_bias.empty()/false/ | ^stacks_golden_test
ungated_shared_expert  | src/model/attention_stack.cpp | s/value \*= gate/value *= 1.0F/ | ^stacks_golden_test
no_shared_expert       | src/model/attention_stack.cpp | s/config_.shared_intermediate_size == 0) return;/config_.shared_intermediate_size >= 0) return;/ | ^stacks_golden_test
group_of_one           | kernels/router.cpp            | s/best + second/best/ | ^stacks_golden_test
bias_in_weights        | kernels/router.cpp            | s/scores\[ids\[k_idx\]\] \/ divisor/choice[ids[k_idx]] \/ divisor/ | ^stacks_golden_test
window_is_longer       | kernels/attention_tile.hpp    | s/token - task.window + 1;/token - task.window;/ | ^kernels_test
gelu_is_silu           | src/io/model_config_file.cpp  | s/act != "silu"/false/ | ^io_published_configs_test
log_prob_off           | src/ranks/scorer.cpp          | s/= logprob;/= logprob + 0.002F;/ | ^reference$
prefix_trusts_hash     | src/model/prefix_index.cpp    | s/node.parent == parent \&\& std::ranges::equal(node.tokens, tokens)/true/; s/return xxh3_64(std::as_bytes(tokens), parent == none ? 0 : at(parent).key);/return xxh3_64(std::as_bytes(tokens), parent == none ? 0 : at(parent).key) \& 7U;/ | ^prefix_index_test
prefix_evicts_newest   | src/model/prefix_index.hpp    | s/return oldest_; }/return newest_; }/ | ^prefix_index_test
prefix_keeps_hold      | src/model/kv_cache.cpp        | s/^      prefixes_.make_idle(node);$// | ^prefix_index_test
prefix_read_too_early  | src/ranks/workload.cpp        | s/kv_.publish(sequence.table, num_passed)/(void)num_passed, kv_.publish(sequence.table, sequence.num_cut)/ | ^prefix_reuse_test
prefix_not_awaited     | src/ranks/workload.cpp        | s/if (match.num_announced > 0) {/if (match.num_announced > 1000) {/ | ^prefix_reuse_test
prefix_blocks_others   | src/ranks/workload.cpp        | s/^      ++next;$/      break;/ | ^prefix_reuse_test
prefix_skips_last      | src/ranks/workload.cpp        | s/return first_wanted \/ /return (first_wanted + 1) \/ / | ^prefix_reuse_test
prefix_skips_targets   | src/ranks/workload.cpp        | s/plan.targets.empty() ? last/true ? last/ | ^prefix_reuse_test
prefix_leaks_promise   | src/ranks/workload.cpp        | s/tree.promised_blocks += kv_.free(tree.root_table);/kv_.free(tree.root_table);/ | ^prefix_reuse_test
part_rows_of_another   | src/ranks/pipeline_turns.cpp  | s/parts_.experts->bring_forward(.*;$/;/ | ^pipeline$
part_before_it_is_whole | src/ranks/part_queue.cpp     | s/if (!ends_part(header)) return;/return whole_.push_back(std::exchange(part, {}));/ | ^(part_queue_test|pipeline)$
part_of_two_layers     | src/ranks/part_queue.cpp      | s/part.layer != taken.layer/false/ | ^part_queue_test$
part_end_is_early      | src/ranks/row_sender.cpp      | s/end == pairs.size() ? Block::last/true ? Block::last/ | ^pipeline_turns_test$
part_has_no_name       | src/ranks/row_sender.cpp      | s/\.part = part\.part/.part = 0/ | ^pipeline$
shared_out_of_turn     | src/ranks/pipeline_turns.cpp  | s/return order_ == PipelineOrder::aass \&\&/return order_ == PipelineOrder::asas \&\&/ | ^pipeline$
turns_do_not_wait      | src/ranks/pipeline_turns.cpp  | s/parts_.attention->all_entered(layer_, mini_batch_\[turn_\])/true/ | ^pipeline_turns_test$
mini_batch_has_no_r1   | src/ranks/pipeline_turns.cpp  | s/before \* r1_ \/ num_tokens/before * 1 \/ num_tokens/ | ^pipeline_turns_test$
plan_ignores_memory    | src/policy/plan_memory.cpp    | s/if (memory.rank_limit_bytes > 0 \&\&/if (false \&\&/ | ^plan_modes_test$
plan_takes_bounds      | src/policy/plan_modes.cpp     | s/if (plan.fits \&\& !is_bound(plan.mode) \&\&/if (plan.fits \&\&/ | ^plan_modes_test$
plan_without_chance    | src/policy/plan_times.cpp     | s/if (mean_rows > many_rows) {/if (mean_rows > 0) {/ | ^plan_modes_test$
plan_links_all_bytes   | src/policy/plan_times.cpp     | s/others \/ ranks \* bytes)/bytes)/ | ^plan_modes_test$
plan_forgets_segments  | src/policy/plan_work.cpp      | s/(length + segment) \/ 2 \/ segment/length \/ 2/ | ^plan_modes_test$
solver_never_remembers | src/policy/pipeline_solver.cpp | s/if (found == found_.end()) {/if (true) {/ | ^pipeline_solver_test$
solver_ignores_room    | src/policy/pipeline_solver.cpp | s/if (tokens <= room_tokens) return 1;/return 1;/ | ^pipeline_solver_test$
solver_is_not_asked    | src/ranks/pipeline_turns.cpp  | s/solver->choose(batch)/solver->choose({.work = {.rows = 8, .kv_positions = 8, .score_pairs = 8}})/ | ^pipeline_turns_test$
auto_follows_nothing   | src/ranks/run_job.cpp         | s/= follow_plan_together(session, asked);/= asked;/ | ^plan$
auto_takes_what_is_fixed | src/ranks/job_plan.cpp      | s/if (layout \&\& moves \&\& (any_execution/if (layout \&\& moves \&\& (true/ | ^job_plan_test$
prediction_is_nothing  | src/ranks/prediction.cpp      | s/.seconds = plan.job_s,/.seconds = 0,/ | ^plan$
costs_are_not_used     | src/ranks/job_costs.cpp       | s/if (job.plan.costs.known()) return/if (false) return/ | ^plan$
fit_of_large_stages    | src/policy/cost_model.cpp     | s/fit_cost(scaled).coefficients/fit_cost(samples).coefficients/ | ^cost_model_test$
check_sees_no_overlap  | src/policy/pipeline_check.cpp | s/task->begin_s + rules_.tolerance_s < before->end_s/false/ | ^(pipeline|pipeline_schedule_test)$
check_sees_no_order    | src/policy/pipeline_check.cpp | s/rank_of(\*task) < rank_of(\*before)/false/ | ^(pipeline|pipeline_schedule_test)$
all_waiting_is_exposed | src/ranks/arrivals.cpp        | s/std::max(idle_since_s, begin_s)/idle_since_s/ | ^link_delay_test$
claims_ignore_prefix   | src/policy/claim_order.cpp    | s/heads\[i\]\[level\] = head_of/heads[i][level] = true ? i : head_of/ | ^claim_order_test
claims_divide_groups   | src/policy/claim_order.cpp    | s/fits(is_one_span(place) ? ends\[place\] : place + 1)/fits(place + 1)/ | ^claim_order_test
prompt_not_found       | src/io/prompt_prefix.cpp      | s/R"("prompt")"/R"("prompts")"/ | ^io_prompt_prefix_test
slow_tile_not_filled   | src/policy/device_model.cpp   | s/(rows + tile - 1) \/ tile \* tile/rows/ | ^device_model_test$
slow_kv_not_read       | src/policy/device_model.cpp   | s/copy_s(static_cast<double>(work.kv_positions) \* kv_numbers_ \* model_.kv_bytes)/0/ | ^device_model_test$
slow_window_is_endless | src/policy/device_model.cpp   | s/std::min(end, window + num_tokens - 1)/end/ | ^device_model_test$
slow_other_shape       | src/policy/device_model.cpp   | s/published.experts_per_token == checkpoint.experts_per_token/true/ | ^device_model_test$
slow_latent_is_heads   | src/policy/device_model.cpp   | s/config.is_mla() ? latent : 2.0/2.0/ | ^device_model_test$
slow_all_leave_at_once | src/policy/link_model.cpp     | s/(self + i) % message_s.size()/i/ | ^link_model_test$
slow_all_come_at_once  | src/policy/link_model.cpp     | s/block_begin_s = in.begin_s(begin_s\[from\]);/block_begin_s = begin_s[from];/ | ^link_model_test$
slow_own_blocks_free   | src/policy/link_model.cpp     | s/double end_s = std::max(ready_s, sent_s);/double end_s = ready_s + 0 * sent_s;/ | ^link_model_test$
slow_in_link_free      | src/ranks/link_delay.cpp      | s/^  in_.take(in_.begin_s(first.key()), message.message_s);$// | ^link_delay_test$
slow_out_link_free     | src/ranks/link_delay.cpp      | s/^  out_.take(stamp.begin_s, message_s);$// | ^link_delay_test$
slow_early_messages    | src/ranks/link_delay.cpp      | s/arrival_s() <= pace_.time_s()/!kept_.empty()/ | ^link_delay_test$
slow_full_ring_empty   | src/ranks/link_delay.cpp      | s/std::max<std::size_t>(bytes, 1)/bytes/ | ^link_delay_test$
slow_wakes_by_clock    | src/ranks/link_delay.cpp      | s/pace_.reach(next_s);/pace_.reach(now_s());/ | ^link_delay_test$
slow_not_dilated       | src/ranks/stage_pace.cpp      | s/device_s \* dilation_;/device_s;/ | ^stage_pace_test$
slow_rank_is_not_slow  | src/ranks/stage_pace.cpp      | s/spend(expert_slowdown_ \* times_->expert_call_s(rows));/spend(times_->expert_call_s(rows));/ | ^stage_pace_test$
slow_lateness_stays    | src/ranks/stage_pace.cpp      | s/^  ++counters_.late_stages;$/&\n  time_s_ = now_s();/ | ^stage_pace_test$
slow_group_pays_twice  | src/ranks/stage_pace.cpp      | s/const double call_s = expert_slowdown_ \* times_->expert_s(rows);/const double call_s = expert_slowdown_ * times_->expert_call_s(rows);/ | ^stage_pace_test$
slow_rests_too_long    | src/ranks/stage_pace.cpp      | s/std::min(next_message_s_, now + rest_s)/now + rest_s/ | ^stage_pace_test$
slow_looks_all_the_time | src/ranks/stage_pace.cpp      | s/rest_share_of_wait \* (now/0.0 * (now/ | ^stage_pace_test$
slow_real_rank_is_fast | src/ranks/stage_pace.cpp      | s/while (expert_slowdown_ > 1 /while (expert_slowdown_ < 0 / | ^stage_pace_test$
slow_share_of_one_core | src/ranks/emulation.cpp       | s/std::max(most_processor_s, all_processor_s \/ num_cores)/most_processor_s/ | ^emulation_test$
slow_slip_is_hidden    | src/ranks/emulation.cpp       | s/std::max(0.0, 1 - elapsed_s \/ wall_s)/0.0/ | ^emulation_test$
slow_time_is_the_wall  | src/ranks/emulation.cpp       | s/wall_s \/ summary.dilation/wall_s/ | ^emulation_test$
slow_missed_is_hidden  | src/ranks/emulation.cpp       | s/missed += rank.pace.missed_messages;/;/ | ^emulation_test$
group_waits_for_nobody | src/ranks/expert_side.cpp     | s/return before >= 0 \&\& std::ranges::find(last_layer_, before) != last_layer_.end();/return false;/ | ^engine_test$
group_waits_for_ended  | src/ranks/expert_side.cpp     | s/^  saw(from, -1);$// | ^engine_test$
group_mixes_tags       | src/ranks/expert_side.cpp     | s/taken_\[order_\[message.begin + i\]\].tag/taken_[message.begin + i].tag/ | ^engine_test$
group_mixes_outputs    | src/ranks/expert_side.cpp     | s/std::span(outputs_).subspan(begin, end - begin)/std::span(outputs_).subspan(0, end - begin)/ | ^engine_test$
'

cp -r "$top/CMakeLists.txt" "$top/CMakePresets.json" "$top/cmake" "$top/src" "$top/kernels" "$top/tests" "$top/inputs" "$top/jobs" "$work/"
cd "$work"
cmake --preset release >/dev/null
targets='moebius mpi_calls_test event_loop_test reference_check kernels_test stacks_golden_test io_published_configs_test
  prefix_index_test prefix_reuse_test claim_order_test io_prompt_prefix_test io_output_folder_test io_output_lock_test io_faults
  io_shard_merge_test dirty_rows moebius_mpich peer_memory_test_mpich
  part_queue_test pipeline_turns_test pipeline_schedule_test link_delay_test timeline_check
  plan_modes_test pipeline_solver_test job_plan_test cost_model_test
  device_model_test link_model_test stage_pace_test emulation_test engine_test'
build() { cmake --build --preset release --target $targets >build.log 2>&1 </dev/null; }
build || { tail -20 build.log; exit 2; }
survived=0 run=0
while IFS='|' read -r name file expression test; do
  name=$(echo $name) file=$(echo $file) test=$(echo $test)
  [ -n "$name" ] || continue
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  run=$((run + 1))
  cp -p "$file" original
  sed -i "$(sed 's/^ *//; s/ *$//' <<<"$expression")" "$file"
  if cmp -s original "$file"; then echo "$name: does not apply any more"; survived=$((survived + 1)); continue; fi
  if ! build; then
    echo "$name: does not compile"; tail -5 build.log; survived=$((survived + 1))
  elif ctest --preset release -R "$test" >test.log 2>&1 </dev/null; then
    echo "$name: SURVIVED $test"; survived=$((survived + 1))
  else
    echo "$name: noticed by $test"
  fi
  cp original "$file"
done <<<"$mutants"
echo "$run mutants, $survived not noticed"
[ $survived -eq 0 ]
