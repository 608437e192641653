#!/usr/bin/env bash
# Runs the guests under QEMU and compares what they print with NAME.expected.
#
#   firmware/guests/run-under-qemu.sh [--update] [NAME...]     default: all that have an .expected file
#
# Each runs twice: as a BIOS image (NAME.rom) and as a multiboot file (NAME.elf). --update writes NAME.expected.
set -euo pipefail
cd "$(dirname "$0")"
update=
if [ "${1:-}" = --update ]; then update=1; shift; fi
names=("$@")
if [ ${#names[@]} = 0 ]; then
  for file in *.expected; do names+=("${file%.expected}"); done
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
for name in "${names[@]}"; do
  for form in rom elf; do
    [ -f "$name.$form" ] || continue
    arguments=(-m 64 -nodefaults -display none -serial "file:$work/serial" -debugcon "file:$work/debug" -cpu max
      -device isa-debug-exit,iobase=0xf4,iosize=1 -no-shutdown)
    case $form in
      rom) arguments+=(-bios "$name.rom") ;;
      elf) arguments+=(-kernel "$name.elf") ;;
    esac
    case $name in
      # walks for ever unless told otherwise, which only the multiboot form can be
      walker*) if [ $form = rom ]; then continue; fi; arguments+=(-append "pages=3000 beats=4") ;;
    esac
    case $name in
      disk* | walker-dma* | pci*)
        head -c 16777216 /dev/zero >"$work/disk"
        arguments+=(-drive "file=$work/disk,format=raw,if=ide,index=0")
        ;;
    esac
    case $name in
      pcnet-rings*) arguments+=(-nic user,model=pcnet) ;;
      ne2000-rings*) arguments+=(-nic user,model=ne2k_pci) ;;
      # QEMU 7.2 fails an assertion over the one, and over the other its card does not come to itself again.
      virtio-rings* | e1000-rings*) continue ;;
    esac
    case $name in
      cdrom*)
        for block in $(seq 0 63); do printf '%2048s' "block $block "; done >"$work/cdrom"
        arguments+=(-drive "file=$work/cdrom,format=raw,if=ide,index=2,media=cdrom")
        ;;
    esac
    case $name.$form in
      multiboot32.elf)
        # by the project's own boot ROM
        printf 'module content' >"$work/module"
        arguments=("${arguments[@]/-kernel/-option-rom}")
        arguments=("${arguments[@]/multiboot32.elf/../boot/vmctl-boot.bin,bootindex=0}")
        printf 'another module' >"$work/module2"
        arguments+=(-fw_cfg "name=opt/vmctl/kernel,file=$name.elf" -fw_cfg "name=opt/vmctl/kernel-name,string=$name.elf"
          -fw_cfg "name=opt/vmctl/module/0,file=$work/module" -fw_cfg "name=opt/vmctl/module-line/0,string=module one"
          -fw_cfg "name=opt/vmctl/module/1,file=$work/module2" -fw_cfg "name=opt/vmctl/module-line/1,string=module2 two"
          -fw_cfg name=opt/vmctl/cmdline,string=answer=42)
        ;;
      multiboot32.rom) continue ;;
      low.elf | high.elf)
        arguments=("${arguments[@]/-kernel/-option-rom}")
        arguments=("${arguments[@]/$name.elf/../boot/vmctl-boot.bin,bootindex=0}")
        arguments+=(-fw_cfg "name=opt/vmctl/kernel,file=$name.elf")
        ;;
    esac
    case $name in
      # ends by ACPI power-off: QEMU's own status is 0
      poweroff*) arguments=("${arguments[@]/-no-shutdown/-no-reboot}"); expected_status=0 ;;
      *) expected_status=1 ;;
    esac
    code=0
    : >"$work/debug"
    timeout "${GUEST_TIMEOUT:-30}" nice qemu-system-x86_64 "${arguments[@]}" >"$work/out" 2>&1 || code=$?
    if [ -n "$update" ]; then cp "$work/debug" "$name.expected"; fi
    # Firmware, where there is one, writes to the debug port and COM1 too: what counts is the guest's own text, at the end.
    lines=$(wc -l <"$name.expected")
    if [ "$code" = "$expected_status" ] && tail -n "$lines" "$work/debug" | cmp -s - "$name.expected"; then
      echo "ok $name.$form"
    else
      echo "FAIL $name.$form (status $code, $((code >> 1)) from the guest)"
      cat "$work/out"
      diff "$name.expected" "$work/debug" || true
      status=1
    fi
  done
done
exit $status
