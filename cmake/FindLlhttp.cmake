# llhttp: libllhttp-dev where Debian has it (13), else the C sources of node-llhttp (12),
# compiled into a static library of their own.
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp)
find_library(LLHTTP_LIBRARY llhttp)
if(LLHTTP_LIBRARY AND LLHTTP_INCLUDE_DIR)
    add_library(Llhttp::llhttp UNKNOWN IMPORTED)
    set_target_properties(Llhttp::llhttp PROPERTIES IMPORTED_LOCATION "${LLHTTP_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${LLHTTP_INCLUDE_DIR}")
    set(LLHTTP_FROM "${LLHTTP_LIBRARY}")
elseif(LLHTTP_INCLUDE_DIR AND EXISTS /usr/share/llhttp/llhttp.c)
    add_library(llhttp_sources STATIC
        /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c)
    target_include_directories(llhttp_sources SYSTEM PUBLIC "${LLHTTP_INCLUDE_DIR}")
    target_compile_options(llhttp_sources PRIVATE -w -O2)
    # Version 8 is lenient unless told otherwise; 9, as in Debian 13, is strict by itself.
    target_compile_definitions(llhttp_sources PRIVATE LLHTTP_STRICT_MODE=1)
    add_library(Llhttp::llhttp ALIAS llhttp_sources)
    set(LLHTTP_FROM /usr/share/llhttp)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_FROM LLHTTP_INCLUDE_DIR)
