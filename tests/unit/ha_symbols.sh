#!/bin/sh
# The brain makes no system call, reads no clock, allocates nothing: whatever it needs from outside
# stands in this list. $1 is libpgvigil_ha.a.
set -eu
allowed='memcmp memcpy memset snprintf strcasecmp strcmp strlen strnlen strspn vsnprintf
pgv_assert_failed pgv_role_name pgv_slot_name pgv_state_name'
defined=$(nm --defined-only "$1" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u)
bad=$(nm --undefined-only "$1" 2>/dev/null | awk '$1 == "U" { print $2 }' | sort -u |
    grep -vE '^(__(asan|ubsan|msan|sanitizer|gcov|stack_chk|memcpy_chk|memset_chk|snprintf_chk|vsnprintf_chk|llvm)|_GLOBAL_OFFSET_TABLE_)' |
    while read -r symbol; do
        case " $(echo $allowed $defined) " in
        *" $symbol "*) ;;
        *) echo "$symbol" ;;
        esac
    done)
if [ -n "$bad" ]; then
    echo "agent/ha reaches outside:" $bad
    exit 1
fi
