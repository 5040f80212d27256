# SPDX-License-Identifier: PostgreSQL
# cmake -DDIR=… -DOUT=… -P: page.css and page.js go into page.html, the page into a C array; beside
# it stand the hashes of both, which are all that its Content-Security-Policy allows to run.

# 256 bits of hex to base64: three digits are two letters, the last of 44 is padding.
function(base64_of_hex hex ret)
    set(letters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    set(text "")
    string(APPEND hex "00")
    foreach(i RANGE 0 63 3)
        string(SUBSTRING "${hex}" ${i} 3 digits)
        math(EXPR high "0x${digits} >> 6")
        math(EXPR low "0x${digits} & 63")
        string(SUBSTRING "${letters}" ${high} 1 a)
        string(SUBSTRING "${letters}" ${low} 1 b)
        string(APPEND text "${a}${b}")
    endforeach()
    string(SUBSTRING "${text}" 0 43 text)
    set(${ret} "${text}=" PARENT_SCOPE)
endfunction()

file(READ "${DIR}/page.html" html)
foreach(part css js)
    file(READ "${DIR}/page.${part}" text)
    string(SHA256 hex "${text}")
    base64_of_hex("${hex}" hash_${part})
    string(REPLACE "@page.${part}@" "${text}" html "${html}")
endforeach()
file(WRITE "${OUT}.html" "${html}")
file(READ "${OUT}.html" bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUT}" "/* SPDX-License-Identifier: PostgreSQL */
/* made by cmake/embed_dashboard.cmake */
#include \"agent/rest.h\"

const unsigned char rest_dashboard_html[] = {
${bytes}
};
const size_t rest_dashboard_html_bytes = sizeof(rest_dashboard_html);
const char rest_dashboard_hashes[] = \"script-src 'sha256-${hash_js}'; style-src 'sha256-${hash_css}'\";
")
