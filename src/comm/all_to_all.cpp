// SPDX-License-Identifier: Apache-2.0
#include "comm/all_to_all.hpp"

#include <limits>
#include <vector>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

struct AllToAll::Native {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Datatype unit = MPI_DATATYPE_NULL;
  std::vector<int> to_counts, to_begins, from_counts, from_begins;  // [num_ranks] in units

  void wait(MPI_Request request, const std::function<void(Wait)>& while_waiting, Wait what = Wait::ranks) {
    int done = 0;
    mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    while (done == 0) {
      while_waiting(what);
      mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    }
  }
};

namespace {

/// Counts and begins of blocks, in units, that lie one after the other.
void lay_out(std::span<const std::size_t> bytes, std::vector<int>& counts, std::vector<int>& begins) {
  std::size_t begin = 0;
  for (std::size_t r = 0; r < bytes.size(); ++r) {
    MOEBIUS_EXPECT(bytes[r] % AllToAll::unit_bytes == 0);
    const std::size_t count = bytes[r] / AllToAll::unit_bytes;
    counts[r] = static_cast<int>(count);
    begins[r] = static_cast<int>(begin);
    begin += count;
  }
  if (begin > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Failure(ExitCode::does_not_fit, "the rows of one step are more than MPI_Alltoallv can count (more than 128 GiB on a rank) "
                                          "lower limits.max_tokens_in_flight");
  }
}

}  // namespace

AllToAll::AllToAll(Session& session) : native_(std::make_unique<Native>()), num_ranks_(session.num_ranks()) {
  mpi_check(MPI_Comm_dup(session.world().native().comm, &native_->comm));
  mpi_check(MPI_Comm_set_errhandler(native_->comm, MPI_ERRORS_RETURN));
  mpi_check(MPI_Type_contiguous(static_cast<int>(unit_bytes), MPI_BYTE, &native_->unit));
  mpi_check(MPI_Type_commit(&native_->unit));
  for (auto* numbers : {&native_->to_counts, &native_->to_begins, &native_->from_counts, &native_->from_begins}) {
    numbers->resize(static_cast<std::size_t>(num_ranks_));
  }
}

AllToAll::~AllToAll() = default;

void AllToAll::exchange_counts(std::span<const std::int64_t> to, std::span<std::int64_t> from) {
  MOEBIUS_EXPECT(to.size() == static_cast<std::size_t>(num_ranks_) && from.size() == to.size());
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Ialltoall(to.data(), 1, MPI_INT64_T, from.data(), 1, MPI_INT64_T, native_->comm, &request));
  native_->wait(request, while_waiting_);
}

void AllToAll::exchange(std::span<const std::byte> to, std::span<const std::size_t> to_bytes, std::span<std::byte> from,
                        std::span<const std::size_t> from_bytes) {
  MOEBIUS_EXPECT(to_bytes.size() == static_cast<std::size_t>(num_ranks_) && from_bytes.size() == to_bytes.size());
  lay_out(to_bytes, native_->to_counts, native_->to_begins);
  lay_out(from_bytes, native_->from_counts, native_->from_begins);
  const auto end_of = [](const std::vector<int>& begins, const std::vector<int>& counts) {
    return static_cast<std::size_t>(begins.back() + counts.back()) * unit_bytes;
  };
  MOEBIUS_EXPECT(end_of(native_->to_begins, native_->to_counts) <= to.size());
  MOEBIUS_EXPECT(end_of(native_->from_begins, native_->from_counts) <= from.size());
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Ialltoallv(to.data(), native_->to_counts.data(), native_->to_begins.data(), native_->unit, from.data(),
                           native_->from_counts.data(), native_->from_begins.data(), native_->unit, native_->comm, &request));
  native_->wait(request, while_waiting_, Wait::bytes);
}

void AllToAll::sum(std::span<std::int64_t> values) {
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_INT64_T, MPI_SUM, native_->comm, &request));
  native_->wait(request, while_waiting_);
}

bool AllToAll::any(bool mine) {
  const int said = mine ? 1 : 0;
  int anybody = 0;
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Iallreduce(&said, &anybody, 1, MPI_INT, MPI_MAX, native_->comm, &request));
  native_->wait(request, while_waiting_);
  return anybody != 0;
}

void AllToAll::close() {
  mpi_check(MPI_Type_free(&native_->unit));
  mpi_check(MPI_Comm_free(&native_->comm));
}

}  // namespace moebius::comm
