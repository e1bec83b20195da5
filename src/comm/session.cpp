// SPDX-License-Identifier: Apache-2.0
#include "comm/session.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>

#include "base/check.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

namespace {

constexpr const char* ranks_per_node_variable = "MOEBIUS_RANKS_PER_NODE";

std::string get_processor_name() {
  char name[MPI_MAX_PROCESSOR_NAME] = {};
  int length = 0;
  mpi_check(MPI_Get_processor_name(name, &length));
  return {name, static_cast<std::size_t>(length)};
}

/// 0: the variable is not set.
int ranks_per_node_from_environment() {
  const char* text = std::getenv(ranks_per_node_variable);
  if (text == nullptr || *text == '\0') return 0;
  const std::string_view digits(text);
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < 1) {
    throw Failure(ExitCode::bad_usage, std::string(ranks_per_node_variable) + "=" + text +
                                           " cannot be used (it is not a positive whole number) unset it or give one");
  }
  return value;
}

std::unique_ptr<Communicator> split_members(const Communicator& world, bool is_member) {
  MPI_Comm comm = MPI_COMM_NULL;
  mpi_check(MPI_Comm_split(world.native().comm, is_member ? 0 : MPI_UNDEFINED, world.rank().value, &comm));
  if (!is_member) return nullptr;
  return std::make_unique<Communicator>(wrap_communicator(comm));
}

}  // namespace

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  mpi_check(MPI_Get_library_version(text, &length));
  std::string version(text, static_cast<std::size_t>(length));
  // MPICH answers with a page, whose first line says it all: "MPICH Version:", blanks, a number.
  version.resize(std::min(version.find('\n'), version.size()));
  while (!version.empty() && version.back() == '\0') version.pop_back();
  constexpr std::string_view label = " Version:";
  const std::size_t at = version.find(label);
  if (at == std::string::npos) return version;
  const std::size_t number = std::min(version.find_first_not_of(" \t", at + label.size()), version.size());
  return version.substr(0, at) + " " + version.substr(number);
}

Session::Session() {
  int initialized = 0;
  mpi_check(MPI_Initialized(&initialized));
  if (initialized != 0) {
    ownership_ = Ownership::host_program;
  } else {
    int provided = MPI_THREAD_SINGLE;
    mpi_check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
    if (provided < MPI_THREAD_FUNNELED) {
      throw Failure(ExitCode::bad_usage,
                    "this MPI cannot run a program with threads (MPI_THREAD_FUNNELED was refused) use another MPI");
    }
  }
  // A communicator of our own: our probes never meet messages of a host program or a tool.
  MPI_Comm world = MPI_COMM_NULL;
  mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &world));
  world_ = std::make_unique<Communicator>(wrap_communicator(world));
  MPI_Comm node = MPI_COMM_NULL;
  mpi_check(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, world_->rank().value, MPI_INFO_NULL, &node));
  memory_node_ = std::make_unique<Communicator>(wrap_communicator(node));
  processor_name_ = get_processor_name();
  library_version_ = mpi_library_version();
  find_nodes();
}

void Session::find_nodes() {
  // A node is known by the lowest world rank on it; the variable cuts it into runs of ranks.
  int leader = rank().value;
  mpi_check(MPI_Bcast(&leader, 1, MPI_INT, 0, memory_node_->native().comm));
  std::vector<int> leader_of(static_cast<std::size_t>(num_ranks()));  // [num_ranks]
  mpi_check(MPI_Allgather(&leader, 1, MPI_INT, leader_of.data(), 1, MPI_INT, world_->native().comm));

  const int ranks_per_node = ranks_per_node_from_environment();
  std::map<std::pair<int, int>, int> idx_of_key;
  for (int r = 0; r < num_ranks(); ++r) {
    const int run = ranks_per_node == 0 ? 0 : r / ranks_per_node;
    const auto key = std::pair(leader_of[static_cast<std::size_t>(r)], run);
    node_idx_of_.push_back(idx_of_key.try_emplace(key, static_cast<int>(idx_of_key.size())).first->second);
  }
  num_nodes_ = static_cast<int>(idx_of_key.size());
  for (int r = 0; r < num_ranks(); ++r) {
    if (node_idx_of(RankId(r)) == node_idx()) ranks_on_my_node_.push_back(RankId(r));
  }
}

void Session::barrier() {
  world_->barrier();
  deadline_.met();
}

void Session::broadcast(std::vector<std::byte>& bytes) {
  world_->broadcast(bytes);
  deadline_.met();
}

std::vector<std::vector<std::byte>> Session::gather_to_root(std::span<const std::byte> bytes) {
  auto gathered = world_->gather_to_root(bytes);
  deadline_.met();
  return gathered;
}

int Session::agree_max(int value) {
  const int largest = world_->agree_max(value);
  deadline_.met();
  return largest;
}

void RoleCommunicators::free() {
  if (attention != nullptr) attention->free();
  if (expert != nullptr) expert->free();
}

RoleCommunicators Session::split(Roles roles) {
  RoleCommunicators result;
  result.attention = split_members(*world_, has_attention(roles));
  result.expert = split_members(*world_, has_experts(roles));
  return result;
}

void Session::finalize() {
  memory_node_->free();
  world_->free();
  if (ownership_ == Ownership::session) mpi_check(MPI_Finalize());
}

void Session::abort(ExitCode code) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::_Exit(static_cast<int>(code));  // an MPI_Abort that returns must not let the rank go on
}

}  // namespace moebius::comm
