#compdef vmctl

__vmctl_complete() {
    local -ar non_empty_completions=("${@:#(|:*)}")
    local -ar empty_completions=("${(M)@:#(|:*)}")
    _describe -V '' non_empty_completions -- empty_completions -P $'\'\''
}

__vmctl_custom_complete() {
    local -a completions
    completions=("${(@f)"$("${command_name}" "${@}" "${command_line[@]}")"}")
    if [[ "${#completions[@]}" -gt 1 ]]; then
        __vmctl_complete "${completions[@]:0:-1}"
    fi
}

__vmctl_cursor_index_in_current_word() {
    if [[ -z "${QIPREFIX}${IPREFIX}${PREFIX}" ]]; then
        printf 0
    else
        printf %s "${#${(z)LBUFFER}[-1]}"
    fi
}

_vmctl() {
    emulate -RL zsh -G
    setopt extendedglob nullglob numericglobsort
    unsetopt aliases banghist

    local -xr SAP_SHELL=zsh
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(builtin emulate zsh -c 'printf %s "${ZSH_VERSION}"')"
    local -r SAP_SHELL_VERSION

    local context state state_descr line
    local -A opt_args

    local -r command_name="${words[1]}"
    local -ar command_line=("${words[@]}")
    local -ir current_word_index="$((CURRENT - 1))"

    local -i ret=1
    local -ar arg_specs=(
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
        '(-): :->command'
        '(-)*:: :->arg'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0
    case "${state}" in
    command)
        local -ar subcommands=(
            'createvm:Makes a machine.'
            'clonevm:Makes a copy of a machine that does not run, with copies of its disks.'
            'registervm:Makes a machine known whose folder exists.'
            'unregistervm:Forgets a machine.'
            'modifyvm:Changes a machine'\''s definition, while it is off.'
            'list:Lists machines, or what there is to choose from.'
            'showvminfo:Shows a machine, its state or its log.'
            'snapshot:Keeps what a machine is at a moment, and brings it back.'
            'createmedium:Makes an empty image of a disk or a floppy disk.'
            'showmediuminfo:Shows what an image is.'
            'modifymedium:Makes a disk image larger, or gives the host back what holds zeros.'
            'storagectl:Adds a storage controller to a machine, or removes one.'
            'storageattach:Attaches an image to a controller, or detaches it.'
            'startvm:Starts a machine.'
            'run:Boots a kernel, disk, CD or floppy disk once, with its serial console in this terminal.'
            'controlvm:Controls a running machine.'
            'receive:Waits for machines that this host has no definition of.'
            'discardstate:Drops a machine'\''s saved state.'
            'adoptstate:Makes a copy of a saved state a machine'\''s, which then goes on from it.'
            'console:The serial console in this terminal. Ctrl-] leaves it; the machine runs on.'
            'remus:Protects a running machine: a second host goes on with it when this one fails.'
            'view:A running machine'\''s screen in a window, which has its keyboard and, after a click, its pointer.'
            'events:Follows what happens to a running machine, a line an event, until it ends.'
            'debugvm:Looks into a running machine.'
            'service:Machines as services: started with the host, stopped cleanly, started again after a failure.'
            'menu:The machines on a full screen, for operators: to see, start, stop, change and move them.'
            'top:What the machines take of the host now: CPU, memory, disk and network rates, the busiest first.'
            'status:Prints a machine'\''s state.'
            'metrics:The machines'\'' figures for Prometheus.'
            'help:Show subcommand help information.'
        )
        _describe -V subcommand subcommands && ret=0
        ;;
    arg)
        case "${words[1]}" in
        createvm|clonevm|registervm|unregistervm|modifyvm|list|showvminfo|snapshot|createmedium|showmediuminfo|modifymedium|storagectl|storageattach|startvm|run|controlvm|receive|discardstate|adoptstate|console|remus|view|events|debugvm|service|menu|top|status|metrics|help)
            "_vmctl_${words[1]}" && ret=0
            ;;
        esac
        ;;
    esac

    return "${ret}"
}

_vmctl_createvm() {
    local -i ret=1
    local -ar arg_specs=(
        '--name[Its name.]:name:'
        '--memory[Memory in MB.]:mb:'
        '--basefolder[The folder in which its folder is made.]:basefolder:_files -/'
        '--uuid[Its UUID, instead of a new one.]:uuid:'
        '--register[As VBoxManage has it; a machine is always registered.]'
        '--ostype[As VBoxManage has it; every guest gets the same board.]:type:'
        '--groups[As VBoxManage has it; there are no groups.]:group:'
        '--default[Gives it an IDE controller and a console on a free port.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_clonevm() {
    local -i ret=1
    local -ar ___mode=('machine' 'machinechildren' 'all')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion clonevm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--name[The copy'\''s name; else that of the machine with " Clone" behind it.]:name:'
        '--basefolder[The folder in which its folder is made.]:basefolder:_files -/'
        '--uuid[Its UUID, instead of a new one.]:uuid:'
        '--register[As VBoxManage has it; a machine is always registered.]'
        '--mode[As VBoxManage has it; the copy is the machine as it is, without its snapshots.]:mode:{__vmctl_complete "${___mode[@]}"}'
        '--groups[As VBoxManage has it; there are no groups.]:group:'
        '--options[Of KeepAllMACs, KeepNATMACs, KeepDiskNames, with commas between them.]:list:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_registervm() {
    local -i ret=1
    local -ar arg_specs=(
        ':file:_files -g '\''*.toml'\'''
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_unregistervm() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion unregistervm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--delete[Deletes its definition, log and saved state. Disk images elsewhere stay.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_modifyvm() {
    local -i ret=1
    local -ar ___sandbox=('on' 'off')
    local -ar ___console_record=('on' 'off')
    local -ar ___on_panic=('none' 'pause' 'reset' 'exit')
    local -ar ___rtc_use_utc=('on' 'off')
    local -ar ___hpet=('on' 'off')
    local -ar ___debug_ports=('on' 'off')
    local -ar ___uart_strict=('on' 'off')
    local -ar ___test_device=('on' 'off')
    local -ar ___pvpanic=('on' 'off')
    local -ar ___virtio_rng=('on' 'off')
    local -ar ___cpu_profile=('x86-64-v2' 'x86-64-v2-extended' 'i686')
    local -ar ___accel=('translator' 'interpreter')
    local -ar ___verify_code=('on' 'off')
    local -ar ___deterministic=('on' 'off')
    local -ar ___boot1=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot2=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot3=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot4=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___virtio_console=('on' 'off')
    local -ar ___nic1=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type1=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected1=('on' 'off')
    local -ar ___nic_rom1=('on' 'off')
    local -ar ___nat_anchor1=('on' 'off')
    local -ar ___nic_trace1=('on' 'off')
    local -ar ___nic2=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type2=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected2=('on' 'off')
    local -ar ___nic_rom2=('on' 'off')
    local -ar ___nat_anchor2=('on' 'off')
    local -ar ___nic_trace2=('on' 'off')
    local -ar ___nic3=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type3=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected3=('on' 'off')
    local -ar ___nic_rom3=('on' 'off')
    local -ar ___nat_anchor3=('on' 'off')
    local -ar ___nic_trace3=('on' 'off')
    local -ar ___nic4=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type4=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected4=('on' 'off')
    local -ar ___nic_rom4=('on' 'off')
    local -ar ___nat_anchor4=('on' 'off')
    local -ar ___nic_trace4=('on' 'off')
    local -ar ___nic5=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type5=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected5=('on' 'off')
    local -ar ___nic_rom5=('on' 'off')
    local -ar ___nat_anchor5=('on' 'off')
    local -ar ___nic_trace5=('on' 'off')
    local -ar ___nic6=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type6=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected6=('on' 'off')
    local -ar ___nic_rom6=('on' 'off')
    local -ar ___nat_anchor6=('on' 'off')
    local -ar ___nic_trace6=('on' 'off')
    local -ar ___nic7=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type7=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected7=('on' 'off')
    local -ar ___nic_rom7=('on' 'off')
    local -ar ___nat_anchor7=('on' 'off')
    local -ar ___nic_trace7=('on' 'off')
    local -ar ___nic8=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type8=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected8=('on' 'off')
    local -ar ___nic_rom8=('on' 'off')
    local -ar ___nat_anchor8=('on' 'off')
    local -ar ___nic_trace8=('on' 'off')
    local -ar ___vrde=('on' 'off')
    local -ar ___vrde_web=('on' 'off')
    local -ar ___teleporter=('on' 'off')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion modifyvm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--name[A new name.]:name:'
        '--description[A text for people.]:description:'
        '--sandbox[Whether the machine'\''s process gives up what it does not need\: on or off.]:sandbox:{__vmctl_complete "${___sandbox[@]}"}'
        '--console-record[Whether all that each console says is written into the machine'\''s folder, as console1.log and so on, new at each start\: on or off.]:console-record:{__vmctl_complete "${___console_record[@]}"}'
        '--on-panic[What becomes of the machine when its guest'\''s kernel panics, which --pvpanic on lets it say\: none, pause, reset, or exit, which ends it with status 1.]:on-panic:{__vmctl_complete "${___on_panic[@]}"}'
        '--memory[Memory in MB.]:mb:'
        '--vram[Video memory in MB.]:mb:'
        '--firmware[bios for SeaBIOS, or the file of a ROM image.]:firmware:_files'
        '--rtc-use-utc[Whether the clock shows UTC\: on or off.]:rtc-use-utc:{__vmctl_complete "${___rtc_use_utc[@]}"}'
        '--hpet[Whether there is an HPET\: on or off.]:hpet:{__vmctl_complete "${___hpet[@]}"}'
        '--debug-ports[The ports 0xE9 (log) and 0xF4 (exit), and the test device of public suites\: on or off.]:debug-ports:{__vmctl_complete "${___debug_ports[@]}"}'
        '--uart-strict[Whether UART interrupts need OUT2, as on a PC\: on or off.]:uart-strict:{__vmctl_complete "${___uart_strict[@]}"}'
        '--test-device[A PCI device for tests of port and memory accesses\: on or off.]:test-device:{__vmctl_complete "${___test_device[@]}"}'
        '--pvpanic[The port by which a guest'\''s kernel says that it has panicked (Linux'\''s pvpanic)\: on or off.]:pvpanic:{__vmctl_complete "${___pvpanic[@]}"}'
        '--virtio-rng[A virtio device that gives the guest random numbers of the host\: on or off.]:virtio-rng:{__vmctl_complete "${___virtio_rng[@]}"}'
        '--cpus[The number of CPUs.]:cpus:'
        '--cpu-profile[The CPU model\: x86-64-v2, x86-64-v2-extended, i686.]:cpu-profile:{__vmctl_complete "${___cpu_profile[@]}"}'
        '--cpuid-portability-level[How many features of the CPU model the guest is not to see\: 0 none, 1 SSSE3, SSE4, POPCNT, CMPXCHG16B and newer, 2 SSE3 and LAHF as well, 3 SSE, SSE2, CMOV and CLFLUSH as well.]:level:'
        '--accel[How guest code is executed\: translator or interpreter.]:accel:{__vmctl_complete "${___accel[@]}"}'
        '--verify-code[Whether translated code is proved to stay in the guest before it runs\: on or off.]:verify-code:{__vmctl_complete "${___verify_code[@]}"}'
        '--deterministic[Whether two runs are the same to the instruction\: one CPU, interpreted, 10 ns for each instruction, a clock that begins in 2000, disks done at once, seeded random numbers; keys and networks come as they come\: on or off.]:deterministic:{__vmctl_complete "${___deterministic[@]}"}'
        '--cpuid-set[Sets a CPUID leaf.]:leaf\[\:sub\] eax ebx ecx edx:'
        '--cpuid-remove[Gives a changed CPUID leaf back to the CPU model; one of the model'\''s own is zeros then.]:leaf\[\:sub\]:'
        '--cpuid-remove-all[Gives all CPUID leaves back to the CPU model.]'
        '--boot1[Boot device 1\: none, floppy, dvd, disk or net.]:boot1:{__vmctl_complete "${___boot1[@]}"}'
        '--boot2[Boot device 2\: none, floppy, dvd, disk or net.]:boot2:{__vmctl_complete "${___boot2[@]}"}'
        '--boot3[Boot device 3\: none, floppy, dvd, disk or net.]:boot3:{__vmctl_complete "${___boot3[@]}"}'
        '--boot4[Boot device 4\: none, floppy, dvd, disk or net.]:boot4:{__vmctl_complete "${___boot4[@]}"}'
        '--kernel[A Linux bzImage or multiboot ELF to start directly; none\: the firmware boots.]:kernel:_files'
        '--initrd[The kernel'\''s initial RAM disk, or multiboot modules\: "FILE ARGUMENTS,FILE ARGUMENTS"; none\: without.]:initrd:_files'
        '--append[The kernel'\''s command line.]:append:'
        '--virtio-console[A virtio console, hvc0 of Linux\: on or off.]:virtio-console:{__vmctl_complete "${___virtio_console[@]}"}'
        '--virtio-console-mode[What the virtio console is connected to\: disconnected | tcpserver \[HOST\:\]PORT | tcpclient HOST\:PORT | file PATH | server SOCKETPATH.]:mode:'
        '--uart1[Serial port 1\: off, or I/O base and interrupt, as 0x3f8 4.]:off|iobase irq:'
        '(--uart-mode1 --uartmode1)'{--uart-mode1,--uartmode1}'[What serial port 1 is connected to\: disconnected | tcpserver \[HOST\:\]PORT | tcpclient HOST\:PORT | file PATH | server SOCKETPATH.]:mode:'
        '--uart2[Serial port 2\: off, or I/O base and interrupt, as 0x3f8 4.]:off|iobase irq:'
        '(--uart-mode2 --uartmode2)'{--uart-mode2,--uartmode2}'[What serial port 2 is connected to\: disconnected | tcpserver \[HOST\:\]PORT | tcpclient HOST\:PORT | file PATH | server SOCKETPATH.]:mode:'
        '--uart3[Serial port 3\: off, or I/O base and interrupt, as 0x3f8 4.]:off|iobase irq:'
        '(--uart-mode3 --uartmode3)'{--uart-mode3,--uartmode3}'[What serial port 3 is connected to\: disconnected | tcpserver \[HOST\:\]PORT | tcpclient HOST\:PORT | file PATH | server SOCKETPATH.]:mode:'
        '--uart4[Serial port 4\: off, or I/O base and interrupt, as 0x3f8 4.]:off|iobase irq:'
        '(--uart-mode4 --uartmode4)'{--uart-mode4,--uartmode4}'[What serial port 4 is connected to\: disconnected | tcpserver \[HOST\:\]PORT | tcpclient HOST\:PORT | file PATH | server SOCKETPATH.]:mode:'
        '--nic1[What network card 1 is plugged into; none\: there is no such card.]:nic1:{__vmctl_complete "${___nic1[@]}"}'
        '(--nic-type1 --nictype1)'{--nic-type1,--nictype1}'[Which card network card 1 is.]:nic-type1:{__vmctl_complete "${___nic_type1[@]}"}'
        '(--mac-address1 --macaddress1)'{--mac-address1,--macaddress1}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected1 --cableconnected1)'{--cable-connected1,--cableconnected1}'[Whether its cable is plugged in\: on or off.]:cable-connected1:{__vmctl_complete "${___cable_connected1[@]}"}'
        '(--nic-rom1 --nicrom1)'{--nic-rom1,--nicrom1}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom1:{__vmctl_complete "${___nic_rom1[@]}"}'
        '(--nic-boot-prio1 --nicbootprio1)'{--nic-boot-prio1,--nicbootprio1}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net1 --natnet1)'{--nat-net1,--natnet1}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf1 --natpf1)'{--nat-pf1,--natpf1}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor1 --natanchor1)'{--nat-anchor1,--natanchor1}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor1:{__vmctl_complete "${___nat_anchor1[@]}"}'
        '(--nat-tftp-prefix1 --nattftpprefix1)'{--nat-tftp-prefix1,--nattftpprefix1}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file1 --nattftpfile1)'{--nat-tftp-file1,--nattftpfile1}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter1 --bridgeadapter1)'{--bridge-adapter1,--bridgeadapter1}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet1[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream1 --nicstream1)'{--nic-stream1,--nicstream1}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace1 --nictrace1)'{--nic-trace1,--nictrace1}'[Whether its frames are written to a file\: on or off.]:nic-trace1:{__vmctl_complete "${___nic_trace1[@]}"}'
        '(--nic-trace-file1 --nictracefile1)'{--nic-trace-file1,--nictracefile1}'[Where they are written, in pcap'\''s format; empty\: nic1.pcap in the machine'\''s folder.]:file:'
        '--nic2[What network card 2 is plugged into; none\: there is no such card.]:nic2:{__vmctl_complete "${___nic2[@]}"}'
        '(--nic-type2 --nictype2)'{--nic-type2,--nictype2}'[Which card network card 2 is.]:nic-type2:{__vmctl_complete "${___nic_type2[@]}"}'
        '(--mac-address2 --macaddress2)'{--mac-address2,--macaddress2}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected2 --cableconnected2)'{--cable-connected2,--cableconnected2}'[Whether its cable is plugged in\: on or off.]:cable-connected2:{__vmctl_complete "${___cable_connected2[@]}"}'
        '(--nic-rom2 --nicrom2)'{--nic-rom2,--nicrom2}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom2:{__vmctl_complete "${___nic_rom2[@]}"}'
        '(--nic-boot-prio2 --nicbootprio2)'{--nic-boot-prio2,--nicbootprio2}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net2 --natnet2)'{--nat-net2,--natnet2}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf2 --natpf2)'{--nat-pf2,--natpf2}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor2 --natanchor2)'{--nat-anchor2,--natanchor2}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor2:{__vmctl_complete "${___nat_anchor2[@]}"}'
        '(--nat-tftp-prefix2 --nattftpprefix2)'{--nat-tftp-prefix2,--nattftpprefix2}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file2 --nattftpfile2)'{--nat-tftp-file2,--nattftpfile2}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter2 --bridgeadapter2)'{--bridge-adapter2,--bridgeadapter2}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet2[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream2 --nicstream2)'{--nic-stream2,--nicstream2}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace2 --nictrace2)'{--nic-trace2,--nictrace2}'[Whether its frames are written to a file\: on or off.]:nic-trace2:{__vmctl_complete "${___nic_trace2[@]}"}'
        '(--nic-trace-file2 --nictracefile2)'{--nic-trace-file2,--nictracefile2}'[Where they are written, in pcap'\''s format; empty\: nic2.pcap in the machine'\''s folder.]:file:'
        '--nic3[What network card 3 is plugged into; none\: there is no such card.]:nic3:{__vmctl_complete "${___nic3[@]}"}'
        '(--nic-type3 --nictype3)'{--nic-type3,--nictype3}'[Which card network card 3 is.]:nic-type3:{__vmctl_complete "${___nic_type3[@]}"}'
        '(--mac-address3 --macaddress3)'{--mac-address3,--macaddress3}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected3 --cableconnected3)'{--cable-connected3,--cableconnected3}'[Whether its cable is plugged in\: on or off.]:cable-connected3:{__vmctl_complete "${___cable_connected3[@]}"}'
        '(--nic-rom3 --nicrom3)'{--nic-rom3,--nicrom3}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom3:{__vmctl_complete "${___nic_rom3[@]}"}'
        '(--nic-boot-prio3 --nicbootprio3)'{--nic-boot-prio3,--nicbootprio3}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net3 --natnet3)'{--nat-net3,--natnet3}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf3 --natpf3)'{--nat-pf3,--natpf3}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor3 --natanchor3)'{--nat-anchor3,--natanchor3}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor3:{__vmctl_complete "${___nat_anchor3[@]}"}'
        '(--nat-tftp-prefix3 --nattftpprefix3)'{--nat-tftp-prefix3,--nattftpprefix3}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file3 --nattftpfile3)'{--nat-tftp-file3,--nattftpfile3}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter3 --bridgeadapter3)'{--bridge-adapter3,--bridgeadapter3}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet3[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream3 --nicstream3)'{--nic-stream3,--nicstream3}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace3 --nictrace3)'{--nic-trace3,--nictrace3}'[Whether its frames are written to a file\: on or off.]:nic-trace3:{__vmctl_complete "${___nic_trace3[@]}"}'
        '(--nic-trace-file3 --nictracefile3)'{--nic-trace-file3,--nictracefile3}'[Where they are written, in pcap'\''s format; empty\: nic3.pcap in the machine'\''s folder.]:file:'
        '--nic4[What network card 4 is plugged into; none\: there is no such card.]:nic4:{__vmctl_complete "${___nic4[@]}"}'
        '(--nic-type4 --nictype4)'{--nic-type4,--nictype4}'[Which card network card 4 is.]:nic-type4:{__vmctl_complete "${___nic_type4[@]}"}'
        '(--mac-address4 --macaddress4)'{--mac-address4,--macaddress4}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected4 --cableconnected4)'{--cable-connected4,--cableconnected4}'[Whether its cable is plugged in\: on or off.]:cable-connected4:{__vmctl_complete "${___cable_connected4[@]}"}'
        '(--nic-rom4 --nicrom4)'{--nic-rom4,--nicrom4}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom4:{__vmctl_complete "${___nic_rom4[@]}"}'
        '(--nic-boot-prio4 --nicbootprio4)'{--nic-boot-prio4,--nicbootprio4}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net4 --natnet4)'{--nat-net4,--natnet4}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf4 --natpf4)'{--nat-pf4,--natpf4}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor4 --natanchor4)'{--nat-anchor4,--natanchor4}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor4:{__vmctl_complete "${___nat_anchor4[@]}"}'
        '(--nat-tftp-prefix4 --nattftpprefix4)'{--nat-tftp-prefix4,--nattftpprefix4}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file4 --nattftpfile4)'{--nat-tftp-file4,--nattftpfile4}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter4 --bridgeadapter4)'{--bridge-adapter4,--bridgeadapter4}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet4[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream4 --nicstream4)'{--nic-stream4,--nicstream4}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace4 --nictrace4)'{--nic-trace4,--nictrace4}'[Whether its frames are written to a file\: on or off.]:nic-trace4:{__vmctl_complete "${___nic_trace4[@]}"}'
        '(--nic-trace-file4 --nictracefile4)'{--nic-trace-file4,--nictracefile4}'[Where they are written, in pcap'\''s format; empty\: nic4.pcap in the machine'\''s folder.]:file:'
        '--nic5[What network card 5 is plugged into; none\: there is no such card.]:nic5:{__vmctl_complete "${___nic5[@]}"}'
        '(--nic-type5 --nictype5)'{--nic-type5,--nictype5}'[Which card network card 5 is.]:nic-type5:{__vmctl_complete "${___nic_type5[@]}"}'
        '(--mac-address5 --macaddress5)'{--mac-address5,--macaddress5}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected5 --cableconnected5)'{--cable-connected5,--cableconnected5}'[Whether its cable is plugged in\: on or off.]:cable-connected5:{__vmctl_complete "${___cable_connected5[@]}"}'
        '(--nic-rom5 --nicrom5)'{--nic-rom5,--nicrom5}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom5:{__vmctl_complete "${___nic_rom5[@]}"}'
        '(--nic-boot-prio5 --nicbootprio5)'{--nic-boot-prio5,--nicbootprio5}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net5 --natnet5)'{--nat-net5,--natnet5}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf5 --natpf5)'{--nat-pf5,--natpf5}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor5 --natanchor5)'{--nat-anchor5,--natanchor5}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor5:{__vmctl_complete "${___nat_anchor5[@]}"}'
        '(--nat-tftp-prefix5 --nattftpprefix5)'{--nat-tftp-prefix5,--nattftpprefix5}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file5 --nattftpfile5)'{--nat-tftp-file5,--nattftpfile5}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter5 --bridgeadapter5)'{--bridge-adapter5,--bridgeadapter5}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet5[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream5 --nicstream5)'{--nic-stream5,--nicstream5}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace5 --nictrace5)'{--nic-trace5,--nictrace5}'[Whether its frames are written to a file\: on or off.]:nic-trace5:{__vmctl_complete "${___nic_trace5[@]}"}'
        '(--nic-trace-file5 --nictracefile5)'{--nic-trace-file5,--nictracefile5}'[Where they are written, in pcap'\''s format; empty\: nic5.pcap in the machine'\''s folder.]:file:'
        '--nic6[What network card 6 is plugged into; none\: there is no such card.]:nic6:{__vmctl_complete "${___nic6[@]}"}'
        '(--nic-type6 --nictype6)'{--nic-type6,--nictype6}'[Which card network card 6 is.]:nic-type6:{__vmctl_complete "${___nic_type6[@]}"}'
        '(--mac-address6 --macaddress6)'{--mac-address6,--macaddress6}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected6 --cableconnected6)'{--cable-connected6,--cableconnected6}'[Whether its cable is plugged in\: on or off.]:cable-connected6:{__vmctl_complete "${___cable_connected6[@]}"}'
        '(--nic-rom6 --nicrom6)'{--nic-rom6,--nicrom6}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom6:{__vmctl_complete "${___nic_rom6[@]}"}'
        '(--nic-boot-prio6 --nicbootprio6)'{--nic-boot-prio6,--nicbootprio6}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net6 --natnet6)'{--nat-net6,--natnet6}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf6 --natpf6)'{--nat-pf6,--natpf6}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor6 --natanchor6)'{--nat-anchor6,--natanchor6}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor6:{__vmctl_complete "${___nat_anchor6[@]}"}'
        '(--nat-tftp-prefix6 --nattftpprefix6)'{--nat-tftp-prefix6,--nattftpprefix6}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file6 --nattftpfile6)'{--nat-tftp-file6,--nattftpfile6}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter6 --bridgeadapter6)'{--bridge-adapter6,--bridgeadapter6}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet6[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream6 --nicstream6)'{--nic-stream6,--nicstream6}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace6 --nictrace6)'{--nic-trace6,--nictrace6}'[Whether its frames are written to a file\: on or off.]:nic-trace6:{__vmctl_complete "${___nic_trace6[@]}"}'
        '(--nic-trace-file6 --nictracefile6)'{--nic-trace-file6,--nictracefile6}'[Where they are written, in pcap'\''s format; empty\: nic6.pcap in the machine'\''s folder.]:file:'
        '--nic7[What network card 7 is plugged into; none\: there is no such card.]:nic7:{__vmctl_complete "${___nic7[@]}"}'
        '(--nic-type7 --nictype7)'{--nic-type7,--nictype7}'[Which card network card 7 is.]:nic-type7:{__vmctl_complete "${___nic_type7[@]}"}'
        '(--mac-address7 --macaddress7)'{--mac-address7,--macaddress7}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected7 --cableconnected7)'{--cable-connected7,--cableconnected7}'[Whether its cable is plugged in\: on or off.]:cable-connected7:{__vmctl_complete "${___cable_connected7[@]}"}'
        '(--nic-rom7 --nicrom7)'{--nic-rom7,--nicrom7}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom7:{__vmctl_complete "${___nic_rom7[@]}"}'
        '(--nic-boot-prio7 --nicbootprio7)'{--nic-boot-prio7,--nicbootprio7}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net7 --natnet7)'{--nat-net7,--natnet7}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf7 --natpf7)'{--nat-pf7,--natpf7}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor7 --natanchor7)'{--nat-anchor7,--natanchor7}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor7:{__vmctl_complete "${___nat_anchor7[@]}"}'
        '(--nat-tftp-prefix7 --nattftpprefix7)'{--nat-tftp-prefix7,--nattftpprefix7}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file7 --nattftpfile7)'{--nat-tftp-file7,--nattftpfile7}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter7 --bridgeadapter7)'{--bridge-adapter7,--bridgeadapter7}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet7[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream7 --nicstream7)'{--nic-stream7,--nicstream7}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace7 --nictrace7)'{--nic-trace7,--nictrace7}'[Whether its frames are written to a file\: on or off.]:nic-trace7:{__vmctl_complete "${___nic_trace7[@]}"}'
        '(--nic-trace-file7 --nictracefile7)'{--nic-trace-file7,--nictracefile7}'[Where they are written, in pcap'\''s format; empty\: nic7.pcap in the machine'\''s folder.]:file:'
        '--nic8[What network card 8 is plugged into; none\: there is no such card.]:nic8:{__vmctl_complete "${___nic8[@]}"}'
        '(--nic-type8 --nictype8)'{--nic-type8,--nictype8}'[Which card network card 8 is.]:nic-type8:{__vmctl_complete "${___nic_type8[@]}"}'
        '(--mac-address8 --macaddress8)'{--mac-address8,--macaddress8}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected8 --cableconnected8)'{--cable-connected8,--cableconnected8}'[Whether its cable is plugged in\: on or off.]:cable-connected8:{__vmctl_complete "${___cable_connected8[@]}"}'
        '(--nic-rom8 --nicrom8)'{--nic-rom8,--nicrom8}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom8:{__vmctl_complete "${___nic_rom8[@]}"}'
        '(--nic-boot-prio8 --nicbootprio8)'{--nic-boot-prio8,--nicbootprio8}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net8 --natnet8)'{--nat-net8,--natnet8}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf8 --natpf8)'{--nat-pf8,--natpf8}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor8 --natanchor8)'{--nat-anchor8,--natanchor8}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor8:{__vmctl_complete "${___nat_anchor8[@]}"}'
        '(--nat-tftp-prefix8 --nattftpprefix8)'{--nat-tftp-prefix8,--nattftpprefix8}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file8 --nattftpfile8)'{--nat-tftp-file8,--nattftpfile8}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter8 --bridgeadapter8)'{--bridge-adapter8,--bridgeadapter8}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet8[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream8 --nicstream8)'{--nic-stream8,--nicstream8}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace8 --nictrace8)'{--nic-trace8,--nictrace8}'[Whether its frames are written to a file\: on or off.]:nic-trace8:{__vmctl_complete "${___nic_trace8[@]}"}'
        '(--nic-trace-file8 --nictracefile8)'{--nic-trace-file8,--nictracefile8}'[Where they are written, in pcap'\''s format; empty\: nic8.pcap in the machine'\''s folder.]:file:'
        '--vrde[Whether the screen is served by VNC\: on or off.]:vrde:{__vmctl_complete "${___vrde[@]}"}'
        '(--vrde-port --vrdeport)'{--vrde-port,--vrdeport}'[The port it is served on; 0\: a free one.]:vrde-port:'
        '(--vrde-address --vrdeaddress)'{--vrde-address,--vrdeaddress}'[The address it is served on, or the path of a Unix socket. Without a password\: loopback only.]:vrde-address:'
        '--vrde-password-file[A file with the password in its first line, of which eight characters count.]:vrde-password-file:_files'
        '--vrde-web[Whether browsers get noVNC at the same port\: on or off.]:vrde-web:{__vmctl_complete "${___vrde_web[@]}"}'
        '--teleporter[Whether the machine waits for its teleport when it is started\: on or off.]:teleporter:{__vmctl_complete "${___teleporter[@]}"}'
        '--teleporter-port[The port it waits on; 0\: a free one.]:teleporter-port:'
        '--teleporter-address[The address it waits on. Without a password\: loopback only.]:teleporter-address:'
        '--teleporter-password[The password it asks for; empty\: none.]:teleporter-password:'
        '--teleporter-password-file[A file with the password in its first line, or stdin.]:teleporter-password-file:_files'
        '--teleporter-witness-command[The program that decides whose the machine is when it is protected here by remus --witness command\:...; empty\: none.]:teleporter-witness-command:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_list() {
    local -i ret=1
    local -ar _subject=('vms' 'runningvms' 'anchors' 'cpu-profiles' 'hostinfo' 'uart-modes' 'ostypes' 'hdds' 'dvds' 'floppies' 'systemproperties')
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':subject:{__vmctl_complete "${_subject[@]}"}'
        '--format[How to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '(-l --long)'{-l,--long}'[Says more of each machine.]'
        '(-s --sorted)'{-s,--sorted}'[As VBoxManage has it; lists are sorted.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_showvminfo() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion showvminfo -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--machinereadable[Prints key="value" lines.]'
        '--details[As VBoxManage has it; all details are always shown.]'
        '--format[How to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '--log[Prints its log instead\: 0 the present one, 1 the one before.]:n:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_snapshot() {
    local -i ret=1
    local -ar _verb=('take' 'restore' 'restorecurrent' 'delete' 'list' 'edit' 'showvminfo')
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion snapshot -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':verb:{__vmctl_complete "${_verb[@]}"}'
        ':snapshot:'
        '--description[take, edit\: what there is to say of it.]:description:'
        '--name[edit\: its new name.]:name:'
        '--current[edit\: the snapshot that the machine goes on from.]'
        '--details[list\: with dates and descriptions.]'
        '--machinereadable[list\: for programs, with VBoxManage'\''s keys.]'
        '--live[As VBoxManage has it; the machine stands still all the same.]'
        '--format[list\: how to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_createmedium() {
    local -i ret=1
    local -ar _kind=('disk' 'floppy')
    local -ar ___format=('raw' 'qcow2')
    local -ar ___variant=('Standard' 'Fixed')
    local -ar arg_specs=(
        ':kind:{__vmctl_complete "${_kind[@]}"}'
        '--filename[The file to make.]:filename:_files'
        '--size[Its capacity in MB; with --diffparent as much as that has.]:mb:'
        '--sizebyte[Its capacity in bytes. A floppy disk has 1474560 without it, which is 1.44 MB.]:bytes:'
        '--format[Its format; with --diffparent it is qcow2.]:format:{__vmctl_complete "${___format[@]}"}'
        '--variant[As VBoxManage has it; images take what is written.]:variant:{__vmctl_complete "${___variant[@]}"}'
        '--diffparent[The image that it is based on\: it has the same content, and takes what is written to it from then on.]:diffparent:_files'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_showmediuminfo() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':file:_files'
        '--format[How to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_modifymedium() {
    local -i ret=1
    local -ar arg_specs=(
        '*:words:_files'
        '--resize[Its new capacity in MB; an image does not become smaller.]:mb:'
        '--compact[Gives back clusters that hold zeros only.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_storagectl() {
    local -i ret=1
    local -ar ___add=('ide' 'virtio' 'floppy')
    local -ar ___bootable=('on' 'off')
    local -ar ___hostiocache=('on' 'off')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion storagectl -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--name[The controller'\''s name.]:name:'
        '--add[Adds a controller of this kind.]:add:{__vmctl_complete "${___add[@]}"}'
        '--remove[Removes the controller with what is attached to it.]'
        '--controller[PIIX3, PIIX4 or ICH6, as VBoxManage has it; it is the board'\''s PIIX3.]:chip:'
        '--bootable[As VBoxManage has it; see modifyvm --boot1.]:bootable:{__vmctl_complete "${___bootable[@]}"}'
        '--hostiocache[As VBoxManage has it; the host'\''s cache is always used.]:hostiocache:{__vmctl_complete "${___hostiocache[@]}"}'
        '--portcount[As VBoxManage has it; IDE has two channels.]:portcount:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_storageattach() {
    local -i ret=1
    local -ar ___type=('hdd' 'dvddrive' 'fdd')
    local -ar ___mtype=('normal' 'readonly')
    local -ar ___tempeject=('on' 'off')
    local -ar ___nonrotational=('on' 'off')
    local -ar ___discard=('on' 'off')
    local -ar ___format=('raw' 'qcow2')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion storageattach -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--storagectl[The controller'\''s name.]:storagectl:'
        '--port[IDE'\''s channel, 0 or 1; virtio'\''s disk, 0 to 15; 0 of a floppy controller.]:port:'
        '--device[0; on IDE 0 master, 1 slave; of floppy drives 0 A, 1 B.]:device:'
        '--type[The kind of drive.]:type:{__vmctl_complete "${___type[@]}"}'
        '--medium[The image'\''s file, emptydrive, or none to detach.]:medium:_files'
        '--mtype[How the image is used.]:mtype:{__vmctl_complete "${___mtype[@]}"}'
        '--forceunmount[Of a running machine\: also when the guest has locked the drive'\''s tray.]'
        '--tempeject[As VBoxManage has it; the guest may always open the tray.]:tempeject:{__vmctl_complete "${___tempeject[@]}"}'
        '--nonrotational[As VBoxManage has it, without effect.]:nonrotational:{__vmctl_complete "${___nonrotational[@]}"}'
        '--discard[As VBoxManage has it, without effect.]:discard:{__vmctl_complete "${___discard[@]}"}'
        '--format[raw\: the image is taken as it is though it looks like another format. qcow2\: also known by its name, .qcow2.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_startvm() {
    local -i ret=1
    local -ar ___type=('headless' 'gui' 'sdl' 'separate')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion startvm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--type[headless\: no window; gui, sdl or separate\: a window, as vmctl view opens it.]:type:{__vmctl_complete "${___type[@]}"}'
        '--foreground[Runs the machine in this process. ^C powers it off.]'
        '--force[Goes on from a saved state though a disk has changed since\: the guest, which still has the old content in its memory, can then destroy the disk'\''s file systems. Starts a machine that was protected though its backup may have it\: it can then run twice.]'
        '--wait[Comes back when the machine runs (ready), when a kernel does (kernel\: it has switched paging on), or when its first serial console has shown a text (console\:TEXT); status 1 when that cannot come any more, 124 when it took too long.]:ready|kernel|console\:text:'
        '--timeout[For --wait\: how long at most; 300 without it.]:seconds:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_run() {
    local -i ret=1
    local -ar ___on_reboot=('exit' 'reset')
    local -ar ___gdb_architecture=('x86-64' 'i386' 'i8086')
    local -ar ___sandbox=('on' 'off')
    local -ar ___console_record=('on' 'off')
    local -ar ___on_panic=('none' 'pause' 'reset' 'exit')
    local -ar ___rtc_use_utc=('on' 'off')
    local -ar ___hpet=('on' 'off')
    local -ar ___debug_ports=('on' 'off')
    local -ar ___uart_strict=('on' 'off')
    local -ar ___test_device=('on' 'off')
    local -ar ___pvpanic=('on' 'off')
    local -ar ___virtio_rng=('on' 'off')
    local -ar ___cpu_profile=('x86-64-v2' 'x86-64-v2-extended' 'i686')
    local -ar ___accel=('translator' 'interpreter')
    local -ar ___verify_code=('on' 'off')
    local -ar ___deterministic=('on' 'off')
    local -ar ___boot1=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot2=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot3=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___boot4=('none' 'floppy' 'dvd' 'disk' 'net')
    local -ar ___nic1=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type1=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected1=('on' 'off')
    local -ar ___nic_rom1=('on' 'off')
    local -ar ___nat_anchor1=('on' 'off')
    local -ar ___nic_trace1=('on' 'off')
    local -ar ___nic2=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type2=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected2=('on' 'off')
    local -ar ___nic_rom2=('on' 'off')
    local -ar ___nat_anchor2=('on' 'off')
    local -ar ___nic_trace2=('on' 'off')
    local -ar ___nic3=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type3=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected3=('on' 'off')
    local -ar ___nic_rom3=('on' 'off')
    local -ar ___nat_anchor3=('on' 'off')
    local -ar ___nic_trace3=('on' 'off')
    local -ar ___nic4=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type4=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected4=('on' 'off')
    local -ar ___nic_rom4=('on' 'off')
    local -ar ___nat_anchor4=('on' 'off')
    local -ar ___nic_trace4=('on' 'off')
    local -ar ___nic5=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type5=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected5=('on' 'off')
    local -ar ___nic_rom5=('on' 'off')
    local -ar ___nat_anchor5=('on' 'off')
    local -ar ___nic_trace5=('on' 'off')
    local -ar ___nic6=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type6=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected6=('on' 'off')
    local -ar ___nic_rom6=('on' 'off')
    local -ar ___nat_anchor6=('on' 'off')
    local -ar ___nic_trace6=('on' 'off')
    local -ar ___nic7=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type7=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected7=('on' 'off')
    local -ar ___nic_rom7=('on' 'off')
    local -ar ___nat_anchor7=('on' 'off')
    local -ar ___nic_trace7=('on' 'off')
    local -ar ___nic8=('none' 'null' 'nat' 'bridged' 'intnet' 'stream')
    local -ar ___nic_type8=('82540EM' 'virtio' 'Am79C973' 'NE2000PCI' 'NE2000ISA')
    local -ar ___cable_connected8=('on' 'off')
    local -ar ___nic_rom8=('on' 'off')
    local -ar ___nat_anchor8=('on' 'off')
    local -ar ___nic_trace8=('on' 'off')
    local -ar arg_specs=(
        '*--disk[A disk on IDE, up to three times. ro\: the guest may not write; snapshot\: it writes to a copy that goes with it.]:file\[\:ro|\:snapshot\]:_files'
        '--cdrom[A CD on IDE.]:file:_files'
        '--fda[A disk for floppy drive A, as --disk.]:file\[\:ro|\:snapshot\]:_files'
        '--fdb[A disk for floppy drive B.]:file\[\:ro|\:snapshot\]:_files'
        '--expect[Ends, with status 0, when the console has shown this.]:text:'
        '--timeout[Ends, with status 124, after so long.]:seconds:'
        '--on-reboot[What the guest'\''s reset does\: exit ends it with status 0.]:on-reboot:{__vmctl_complete "${___on_reboot[@]}"}'
        '--gdb[Waits for GDB before the first instruction\: a TCP port of localhost (0\: a free one), or a Unix socket.]:port|socket:'
        '--gdb-architecture[Which registers GDB is shown; see debugvm.]:gdb-architecture:{__vmctl_complete "${___gdb_architecture[@]}"}'
        '--trace[Writes what its CPUs do into a new file, from the first instruction on; see debugvm.]:trace:_files'
        '--trace-events[--trace\: instructions, exceptions, interrupts, ports, mmio; without it the first three.]:trace-events:'
        '--trace-range[--trace\: linear addresses of the code, hexadecimal\: FIRST-LAST.]:first-last:'
        '--trace-limit[--trace\: it ends after so many.]:lines:'
        '--name[A new name.]:name:'
        '--description[A text for people.]:description:'
        '--sandbox[Whether the machine'\''s process gives up what it does not need\: on or off.]:sandbox:{__vmctl_complete "${___sandbox[@]}"}'
        '--console-record[Whether all that each console says is written into the machine'\''s folder, as console1.log and so on, new at each start\: on or off.]:console-record:{__vmctl_complete "${___console_record[@]}"}'
        '--on-panic[What becomes of the machine when its guest'\''s kernel panics, which --pvpanic on lets it say\: none, pause, reset, or exit, which ends it with status 1.]:on-panic:{__vmctl_complete "${___on_panic[@]}"}'
        '--memory[Memory in MB.]:mb:'
        '--vram[Video memory in MB.]:mb:'
        '--firmware[bios for SeaBIOS, or the file of a ROM image.]:firmware:_files'
        '--rtc-use-utc[Whether the clock shows UTC\: on or off.]:rtc-use-utc:{__vmctl_complete "${___rtc_use_utc[@]}"}'
        '--hpet[Whether there is an HPET\: on or off.]:hpet:{__vmctl_complete "${___hpet[@]}"}'
        '--debug-ports[The ports 0xE9 (log) and 0xF4 (exit), and the test device of public suites\: on or off.]:debug-ports:{__vmctl_complete "${___debug_ports[@]}"}'
        '--uart-strict[Whether UART interrupts need OUT2, as on a PC\: on or off.]:uart-strict:{__vmctl_complete "${___uart_strict[@]}"}'
        '--test-device[A PCI device for tests of port and memory accesses\: on or off.]:test-device:{__vmctl_complete "${___test_device[@]}"}'
        '--pvpanic[The port by which a guest'\''s kernel says that it has panicked (Linux'\''s pvpanic)\: on or off.]:pvpanic:{__vmctl_complete "${___pvpanic[@]}"}'
        '--virtio-rng[A virtio device that gives the guest random numbers of the host\: on or off.]:virtio-rng:{__vmctl_complete "${___virtio_rng[@]}"}'
        '--cpus[The number of CPUs.]:cpus:'
        '--cpu-profile[The CPU model\: x86-64-v2, x86-64-v2-extended, i686.]:cpu-profile:{__vmctl_complete "${___cpu_profile[@]}"}'
        '--cpuid-portability-level[How many features of the CPU model the guest is not to see\: 0 none, 1 SSSE3, SSE4, POPCNT, CMPXCHG16B and newer, 2 SSE3 and LAHF as well, 3 SSE, SSE2, CMOV and CLFLUSH as well.]:level:'
        '--accel[How guest code is executed\: translator or interpreter.]:accel:{__vmctl_complete "${___accel[@]}"}'
        '--verify-code[Whether translated code is proved to stay in the guest before it runs\: on or off.]:verify-code:{__vmctl_complete "${___verify_code[@]}"}'
        '--deterministic[Whether two runs are the same to the instruction\: one CPU, interpreted, 10 ns for each instruction, a clock that begins in 2000, disks done at once, seeded random numbers; keys and networks come as they come\: on or off.]:deterministic:{__vmctl_complete "${___deterministic[@]}"}'
        '--cpuid-set[Sets a CPUID leaf.]:leaf\[\:sub\] eax ebx ecx edx:'
        '--cpuid-remove[Gives a changed CPUID leaf back to the CPU model; one of the model'\''s own is zeros then.]:leaf\[\:sub\]:'
        '--cpuid-remove-all[Gives all CPUID leaves back to the CPU model.]'
        '--boot1[Boot device 1\: none, floppy, dvd, disk or net.]:boot1:{__vmctl_complete "${___boot1[@]}"}'
        '--boot2[Boot device 2\: none, floppy, dvd, disk or net.]:boot2:{__vmctl_complete "${___boot2[@]}"}'
        '--boot3[Boot device 3\: none, floppy, dvd, disk or net.]:boot3:{__vmctl_complete "${___boot3[@]}"}'
        '--boot4[Boot device 4\: none, floppy, dvd, disk or net.]:boot4:{__vmctl_complete "${___boot4[@]}"}'
        '--kernel[A Linux bzImage or multiboot ELF to start directly; none\: the firmware boots.]:kernel:_files'
        '--initrd[The kernel'\''s initial RAM disk, or multiboot modules\: "FILE ARGUMENTS,FILE ARGUMENTS"; none\: without.]:initrd:_files'
        '--append[The kernel'\''s command line.]:append:'
        '--nic1[What network card 1 is plugged into; none\: there is no such card.]:nic1:{__vmctl_complete "${___nic1[@]}"}'
        '(--nic-type1 --nictype1)'{--nic-type1,--nictype1}'[Which card network card 1 is.]:nic-type1:{__vmctl_complete "${___nic_type1[@]}"}'
        '(--mac-address1 --macaddress1)'{--mac-address1,--macaddress1}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected1 --cableconnected1)'{--cable-connected1,--cableconnected1}'[Whether its cable is plugged in\: on or off.]:cable-connected1:{__vmctl_complete "${___cable_connected1[@]}"}'
        '(--nic-rom1 --nicrom1)'{--nic-rom1,--nicrom1}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom1:{__vmctl_complete "${___nic_rom1[@]}"}'
        '(--nic-boot-prio1 --nicbootprio1)'{--nic-boot-prio1,--nicbootprio1}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net1 --natnet1)'{--nat-net1,--natnet1}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf1 --natpf1)'{--nat-pf1,--natpf1}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor1 --natanchor1)'{--nat-anchor1,--natanchor1}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor1:{__vmctl_complete "${___nat_anchor1[@]}"}'
        '(--nat-tftp-prefix1 --nattftpprefix1)'{--nat-tftp-prefix1,--nattftpprefix1}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file1 --nattftpfile1)'{--nat-tftp-file1,--nattftpfile1}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter1 --bridgeadapter1)'{--bridge-adapter1,--bridgeadapter1}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet1[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream1 --nicstream1)'{--nic-stream1,--nicstream1}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace1 --nictrace1)'{--nic-trace1,--nictrace1}'[Whether its frames are written to a file\: on or off.]:nic-trace1:{__vmctl_complete "${___nic_trace1[@]}"}'
        '(--nic-trace-file1 --nictracefile1)'{--nic-trace-file1,--nictracefile1}'[Where they are written, in pcap'\''s format; empty\: nic1.pcap in the machine'\''s folder.]:file:'
        '--nic2[What network card 2 is plugged into; none\: there is no such card.]:nic2:{__vmctl_complete "${___nic2[@]}"}'
        '(--nic-type2 --nictype2)'{--nic-type2,--nictype2}'[Which card network card 2 is.]:nic-type2:{__vmctl_complete "${___nic_type2[@]}"}'
        '(--mac-address2 --macaddress2)'{--mac-address2,--macaddress2}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected2 --cableconnected2)'{--cable-connected2,--cableconnected2}'[Whether its cable is plugged in\: on or off.]:cable-connected2:{__vmctl_complete "${___cable_connected2[@]}"}'
        '(--nic-rom2 --nicrom2)'{--nic-rom2,--nicrom2}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom2:{__vmctl_complete "${___nic_rom2[@]}"}'
        '(--nic-boot-prio2 --nicbootprio2)'{--nic-boot-prio2,--nicbootprio2}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net2 --natnet2)'{--nat-net2,--natnet2}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf2 --natpf2)'{--nat-pf2,--natpf2}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor2 --natanchor2)'{--nat-anchor2,--natanchor2}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor2:{__vmctl_complete "${___nat_anchor2[@]}"}'
        '(--nat-tftp-prefix2 --nattftpprefix2)'{--nat-tftp-prefix2,--nattftpprefix2}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file2 --nattftpfile2)'{--nat-tftp-file2,--nattftpfile2}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter2 --bridgeadapter2)'{--bridge-adapter2,--bridgeadapter2}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet2[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream2 --nicstream2)'{--nic-stream2,--nicstream2}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace2 --nictrace2)'{--nic-trace2,--nictrace2}'[Whether its frames are written to a file\: on or off.]:nic-trace2:{__vmctl_complete "${___nic_trace2[@]}"}'
        '(--nic-trace-file2 --nictracefile2)'{--nic-trace-file2,--nictracefile2}'[Where they are written, in pcap'\''s format; empty\: nic2.pcap in the machine'\''s folder.]:file:'
        '--nic3[What network card 3 is plugged into; none\: there is no such card.]:nic3:{__vmctl_complete "${___nic3[@]}"}'
        '(--nic-type3 --nictype3)'{--nic-type3,--nictype3}'[Which card network card 3 is.]:nic-type3:{__vmctl_complete "${___nic_type3[@]}"}'
        '(--mac-address3 --macaddress3)'{--mac-address3,--macaddress3}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected3 --cableconnected3)'{--cable-connected3,--cableconnected3}'[Whether its cable is plugged in\: on or off.]:cable-connected3:{__vmctl_complete "${___cable_connected3[@]}"}'
        '(--nic-rom3 --nicrom3)'{--nic-rom3,--nicrom3}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom3:{__vmctl_complete "${___nic_rom3[@]}"}'
        '(--nic-boot-prio3 --nicbootprio3)'{--nic-boot-prio3,--nicbootprio3}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net3 --natnet3)'{--nat-net3,--natnet3}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf3 --natpf3)'{--nat-pf3,--natpf3}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor3 --natanchor3)'{--nat-anchor3,--natanchor3}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor3:{__vmctl_complete "${___nat_anchor3[@]}"}'
        '(--nat-tftp-prefix3 --nattftpprefix3)'{--nat-tftp-prefix3,--nattftpprefix3}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file3 --nattftpfile3)'{--nat-tftp-file3,--nattftpfile3}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter3 --bridgeadapter3)'{--bridge-adapter3,--bridgeadapter3}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet3[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream3 --nicstream3)'{--nic-stream3,--nicstream3}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace3 --nictrace3)'{--nic-trace3,--nictrace3}'[Whether its frames are written to a file\: on or off.]:nic-trace3:{__vmctl_complete "${___nic_trace3[@]}"}'
        '(--nic-trace-file3 --nictracefile3)'{--nic-trace-file3,--nictracefile3}'[Where they are written, in pcap'\''s format; empty\: nic3.pcap in the machine'\''s folder.]:file:'
        '--nic4[What network card 4 is plugged into; none\: there is no such card.]:nic4:{__vmctl_complete "${___nic4[@]}"}'
        '(--nic-type4 --nictype4)'{--nic-type4,--nictype4}'[Which card network card 4 is.]:nic-type4:{__vmctl_complete "${___nic_type4[@]}"}'
        '(--mac-address4 --macaddress4)'{--mac-address4,--macaddress4}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected4 --cableconnected4)'{--cable-connected4,--cableconnected4}'[Whether its cable is plugged in\: on or off.]:cable-connected4:{__vmctl_complete "${___cable_connected4[@]}"}'
        '(--nic-rom4 --nicrom4)'{--nic-rom4,--nicrom4}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom4:{__vmctl_complete "${___nic_rom4[@]}"}'
        '(--nic-boot-prio4 --nicbootprio4)'{--nic-boot-prio4,--nicbootprio4}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net4 --natnet4)'{--nat-net4,--natnet4}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf4 --natpf4)'{--nat-pf4,--natpf4}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor4 --natanchor4)'{--nat-anchor4,--natanchor4}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor4:{__vmctl_complete "${___nat_anchor4[@]}"}'
        '(--nat-tftp-prefix4 --nattftpprefix4)'{--nat-tftp-prefix4,--nattftpprefix4}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file4 --nattftpfile4)'{--nat-tftp-file4,--nattftpfile4}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter4 --bridgeadapter4)'{--bridge-adapter4,--bridgeadapter4}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet4[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream4 --nicstream4)'{--nic-stream4,--nicstream4}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace4 --nictrace4)'{--nic-trace4,--nictrace4}'[Whether its frames are written to a file\: on or off.]:nic-trace4:{__vmctl_complete "${___nic_trace4[@]}"}'
        '(--nic-trace-file4 --nictracefile4)'{--nic-trace-file4,--nictracefile4}'[Where they are written, in pcap'\''s format; empty\: nic4.pcap in the machine'\''s folder.]:file:'
        '--nic5[What network card 5 is plugged into; none\: there is no such card.]:nic5:{__vmctl_complete "${___nic5[@]}"}'
        '(--nic-type5 --nictype5)'{--nic-type5,--nictype5}'[Which card network card 5 is.]:nic-type5:{__vmctl_complete "${___nic_type5[@]}"}'
        '(--mac-address5 --macaddress5)'{--mac-address5,--macaddress5}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected5 --cableconnected5)'{--cable-connected5,--cableconnected5}'[Whether its cable is plugged in\: on or off.]:cable-connected5:{__vmctl_complete "${___cable_connected5[@]}"}'
        '(--nic-rom5 --nicrom5)'{--nic-rom5,--nicrom5}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom5:{__vmctl_complete "${___nic_rom5[@]}"}'
        '(--nic-boot-prio5 --nicbootprio5)'{--nic-boot-prio5,--nicbootprio5}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net5 --natnet5)'{--nat-net5,--natnet5}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf5 --natpf5)'{--nat-pf5,--natpf5}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor5 --natanchor5)'{--nat-anchor5,--natanchor5}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor5:{__vmctl_complete "${___nat_anchor5[@]}"}'
        '(--nat-tftp-prefix5 --nattftpprefix5)'{--nat-tftp-prefix5,--nattftpprefix5}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file5 --nattftpfile5)'{--nat-tftp-file5,--nattftpfile5}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter5 --bridgeadapter5)'{--bridge-adapter5,--bridgeadapter5}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet5[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream5 --nicstream5)'{--nic-stream5,--nicstream5}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace5 --nictrace5)'{--nic-trace5,--nictrace5}'[Whether its frames are written to a file\: on or off.]:nic-trace5:{__vmctl_complete "${___nic_trace5[@]}"}'
        '(--nic-trace-file5 --nictracefile5)'{--nic-trace-file5,--nictracefile5}'[Where they are written, in pcap'\''s format; empty\: nic5.pcap in the machine'\''s folder.]:file:'
        '--nic6[What network card 6 is plugged into; none\: there is no such card.]:nic6:{__vmctl_complete "${___nic6[@]}"}'
        '(--nic-type6 --nictype6)'{--nic-type6,--nictype6}'[Which card network card 6 is.]:nic-type6:{__vmctl_complete "${___nic_type6[@]}"}'
        '(--mac-address6 --macaddress6)'{--mac-address6,--macaddress6}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected6 --cableconnected6)'{--cable-connected6,--cableconnected6}'[Whether its cable is plugged in\: on or off.]:cable-connected6:{__vmctl_complete "${___cable_connected6[@]}"}'
        '(--nic-rom6 --nicrom6)'{--nic-rom6,--nicrom6}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom6:{__vmctl_complete "${___nic_rom6[@]}"}'
        '(--nic-boot-prio6 --nicbootprio6)'{--nic-boot-prio6,--nicbootprio6}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net6 --natnet6)'{--nat-net6,--natnet6}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf6 --natpf6)'{--nat-pf6,--natpf6}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor6 --natanchor6)'{--nat-anchor6,--natanchor6}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor6:{__vmctl_complete "${___nat_anchor6[@]}"}'
        '(--nat-tftp-prefix6 --nattftpprefix6)'{--nat-tftp-prefix6,--nattftpprefix6}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file6 --nattftpfile6)'{--nat-tftp-file6,--nattftpfile6}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter6 --bridgeadapter6)'{--bridge-adapter6,--bridgeadapter6}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet6[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream6 --nicstream6)'{--nic-stream6,--nicstream6}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace6 --nictrace6)'{--nic-trace6,--nictrace6}'[Whether its frames are written to a file\: on or off.]:nic-trace6:{__vmctl_complete "${___nic_trace6[@]}"}'
        '(--nic-trace-file6 --nictracefile6)'{--nic-trace-file6,--nictracefile6}'[Where they are written, in pcap'\''s format; empty\: nic6.pcap in the machine'\''s folder.]:file:'
        '--nic7[What network card 7 is plugged into; none\: there is no such card.]:nic7:{__vmctl_complete "${___nic7[@]}"}'
        '(--nic-type7 --nictype7)'{--nic-type7,--nictype7}'[Which card network card 7 is.]:nic-type7:{__vmctl_complete "${___nic_type7[@]}"}'
        '(--mac-address7 --macaddress7)'{--mac-address7,--macaddress7}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected7 --cableconnected7)'{--cable-connected7,--cableconnected7}'[Whether its cable is plugged in\: on or off.]:cable-connected7:{__vmctl_complete "${___cable_connected7[@]}"}'
        '(--nic-rom7 --nicrom7)'{--nic-rom7,--nicrom7}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom7:{__vmctl_complete "${___nic_rom7[@]}"}'
        '(--nic-boot-prio7 --nicbootprio7)'{--nic-boot-prio7,--nicbootprio7}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net7 --natnet7)'{--nat-net7,--natnet7}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf7 --natpf7)'{--nat-pf7,--natpf7}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor7 --natanchor7)'{--nat-anchor7,--natanchor7}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor7:{__vmctl_complete "${___nat_anchor7[@]}"}'
        '(--nat-tftp-prefix7 --nattftpprefix7)'{--nat-tftp-prefix7,--nattftpprefix7}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file7 --nattftpfile7)'{--nat-tftp-file7,--nattftpfile7}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter7 --bridgeadapter7)'{--bridge-adapter7,--bridgeadapter7}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet7[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream7 --nicstream7)'{--nic-stream7,--nicstream7}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace7 --nictrace7)'{--nic-trace7,--nictrace7}'[Whether its frames are written to a file\: on or off.]:nic-trace7:{__vmctl_complete "${___nic_trace7[@]}"}'
        '(--nic-trace-file7 --nictracefile7)'{--nic-trace-file7,--nictracefile7}'[Where they are written, in pcap'\''s format; empty\: nic7.pcap in the machine'\''s folder.]:file:'
        '--nic8[What network card 8 is plugged into; none\: there is no such card.]:nic8:{__vmctl_complete "${___nic8[@]}"}'
        '(--nic-type8 --nictype8)'{--nic-type8,--nictype8}'[Which card network card 8 is.]:nic-type8:{__vmctl_complete "${___nic_type8[@]}"}'
        '(--mac-address8 --macaddress8)'{--mac-address8,--macaddress8}'[Its Ethernet address; auto\: a new one.]:auto|address:'
        '(--cable-connected8 --cableconnected8)'{--cable-connected8,--cableconnected8}'[Whether its cable is plugged in\: on or off.]:cable-connected8:{__vmctl_complete "${___cable_connected8[@]}"}'
        '(--nic-rom8 --nicrom8)'{--nic-rom8,--nicrom8}'[Whether it has a boot ROM in a machine that boots from the network\: on or off, so that another card is the one.]:nic-rom8:{__vmctl_complete "${___nic_rom8[@]}"}'
        '(--nic-boot-prio8 --nicbootprio8)'{--nic-boot-prio8,--nicbootprio8}'[When it is tried in a boot from the network\: 1 first, then 2 to 4, last 0; cards that are equal in the order of their numbers.]:priority:'
        '(--nat-net8 --natnet8)'{--nat-net8,--natnet8}'[The network that a card on nat sees.]:network/bits:'
        '(--nat-pf8 --natpf8)'{--nat-pf8,--natpf8}'[Adds a port forward of a card on nat, NAME,tcp|udp,\[HOSTIP\],HOSTPORT,\[GUESTIP\],GUESTPORT, or deletes one\: delete NAME.]:rule:'
        '(--nat-anchor8 --natanchor8)'{--nat-anchor8,--natanchor8}'[Whether connections of a card on nat outlive a teleport, by way of the host where they began\: on or off, which also ends those that this host still carries.]:nat-anchor8:{__vmctl_complete "${___nat_anchor8[@]}"}'
        '(--nat-tftp-prefix8 --nattftpprefix8)'{--nat-tftp-prefix8,--nattftpprefix8}'[The folder whose files a guest on nat gets by TFTP; empty\: none.]:folder:'
        '(--nat-tftp-file8 --nattftpfile8)'{--nat-tftp-file8,--nattftpfile8}'[The file in it for guests that boot from the network; empty\: none.]:file:'
        '(--bridge-adapter8 --bridgeadapter8)'{--bridge-adapter8,--bridgeadapter8}'[The tap or bridge of the host that a bridged card is plugged into.]:interface:'
        '--intnet8[The network of this user'\''s machines that a card on intnet joins.]:network:'
        '(--nic-stream8 --nicstream8)'{--nic-stream8,--nicstream8}'[Where the frames of a card on stream go\: \[listen\:\]HOST\:PORT | \[listen\:\]PATH.]:place:'
        '(--nic-trace8 --nictrace8)'{--nic-trace8,--nictrace8}'[Whether its frames are written to a file\: on or off.]:nic-trace8:{__vmctl_complete "${___nic_trace8[@]}"}'
        '(--nic-trace-file8 --nictracefile8)'{--nic-trace-file8,--nictracefile8}'[Where they are written, in pcap'\''s format; empty\: nic8.pcap in the machine'\''s folder.]:file:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_controlvm() {
    local -i ret=1
    local -ar _verb=('pause' 'resume' 'reset' 'poweroff' 'acpipowerbutton' 'injectnmi' 'savestate' 'screenshotpng' 'keyboardputscancode' 'keyboardputstring' 'sendbreak' 'teleport' 'resolveteleport' 'unprotect' 'failover' 'setlinkstate1' 'setlinkstate2' 'setlinkstate3' 'setlinkstate4' 'setlinkstate5' 'setlinkstate6' 'setlinkstate7' 'setlinkstate8' 'natpf1' 'natpf2' 'natpf3' 'natpf4' 'natpf5' 'natpf6' 'natpf7' 'natpf8' 'nictrace1' 'nictrace2' 'nictrace3' 'nictrace4' 'nictrace5' 'nictrace6' 'nictrace7' 'nictrace8' 'nictracefile1' 'nictracefile2' 'nictracefile3' 'nictracefile4' 'nictracefile5' 'nictracefile6' 'nictracefile7' 'nictracefile8')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion controlvm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':verb:{__vmctl_complete "${_verb[@]}"}'
        '*:arguments:_files'
        '--host[Teleport\: the target'\''s host.]:host:'
        '(-p --port)'{-p,--port}'[Teleport\: the port the target waits on.]:port:'
        '(-d --maxdowntime)'{-d,--maxdowntime}'[Teleport\: how long the machine may stand still.]:ms:'
        '--check[Teleport\: only tells what stands against it.]'
        '--password[Teleport\: the target'\''s password.]:password:'
        '--passwordfile[Teleport\: a file with the password in its first line, or stdin.]:passwordfile:_files'
        '--timeout[Teleport\: how long the target may be silent.]:ms:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_receive() {
    local -i ret=1
    local -ar arg_specs=(
        '--address[The address to listen on, and on which the machines wait.]:address:'
        '(-p --port)'{-p,--port}'[The port to listen on; 0\: a free one.]:port:'
        '--passwordfile[A file with the password in its first line.]:passwordfile:_files'
        '--once[Ends when a machine has come.]'
        '--systemd[Takes the socket that systemd has opened, and ends when nobody has come for a minute.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_discardstate() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion discardstate -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_adoptstate() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion adoptstate -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':file:_files'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_console() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion console -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--uart[The serial port\: 1 to 4; without it, the first one.]:n:'
        '--virtio[The virtio console (hvc0 of Linux), in place of a serial port.]'
        '--break[Sends a break (SysRq on a Linux console) and leaves.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_remus() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion remus -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':target:'
        '(-i --interval)'{-i,--interval}'[The longest time between checkpoints.]:ms:'
        '(-u --no-compression)'{-u,--no-compression}'[Memory crosses as it is, not compressed.]'
        '-s[A command that starts the backup through a shell\: it gets HOST and then vmctl startvm NAME; empty\: HOST is the command.]:command:'
        '-e[As xl remus has it; no process of the backup'\''s waits in any case.]'
        '-N[A script that is run with setup before and teardown after, with VMCTL_NAME and VMCTL_HOST.]:script:_files'
        '-F[Allows -b, -n and -d, with which a failure loses something.]'
        '(-b --blackhole)'{-b,--blackhole}'[There is no backup\: shows what protection costs.]'
        '(-n --no-net)'{-n,--no-net}'[Output does not wait for its checkpoint.]'
        '-d[Leaves disks alone.]'
        '--once[Ends when the backup is lost; else it is looked for until it is there again.]'
        '(-p --port)'{-p,--port}'[The port that the backup waits on.]:port:'
        '--witness[Who decides when the hosts lose each other\: file\:PATH on storage that both reach, etcd\:http\://HOST\:PORT, command\:PROGRAM, or none\: then a broken line has both go on.]:place:'
        '--passwordfile[A file with the backup'\''s password in its first line, or stdin.]:passwordfile:_files'
        '--reprotect[After a takeover the hosts change places\: the survivor looks for its backup at this address of this host, where the machine waits as soon as it can. The port is -p'\''s when none is given; an IPv6 address with a port stands in brackets.]:address\[\:port\]:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_view() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion view -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_events() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion events -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--format[How to print them\: json is an object a line.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_debugvm() {
    local -i ret=1
    local -ar _verb=('getregisters' 'info' 'log' 'statistics' 'block' 'sandbox' 'gdbserver' 'state' 'trace')
    local -ar ___format=('table' 'json')
    local -ar ___architecture=('x86-64' 'i386' 'i8086')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion debugvm -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':verb:{__vmctl_complete "${_verb[@]}"}'
        ':what:_files'
        '*:files:_files'
        '--format[For state\: how to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '--port[gdbserver\: a TCP port of localhost; 1234 without it, 0 a free one.]:port:'
        '--socket[gdbserver\: a Unix socket.]:socket:_files'
        '--architecture[gdbserver\: which registers GDB is shown; without it those of the machine'\''s widest mode. i8086\: those of i386 with the linear address as $pc, for real mode.]:architecture:{__vmctl_complete "${___architecture[@]}"}'
        '--events[trace\: instructions, exceptions, interrupts, ports, mmio; without it the first three.]:events:'
        '--range[trace\: linear addresses of the code, hexadecimal\: FIRST-LAST.]:first-last:'
        '--limit[trace\: it ends after so many.]:lines:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service() {
    local -i ret=1
    local -ar arg_specs=(
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
        '(-): :->command'
        '(-)*:: :->arg'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0
    case "${state}" in
    command)
        local -ar subcommands=(
            'add:Makes a machine a service, or changes how it is one.'
            'remove:Takes a machine'\''s service away; the machine stays.'
            'start:Starts a machine'\''s service.'
            'stop:Stops a machine by its stop script, or as --stop-mode says.'
            'restart:Stops a machine and starts it again.'
            'enable:Starts a machine with the host.'
            'disable:Starts a machine with the host no longer.'
            'status:Says all there is to say of a machine as a service.'
            'list:Lists all machines as services; a star marks the one that vmstart started last.'
            'alert:Calls the alert script, as for a test of it.'
            'events:Raises one alert for each machine whose log has new events of the level that is told.'
            'config:Opens a machine'\''s definition in $VISUAL or $EDITOR, and keeps it if it is right.'
            'install-names:Links vmlist, vmstart, vmstop, vmcfg, vmconsole and vmmenu to this command.'
        )
        _describe -V subcommand subcommands && ret=0
        ;;
    arg)
        case "${words[1]}" in
        add|remove|start|stop|restart|enable|disable|status|list|alert|events|config|install-names)
            "_vmctl_service_${words[1]}" && ret=0
            ;;
        esac
        ;;
    esac

    return "${ret}"
}

_vmctl_service_add() {
    local -i ret=1
    local -ar ___autoboot=('on' 'off')
    local -ar ___restart=('on' 'off')
    local -ar ___stop_mode=('savestate' 'acpi' 'poweroff')
    local -ar ___offloads=('auto' 'off' 'keep')
    local -ar ___log_alerts=('off' 'info' 'notice' 'warning' 'error' 'critical')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service add -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--autoboot[Whether it starts with the host.]:autoboot:{__vmctl_complete "${___autoboot[@]}"}'
        '--restart[Whether it starts again 30 s after a failure, twice in 10 minutes at most.]:restart:{__vmctl_complete "${___restart[@]}"}'
        '--stop-script[A stop script of its own, in place of its case in the common one; none.]:file:_files'
        '--pre-start[Runs before each start and refuses it with another status than 0; none.]:file:_files'
        '--status-script[Says for the list how the guest is, in its first line; status 255\: not booted; none.]:file:_files'
        '--stop-timeout[How long the stop may take; then the machine is killed.]:seconds:'
        '--stop-mode[What stops it where no script does.]:stop-mode:{__vmctl_complete "${___stop_mode[@]}"}'
        '*--after[A machine that starts before it and stops after it; may be repeated.]:machine:{__vmctl_custom_complete ---completion service add -- --after "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--offloads[What the host may leave to the taps of its network cards (segments, checksums; ethtool(8)) while it runs. off\: nothing; auto\: nothing, but for virtio cards; keep\: as it is.]:offloads:{__vmctl_complete "${___offloads[@]}"}'
        '--log-alerts[Events of its log that are told by an alert, all of a minute in one\: those of this level and above. Without it those that have alerts of their own are (DISKERROR, UNPROTECTED, FAILEDOVER); off\: none.]:log-alerts:{__vmctl_complete "${___log_alerts[@]}"}'
        '--system[A service of the host; root'\''s machines are by themselves.]'
        '--user[A service of the user; others'\'' machines are by themselves.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_remove() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service remove -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_start() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service start -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_stop() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service stop -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_restart() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service restart -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_enable() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service enable -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_disable() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service disable -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_status() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service status -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--format[How to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_list() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        '--format[How to print it.]:format:{__vmctl_complete "${___format[@]}"}'
        '(-l --long)'{-l,--long}'[Says everything of each machine.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_alert() {
    local -i ret=1
    local -ar arg_specs=(
        ':code:'
        ':name:{__vmctl_custom_complete ---completion service alert -- positional@1 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        ':text:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_events() {
    local -i ret=1
    local -ar arg_specs=(
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_config() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion service config -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_service_install-names() {
    local -i ret=1
    local -ar arg_specs=(
        ':folder:_files -/'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_menu() {
    local -i ret=1
    local -ar arg_specs=(
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_top() {
    local -i ret=1
    local -ar ___format=('table' 'json')
    local -ar arg_specs=(
        '(-d --interval)'{-d,--interval}'[Seconds between two looks.]:seconds:'
        '--once[Prints one table and ends.]'
        '(-n --count)'{-n,--count}'[Prints so many tables and ends.]:number:'
        '--format[How to print them.]:format:{__vmctl_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_status() {
    local -i ret=1
    local -ar arg_specs=(
        ':machine:{__vmctl_custom_complete ---completion status -- positional@0 "${current_word_index}" "$(__vmctl_cursor_index_in_current_word)"}'
        '--ocf[Exits as a resource agent'\''s monitor action.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_metrics() {
    local -i ret=1
    local -ar arg_specs=(
        '--listen[Serves them by HTTP, as 127.0.0.1\:9177; port 0\: a free one.]:address\:port:'
        '--textfile[Writes them for node_exporter'\''s textfile collector.]:file:_files'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctl_help() {
    local -i ret=1
    local -ar arg_specs=(
        '*:subcommands:'
        '--version[Show the version.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

if [[ "${funcstack[1]}" = _vmctl ]]; then
    _vmctl "${@}"
else
    compdef _vmctl vmctl
fi
