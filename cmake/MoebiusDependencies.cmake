# Packages that have no good CMake config of their own on Debian 12, mended in one place.

# Debian's Kokkos config names an include folder that does not exist; the headers are in
# /usr/include/trilinos.
find_path(MOEBIUS_KOKKOS_INCLUDE Kokkos_Core.hpp PATH_SUFFIXES trilinos)
foreach(target Kokkos::kokkos Kokkos::kokkoscore Kokkos::kokkoscontainers Kokkos::kokkosalgorithms)
  if(TARGET ${target})
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    foreach(folder ${folders})
      if(NOT folder MATCHES "^\\$<" AND NOT EXISTS ${folder})
        set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${MOEBIUS_KOKKOS_INCLUDE})
      endif()
    endforeach()
  endif()
endforeach()

find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(toml11 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)

find_path(MOEBIUS_XXHASH_INCLUDE xxhash.h REQUIRED)
find_library(MOEBIUS_XXHASH_LIBRARY xxhash REQUIRED)
add_library(xxhash::xxhash UNKNOWN IMPORTED)
set_target_properties(xxhash::xxhash PROPERTIES IMPORTED_LOCATION ${MOEBIUS_XXHASH_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${MOEBIUS_XXHASH_INCLUDE})
find_path(MOEBIUS_RANDOM123_INCLUDE Random123/philox.h REQUIRED)
