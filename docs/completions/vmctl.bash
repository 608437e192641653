#!/bin/bash

__vmctl_cursor_index_in_current_word() {
    local remaining="${COMP_LINE}"

    local word
    for word in "${COMP_WORDS[@]::COMP_CWORD}"; do
        remaining="${remaining##*([[:space:]])"${word}"*([[:space:]])}"
    done

    local -ir index="$((COMP_POINT - ${#COMP_LINE} + ${#remaining}))"
    if [[ "${index}" -le 0 ]]; then
        printf 0
    else
        printf %s "${index}"
    fi
}

# positional arguments:
#
# - 1: the current (sub)command's count of positional arguments
#
# required variables:
#
# - repeating_flags: the repeating flags that the current (sub)command can accept
# - non_repeating_flags: the non-repeating flags that the current (sub)command can accept
# - repeating_options: the repeating options that the current (sub)command can accept
# - non_repeating_options: the non-repeating options that the current (sub)command can accept
# - positional_number: value ignored
# - unparsed_words: unparsed words from the current command line
#
# modified variables:
#
# - non_repeating_flags: remove flags for this (sub)command that are already on the command line
# - non_repeating_options: remove options for this (sub)command that are already on the command line
# - positional_number: set to the current positional number
# - unparsed_words: remove all flags, options, and option values for this (sub)command
__vmctl_offer_flags_options() {
    local -ir positional_count="${1}"
    positional_number=0

    local was_flag_option_terminator_seen=false
    local is_parsing_option_value=false

    local -ar unparsed_word_indices=("${!unparsed_words[@]}")
    local -i word_index
    for word_index in "${unparsed_word_indices[@]}"; do
        if "${is_parsing_option_value}"; then
            # This word is an option value:
            # Reset marker for next word iff not currently the last word
            [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]] && is_parsing_option_value=false
            unset "unparsed_words[${word_index}]"
            # Do not process this word as a flag or an option
            continue
        fi

        local word="${unparsed_words["${word_index}"]}"
        if ! "${was_flag_option_terminator_seen}"; then
            case "${word}" in
            --)
                unset "unparsed_words[${word_index}]"
                # by itself -- is a flag/option terminator, but if it is the last word, it is the start of a completion
                if [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]]; then
                    was_flag_option_terminator_seen=true
                fi
                continue
                ;;
            -*)
                # ${word} is a flag or an option
                # If ${word} is an option, mark that the next word to be parsed is an option value
                local option
                for option in "${repeating_options[@]}" "${non_repeating_options[@]}"; do
                    [[ "${word}" = "${option}" ]] && is_parsing_option_value=true && break
                done

                # Remove ${word} from ${non_repeating_flags} or ${non_repeating_options} so it isn't offered again
                local not_found=true
                local -i index
                for index in "${!non_repeating_flags[@]}"; do
                    if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                        unset "non_repeating_flags[${index}]"
                        non_repeating_flags=("${non_repeating_flags[@]}")
                        not_found=false
                        break
                    fi
                done
                if "${not_found}"; then
                    for index in "${!non_repeating_flags[@]}"; do
                        if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                            unset "non_repeating_flags[${index}]"
                            non_repeating_flags=("${non_repeating_flags[@]}")
                            break
                        fi
                    done
                fi
                unset "unparsed_words[${word_index}]"
                continue
                ;;
            esac
        fi

        # ${word} is neither a flag, nor an option, nor an option value
        if [[ "${positional_number}" -lt "${positional_count}" || "${positional_count}" -lt 0 ]]; then
            # ${word} is a positional
            ((positional_number++))
            unset "unparsed_words[${word_index}]"
        else
            if [[ -z "${word}" ]]; then
                # Could be completing a flag, option, or subcommand
                positional_number=-1
            else
                # ${word} is a subcommand or invalid, so stop processing this (sub)command
                positional_number=-2
            fi
            break
        fi
    done

    unparsed_words=("${unparsed_words[@]}")

    if\
        ! "${was_flag_option_terminator_seen}"\
        && ! "${is_parsing_option_value}"\
        && [[ ("${cur}" = -* && "${positional_number}" -ge 0) || "${positional_number}" -eq -1 ]]
    then
        COMPREPLY+=($(compgen -W "${repeating_flags[*]} ${non_repeating_flags[*]} ${repeating_options[*]} ${non_repeating_options[*]}" -- "${cur}"))
    fi
}

__vmctl_add_completions() {
    local completion
    while IFS='' read -r completion; do
        COMPREPLY+=("${completion}")
    done < <(IFS=$'\n' compgen "${@}" -- "${cur}")
}

__vmctl_custom_complete() {
    if [[ -n "${cur}" || -z ${COMP_WORDS[${COMP_CWORD}]} || "${COMP_LINE:${COMP_POINT}:1}" != ' ' ]]; then
        local -ar words=("${COMP_WORDS[@]}")
    else
        local -ar words=("${COMP_WORDS[@]::${COMP_CWORD}}" '' "${COMP_WORDS[@]:${COMP_CWORD}}")
    fi

    "${COMP_WORDS[0]}" "${@}" "${words[@]}"
}

_vmctl() {
    local state
    state="$(shopt -p;shopt -po)"
    trap "${state//$'\n'/;}" RETURN
    shopt -s extglob
    set +o history +o posix

    local -xr SAP_SHELL=bash
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(IFS='.';printf %s "${BASH_VERSINFO[*]}")"
    local -r SAP_SHELL_VERSION

    local -r cur="${2}"
    local -r prev="${3}"

    local -i positional_number
    local -a unparsed_words=("${COMP_WORDS[@]:1:${COMP_CWORD}}")

    local -a repeating_flags=()
    local -a non_repeating_flags=(--version -h --help)
    local -a repeating_options=()
    local -a non_repeating_options=()
    __vmctl_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    createvm|clonevm|registervm|unregistervm|modifyvm|list|showvminfo|snapshot|createmedium|showmediuminfo|modifymedium|storagectl|storageattach|startvm|run|controlvm|receive|discardstate|adoptstate|console|remus|view|events|debugvm|service|menu|top|status|metrics|help)
        # Offer subcommand argument completions
        "_vmctl_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'createvm clonevm registervm unregistervm modifyvm list showvminfo snapshot createmedium showmediuminfo modifymedium storagectl storageattach startvm run controlvm receive discardstate adoptstate console remus view events debugvm service menu top status metrics help' -- "${cur}"))
        ;;
    esac
}

_vmctl_createvm() {
    repeating_flags=()
    non_repeating_flags=(--register --default --version -h --help)
    repeating_options=()
    non_repeating_options=(--name --memory --basefolder --uuid --ostype --groups)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--name')
        return
        ;;
    '--memory')
        return
        ;;
    '--basefolder')
        __vmctl_add_completions -d
        return
        ;;
    '--uuid')
        return
        ;;
    '--ostype')
        return
        ;;
    '--groups')
        return
        ;;
    esac
}

_vmctl_clonevm() {
    repeating_flags=()
    non_repeating_flags=(--register --version -h --help)
    repeating_options=()
    non_repeating_options=(--name --basefolder --uuid --mode --groups --options)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--name')
        return
        ;;
    '--basefolder')
        __vmctl_add_completions -d
        return
        ;;
    '--uuid')
        return
        ;;
    '--mode')
        __vmctl_add_completions -W 'machine'$'\n''machinechildren'$'\n''all'
        return
        ;;
    '--groups')
        return
        ;;
    '--options')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion clonevm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_registervm() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -o plusdirs -fX '!*.@(toml)'
        return
        ;;
    esac
}

_vmctl_unregistervm() {
    repeating_flags=()
    non_repeating_flags=(--delete --version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion unregistervm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_modifyvm() {
    repeating_flags=()
    non_repeating_flags=(--cpuid-remove-all --version -h --help)
    repeating_options=(--cpuid-set --virtio-console-mode --uart1 --uart-mode1 --uartmode1 --uart2 --uart-mode2 --uartmode2 --uart3 --uart-mode3 --uartmode3 --uart4 --uart-mode4 --uartmode4 --nat-pf1 --natpf1 --nat-pf2 --natpf2 --nat-pf3 --natpf3 --nat-pf4 --natpf4 --nat-pf5 --natpf5 --nat-pf6 --natpf6 --nat-pf7 --natpf7 --nat-pf8 --natpf8)
    non_repeating_options=(--name --description --sandbox --console-record --on-panic --memory --vram --firmware --rtc-use-utc --hpet --debug-ports --uart-strict --test-device --pvpanic --virtio-rng --cpus --cpu-profile --cpuid-portability-level --accel --verify-code --deterministic --cpuid-remove --boot1 --boot2 --boot3 --boot4 --kernel --initrd --append --virtio-console --nic1 --nic-type1 --nictype1 --mac-address1 --macaddress1 --cable-connected1 --cableconnected1 --nic-rom1 --nicrom1 --nic-boot-prio1 --nicbootprio1 --nat-net1 --natnet1 --nat-anchor1 --natanchor1 --nat-tftp-prefix1 --nattftpprefix1 --nat-tftp-file1 --nattftpfile1 --bridge-adapter1 --bridgeadapter1 --intnet1 --nic-stream1 --nicstream1 --nic-trace1 --nictrace1 --nic-trace-file1 --nictracefile1 --nic2 --nic-type2 --nictype2 --mac-address2 --macaddress2 --cable-connected2 --cableconnected2 --nic-rom2 --nicrom2 --nic-boot-prio2 --nicbootprio2 --nat-net2 --natnet2 --nat-anchor2 --natanchor2 --nat-tftp-prefix2 --nattftpprefix2 --nat-tftp-file2 --nattftpfile2 --bridge-adapter2 --bridgeadapter2 --intnet2 --nic-stream2 --nicstream2 --nic-trace2 --nictrace2 --nic-trace-file2 --nictracefile2 --nic3 --nic-type3 --nictype3 --mac-address3 --macaddress3 --cable-connected3 --cableconnected3 --nic-rom3 --nicrom3 --nic-boot-prio3 --nicbootprio3 --nat-net3 --natnet3 --nat-anchor3 --natanchor3 --nat-tftp-prefix3 --nattftpprefix3 --nat-tftp-file3 --nattftpfile3 --bridge-adapter3 --bridgeadapter3 --intnet3 --nic-stream3 --nicstream3 --nic-trace3 --nictrace3 --nic-trace-file3 --nictracefile3 --nic4 --nic-type4 --nictype4 --mac-address4 --macaddress4 --cable-connected4 --cableconnected4 --nic-rom4 --nicrom4 --nic-boot-prio4 --nicbootprio4 --nat-net4 --natnet4 --nat-anchor4 --natanchor4 --nat-tftp-prefix4 --nattftpprefix4 --nat-tftp-file4 --nattftpfile4 --bridge-adapter4 --bridgeadapter4 --intnet4 --nic-stream4 --nicstream4 --nic-trace4 --nictrace4 --nic-trace-file4 --nictracefile4 --nic5 --nic-type5 --nictype5 --mac-address5 --macaddress5 --cable-connected5 --cableconnected5 --nic-rom5 --nicrom5 --nic-boot-prio5 --nicbootprio5 --nat-net5 --natnet5 --nat-anchor5 --natanchor5 --nat-tftp-prefix5 --nattftpprefix5 --nat-tftp-file5 --nattftpfile5 --bridge-adapter5 --bridgeadapter5 --intnet5 --nic-stream5 --nicstream5 --nic-trace5 --nictrace5 --nic-trace-file5 --nictracefile5 --nic6 --nic-type6 --nictype6 --mac-address6 --macaddress6 --cable-connected6 --cableconnected6 --nic-rom6 --nicrom6 --nic-boot-prio6 --nicbootprio6 --nat-net6 --natnet6 --nat-anchor6 --natanchor6 --nat-tftp-prefix6 --nattftpprefix6 --nat-tftp-file6 --nattftpfile6 --bridge-adapter6 --bridgeadapter6 --intnet6 --nic-stream6 --nicstream6 --nic-trace6 --nictrace6 --nic-trace-file6 --nictracefile6 --nic7 --nic-type7 --nictype7 --mac-address7 --macaddress7 --cable-connected7 --cableconnected7 --nic-rom7 --nicrom7 --nic-boot-prio7 --nicbootprio7 --nat-net7 --natnet7 --nat-anchor7 --natanchor7 --nat-tftp-prefix7 --nattftpprefix7 --nat-tftp-file7 --nattftpfile7 --bridge-adapter7 --bridgeadapter7 --intnet7 --nic-stream7 --nicstream7 --nic-trace7 --nictrace7 --nic-trace-file7 --nictracefile7 --nic8 --nic-type8 --nictype8 --mac-address8 --macaddress8 --cable-connected8 --cableconnected8 --nic-rom8 --nicrom8 --nic-boot-prio8 --nicbootprio8 --nat-net8 --natnet8 --nat-anchor8 --natanchor8 --nat-tftp-prefix8 --nattftpprefix8 --nat-tftp-file8 --nattftpfile8 --bridge-adapter8 --bridgeadapter8 --intnet8 --nic-stream8 --nicstream8 --nic-trace8 --nictrace8 --nic-trace-file8 --nictracefile8 --vrde --vrde-port --vrdeport --vrde-address --vrdeaddress --vrde-password-file --vrde-web --teleporter --teleporter-port --teleporter-address --teleporter-password --teleporter-password-file --teleporter-witness-command)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--name')
        return
        ;;
    '--description')
        return
        ;;
    '--sandbox')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--console-record')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--on-panic')
        __vmctl_add_completions -W 'none'$'\n''pause'$'\n''reset'$'\n''exit'
        return
        ;;
    '--memory')
        return
        ;;
    '--vram')
        return
        ;;
    '--firmware')
        __vmctl_add_completions -f
        return
        ;;
    '--rtc-use-utc')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--hpet')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--debug-ports')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--uart-strict')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--test-device')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--pvpanic')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--virtio-rng')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--cpus')
        return
        ;;
    '--cpu-profile')
        __vmctl_add_completions -W 'x86-64-v2'$'\n''x86-64-v2-extended'$'\n''i686'
        return
        ;;
    '--cpuid-portability-level')
        return
        ;;
    '--accel')
        __vmctl_add_completions -W 'translator'$'\n''interpreter'
        return
        ;;
    '--verify-code')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--deterministic')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--cpuid-set')
        return
        ;;
    '--cpuid-remove')
        return
        ;;
    '--boot1')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot2')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot3')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot4')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--kernel')
        __vmctl_add_completions -f
        return
        ;;
    '--initrd')
        __vmctl_add_completions -f
        return
        ;;
    '--append')
        return
        ;;
    '--virtio-console')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--virtio-console-mode')
        return
        ;;
    '--uart1')
        return
        ;;
    '--uart-mode1'|'--uartmode1')
        return
        ;;
    '--uart2')
        return
        ;;
    '--uart-mode2'|'--uartmode2')
        return
        ;;
    '--uart3')
        return
        ;;
    '--uart-mode3'|'--uartmode3')
        return
        ;;
    '--uart4')
        return
        ;;
    '--uart-mode4'|'--uartmode4')
        return
        ;;
    '--nic1')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type1'|'--nictype1')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address1'|'--macaddress1')
        return
        ;;
    '--cable-connected1'|'--cableconnected1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom1'|'--nicrom1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio1'|'--nicbootprio1')
        return
        ;;
    '--nat-net1'|'--natnet1')
        return
        ;;
    '--nat-pf1'|'--natpf1')
        return
        ;;
    '--nat-anchor1'|'--natanchor1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix1'|'--nattftpprefix1')
        return
        ;;
    '--nat-tftp-file1'|'--nattftpfile1')
        return
        ;;
    '--bridge-adapter1'|'--bridgeadapter1')
        return
        ;;
    '--intnet1')
        return
        ;;
    '--nic-stream1'|'--nicstream1')
        return
        ;;
    '--nic-trace1'|'--nictrace1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file1'|'--nictracefile1')
        return
        ;;
    '--nic2')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type2'|'--nictype2')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address2'|'--macaddress2')
        return
        ;;
    '--cable-connected2'|'--cableconnected2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom2'|'--nicrom2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio2'|'--nicbootprio2')
        return
        ;;
    '--nat-net2'|'--natnet2')
        return
        ;;
    '--nat-pf2'|'--natpf2')
        return
        ;;
    '--nat-anchor2'|'--natanchor2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix2'|'--nattftpprefix2')
        return
        ;;
    '--nat-tftp-file2'|'--nattftpfile2')
        return
        ;;
    '--bridge-adapter2'|'--bridgeadapter2')
        return
        ;;
    '--intnet2')
        return
        ;;
    '--nic-stream2'|'--nicstream2')
        return
        ;;
    '--nic-trace2'|'--nictrace2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file2'|'--nictracefile2')
        return
        ;;
    '--nic3')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type3'|'--nictype3')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address3'|'--macaddress3')
        return
        ;;
    '--cable-connected3'|'--cableconnected3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom3'|'--nicrom3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio3'|'--nicbootprio3')
        return
        ;;
    '--nat-net3'|'--natnet3')
        return
        ;;
    '--nat-pf3'|'--natpf3')
        return
        ;;
    '--nat-anchor3'|'--natanchor3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix3'|'--nattftpprefix3')
        return
        ;;
    '--nat-tftp-file3'|'--nattftpfile3')
        return
        ;;
    '--bridge-adapter3'|'--bridgeadapter3')
        return
        ;;
    '--intnet3')
        return
        ;;
    '--nic-stream3'|'--nicstream3')
        return
        ;;
    '--nic-trace3'|'--nictrace3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file3'|'--nictracefile3')
        return
        ;;
    '--nic4')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type4'|'--nictype4')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address4'|'--macaddress4')
        return
        ;;
    '--cable-connected4'|'--cableconnected4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom4'|'--nicrom4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio4'|'--nicbootprio4')
        return
        ;;
    '--nat-net4'|'--natnet4')
        return
        ;;
    '--nat-pf4'|'--natpf4')
        return
        ;;
    '--nat-anchor4'|'--natanchor4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix4'|'--nattftpprefix4')
        return
        ;;
    '--nat-tftp-file4'|'--nattftpfile4')
        return
        ;;
    '--bridge-adapter4'|'--bridgeadapter4')
        return
        ;;
    '--intnet4')
        return
        ;;
    '--nic-stream4'|'--nicstream4')
        return
        ;;
    '--nic-trace4'|'--nictrace4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file4'|'--nictracefile4')
        return
        ;;
    '--nic5')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type5'|'--nictype5')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address5'|'--macaddress5')
        return
        ;;
    '--cable-connected5'|'--cableconnected5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom5'|'--nicrom5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio5'|'--nicbootprio5')
        return
        ;;
    '--nat-net5'|'--natnet5')
        return
        ;;
    '--nat-pf5'|'--natpf5')
        return
        ;;
    '--nat-anchor5'|'--natanchor5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix5'|'--nattftpprefix5')
        return
        ;;
    '--nat-tftp-file5'|'--nattftpfile5')
        return
        ;;
    '--bridge-adapter5'|'--bridgeadapter5')
        return
        ;;
    '--intnet5')
        return
        ;;
    '--nic-stream5'|'--nicstream5')
        return
        ;;
    '--nic-trace5'|'--nictrace5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file5'|'--nictracefile5')
        return
        ;;
    '--nic6')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type6'|'--nictype6')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address6'|'--macaddress6')
        return
        ;;
    '--cable-connected6'|'--cableconnected6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom6'|'--nicrom6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio6'|'--nicbootprio6')
        return
        ;;
    '--nat-net6'|'--natnet6')
        return
        ;;
    '--nat-pf6'|'--natpf6')
        return
        ;;
    '--nat-anchor6'|'--natanchor6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix6'|'--nattftpprefix6')
        return
        ;;
    '--nat-tftp-file6'|'--nattftpfile6')
        return
        ;;
    '--bridge-adapter6'|'--bridgeadapter6')
        return
        ;;
    '--intnet6')
        return
        ;;
    '--nic-stream6'|'--nicstream6')
        return
        ;;
    '--nic-trace6'|'--nictrace6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file6'|'--nictracefile6')
        return
        ;;
    '--nic7')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type7'|'--nictype7')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address7'|'--macaddress7')
        return
        ;;
    '--cable-connected7'|'--cableconnected7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom7'|'--nicrom7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio7'|'--nicbootprio7')
        return
        ;;
    '--nat-net7'|'--natnet7')
        return
        ;;
    '--nat-pf7'|'--natpf7')
        return
        ;;
    '--nat-anchor7'|'--natanchor7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix7'|'--nattftpprefix7')
        return
        ;;
    '--nat-tftp-file7'|'--nattftpfile7')
        return
        ;;
    '--bridge-adapter7'|'--bridgeadapter7')
        return
        ;;
    '--intnet7')
        return
        ;;
    '--nic-stream7'|'--nicstream7')
        return
        ;;
    '--nic-trace7'|'--nictrace7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file7'|'--nictracefile7')
        return
        ;;
    '--nic8')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type8'|'--nictype8')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address8'|'--macaddress8')
        return
        ;;
    '--cable-connected8'|'--cableconnected8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom8'|'--nicrom8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio8'|'--nicbootprio8')
        return
        ;;
    '--nat-net8'|'--natnet8')
        return
        ;;
    '--nat-pf8'|'--natpf8')
        return
        ;;
    '--nat-anchor8'|'--natanchor8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix8'|'--nattftpprefix8')
        return
        ;;
    '--nat-tftp-file8'|'--nattftpfile8')
        return
        ;;
    '--bridge-adapter8'|'--bridgeadapter8')
        return
        ;;
    '--intnet8')
        return
        ;;
    '--nic-stream8'|'--nicstream8')
        return
        ;;
    '--nic-trace8'|'--nictrace8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file8'|'--nictracefile8')
        return
        ;;
    '--vrde')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--vrde-port'|'--vrdeport')
        return
        ;;
    '--vrde-address'|'--vrdeaddress')
        return
        ;;
    '--vrde-password-file')
        __vmctl_add_completions -f
        return
        ;;
    '--vrde-web')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--teleporter')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--teleporter-port')
        return
        ;;
    '--teleporter-address')
        return
        ;;
    '--teleporter-password')
        return
        ;;
    '--teleporter-password-file')
        __vmctl_add_completions -f
        return
        ;;
    '--teleporter-witness-command')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion modifyvm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_list() {
    repeating_flags=()
    non_repeating_flags=(-l --long -s --sorted --version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W 'vms'$'\n''runningvms'$'\n''anchors'$'\n''cpu-profiles'$'\n''hostinfo'$'\n''uart-modes'$'\n''ostypes'$'\n''hdds'$'\n''dvds'$'\n''floppies'$'\n''systemproperties'
        return
        ;;
    esac
}

_vmctl_showvminfo() {
    repeating_flags=()
    non_repeating_flags=(--machinereadable --details --version -h --help)
    repeating_options=()
    non_repeating_options=(--format --log)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--log')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion showvminfo -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_snapshot() {
    repeating_flags=()
    non_repeating_flags=(--current --details --machinereadable --live --version -h --help)
    repeating_options=()
    non_repeating_options=(--description --name --format)
    __vmctl_offer_flags_options 3

    # Offer option value completions
    case "${prev}" in
    '--description')
        return
        ;;
    '--name')
        return
        ;;
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion snapshot -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    2)
        __vmctl_add_completions -W 'take'$'\n''restore'$'\n''restorecurrent'$'\n''delete'$'\n''list'$'\n''edit'$'\n''showvminfo'
        return
        ;;
    esac
}

_vmctl_createmedium() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--filename --size --sizebyte --format --variant --diffparent)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--filename')
        __vmctl_add_completions -f
        return
        ;;
    '--size')
        return
        ;;
    '--sizebyte')
        return
        ;;
    '--format')
        __vmctl_add_completions -W 'raw'$'\n''qcow2'
        return
        ;;
    '--variant')
        __vmctl_add_completions -W 'Standard'$'\n''Fixed'
        return
        ;;
    '--diffparent')
        __vmctl_add_completions -f
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W 'disk'$'\n''floppy'
        return
        ;;
    esac
}

_vmctl_showmediuminfo() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_modifymedium() {
    repeating_flags=()
    non_repeating_flags=(--compact --version -h --help)
    repeating_options=()
    non_repeating_options=(--resize)
    __vmctl_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '--resize')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    *)
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_storagectl() {
    repeating_flags=()
    non_repeating_flags=(--remove --version -h --help)
    repeating_options=()
    non_repeating_options=(--name --add --controller --bootable --hostiocache --portcount)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--name')
        return
        ;;
    '--add')
        __vmctl_add_completions -W 'ide'$'\n''virtio'$'\n''floppy'
        return
        ;;
    '--controller')
        return
        ;;
    '--bootable')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--hostiocache')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--portcount')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion storagectl -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_storageattach() {
    repeating_flags=()
    non_repeating_flags=(--forceunmount --version -h --help)
    repeating_options=()
    non_repeating_options=(--storagectl --port --device --type --medium --mtype --tempeject --nonrotational --discard --format)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--storagectl')
        return
        ;;
    '--port')
        return
        ;;
    '--device')
        return
        ;;
    '--type')
        __vmctl_add_completions -W 'hdd'$'\n''dvddrive'$'\n''fdd'
        return
        ;;
    '--medium')
        __vmctl_add_completions -f
        return
        ;;
    '--mtype')
        __vmctl_add_completions -W 'normal'$'\n''readonly'
        return
        ;;
    '--tempeject')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nonrotational')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--discard')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--format')
        __vmctl_add_completions -W 'raw'$'\n''qcow2'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion storageattach -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_startvm() {
    repeating_flags=()
    non_repeating_flags=(--foreground --force --version -h --help)
    repeating_options=()
    non_repeating_options=(--type --wait --timeout)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--type')
        __vmctl_add_completions -W 'headless'$'\n''gui'$'\n''sdl'$'\n''separate'
        return
        ;;
    '--wait')
        return
        ;;
    '--timeout')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion startvm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_run() {
    repeating_flags=()
    non_repeating_flags=(--cpuid-remove-all --version -h --help)
    repeating_options=(--disk --cpuid-set --nat-pf1 --natpf1 --nat-pf2 --natpf2 --nat-pf3 --natpf3 --nat-pf4 --natpf4 --nat-pf5 --natpf5 --nat-pf6 --natpf6 --nat-pf7 --natpf7 --nat-pf8 --natpf8)
    non_repeating_options=(--cdrom --fda --fdb --expect --timeout --on-reboot --gdb --gdb-architecture --trace --trace-events --trace-range --trace-limit --name --description --sandbox --console-record --on-panic --memory --vram --firmware --rtc-use-utc --hpet --debug-ports --uart-strict --test-device --pvpanic --virtio-rng --cpus --cpu-profile --cpuid-portability-level --accel --verify-code --deterministic --cpuid-remove --boot1 --boot2 --boot3 --boot4 --kernel --initrd --append --nic1 --nic-type1 --nictype1 --mac-address1 --macaddress1 --cable-connected1 --cableconnected1 --nic-rom1 --nicrom1 --nic-boot-prio1 --nicbootprio1 --nat-net1 --natnet1 --nat-anchor1 --natanchor1 --nat-tftp-prefix1 --nattftpprefix1 --nat-tftp-file1 --nattftpfile1 --bridge-adapter1 --bridgeadapter1 --intnet1 --nic-stream1 --nicstream1 --nic-trace1 --nictrace1 --nic-trace-file1 --nictracefile1 --nic2 --nic-type2 --nictype2 --mac-address2 --macaddress2 --cable-connected2 --cableconnected2 --nic-rom2 --nicrom2 --nic-boot-prio2 --nicbootprio2 --nat-net2 --natnet2 --nat-anchor2 --natanchor2 --nat-tftp-prefix2 --nattftpprefix2 --nat-tftp-file2 --nattftpfile2 --bridge-adapter2 --bridgeadapter2 --intnet2 --nic-stream2 --nicstream2 --nic-trace2 --nictrace2 --nic-trace-file2 --nictracefile2 --nic3 --nic-type3 --nictype3 --mac-address3 --macaddress3 --cable-connected3 --cableconnected3 --nic-rom3 --nicrom3 --nic-boot-prio3 --nicbootprio3 --nat-net3 --natnet3 --nat-anchor3 --natanchor3 --nat-tftp-prefix3 --nattftpprefix3 --nat-tftp-file3 --nattftpfile3 --bridge-adapter3 --bridgeadapter3 --intnet3 --nic-stream3 --nicstream3 --nic-trace3 --nictrace3 --nic-trace-file3 --nictracefile3 --nic4 --nic-type4 --nictype4 --mac-address4 --macaddress4 --cable-connected4 --cableconnected4 --nic-rom4 --nicrom4 --nic-boot-prio4 --nicbootprio4 --nat-net4 --natnet4 --nat-anchor4 --natanchor4 --nat-tftp-prefix4 --nattftpprefix4 --nat-tftp-file4 --nattftpfile4 --bridge-adapter4 --bridgeadapter4 --intnet4 --nic-stream4 --nicstream4 --nic-trace4 --nictrace4 --nic-trace-file4 --nictracefile4 --nic5 --nic-type5 --nictype5 --mac-address5 --macaddress5 --cable-connected5 --cableconnected5 --nic-rom5 --nicrom5 --nic-boot-prio5 --nicbootprio5 --nat-net5 --natnet5 --nat-anchor5 --natanchor5 --nat-tftp-prefix5 --nattftpprefix5 --nat-tftp-file5 --nattftpfile5 --bridge-adapter5 --bridgeadapter5 --intnet5 --nic-stream5 --nicstream5 --nic-trace5 --nictrace5 --nic-trace-file5 --nictracefile5 --nic6 --nic-type6 --nictype6 --mac-address6 --macaddress6 --cable-connected6 --cableconnected6 --nic-rom6 --nicrom6 --nic-boot-prio6 --nicbootprio6 --nat-net6 --natnet6 --nat-anchor6 --natanchor6 --nat-tftp-prefix6 --nattftpprefix6 --nat-tftp-file6 --nattftpfile6 --bridge-adapter6 --bridgeadapter6 --intnet6 --nic-stream6 --nicstream6 --nic-trace6 --nictrace6 --nic-trace-file6 --nictracefile6 --nic7 --nic-type7 --nictype7 --mac-address7 --macaddress7 --cable-connected7 --cableconnected7 --nic-rom7 --nicrom7 --nic-boot-prio7 --nicbootprio7 --nat-net7 --natnet7 --nat-anchor7 --natanchor7 --nat-tftp-prefix7 --nattftpprefix7 --nat-tftp-file7 --nattftpfile7 --bridge-adapter7 --bridgeadapter7 --intnet7 --nic-stream7 --nicstream7 --nic-trace7 --nictrace7 --nic-trace-file7 --nictracefile7 --nic8 --nic-type8 --nictype8 --mac-address8 --macaddress8 --cable-connected8 --cableconnected8 --nic-rom8 --nicrom8 --nic-boot-prio8 --nicbootprio8 --nat-net8 --natnet8 --nat-anchor8 --natanchor8 --nat-tftp-prefix8 --nattftpprefix8 --nat-tftp-file8 --nattftpfile8 --bridge-adapter8 --bridgeadapter8 --intnet8 --nic-stream8 --nicstream8 --nic-trace8 --nictrace8 --nic-trace-file8 --nictracefile8)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--disk')
        __vmctl_add_completions -f
        return
        ;;
    '--cdrom')
        __vmctl_add_completions -f
        return
        ;;
    '--fda')
        __vmctl_add_completions -f
        return
        ;;
    '--fdb')
        __vmctl_add_completions -f
        return
        ;;
    '--expect')
        return
        ;;
    '--timeout')
        return
        ;;
    '--on-reboot')
        __vmctl_add_completions -W 'exit'$'\n''reset'
        return
        ;;
    '--gdb')
        return
        ;;
    '--gdb-architecture')
        __vmctl_add_completions -W 'x86-64'$'\n''i386'$'\n''i8086'
        return
        ;;
    '--trace')
        __vmctl_add_completions -f
        return
        ;;
    '--trace-events')
        return
        ;;
    '--trace-range')
        return
        ;;
    '--trace-limit')
        return
        ;;
    '--name')
        return
        ;;
    '--description')
        return
        ;;
    '--sandbox')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--console-record')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--on-panic')
        __vmctl_add_completions -W 'none'$'\n''pause'$'\n''reset'$'\n''exit'
        return
        ;;
    '--memory')
        return
        ;;
    '--vram')
        return
        ;;
    '--firmware')
        __vmctl_add_completions -f
        return
        ;;
    '--rtc-use-utc')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--hpet')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--debug-ports')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--uart-strict')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--test-device')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--pvpanic')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--virtio-rng')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--cpus')
        return
        ;;
    '--cpu-profile')
        __vmctl_add_completions -W 'x86-64-v2'$'\n''x86-64-v2-extended'$'\n''i686'
        return
        ;;
    '--cpuid-portability-level')
        return
        ;;
    '--accel')
        __vmctl_add_completions -W 'translator'$'\n''interpreter'
        return
        ;;
    '--verify-code')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--deterministic')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--cpuid-set')
        return
        ;;
    '--cpuid-remove')
        return
        ;;
    '--boot1')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot2')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot3')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--boot4')
        __vmctl_add_completions -W 'none'$'\n''floppy'$'\n''dvd'$'\n''disk'$'\n''net'
        return
        ;;
    '--kernel')
        __vmctl_add_completions -f
        return
        ;;
    '--initrd')
        __vmctl_add_completions -f
        return
        ;;
    '--append')
        return
        ;;
    '--nic1')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type1'|'--nictype1')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address1'|'--macaddress1')
        return
        ;;
    '--cable-connected1'|'--cableconnected1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom1'|'--nicrom1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio1'|'--nicbootprio1')
        return
        ;;
    '--nat-net1'|'--natnet1')
        return
        ;;
    '--nat-pf1'|'--natpf1')
        return
        ;;
    '--nat-anchor1'|'--natanchor1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix1'|'--nattftpprefix1')
        return
        ;;
    '--nat-tftp-file1'|'--nattftpfile1')
        return
        ;;
    '--bridge-adapter1'|'--bridgeadapter1')
        return
        ;;
    '--intnet1')
        return
        ;;
    '--nic-stream1'|'--nicstream1')
        return
        ;;
    '--nic-trace1'|'--nictrace1')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file1'|'--nictracefile1')
        return
        ;;
    '--nic2')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type2'|'--nictype2')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address2'|'--macaddress2')
        return
        ;;
    '--cable-connected2'|'--cableconnected2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom2'|'--nicrom2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio2'|'--nicbootprio2')
        return
        ;;
    '--nat-net2'|'--natnet2')
        return
        ;;
    '--nat-pf2'|'--natpf2')
        return
        ;;
    '--nat-anchor2'|'--natanchor2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix2'|'--nattftpprefix2')
        return
        ;;
    '--nat-tftp-file2'|'--nattftpfile2')
        return
        ;;
    '--bridge-adapter2'|'--bridgeadapter2')
        return
        ;;
    '--intnet2')
        return
        ;;
    '--nic-stream2'|'--nicstream2')
        return
        ;;
    '--nic-trace2'|'--nictrace2')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file2'|'--nictracefile2')
        return
        ;;
    '--nic3')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type3'|'--nictype3')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address3'|'--macaddress3')
        return
        ;;
    '--cable-connected3'|'--cableconnected3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom3'|'--nicrom3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio3'|'--nicbootprio3')
        return
        ;;
    '--nat-net3'|'--natnet3')
        return
        ;;
    '--nat-pf3'|'--natpf3')
        return
        ;;
    '--nat-anchor3'|'--natanchor3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix3'|'--nattftpprefix3')
        return
        ;;
    '--nat-tftp-file3'|'--nattftpfile3')
        return
        ;;
    '--bridge-adapter3'|'--bridgeadapter3')
        return
        ;;
    '--intnet3')
        return
        ;;
    '--nic-stream3'|'--nicstream3')
        return
        ;;
    '--nic-trace3'|'--nictrace3')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file3'|'--nictracefile3')
        return
        ;;
    '--nic4')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type4'|'--nictype4')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address4'|'--macaddress4')
        return
        ;;
    '--cable-connected4'|'--cableconnected4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom4'|'--nicrom4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio4'|'--nicbootprio4')
        return
        ;;
    '--nat-net4'|'--natnet4')
        return
        ;;
    '--nat-pf4'|'--natpf4')
        return
        ;;
    '--nat-anchor4'|'--natanchor4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix4'|'--nattftpprefix4')
        return
        ;;
    '--nat-tftp-file4'|'--nattftpfile4')
        return
        ;;
    '--bridge-adapter4'|'--bridgeadapter4')
        return
        ;;
    '--intnet4')
        return
        ;;
    '--nic-stream4'|'--nicstream4')
        return
        ;;
    '--nic-trace4'|'--nictrace4')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file4'|'--nictracefile4')
        return
        ;;
    '--nic5')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type5'|'--nictype5')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address5'|'--macaddress5')
        return
        ;;
    '--cable-connected5'|'--cableconnected5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom5'|'--nicrom5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio5'|'--nicbootprio5')
        return
        ;;
    '--nat-net5'|'--natnet5')
        return
        ;;
    '--nat-pf5'|'--natpf5')
        return
        ;;
    '--nat-anchor5'|'--natanchor5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix5'|'--nattftpprefix5')
        return
        ;;
    '--nat-tftp-file5'|'--nattftpfile5')
        return
        ;;
    '--bridge-adapter5'|'--bridgeadapter5')
        return
        ;;
    '--intnet5')
        return
        ;;
    '--nic-stream5'|'--nicstream5')
        return
        ;;
    '--nic-trace5'|'--nictrace5')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file5'|'--nictracefile5')
        return
        ;;
    '--nic6')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type6'|'--nictype6')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address6'|'--macaddress6')
        return
        ;;
    '--cable-connected6'|'--cableconnected6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom6'|'--nicrom6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio6'|'--nicbootprio6')
        return
        ;;
    '--nat-net6'|'--natnet6')
        return
        ;;
    '--nat-pf6'|'--natpf6')
        return
        ;;
    '--nat-anchor6'|'--natanchor6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix6'|'--nattftpprefix6')
        return
        ;;
    '--nat-tftp-file6'|'--nattftpfile6')
        return
        ;;
    '--bridge-adapter6'|'--bridgeadapter6')
        return
        ;;
    '--intnet6')
        return
        ;;
    '--nic-stream6'|'--nicstream6')
        return
        ;;
    '--nic-trace6'|'--nictrace6')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file6'|'--nictracefile6')
        return
        ;;
    '--nic7')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type7'|'--nictype7')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address7'|'--macaddress7')
        return
        ;;
    '--cable-connected7'|'--cableconnected7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom7'|'--nicrom7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio7'|'--nicbootprio7')
        return
        ;;
    '--nat-net7'|'--natnet7')
        return
        ;;
    '--nat-pf7'|'--natpf7')
        return
        ;;
    '--nat-anchor7'|'--natanchor7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix7'|'--nattftpprefix7')
        return
        ;;
    '--nat-tftp-file7'|'--nattftpfile7')
        return
        ;;
    '--bridge-adapter7'|'--bridgeadapter7')
        return
        ;;
    '--intnet7')
        return
        ;;
    '--nic-stream7'|'--nicstream7')
        return
        ;;
    '--nic-trace7'|'--nictrace7')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file7'|'--nictracefile7')
        return
        ;;
    '--nic8')
        __vmctl_add_completions -W 'none'$'\n''null'$'\n''nat'$'\n''bridged'$'\n''intnet'$'\n''stream'
        return
        ;;
    '--nic-type8'|'--nictype8')
        __vmctl_add_completions -W '82540EM'$'\n''virtio'$'\n''Am79C973'$'\n''NE2000PCI'$'\n''NE2000ISA'
        return
        ;;
    '--mac-address8'|'--macaddress8')
        return
        ;;
    '--cable-connected8'|'--cableconnected8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-rom8'|'--nicrom8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-boot-prio8'|'--nicbootprio8')
        return
        ;;
    '--nat-net8'|'--natnet8')
        return
        ;;
    '--nat-pf8'|'--natpf8')
        return
        ;;
    '--nat-anchor8'|'--natanchor8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nat-tftp-prefix8'|'--nattftpprefix8')
        return
        ;;
    '--nat-tftp-file8'|'--nattftpfile8')
        return
        ;;
    '--bridge-adapter8'|'--bridgeadapter8')
        return
        ;;
    '--intnet8')
        return
        ;;
    '--nic-stream8'|'--nicstream8')
        return
        ;;
    '--nic-trace8'|'--nictrace8')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--nic-trace-file8'|'--nictracefile8')
        return
        ;;
    esac
}

_vmctl_controlvm() {
    repeating_flags=()
    non_repeating_flags=(--check --version -h --help)
    repeating_options=()
    non_repeating_options=(--host -p --port -d --maxdowntime --password --passwordfile --timeout)
    __vmctl_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '--host')
        return
        ;;
    '-p'|'--port')
        return
        ;;
    '-d'|'--maxdowntime')
        return
        ;;
    '--password')
        return
        ;;
    '--passwordfile')
        __vmctl_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion controlvm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    2)
        __vmctl_add_completions -W 'pause'$'\n''resume'$'\n''reset'$'\n''poweroff'$'\n''acpipowerbutton'$'\n''injectnmi'$'\n''savestate'$'\n''screenshotpng'$'\n''keyboardputscancode'$'\n''keyboardputstring'$'\n''sendbreak'$'\n''teleport'$'\n''resolveteleport'$'\n''unprotect'$'\n''failover'$'\n''setlinkstate1'$'\n''setlinkstate2'$'\n''setlinkstate3'$'\n''setlinkstate4'$'\n''setlinkstate5'$'\n''setlinkstate6'$'\n''setlinkstate7'$'\n''setlinkstate8'$'\n''natpf1'$'\n''natpf2'$'\n''natpf3'$'\n''natpf4'$'\n''natpf5'$'\n''natpf6'$'\n''natpf7'$'\n''natpf8'$'\n''nictrace1'$'\n''nictrace2'$'\n''nictrace3'$'\n''nictrace4'$'\n''nictrace5'$'\n''nictrace6'$'\n''nictrace7'$'\n''nictrace8'$'\n''nictracefile1'$'\n''nictracefile2'$'\n''nictracefile3'$'\n''nictracefile4'$'\n''nictracefile5'$'\n''nictracefile6'$'\n''nictracefile7'$'\n''nictracefile8'
        return
        ;;
    *)
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_receive() {
    repeating_flags=()
    non_repeating_flags=(--once --systemd --version -h --help)
    repeating_options=()
    non_repeating_options=(--address -p --port --passwordfile)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--address')
        return
        ;;
    '-p'|'--port')
        return
        ;;
    '--passwordfile')
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_discardstate() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion discardstate -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_adoptstate() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 2

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion adoptstate -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    2)
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_console() {
    repeating_flags=()
    non_repeating_flags=(--virtio --break --version -h --help)
    repeating_options=()
    non_repeating_options=(--uart)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--uart')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion console -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_remus() {
    repeating_flags=()
    non_repeating_flags=(-u --no-compression -e -F -b --blackhole -n --no-net -d --once --version -h --help)
    repeating_options=()
    non_repeating_options=(-i --interval -s -N -p --port --witness --passwordfile --reprotect)
    __vmctl_offer_flags_options 2

    # Offer option value completions
    case "${prev}" in
    '-i'|'--interval')
        return
        ;;
    '-s')
        return
        ;;
    '-N')
        __vmctl_add_completions -f
        return
        ;;
    '-p'|'--port')
        return
        ;;
    '--witness')
        return
        ;;
    '--passwordfile')
        __vmctl_add_completions -f
        return
        ;;
    '--reprotect')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion remus -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_view() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion view -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_events() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion events -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_debugvm() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--format --port --socket --architecture --events --range --limit)
    __vmctl_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--port')
        return
        ;;
    '--socket')
        __vmctl_add_completions -f
        return
        ;;
    '--architecture')
        __vmctl_add_completions -W 'x86-64'$'\n''i386'$'\n''i8086'
        return
        ;;
    '--events')
        return
        ;;
    '--range')
        return
        ;;
    '--limit')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion debugvm -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    2)
        __vmctl_add_completions -W 'getregisters'$'\n''info'$'\n''log'$'\n''statistics'$'\n''block'$'\n''sandbox'$'\n''gdbserver'$'\n''state'$'\n''trace'
        return
        ;;
    3)
        __vmctl_add_completions -f
        return
        ;;
    *)
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_service() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    add|remove|start|stop|restart|enable|disable|status|list|alert|events|config|install-names)
        # Offer subcommand argument completions
        "_vmctl_service_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'add remove start stop restart enable disable status list alert events config install-names' -- "${cur}"))
        ;;
    esac
}

_vmctl_service_add() {
    repeating_flags=()
    non_repeating_flags=(--system --user --version -h --help)
    repeating_options=(--after)
    non_repeating_options=(--autoboot --restart --stop-script --pre-start --status-script --stop-timeout --stop-mode --offloads --log-alerts)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--autoboot')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--restart')
        __vmctl_add_completions -W 'on'$'\n''off'
        return
        ;;
    '--stop-script')
        __vmctl_add_completions -f
        return
        ;;
    '--pre-start')
        __vmctl_add_completions -f
        return
        ;;
    '--status-script')
        __vmctl_add_completions -f
        return
        ;;
    '--stop-timeout')
        return
        ;;
    '--stop-mode')
        __vmctl_add_completions -W 'savestate'$'\n''acpi'$'\n''poweroff'
        return
        ;;
    '--after')
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service add -- --after "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    '--offloads')
        __vmctl_add_completions -W 'auto'$'\n''off'$'\n''keep'
        return
        ;;
    '--log-alerts')
        __vmctl_add_completions -W 'off'$'\n''info'$'\n''notice'$'\n''warning'$'\n''error'$'\n''critical'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service add -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_remove() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service remove -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_start() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service start -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_stop() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service stop -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_restart() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service restart -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_enable() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service enable -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_disable() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service disable -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_status() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctl_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service status -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_list() {
    repeating_flags=()
    non_repeating_flags=(-l --long --version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac
}

_vmctl_service_alert() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 3

    # Offer positional completions
    case "${positional_number}" in
    2)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service alert -- positional@1 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_events() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 0
}

_vmctl_service_config() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion service config -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_service_install-names() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -d
        return
        ;;
    esac
}

_vmctl_menu() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 0
}

_vmctl_top() {
    repeating_flags=()
    non_repeating_flags=(--once --version -h --help)
    repeating_options=()
    non_repeating_options=(-d --interval -n --count --format)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '-d'|'--interval')
        return
        ;;
    '-n'|'--count')
        return
        ;;
    '--format')
        __vmctl_add_completions -W 'table'$'\n''json'
        return
        ;;
    esac
}

_vmctl_status() {
    repeating_flags=()
    non_repeating_flags=(--ocf --version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options 1

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctl_add_completions -W "$(__vmctl_custom_complete ---completion status -- positional@0 "${COMP_CWORD}" "$(__vmctl_cursor_index_in_current_word)")"
        return
        ;;
    esac
}

_vmctl_metrics() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--listen --textfile)
    __vmctl_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--listen')
        return
        ;;
    '--textfile')
        __vmctl_add_completions -f
        return
        ;;
    esac
}

_vmctl_help() {
    repeating_flags=()
    non_repeating_flags=(--version)
    repeating_options=()
    non_repeating_options=()
    __vmctl_offer_flags_options -1
}

complete -o filenames -F _vmctl vmctl
