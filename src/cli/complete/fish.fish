# Completion of monopod for fish: source it, or put it into ~/.config/fish/completions/monopod.fish.
function __monopod_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l directive 0
    set -l found 0
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if string match -q -- ':*' $line
            set directive (string sub -s 2 -- $line)
        else
            set found 1
            echo $line
        end
    end
    if test $found -eq 0 -a $directive -eq 0
        __fish_complete_path $current
    end
end
complete -c monopod -f -a '(__monopod_complete)'
