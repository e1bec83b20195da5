// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_handle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/failure.hpp"

namespace moebius::io {
namespace {

/// HDF5 prints every error to stderr unless told otherwise; it becomes the text of a Failure here. And a file whose filters HDF5 does not
/// know would make it load libraries.
void prepare_hdf5() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);
}

/// H5Ewalk2 callback: the first entry of an upward walk is the innermost one, which names the cause.
herr_t take_first(unsigned depth, const H5E_error2_t* error, void* text) {
  if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

/// Of the page that HDF5 says when a system call failed, the beginning and the system's own words; always one line.
std::string shortened(std::string cause) {
  constexpr std::string_view before = "error message = '";
  if (const auto at = cause.find(before); at != std::string::npos) {
    const std::string words = cause.substr(at + before.size(), cause.find('\'', at + before.size()) - at - before.size());
    cause = cause.substr(0, cause.find(':')) + ": " + words;
  }
  std::ranges::replace(cause, '\n', ' ');
  return cause;
}

Hdf5Properties file_access() {
  Hdf5Properties access(hdf5_check(H5Pcreate(H5P_FILE_ACCESS), "prepare", "file access"));
  // Virtual datasets need the 1.10 file format anyway; it also keeps small datasets small.
  hdf5_check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "prepare", "file access");
  return access;
}

}  // namespace

void hdf5_failed(std::string_view doing, std::string_view object) {
  std::string cause = "no cause given";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &cause);
  cause = shortened(std::move(cause));
  const bool full = cause.find("No space left") != std::string::npos || cause.find("quota") != std::string::npos;
  const ExitCode code = full ? ExitCode::does_not_fit : ExitCode::unreadable_input;
  throw Failure{code, fmt::format("cannot {} {} (HDF5: {}) {}", doing, object, cause,
                                  full ? "make room on that file system and run again"
                                       : "check the file, its folder and its file system; `moebius verify` "
                                         "names the damaged files of a result folder")};
}

Hdf5File create_hdf5(const std::filesystem::path& file) {
  prepare_hdf5();
  // Equal data give equal bytes: the root group bears no time.
  const Hdf5Properties creation(hdf5_check(H5Pcreate(H5P_FILE_CREATE), "prepare", "a file"));
  hdf5_check(H5Pset_obj_track_times(creation.get(), false), "prepare", "a file");
  constexpr std::size_t growth_bytes = std::size_t{1} << 20;  // the memory image grows by this much
  const Hdf5Properties access = file_access();
  // A dataset left open would keep the file open and unwritten; with this its close fails instead.
  hdf5_check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_SEMI), "prepare", "file access");
  hdf5_check(H5Pset_fapl_core(access.get(), growth_bytes, /*write it at close*/ 1), "prepare", "file access");
  return Hdf5File(
      hdf5_check(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "create", file.native()));
}

Hdf5File open_hdf5(const std::filesystem::path& file) {
  prepare_hdf5();
  const Hdf5Properties access = file_access();
  hdf5_check(H5Pset_file_locking(access.get(), /*use*/ 0, /*ignore when disabled*/ 1), "prepare", "file access");
  return Hdf5File(hdf5_check(H5Fopen(file.c_str(), H5F_ACC_RDONLY, access.get()), "open", file.native()));
}

}  // namespace moebius::io
