#compdef monopod
# Completion of monopod for zsh: source it, or put it as _monopod into a directory of $fpath.
_monopod_complete() {
    local directive=0 line
    local -a answer described
    answer=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${answer[@]}"; do
        case $line in
        :*) directive=${line#:} ;;
        *$'\t'*) described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        ?*) described+=("${line//:/\\:}") ;;
        esac
    done
    if (($#described)); then
        if ((directive & 2)); then _describe -t names monopod described -S ''; else _describe -t names monopod described; fi
    elif ! ((directive & 4)); then
        _files
    fi
}
if [ "${funcstack[1]}" = _monopod ]; then _monopod_complete "$@"; else compdef _monopod_complete monopod; fi
