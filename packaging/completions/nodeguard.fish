# SPDX-License-Identifier: Apache-2.0
# Made from the command line's definition by tests/command_line.
# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nodeguard_global_optspecs
    string join \n h/help V/version
end

function __fish_nodeguard_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nodeguard_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nodeguard_using_subcommand
    set -l cmd (__fish_nodeguard_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nodeguard -n "__fish_nodeguard_needs_command" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -s V -l version -d 'Print version'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "run" -d 'Guard this node (what nodeguard.service runs)'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "check" -d 'Look at the node and change nothing'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "apply" -d 'Look at the node once and mend what is wrong'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "gate" -d 'Let RKE2 start only on a node that is fit for it (its unit\'s ExecStartPre)'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "override" -d 'Let RKE2 start once although the node is fatal, within the next ten minutes'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "status" -d 'Say what the guarding service knows'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "config" -d 'Print nodeguard\'s own configuration, each value with the file and line that set it'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "explain" -d 'Say who sets a kernel parameter, now and at the next boot, what RKE2 reads, or what a finding\'s code means'
complete -c nodeguard -n "__fish_nodeguard_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand run" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand check" -l root -d 'Work on an unpacked image below DIR; live kernel values are left out' -r -f -a "(__fish_complete_directories)"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand check" -l role -d 'What RKE2 runs as; by default what its enabled unit says' -r -f -a "server\t''
agent\t''"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand check" -l json -d 'Print as JSON'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand check" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand apply" -l root -d 'Work on an unpacked image below DIR; live kernel values are left out' -r -f -a "(__fish_complete_directories)"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand apply" -l role -d 'What RKE2 runs as; by default what its enabled unit says' -r -f -a "server\t''
agent\t''"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand apply" -l json -d 'Print as JSON'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand apply" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand gate" -l role -d 'What RKE2 is about to run as' -r -f -a "server\t''
agent\t''"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand gate" -l limit -d 'How long all of it may take, whatever hangs' -r -f
complete -c nodeguard -n "__fish_nodeguard_using_subcommand gate" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand override" -l role -d 'What RKE2 is to start as' -r -f -a "server\t''
agent\t''"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand override" -l reason -d 'Why, for the journal and for whoever comes after you; at most 200 characters' -r -f
complete -c nodeguard -n "__fish_nodeguard_using_subcommand override" -l withdraw -d 'Take back an override that was not used yet'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand override" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand status" -l json -d 'Print the report as JSON'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand status" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand config" -l root -d 'Read the files of an unpacked image below DIR' -r -f -a "(__fish_complete_directories)"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand config" -l json -d 'Print it as JSON'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand config" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand explain" -l root -d 'Work on an unpacked image below DIR; live kernel values are left out' -r -f -a "(__fish_complete_directories)"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand explain" -l role -d 'What RKE2 runs as; by default what its enabled unit says' -r -f -a "server\t''
agent\t''"
complete -c nodeguard -n "__fish_nodeguard_using_subcommand explain" -l json -d 'Print as JSON'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand explain" -s h -l help -d 'Print help'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "run" -d 'Guard this node (what nodeguard.service runs)'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "check" -d 'Look at the node and change nothing'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "apply" -d 'Look at the node once and mend what is wrong'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "gate" -d 'Let RKE2 start only on a node that is fit for it (its unit\'s ExecStartPre)'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "override" -d 'Let RKE2 start once although the node is fatal, within the next ten minutes'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "status" -d 'Say what the guarding service knows'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "config" -d 'Print nodeguard\'s own configuration, each value with the file and line that set it'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "explain" -d 'Say who sets a kernel parameter, now and at the next boot, what RKE2 reads, or what a finding\'s code means'
complete -c nodeguard -n "__fish_nodeguard_using_subcommand help; and not __fish_seen_subcommand_from run check apply gate override status config explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
