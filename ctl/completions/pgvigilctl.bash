# SPDX-License-Identifier: PostgreSQL
# Completion of pgvigilctl for bash. Commands, options and choices are read from its help pages, so
# they cannot be out of date; the store is never asked.

_pgvigilctl_help()
{
    PATRONICTL_CONFIG_FILE='' DCS_URL='' COLUMNS=200 "$@" --help 2>/dev/null
}

_pgvigilctl()
{
    local prog=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local command='' help left words='' i

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -c | --config-file | -d | --dcs-url | --dcs) ((i++)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    help=$(_pgvigilctl_help "$prog" ${command:+"$command"}) || return 0
    if [[ $prev == -?* ]]; then
        while IFS= read -r left; do
            case "$left " in
            "$prev "* | *" $prev "*) ;;
            *) continue ;;
            esac
            case $left in
            *' ['*'|'*']')
                words=${left##* [}
                words=${words%]}
                mapfile -t COMPREPLY < <(compgen -W "${words//|/ }" -- "$cur")
                return 0
                ;;
            *' FILENAME' | *--apply* | *--replace* | *--config-file*)
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return 0
                ;;
            *' '[A-Z]*) return 0 ;; # a value only the user knows
            esac
        done < <(sed -n 's/^  \(-[^ ].*\)$/\1/p' <<<"$help" | sed 's/   *.*//; s/,//g')
    fi
    if [[ $cur == -* ]]; then
        words=$(sed -n 's/^  \(-[^ ,]*\(, -[^ ,]*\)*\).*/\1/p' <<<"$help" | tr -d ',')
    elif [[ -z $command ]]; then
        words=$(sed -n '/^Commands:/,$s/^  \([a-z][a-z-]*\).*/\1/p' <<<"$help")
    elif [[ $command == flush ]]; then
        words='restart switchover'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _pgvigilctl pgvigilctl
