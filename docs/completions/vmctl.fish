function __vmctl_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vmctl_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vmctl_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vmctl_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vmctl_parse_tokens -S
    set -l unparsed_tokens (__vmctl_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vmctl'
        __vmctl_parse_subcommand 0 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'createvm'
            __vmctl_parse_subcommand 0 'name=' 'memory=' 'basefolder=' 'uuid=' 'register' 'ostype=' 'groups=' 'default' 'version' 'h/help'
        case 'registervm'
            __vmctl_parse_subcommand 1 'version' 'h/help'
        case 'unregistervm'
            __vmctl_parse_subcommand 1 'delete' 'version' 'h/help'
        case 'modifyvm'
            __vmctl_parse_subcommand 1 'name=' 'description=' 'sandbox=' 'memory=' 'vram=' 'firmware=' 'rtc-use-utc=' 'hpet=' 'debug-ports=' 'uart-strict=' 'test-device=' 'virtio-rng=' 'cpus=' 'cpu-profile=' 'accel=' 'verify-code=' 'cpuid-set=+' 'cpuid-remove=' 'boot1=' 'boot2=' 'boot3=' 'boot4=' 'kernel=' 'initrd=' 'append=' 'uart1=+' 'uart-mode1=+' 'uart2=+' 'uart-mode2=+' 'uart3=+' 'uart-mode3=+' 'uart4=+' 'uart-mode4=+' 'nic1=' 'nic-type1=' 'mac-address1=' 'cable-connected1=' 'nic-rom1=' 'nat-net1=' 'nat-pf1=+' 'nat-anchor1=' 'nat-tftp-prefix1=' 'nat-tftp-file1=' 'bridge-adapter1=' 'intnet1=' 'nic-stream1=' 'nic-trace1=' 'nic-trace-file1=' 'nic2=' 'nic-type2=' 'mac-address2=' 'cable-connected2=' 'nic-rom2=' 'nat-net2=' 'nat-pf2=+' 'nat-anchor2=' 'nat-tftp-prefix2=' 'nat-tftp-file2=' 'bridge-adapter2=' 'intnet2=' 'nic-stream2=' 'nic-trace2=' 'nic-trace-file2=' 'nic3=' 'nic-type3=' 'mac-address3=' 'cable-connected3=' 'nic-rom3=' 'nat-net3=' 'nat-pf3=+' 'nat-anchor3=' 'nat-tftp-prefix3=' 'nat-tftp-file3=' 'bridge-adapter3=' 'intnet3=' 'nic-stream3=' 'nic-trace3=' 'nic-trace-file3=' 'nic4=' 'nic-type4=' 'mac-address4=' 'cable-connected4=' 'nic-rom4=' 'nat-net4=' 'nat-pf4=+' 'nat-anchor4=' 'nat-tftp-prefix4=' 'nat-tftp-file4=' 'bridge-adapter4=' 'intnet4=' 'nic-stream4=' 'nic-trace4=' 'nic-trace-file4=' 'nic5=' 'nic-type5=' 'mac-address5=' 'cable-connected5=' 'nic-rom5=' 'nat-net5=' 'nat-pf5=+' 'nat-anchor5=' 'nat-tftp-prefix5=' 'nat-tftp-file5=' 'bridge-adapter5=' 'intnet5=' 'nic-stream5=' 'nic-trace5=' 'nic-trace-file5=' 'nic6=' 'nic-type6=' 'mac-address6=' 'cable-connected6=' 'nic-rom6=' 'nat-net6=' 'nat-pf6=+' 'nat-anchor6=' 'nat-tftp-prefix6=' 'nat-tftp-file6=' 'bridge-adapter6=' 'intnet6=' 'nic-stream6=' 'nic-trace6=' 'nic-trace-file6=' 'nic7=' 'nic-type7=' 'mac-address7=' 'cable-connected7=' 'nic-rom7=' 'nat-net7=' 'nat-pf7=+' 'nat-anchor7=' 'nat-tftp-prefix7=' 'nat-tftp-file7=' 'bridge-adapter7=' 'intnet7=' 'nic-stream7=' 'nic-trace7=' 'nic-trace-file7=' 'nic8=' 'nic-type8=' 'mac-address8=' 'cable-connected8=' 'nic-rom8=' 'nat-net8=' 'nat-pf8=+' 'nat-anchor8=' 'nat-tftp-prefix8=' 'nat-tftp-file8=' 'bridge-adapter8=' 'intnet8=' 'nic-stream8=' 'nic-trace8=' 'nic-trace-file8=' 'teleporter=' 'teleporter-port=' 'teleporter-address=' 'teleporter-password=' 'teleporter-password-file=' 'version' 'h/help'
        case 'list'
            __vmctl_parse_subcommand 1 'format=' 'l/long' 's/sorted' 'version' 'h/help'
        case 'showvminfo'
            __vmctl_parse_subcommand 1 'machinereadable' 'details' 'format=' 'log=' 'version' 'h/help'
        case 'createmedium'
            __vmctl_parse_subcommand 1 'filename=' 'size=' 'format=' 'variant=' 'version' 'h/help'
        case 'showmediuminfo'
            __vmctl_parse_subcommand 1 'format=' 'version' 'h/help'
        case 'storagectl'
            __vmctl_parse_subcommand 1 'name=' 'add=' 'remove' 'controller=' 'bootable=' 'hostiocache=' 'portcount=' 'version' 'h/help'
        case 'storageattach'
            __vmctl_parse_subcommand 1 'storagectl=' 'port=' 'device=' 'type=' 'medium=' 'mtype=' 'forceunmount' 'tempeject=' 'nonrotational=' 'discard=' 'format=' 'version' 'h/help'
        case 'startvm'
            __vmctl_parse_subcommand 1 'type=' 'foreground' 'force' 'version' 'h/help'
        case 'controlvm'
            __vmctl_parse_subcommand -r 3 'host=' 'p/port=' 'd/maxdowntime=' 'password=' 'passwordfile=' 'timeout=' 'version' 'h/help'
        case 'discardstate'
            __vmctl_parse_subcommand 1 'version' 'h/help'
        case 'console'
            __vmctl_parse_subcommand 1 'uart=' 'version' 'h/help'
        case 'debugvm'
            __vmctl_parse_subcommand 3 'version' 'h/help'
        case 'help'
            __vmctl_parse_subcommand -r 1 'version'
        end
    end
end

function __vmctl_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vmctl_parse_subcommand -S -a positional_count
    argparse -s r -- $argv
    set -l option_specs $argv[2..]
    set -l is_repeating_positional $_flag_r
    set -el _flag_r
    set -a commands $unparsed_tokens[1]
    set positional_index 0
    while true
        set -e unparsed_tokens[1]
        argparse -sn "$commands" $option_specs -- $unparsed_tokens 2> /dev/null
        set unparsed_tokens $argv
        set positional_index (math $positional_index + 1)
        for non_repeating_flag_or_option in $non_repeating_flags_or_options
            if set -ql "_flag_$(string replace -a - _ -- $non_repeating_flag_or_option)"
                set non_repeating_flags_or_options_absent 1
                break
            end
        end
        test (count $unparsed_tokens) -eq 0 -o \( -z "$is_repeating_positional" -a "$positional_index" -gt "$positional_count" \) && break
    end
end

function __vmctl_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vmctl_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vmctl_tokens -p)
    if test -z "$(__vmctl_tokens -t)"
        set -l index (count (__vmctl_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vmctl' -f
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'createvm' -d 'Makes a machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'registervm' -d 'Makes a machine known whose folder exists.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'unregistervm' -d 'Forgets a machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'modifyvm' -d 'Changes a machine\'s definition, while it is off.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'list' -d 'Lists machines, or what there is to choose from.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'showvminfo' -d 'Shows a machine, its state or its log.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'createmedium' -d 'Makes an empty disk image.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'showmediuminfo' -d 'Shows what an image is.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'storagectl' -d 'Adds a storage controller to a machine, or removes one.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'storageattach' -d 'Attaches an image to a controller, or detaches it.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'startvm' -d 'Starts a machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'controlvm' -d 'Controls a running machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'discardstate' -d 'Drops a machine\'s saved state.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'console' -d 'The serial console in this terminal. Ctrl-] leaves it; the machine runs on.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'debugvm' -d 'Looks into a running machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl" -eq 1' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" name' -l 'name' -d 'Its name.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" memory' -l 'memory' -d 'Memory in MB.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" basefolder' -l 'basefolder' -d 'The folder in which its folder is made.' -rfa '(__vmctl_complete_directories)'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" uuid' -l 'uuid' -d 'Its UUID, instead of a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" register' -l 'register' -d 'As VBoxManage has it; a machine is always registered.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" ostype' -l 'ostype' -d 'As VBoxManage has it; every guest gets the same board.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" groups' -l 'groups' -d 'As VBoxManage has it; there are no groups.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" default' -l 'default' -d 'Gives it an IDE controller and a console on a free port.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createvm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl registervm" -eq 1' -fa '(for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.\'toml\';printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl registervm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl registervm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl unregistervm" -eq 1' -fka '(__vmctl_custom_completion ---completion unregistervm -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl unregistervm" delete' -l 'delete' -d 'Deletes its definition, log and saved state. Disk images elsewhere stay.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl unregistervm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl unregistervm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl modifyvm" -eq 1' -fka '(__vmctl_custom_completion ---completion modifyvm -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" name' -l 'name' -d 'A new name.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" description' -l 'description' -d 'A text for people.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" sandbox' -l 'sandbox' -d 'Whether the machine\'s process gives up what it does not need: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" memory' -l 'memory' -d 'Memory in MB.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" vram' -l 'vram' -d 'Video memory in MB.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" firmware' -l 'firmware' -d 'bios for SeaBIOS, or the file of a ROM image.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" rtc-use-utc' -l 'rtc-use-utc' -d 'Whether the clock shows UTC: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" hpet' -l 'hpet' -d 'Whether there is an HPET: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" debug-ports' -l 'debug-ports' -d 'The ports 0xE9 (log) and 0xF4 (exit), and the test device of public suites: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" uart-strict' -l 'uart-strict' -d 'Whether UART interrupts need OUT2, as on a PC: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" test-device' -l 'test-device' -d 'A PCI device for tests of port and memory accesses: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" virtio-rng' -l 'virtio-rng' -d 'A virtio device that gives the guest random numbers of the host: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cpus' -l 'cpus' -d 'The number of CPUs.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cpu-profile' -l 'cpu-profile' -d 'The CPU model: x86-64-v2, x86-64-v2-extended, i686.' -rfka 'x86-64-v2 x86-64-v2-extended i686'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" accel' -l 'accel' -d 'How guest code is executed: translator or interpreter.' -rfka 'translator interpreter'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" verify-code' -l 'verify-code' -d 'Whether translated code is proved to stay in the guest before it runs: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'cpuid-set' -d 'Sets a CPUID leaf.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cpuid-remove' -l 'cpuid-remove' -d 'Takes a changed CPUID leaf away.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" boot1' -l 'boot1' -d 'Boot device 1: none, floppy, dvd, disk or net.' -rfka 'none floppy dvd disk net'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" boot2' -l 'boot2' -d 'Boot device 2: none, floppy, dvd, disk or net.' -rfka 'none floppy dvd disk net'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" boot3' -l 'boot3' -d 'Boot device 3: none, floppy, dvd, disk or net.' -rfka 'none floppy dvd disk net'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" boot4' -l 'boot4' -d 'Boot device 4: none, floppy, dvd, disk or net.' -rfka 'none floppy dvd disk net'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" kernel' -l 'kernel' -d 'A Linux bzImage or multiboot ELF to start directly; none: the firmware boots.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" initrd' -l 'initrd' -d 'The kernel\'s initial RAM disk, or multiboot modules: "FILE ARGUMENTS,FILE ARGUMENTS"; none: without.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" append' -l 'append' -d 'The kernel\'s command line.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart1' -d 'Serial port 1: off, or I/O base and interrupt, as 0x3f8 4.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart-mode1' -l 'uartmode1' -d 'What serial port 1 is connected to: disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart2' -d 'Serial port 2: off, or I/O base and interrupt, as 0x3f8 4.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart-mode2' -l 'uartmode2' -d 'What serial port 2 is connected to: disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart3' -d 'Serial port 3: off, or I/O base and interrupt, as 0x3f8 4.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart-mode3' -l 'uartmode3' -d 'What serial port 3 is connected to: disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart4' -d 'Serial port 4: off, or I/O base and interrupt, as 0x3f8 4.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'uart-mode4' -l 'uartmode4' -d 'What serial port 4 is connected to: disconnected | tcpserver [HOST:]PORT | tcpclient HOST:PORT | file PATH | server SOCKETPATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic1' -l 'nic1' -d 'What network card 1 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type1 nictype1' -l 'nic-type1' -l 'nictype1' -d 'Which card network card 1 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address1 macaddress1' -l 'mac-address1' -l 'macaddress1' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected1 cableconnected1' -l 'cable-connected1' -l 'cableconnected1' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom1 nicrom1' -l 'nic-rom1' -l 'nicrom1' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net1 natnet1' -l 'nat-net1' -l 'natnet1' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf1' -l 'natpf1' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor1 natanchor1' -l 'nat-anchor1' -l 'natanchor1' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix1 nattftpprefix1' -l 'nat-tftp-prefix1' -l 'nattftpprefix1' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file1 nattftpfile1' -l 'nat-tftp-file1' -l 'nattftpfile1' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter1 bridgeadapter1' -l 'bridge-adapter1' -l 'bridgeadapter1' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet1' -l 'intnet1' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream1 nicstream1' -l 'nic-stream1' -l 'nicstream1' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace1 nictrace1' -l 'nic-trace1' -l 'nictrace1' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file1 nictracefile1' -l 'nic-trace-file1' -l 'nictracefile1' -d 'Where they are written, in pcap\'s format; empty: nic1.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic2' -l 'nic2' -d 'What network card 2 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type2 nictype2' -l 'nic-type2' -l 'nictype2' -d 'Which card network card 2 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address2 macaddress2' -l 'mac-address2' -l 'macaddress2' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected2 cableconnected2' -l 'cable-connected2' -l 'cableconnected2' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom2 nicrom2' -l 'nic-rom2' -l 'nicrom2' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net2 natnet2' -l 'nat-net2' -l 'natnet2' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf2' -l 'natpf2' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor2 natanchor2' -l 'nat-anchor2' -l 'natanchor2' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix2 nattftpprefix2' -l 'nat-tftp-prefix2' -l 'nattftpprefix2' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file2 nattftpfile2' -l 'nat-tftp-file2' -l 'nattftpfile2' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter2 bridgeadapter2' -l 'bridge-adapter2' -l 'bridgeadapter2' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet2' -l 'intnet2' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream2 nicstream2' -l 'nic-stream2' -l 'nicstream2' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace2 nictrace2' -l 'nic-trace2' -l 'nictrace2' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file2 nictracefile2' -l 'nic-trace-file2' -l 'nictracefile2' -d 'Where they are written, in pcap\'s format; empty: nic2.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic3' -l 'nic3' -d 'What network card 3 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type3 nictype3' -l 'nic-type3' -l 'nictype3' -d 'Which card network card 3 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address3 macaddress3' -l 'mac-address3' -l 'macaddress3' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected3 cableconnected3' -l 'cable-connected3' -l 'cableconnected3' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom3 nicrom3' -l 'nic-rom3' -l 'nicrom3' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net3 natnet3' -l 'nat-net3' -l 'natnet3' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf3' -l 'natpf3' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor3 natanchor3' -l 'nat-anchor3' -l 'natanchor3' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix3 nattftpprefix3' -l 'nat-tftp-prefix3' -l 'nattftpprefix3' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file3 nattftpfile3' -l 'nat-tftp-file3' -l 'nattftpfile3' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter3 bridgeadapter3' -l 'bridge-adapter3' -l 'bridgeadapter3' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet3' -l 'intnet3' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream3 nicstream3' -l 'nic-stream3' -l 'nicstream3' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace3 nictrace3' -l 'nic-trace3' -l 'nictrace3' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file3 nictracefile3' -l 'nic-trace-file3' -l 'nictracefile3' -d 'Where they are written, in pcap\'s format; empty: nic3.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic4' -l 'nic4' -d 'What network card 4 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type4 nictype4' -l 'nic-type4' -l 'nictype4' -d 'Which card network card 4 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address4 macaddress4' -l 'mac-address4' -l 'macaddress4' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected4 cableconnected4' -l 'cable-connected4' -l 'cableconnected4' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom4 nicrom4' -l 'nic-rom4' -l 'nicrom4' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net4 natnet4' -l 'nat-net4' -l 'natnet4' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf4' -l 'natpf4' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor4 natanchor4' -l 'nat-anchor4' -l 'natanchor4' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix4 nattftpprefix4' -l 'nat-tftp-prefix4' -l 'nattftpprefix4' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file4 nattftpfile4' -l 'nat-tftp-file4' -l 'nattftpfile4' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter4 bridgeadapter4' -l 'bridge-adapter4' -l 'bridgeadapter4' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet4' -l 'intnet4' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream4 nicstream4' -l 'nic-stream4' -l 'nicstream4' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace4 nictrace4' -l 'nic-trace4' -l 'nictrace4' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file4 nictracefile4' -l 'nic-trace-file4' -l 'nictracefile4' -d 'Where they are written, in pcap\'s format; empty: nic4.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic5' -l 'nic5' -d 'What network card 5 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type5 nictype5' -l 'nic-type5' -l 'nictype5' -d 'Which card network card 5 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address5 macaddress5' -l 'mac-address5' -l 'macaddress5' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected5 cableconnected5' -l 'cable-connected5' -l 'cableconnected5' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom5 nicrom5' -l 'nic-rom5' -l 'nicrom5' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net5 natnet5' -l 'nat-net5' -l 'natnet5' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf5' -l 'natpf5' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor5 natanchor5' -l 'nat-anchor5' -l 'natanchor5' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix5 nattftpprefix5' -l 'nat-tftp-prefix5' -l 'nattftpprefix5' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file5 nattftpfile5' -l 'nat-tftp-file5' -l 'nattftpfile5' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter5 bridgeadapter5' -l 'bridge-adapter5' -l 'bridgeadapter5' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet5' -l 'intnet5' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream5 nicstream5' -l 'nic-stream5' -l 'nicstream5' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace5 nictrace5' -l 'nic-trace5' -l 'nictrace5' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file5 nictracefile5' -l 'nic-trace-file5' -l 'nictracefile5' -d 'Where they are written, in pcap\'s format; empty: nic5.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic6' -l 'nic6' -d 'What network card 6 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type6 nictype6' -l 'nic-type6' -l 'nictype6' -d 'Which card network card 6 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address6 macaddress6' -l 'mac-address6' -l 'macaddress6' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected6 cableconnected6' -l 'cable-connected6' -l 'cableconnected6' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom6 nicrom6' -l 'nic-rom6' -l 'nicrom6' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net6 natnet6' -l 'nat-net6' -l 'natnet6' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf6' -l 'natpf6' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor6 natanchor6' -l 'nat-anchor6' -l 'natanchor6' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix6 nattftpprefix6' -l 'nat-tftp-prefix6' -l 'nattftpprefix6' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file6 nattftpfile6' -l 'nat-tftp-file6' -l 'nattftpfile6' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter6 bridgeadapter6' -l 'bridge-adapter6' -l 'bridgeadapter6' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet6' -l 'intnet6' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream6 nicstream6' -l 'nic-stream6' -l 'nicstream6' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace6 nictrace6' -l 'nic-trace6' -l 'nictrace6' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file6 nictracefile6' -l 'nic-trace-file6' -l 'nictracefile6' -d 'Where they are written, in pcap\'s format; empty: nic6.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic7' -l 'nic7' -d 'What network card 7 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type7 nictype7' -l 'nic-type7' -l 'nictype7' -d 'Which card network card 7 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address7 macaddress7' -l 'mac-address7' -l 'macaddress7' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected7 cableconnected7' -l 'cable-connected7' -l 'cableconnected7' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom7 nicrom7' -l 'nic-rom7' -l 'nicrom7' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net7 natnet7' -l 'nat-net7' -l 'natnet7' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf7' -l 'natpf7' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor7 natanchor7' -l 'nat-anchor7' -l 'natanchor7' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix7 nattftpprefix7' -l 'nat-tftp-prefix7' -l 'nattftpprefix7' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file7 nattftpfile7' -l 'nat-tftp-file7' -l 'nattftpfile7' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter7 bridgeadapter7' -l 'bridge-adapter7' -l 'bridgeadapter7' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet7' -l 'intnet7' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream7 nicstream7' -l 'nic-stream7' -l 'nicstream7' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace7 nictrace7' -l 'nic-trace7' -l 'nictrace7' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file7 nictracefile7' -l 'nic-trace-file7' -l 'nictracefile7' -d 'Where they are written, in pcap\'s format; empty: nic7.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic8' -l 'nic8' -d 'What network card 8 is plugged into; none: there is no such card.' -rfka 'none null nat bridged intnet stream'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-type8 nictype8' -l 'nic-type8' -l 'nictype8' -d 'Which card network card 8 is.' -rfka '82540EM virtio Am79C973 NE2000PCI NE2000ISA'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" mac-address8 macaddress8' -l 'mac-address8' -l 'macaddress8' -d 'Its Ethernet address; auto: a new one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" cable-connected8 cableconnected8' -l 'cable-connected8' -l 'cableconnected8' -d 'Whether its cable is plugged in: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-rom8 nicrom8' -l 'nic-rom8' -l 'nicrom8' -d 'Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is the one.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-net8 natnet8' -l 'nat-net8' -l 'natnet8' -d 'The network that a card on nat sees.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm"' -l 'nat-pf8' -l 'natpf8' -d 'Adds a port forward of a card on nat, NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT, or deletes one: delete NAME.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-anchor8 natanchor8' -l 'nat-anchor8' -l 'natanchor8' -d 'Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also ends those that this host still carries.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-prefix8 nattftpprefix8' -l 'nat-tftp-prefix8' -l 'nattftpprefix8' -d 'The folder whose files a guest on nat gets by TFTP; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nat-tftp-file8 nattftpfile8' -l 'nat-tftp-file8' -l 'nattftpfile8' -d 'The file in it for guests that boot from the network; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" bridge-adapter8 bridgeadapter8' -l 'bridge-adapter8' -l 'bridgeadapter8' -d 'The tap or bridge of the host that a bridged card is plugged into.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" intnet8' -l 'intnet8' -d 'The network of this user\'s machines that a card on intnet joins.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-stream8 nicstream8' -l 'nic-stream8' -l 'nicstream8' -d 'Where the frames of a card on stream go: [listen:]HOST:PORT | [listen:]PATH.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace8 nictrace8' -l 'nic-trace8' -l 'nictrace8' -d 'Whether its frames are written to a file: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" nic-trace-file8 nictracefile8' -l 'nic-trace-file8' -l 'nictracefile8' -d 'Where they are written, in pcap\'s format; empty: nic8.pcap in the machine\'s folder.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" teleporter' -l 'teleporter' -d 'Whether the machine waits for its teleport when it is started: on or off.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" teleporter-port' -l 'teleporter-port' -d 'The port it waits on; 0: a free one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" teleporter-address' -l 'teleporter-address' -d 'The address it waits on. Without a password: loopback only.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" teleporter-password' -l 'teleporter-password' -d 'The password it asks for; empty: none.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" teleporter-password-file' -l 'teleporter-password-file' -d 'A file with the password in its first line, or stdin.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl modifyvm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl list" -eq 1' -fka 'vms runningvms anchors cpu-profiles hostinfo uart-modes ostypes hdds dvds floppies systemproperties'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl list" format' -l 'format' -d 'How to print it.' -rfka 'table json'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl list" l long' -s 'l' -l 'long' -d 'Says more of each machine.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl list" s sorted' -s 's' -l 'sorted' -d 'As VBoxManage has it; lists are sorted.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl list" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl showvminfo" -eq 1' -fka '(__vmctl_custom_completion ---completion showvminfo -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" machinereadable' -l 'machinereadable' -d 'Prints key="value" lines.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" details' -l 'details' -d 'As VBoxManage has it; all details are always shown.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" format' -l 'format' -d 'How to print it.' -rfka 'table json'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" log' -l 'log' -d 'Prints its log instead: 0 the present one, 1 the one before.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showvminfo" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl createmedium" -eq 1' -fka 'disk'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" filename' -l 'filename' -d 'The file to make.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" size' -l 'size' -d 'Its capacity in MB.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" format' -l 'format' -d 'Its format.' -rfka 'raw'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" variant' -l 'variant' -d 'As VBoxManage has it; a raw image is a sparse file.' -rfka 'Standard Fixed'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl createmedium" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl showmediuminfo" -eq 1' -F
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showmediuminfo" format' -l 'format' -d 'How to print it.' -rfka 'table json'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showmediuminfo" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl showmediuminfo" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl storagectl" -eq 1' -fka '(__vmctl_custom_completion ---completion storagectl -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" name' -l 'name' -d 'The controller\'s name.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" add' -l 'add' -d 'Adds a controller of this kind.' -rfka 'ide virtio'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" remove' -l 'remove' -d 'Removes the controller with what is attached to it.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" controller' -l 'controller' -d 'PIIX3, PIIX4 or ICH6, as VBoxManage has it; it is the board\'s PIIX3.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" bootable' -l 'bootable' -d 'As VBoxManage has it; see modifyvm --boot1.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" hostiocache' -l 'hostiocache' -d 'As VBoxManage has it; the host\'s cache is always used.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" portcount' -l 'portcount' -d 'As VBoxManage has it; IDE has two channels.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storagectl" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl storageattach" -eq 1' -fka '(__vmctl_custom_completion ---completion storageattach -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" storagectl' -l 'storagectl' -d 'The controller\'s name.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" port' -l 'port' -d 'IDE\'s channel, 0 or 1; virtio\'s disk, 0 to 15.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" device' -l 'device' -d '0; on IDE 0 master, 1 slave.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" type' -l 'type' -d 'The kind of drive.' -rfka 'hdd dvddrive'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" medium' -l 'medium' -d 'The image\'s file, emptydrive, or none to detach.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" mtype' -l 'mtype' -d 'How the image is used.' -rfka 'normal readonly'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" forceunmount' -l 'forceunmount' -d 'As VBoxManage has it; a disc is changed while the machine is off or saved.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" tempeject' -l 'tempeject' -d 'As VBoxManage has it; the guest may always open the tray.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" nonrotational' -l 'nonrotational' -d 'As VBoxManage has it, without effect.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" discard' -l 'discard' -d 'As VBoxManage has it, without effect.' -rfka 'on off'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" format' -l 'format' -d 'raw: the image is taken as it is though it looks like another format.' -rfka 'raw'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl storageattach" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl startvm" -eq 1' -fka '(__vmctl_custom_completion ---completion startvm -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl startvm" type' -l 'type' -d 'headless: no window. The other kinds start without one too, as there is none yet.' -rfka 'headless gui sdl separate'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl startvm" foreground' -l 'foreground' -d 'Runs the machine in this process. ^C powers it off.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl startvm" force' -l 'force' -d 'Goes on from a saved state though a disk has changed since: the guest, which still has the old content in its memory, can then destroy the disk\'s file systems.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl startvm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl startvm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl controlvm" -eq 1' -fka '(__vmctl_custom_completion ---completion controlvm -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl controlvm" -ge 2' -F
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" host' -l 'host' -d 'Teleport: the target\'s host.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" p port' -s 'p' -l 'port' -d 'Teleport: the port the target waits on.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" d maxdowntime' -s 'd' -l 'maxdowntime' -d 'Teleport: how long the machine may stand still.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" password' -l 'password' -d 'Teleport: the target\'s password.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" passwordfile' -l 'passwordfile' -d 'Teleport: a file with the password in its first line, or stdin.' -rF
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" timeout' -l 'timeout' -d 'Teleport: how long the target may be silent.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl controlvm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl discardstate" -eq 1' -fka '(__vmctl_custom_completion ---completion discardstate -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl discardstate" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl discardstate" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl console" -eq 1' -fka '(__vmctl_custom_completion ---completion console -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl console" uart' -l 'uart' -d 'The serial port: 1 to 4; without it, the first one.' -rfka ''
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl console" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl console" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl debugvm" -eq 1' -fka '(__vmctl_custom_completion ---completion debugvm -- positional@0 (count (__vmctl_tokens -pc)) (__vmctl_tokens -tC))'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_positional "vmctl debugvm" -eq 2' -fka 'getregisters info log statistics block sandbox'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl debugvm" version' -l 'version' -d 'Show the version.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl debugvm" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctl' -n '__vmctl_should_offer_completions_for_flags_or_options "vmctl help" version' -l 'version' -d 'Show the version.'
