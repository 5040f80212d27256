# mbedTLS 2.28 (Debian 12) has no pkg-config file, 3.6 (Debian 13) has: look for the libraries.
find_path(MBEDTLS_INCLUDE_DIR mbedtls/ssl.h)
find_library(MBEDTLS_LIBRARY mbedtls)
find_library(MBEDX509_LIBRARY mbedx509)
find_library(MBEDCRYPTO_LIBRARY mbedcrypto)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MbedTLS REQUIRED_VARS
    MBEDTLS_LIBRARY MBEDX509_LIBRARY MBEDCRYPTO_LIBRARY MBEDTLS_INCLUDE_DIR)
if(MbedTLS_FOUND AND NOT TARGET MbedTLS::all)
    add_library(MbedTLS::all INTERFACE IMPORTED)
    target_include_directories(MbedTLS::all INTERFACE "${MBEDTLS_INCLUDE_DIR}")
    target_link_libraries(MbedTLS::all INTERFACE
        "${MBEDTLS_LIBRARY}" "${MBEDX509_LIBRARY}" "${MBEDCRYPTO_LIBRARY}")
endif()
