// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

namespace {

// MPI counts and displacements are ints: no single call moves more than this many bytes.
constexpr std::uint64_t max_call_bytes = std::uint64_t{1} << 30;

int to_count(std::uint64_t bytes) {
  MOEBIUS_EXPECT(bytes <= max_call_bytes);
  return static_cast<int>(bytes);
}

}  // namespace

void mpi_check(int return_code, const char* file, int line) {
  if (return_code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int text_length = 0;
  int error_class = MPI_ERR_UNKNOWN;
  MPI_Error_class(return_code, &error_class);
  MPI_Error_string(return_code, text, &text_length);
  const ExitCode code = error_class == MPI_ERR_NO_MEM ? ExitCode::does_not_fit : ExitCode::internal_error;
  throw Failure(code, "an MPI call failed (" + std::string(text, static_cast<std::size_t>(text_length)) + ", " + file +
                          ":" + std::to_string(line) + ") check the MPI installation and its settings");
}

Communicator wrap_communicator(MPI_Comm comm) {
  mpi_check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
  return Communicator(std::make_unique<Communicator::Native>(Communicator::Native{comm}));
}

Communicator::Communicator(std::unique_ptr<Native> native) : native_(std::move(native)) {
  int rank = 0;
  mpi_check(MPI_Comm_rank(native_->comm, &rank));
  mpi_check(MPI_Comm_size(native_->comm, &num_ranks_));
  rank_ = RankId(rank);
}

Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

void Communicator::barrier() { mpi_check(MPI_Barrier(native_->comm)); }

void Communicator::broadcast(std::vector<std::byte>& bytes, RankId root) {
  std::uint64_t size = bytes.size();
  mpi_check(MPI_Bcast(&size, 1, MPI_UINT64_T, root.value, native_->comm));
  bytes.resize(size);
  for (std::uint64_t done = 0; done < size; done += max_call_bytes) {
    const int count = to_count(std::min(max_call_bytes, size - done));
    mpi_check(MPI_Bcast(bytes.data() + done, count, MPI_BYTE, root.value, native_->comm));
  }
}

std::vector<std::vector<std::byte>> Communicator::gather_to_root(std::span<const std::byte> bytes) {
  const bool is_root = rank_ == RankId(0);
  const auto ranks = static_cast<std::size_t>(num_ranks_);
  const std::uint64_t mine = bytes.size();
  std::vector<std::uint64_t> sizes(ranks);  // known to all, so that all agree on the number of rounds
  mpi_check(MPI_Allgather(&mine, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, native_->comm));

  std::vector<std::vector<std::byte>> gathered(is_root ? ranks : 0);
  for (std::size_t r = 0; r < gathered.size(); ++r) gathered[r].reserve(sizes[r]);
  const std::uint64_t largest = *std::max_element(sizes.begin(), sizes.end());
  const std::uint64_t piece = std::max<std::uint64_t>(1, max_call_bytes / ranks);  // of one rank in one round
  for (std::uint64_t done = 0; done < largest; done += piece) {
    const auto part = [&](std::size_t r) { return sizes[r] > done ? std::min(piece, sizes[r] - done) : 0; };
    std::vector<int> counts(ranks), offsets(ranks);  // [num_ranks]
    std::uint64_t total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      counts[r] = to_count(part(r));
      offsets[r] = to_count(total);
      total += part(r);
    }
    std::vector<std::byte> round(is_root ? total : 0);
    const std::byte* from = part(rank_.idx()) != 0 ? bytes.data() + done : nullptr;
    mpi_check(MPI_Gatherv(from, counts[rank_.idx()], MPI_BYTE, round.data(), counts.data(), offsets.data(), MPI_BYTE, 0,
                          native_->comm));
    for (std::size_t r = 0; r < gathered.size(); ++r) {
      const auto begin = round.begin() + offsets[r];
      gathered[r].insert(gathered[r].end(), begin, begin + counts[r]);
    }
  }
  return gathered;
}

int Communicator::agree_max(int value) {
  int largest = value;
  mpi_check(MPI_Allreduce(&value, &largest, 1, MPI_INT, MPI_MAX, native_->comm));
  return largest;
}

void Communicator::free() {
  if (native_->comm != MPI_COMM_NULL) mpi_check(MPI_Comm_free(&native_->comm));
}

}  // namespace moebius::comm
