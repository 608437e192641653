import Foundation
import Testing

/// The board's ACPI, MP and SMBIOS tables as Debian's kernels read them.
@Suite(.enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
struct BoardTableTests {
  @Test(
    "a kernel without ACPI finds every CPU in the MP table",
    // Debian's kernel for the cloud does not read the table.
    arguments: ["di-i386"].filter { Guests.has($0) })
  func processors(_ kernel: String) throws {
    let host = try TestHost()
    let console = try host.startLinux(
      "box", kernel: kernel, append: "acpi=off workload=0", ["--cpus", "2"])
    #expect(try console.shell("nproc") == "2\n")
    #expect(try console.shell("dmesg | grep -c 'MPTABLE: OEM ID: VMCTL'") == "1\n")
    #expect(try console.shell("grep -c IO-APIC /proc/interrupts | grep -cv '^0$'") == "1\n")
  }

  @Test("a kernel takes the machine's ACPI tables without a complaint, and finds its CPUs, timer and serial ports")
  func acpi() throws {
    let host = try TestHost()
    let console = try host.startLinux(
      "box", append: "workload=0", ["--cpus", "2", "--uart2", "0x2F8", "3"])
    #expect(try console.shell("nproc") == "2\n")
    #expect(try console.shell("dmesg | grep -iE 'acpi.*(error|warning|exception)|bios (bug|error)|firmware bug'") == "")
    let tables = try console.shell("ls /sys/firmware/acpi/tables | tr '\\n' ' '")
    for name in ["APIC", "DSDT", "FACP", "FACS", "HPET"] { #expect(tables.contains(name), "\(tables)") }
    #expect(try console.shell("dmesg | grep -c 'DSDT.*VMCTL'") == "1\n")
    #expect(try console.shell("dmesg | grep -c 'ACPI: PM: (supports S0 S5)'") == "1\n")
    #expect(try console.shell("ls /sys/bus/pnp/devices | wc -l").filter(\.isNumber) != "0")
    try console.send("poweroff -f\n")
    try host.waitForState("box", "poweroff")
  }

  @Test("the machine says who it is: the definition's UUID, its maker, its memory")
  func identity() throws {
    let host = try TestHost()
    let console = try host.startLinux("box", memory: 512, append: "workload=0")
    func fact(_ name: String) throws -> String { try console.shell("cat /sys/class/dmi/id/\(name)") }
    let info = try host.vmctl("showvminfo", "box", "--machinereadable")
    let line = try #require(info.split(separator: "\n").first { $0.hasPrefix("UUID=") })
    let uuid = line.dropFirst("UUID=".count).filter { $0 != "\"" }
    #expect(try fact("sys_vendor") == "vmctl\n")
    #expect(try fact("product_uuid") == uuid + "\n")
    #expect(try fact("product_serial") == uuid + "\n")
    // The memory device's size in MiB lies 12 bytes into the structure of type 17.
    let raw = "/sys/firmware/dmi/entries/17-0/raw"
    if try console.shell("ls \(raw) 2>/dev/null").contains("raw") {
      #expect(try console.shell("od -An -tu2 -j12 -N2 \(raw) | tr -d ' '") == "512\n")
    }
  }
}
