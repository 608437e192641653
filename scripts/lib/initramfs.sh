# Sourced by the scripts that build guests.

# pack_archive FOLDER: what is in it as an uncompressed cpio archive. The same files with the same times give the same
# bytes.
pack_archive() {
  (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
    cpio --null --create --format=newc --reproducible --owner=0:0 --quiet)
}

# make_initramfs BUSYBOX ARCHITECTURE OUTPUT: an uncompressed initramfs of BusyBox, firmware/workload's programs for the
# architecture (amd64 or i386) and its init. The same input gives the same bytes.
make_initramfs() {
  local busybox=$1 architecture=$2 output=$3 root files
  files=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../firmware/workload" && pwd)
  root=$(mktemp -d)
  mkdir -p "$root/bin"
  install -m 755 "$busybox" "$root/bin/busybox"
  install -m 755 "$files/init" "$root/init"
  install -m 755 "$files/benchmark" "$root/bin/benchmark"
  install -m 755 "$files/memcheck-$architecture" "$root/bin/memcheck"
  install -m 755 "$files/compute-$architecture" "$root/bin/compute"
  find "$root" -exec touch -h -d @0 {} +
  pack_archive "$root" >"$output.new"
  mv "$output.new" "$output"
  rm -rf "$root"
}

# make_load_initramfs INITRAMFS TREE OUTPUT: the initramfs with firmware/workload/compile-load in /bin, and TREE as /tree.
make_load_initramfs() {
  local root files
  files=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../firmware/workload" && pwd)
  root=$(mktemp -d)
  mkdir -p "$root/bin"
  install -m 755 "$files/compile-load" "$root/bin/compile-load"
  cp -r "$2/." "$root/tree"
  # The kernel unpacks one archive after the other.
  {
    cat "$1"
    pack_archive "$root"
  } >"$3"
  rm -rf "$root"
}

# make_speed_initramfs BUSYBOX PROGRAMS OUTPUT: the one of scripts/benchmark-speed.
make_speed_initramfs() {
  local root files
  files=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../Benchmarks/speed" && pwd)
  root=$(mktemp -d)
  mkdir -p "$root/bin"
  install -m 755 "$1" "$root/bin/busybox"
  install -m 755 "$2/speed64" "$2/speed32" "$root/bin"
  install -m 755 "$files/init" "$root/init"
  pack_archive "$root" >"$3"
  rm -rf "$root"
}
