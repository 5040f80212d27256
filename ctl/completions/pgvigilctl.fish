# SPDX-License-Identifier: PostgreSQL
# Completion of pgvigilctl for fish. Commands and options are read from its help pages, so they
# cannot be out of date; the store is never asked.

function __pgvigilctl_command
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word -c --config-file -d --dcs-url --dcs
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
end

function __pgvigilctl_help
    env PATRONICTL_CONFIG_FILE= DCS_URL= COLUMNS=200 (commandline -opc)[1] (__pgvigilctl_command) --help 2>/dev/null
end

function __pgvigilctl_words
    set -l previous (commandline -opc)[-1]
    set -l options
    for line in (__pgvigilctl_help | string match -r '^  -.*')
        set -l left (string replace -r '  +.*' '' -- (string sub -s 3 -- $line) | string replace -a ',' '')
        set -l names (string split ' ' -- $left | string match -- '-*')
        if contains -- $previous $names
            set -l choices (string match -r ' \[(.*\|.*)\]$' -- $left)
            if test (count $choices) -gt 1
                string split '|' -- $choices[2]
                return
            else if string match -qr ' FILENAME$|--apply|--replace|--config-file' -- $left
                __fish_complete_path (commandline -ct)
                return
            else if string match -qr ' [A-Z]+$' -- $left
                return # a value only the user knows
            end
        end
        set -a options $names
    end
    if string match -q -- '-*' (commandline -ct)
        printf '%s\n' $options
    else if test -z (__pgvigilctl_command)
        __pgvigilctl_help | sed -n '/^Commands:/,$s/^  \([a-z][a-z-]*\).*/\1/p'
    else if test (__pgvigilctl_command) = flush
        printf '%s\n' restart switchover
    end
end

complete -c pgvigilctl -f -a '(__pgvigilctl_words)'
