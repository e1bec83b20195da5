// SPDX-License-Identifier: Apache-2.0
#include "comm/window.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/failure.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

namespace {

constexpr const char* shared_memory_variable = "MOEBIUS_SHARED_MEMORY";

/// Bytes to skip so that a segment starts on a cache line; MPI promises no alignment.
std::size_t skip_to_cache_line(const std::byte* base) {
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(base) % cache_line_bytes;
  return beyond == 0 ? 0 : cache_line_bytes - beyond;
}

/// Polling a word that others Put is defined only in the unified memory model (MPI-3.1, section 11.4).
void require_unified_model(MPI_Win window) {
  int* model = nullptr;
  int found = 0;
  mpi_check(MPI_Win_get_attr(window, MPI_WIN_MODEL, &model, &found));
  if (found == 0 || *model != MPI_WIN_UNIFIED) {
    throw Failure(ExitCode::bad_usage,
                  "this MPI's windows cannot carry the token rings (their memory model is not MPI_WIN_UNIFIED) choose "
                  "another one-sided component, for Open MPI through OMPI_MCA_osc");
  }
}

std::vector<int> node_of_ranks(const Session& session) {
  std::vector<int> nodes;  // [num_ranks]
  for (int r = 0; r < session.num_ranks(); ++r) nodes.push_back(session.node_idx_of(RankId(r)));
  return nodes;
}

}  // namespace

struct Window::Native {
  /// A read of another rank's words that was asked for. The buffer lives until the answer comes.
  struct PendingRead {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Win world = MPI_WIN_NULL;
  MPI_Win node = MPI_WIN_NULL;
  std::byte* local = nullptr;                ///< own Put segment
  std::vector<std::uint64_t> skip_bytes;     // [num_ranks] from MPI's base to the Put segment
  std::vector<std::uint64_t> segment_bytes;  // [num_ranks] of the Put segments
  std::vector<std::byte*> shared;            // [num_ranks] shared segments, null off this node
  std::vector<std::unique_ptr<PendingRead>> unanswered;

  [[nodiscard]] MPI_Aint displacement(RankId owner, std::size_t offset, std::size_t bytes) const {
    MOEBIUS_EXPECT(owner.valid() && owner.idx() < segment_bytes.size());
    MOEBIUS_EXPECT(offset <= segment_bytes[owner.idx()] && bytes <= segment_bytes[owner.idx()] - offset);
    return static_cast<MPI_Aint>(skip_bytes[owner.idx()] + offset);
  }
};

FastPath fast_path_from_environment() {
  const char* text = std::getenv(shared_memory_variable);
  if (text == nullptr || *text == '\0' || std::string_view(text) == "on") return FastPath::on;
  if (std::string_view(text) == "off") return FastPath::off;
  throw Failure(ExitCode::bad_usage, std::string(shared_memory_variable) + "=" + text +
                                         " cannot be used (it is neither on nor off) unset it or give one of them");
}

Window::Window(Session& session, const RingOptions& options, const WritesTo& writes, FastPath fast_path)
    : native_(std::make_unique<Native>()),
      rank_(session.rank()),
      num_ranks_(session.num_ranks()),
      options_(options),
      fast_path_(fast_path),
      layout_(num_ranks_, options, writes, [nodes = node_of_ranks(session), fast_path](RankId from, RankId to) {
        return fast_path == FastPath::on && nodes[from.idx()] == nodes[to.idx()] ? Path::shared : Path::put;
      }) {
  native_->comm = session.world().native().comm;
  if (fast_path_ == FastPath::on && !allocate_shared(session)) {
    fast_path_ = FastPath::off;
    layout_ = WindowLayout(num_ranks_, options, writes, [](RankId, RankId) { return Path::put; });
  }
  allocate_world(session);
  clear_and_meet(session);
  check_layout();
}

Window::~Window() = default;

bool Window::allocate_shared(Session& session) {
  const std::size_t bytes = layout_.segment_bytes(rank_, Path::shared) + cache_line_bytes;
  MPI_Info info = MPI_INFO_NULL;
  mpi_check(MPI_Info_create(&info));
  // Each rank's part starts on a page of its own, so that its first touch places it near its reader.
  mpi_check(MPI_Info_set(info, "alloc_shared_noncontig", "true"));
  std::byte* base = nullptr;
  const int rc = MPI_Win_allocate_shared(static_cast<MPI_Aint>(bytes), 1, info, session.memory_node().native().comm,
                                         &base, &native_->node);
  mpi_check(MPI_Info_free(&info));
  // All nodes or none: the layout is one for the run.
  if (session.agree_max(rc == MPI_SUCCESS ? 0 : 1) != 0) {
    if (rc == MPI_SUCCESS) mpi_check(MPI_Win_free(&native_->node));
    return false;
  }
  mpi_check(MPI_Win_set_errhandler(native_->node, MPI_ERRORS_RETURN));
  mpi_check(MPI_Win_lock_all(0, native_->node));

  // Where the segments of the ranks on this node are mapped here. Ranks of the node communicator are
  // in world order, and each tells its world rank.
  const int on_node = session.memory_node().num_ranks();
  std::vector<int> world_rank_of(static_cast<std::size_t>(on_node));
  mpi_check(MPI_Allgather(&rank_.value, 1, MPI_INT, world_rank_of.data(), 1, MPI_INT,
                          session.memory_node().native().comm));
  native_->shared.assign(static_cast<std::size_t>(num_ranks_), nullptr);
  for (int r = 0; r < on_node; ++r) {
    MPI_Aint size = 0;
    int unit = 0;
    std::byte* segment = nullptr;
    mpi_check(MPI_Win_shared_query(native_->node, r, &size, &unit, &segment));
    native_->shared[RankId(world_rank_of[static_cast<std::size_t>(r)]).idx()] = segment + skip_to_cache_line(segment);
  }
  return true;
}

void Window::allocate_world(Session& session) {
  const std::size_t bytes = layout_.segment_bytes(rank_, Path::put);
  std::byte* base = nullptr;
  const int rc = MPI_Win_allocate(static_cast<MPI_Aint>(bytes + cache_line_bytes), 1, MPI_INFO_NULL,
                                  session.world().native().comm, &base, &native_->world);
  if (rc != MPI_SUCCESS) {
    throw Failure(ExitCode::does_not_fit,
                  "rank " + std::to_string(rank_.value) + " cannot allocate its window of " + std::to_string(bytes) +
                      " bytes (MPI_Win_allocate failed; too little memory in /dev/shm, or the one-sided component does "
                      "not work on this network) free memory there, or choose another component");
  }
  mpi_check(MPI_Win_set_errhandler(native_->world, MPI_ERRORS_RETURN));
  require_unified_model(native_->world);
  mpi_check(MPI_Win_lock_all(0, native_->world));
  const std::uint64_t skip = skip_to_cache_line(base);
  const std::uint64_t size = bytes;
  native_->local = base + skip;
  native_->skip_bytes.resize(static_cast<std::size_t>(num_ranks_));
  native_->segment_bytes.resize(static_cast<std::size_t>(num_ranks_));
  const MPI_Comm comm = session.world().native().comm;
  mpi_check(MPI_Allgather(&skip, 1, MPI_UINT64_T, native_->skip_bytes.data(), 1, MPI_UINT64_T, comm));
  mpi_check(MPI_Allgather(&size, 1, MPI_UINT64_T, native_->segment_bytes.data(), 1, MPI_UINT64_T, comm));
}

void Window::clear_and_meet(Session& session) {
  std::memset(native_->local, 0, layout_.segment_bytes(rank_, Path::put));
  mpi_check(MPI_Win_sync(native_->world));
  if (fast_path_ == FastPath::on) {
    std::memset(native_->shared[rank_.idx()], 0, layout_.segment_bytes(rank_, Path::shared));
    mpi_check(MPI_Win_sync(native_->node));
  }
  session.barrier();  // nobody writes before everybody has cleared
  mpi_check(MPI_Win_sync(native_->world));
  if (fast_path_ == FastPath::on) mpi_check(MPI_Win_sync(native_->node));
}

void Window::check_layout() const {
  // A `writes` that answers differently elsewhere would put a ring where nobody made room.
  for (int r = 0; r < num_ranks_; ++r) {
    const RankId peer(r);
    MOEBIUS_EXPECT(layout_.segment_bytes(peer, Path::put) == native_->segment_bytes[peer.idx()]);
  }
}

std::size_t Window::num_bytes() const {
  const std::size_t shared = fast_path_ == FastPath::on ? layout_.segment_bytes(rank_, Path::shared) : 0;
  return layout_.segment_bytes(rank_, Path::put) + shared;
}

void Window::close() {
  mpi_check(MPI_Win_unlock_all(native_->world));  // completes all that is still under way
  for (auto& read : native_->unanswered) mpi_check(MPI_Wait(&read->request, MPI_STATUS_IGNORE));
  native_->unanswered.clear();
  mpi_check(MPI_Win_free(&native_->world));
  if (fast_path_ == FastPath::on) {
    mpi_check(MPI_Win_unlock_all(native_->node));
    mpi_check(MPI_Win_free(&native_->node));
  }
}

std::byte* Window::local(std::size_t offset) {
  MOEBIUS_EXPECT(offset < native_->segment_bytes[rank_.idx()]);
  return native_->local + offset;
}

std::byte* Window::shared(RankId owner, std::size_t offset) {
  MOEBIUS_EXPECT(fast_path_ == FastPath::on && native_->shared[owner.idx()] != nullptr);
  return native_->shared[owner.idx()] + offset;
}

void Window::put(RankId to, std::size_t offset, const void* origin, std::size_t bytes) {
  const int count = static_cast<int>(bytes);
  MOEBIUS_EXPECT(count >= 0 && static_cast<std::size_t>(count) == bytes);
  mpi_check(MPI_Put(origin, count, MPI_BYTE, to.value, native_->displacement(to, offset, bytes), count, MPI_BYTE,
                    native_->world));
}

void Window::flush(RankId to) {
  const CallThatWaits call(to);
  mpi_check(MPI_Win_flush(to.value, native_->world));
}

void Window::sync() { mpi_check(MPI_Win_sync(native_->world)); }

void Window::progress() {
  int found = 0;
  mpi_check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, native_->comm, &found, MPI_STATUS_IGNORE));
}

std::int64_t Window::fetch_add(RankId owner, std::size_t word_idx, std::int64_t value) {
  MOEBIUS_EXPECT(word_idx < num_control_words);
  std::int64_t before = 0;
  const CallThatWaits call(owner);
  const MPI_Aint at = native_->displacement(owner, word_idx * cache_line_bytes, sizeof(std::int64_t));
  // MPI_NO_OP where nothing is added: the one combination that accumulate_ops=same_op_no_op allows.
  mpi_check(MPI_Fetch_and_op(&value, &before, MPI_INT64_T, owner.value, at, value == 0 ? MPI_NO_OP : MPI_SUM,
                             native_->world));
  mpi_check(MPI_Win_flush(owner.value, native_->world));
  return before;
}

std::uint64_t* Window::control_word(std::size_t word_idx) {
  MOEBIUS_EXPECT(word_idx < num_control_words);
  return reinterpret_cast<std::uint64_t*>(native_->local + word_idx * cache_line_bytes);
}

std::vector<std::optional<std::vector<std::uint64_t>>> Window::read_control_words(std::size_t first, std::size_t count,
                                                                                  double patience_s) {
  MOEBIUS_EXPECT(count >= 1 && first + count <= num_control_words);
  const std::size_t bytes = count * cache_line_bytes;
  std::vector<std::unique_ptr<Native::PendingRead>> reads;  // [num_ranks]
  for (int r = 0; r < num_ranks_; ++r) {
    auto read = std::make_unique<Native::PendingRead>();
    read->bytes.resize(bytes);
    mpi_check(MPI_Rget(read->bytes.data(), static_cast<int>(bytes), MPI_BYTE, r,
                       native_->displacement(RankId(r), first * cache_line_bytes, bytes), static_cast<int>(bytes),
                       MPI_BYTE, native_->world, &read->request));
    reads.push_back(std::move(read));
  }
  std::vector<std::optional<std::vector<std::uint64_t>>> words(reads.size());
  const double deadline_s = now_s() + patience_s;
  std::size_t num_answered = 0;
  while (num_answered < reads.size()) {
    for (std::size_t r = 0; r < reads.size(); ++r) {
      if (words[r]) continue;
      int done = 0;
      mpi_check(MPI_Test(&reads[r]->request, &done, MPI_STATUS_IGNORE));
      if (done == 0) continue;
      words[r].emplace(count);
      for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(&(*words[r])[i], reads[r]->bytes.data() + i * cache_line_bytes, sizeof(std::uint64_t));
      }
      ++num_answered;
    }
    if (num_answered == reads.size() || now_s() >= deadline_s) break;
    std::this_thread::yield();
  }
  for (std::size_t r = 0; r < reads.size(); ++r) {
    if (!words[r]) native_->unanswered.push_back(std::move(reads[r]));
  }
  return words;
}

}  // namespace moebius::comm
