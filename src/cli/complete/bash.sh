# Completion of monopod for bash: source it, or put it into /etc/bash_completion.d/monopod.
_monopod_complete() {
    local line=${COMP_LINE:0:COMP_POINT} word about answer directive=0
    local -a words
    COMPREPLY=()
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local current=${words[${#words[@]} - 1]}
    # Bash takes a word apart at these: only what comes behind the last of them is replaced.
    local kept=${current%"${current##*[:=]}"}
    answer=$("${words[0]}" __completeNoDesc "${words[@]:1}" 2>/dev/null) || return
    while IFS= read -r word; do
        case $word in
        :*) directive=${word#:} ;;
        ?*) COMPREPLY+=("${word#"$kept"}") ;;
        esac
    done <<<"$answer"
    ((directive & 2)) && compopt -o nospace 2>/dev/null
    if ((${#COMPREPLY[@]} == 0)) && ! ((directive & 4)); then
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "${current##*[:=]}")
    fi
}
complete -F _monopod_complete monopod
