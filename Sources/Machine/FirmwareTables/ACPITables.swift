/// The ACPI tables of the board, as files for the firmware to place.
///
/// The root pointer is of ACPI 1.0, with an RSDT, so that every system finds it; the FADT is that of ACPI 2.0.
///
/// Source: ACPI Specification 2.0, 5.2; IA-PC HPET Specification 1.0a, 3.2.4.
struct ACPITables {
  static let tablesFile = "etc/acpi/tables"
  static let rootFile = "etc/acpi/rsdp"

  /// The contents of `etc/acpi/tables`: FACS, DSDT, FADT, MADT, HPET, RSDT, with offsets in place of addresses.
  private(set) var tables = TableBytes()
  /// The contents of `etc/acpi/rsdp`.
  private(set) var root = TableBytes()

  static let sciInterrupt: UInt8 = 9
  static let ioAPICAddress: UInt32 = 0xFEC0_0000
  static let localAPICAddress: UInt32 = 0xFEE0_0000
  static let hpetAddress: UInt64 = 0xFED0_0000

  /// - Parameters:
  ///   - powerBase: first port of the power management block, as the firmware has set it.
  ///   - loader: gets the commands that place and complete the tables.
  init(_ board: DSDT.Board, powerBase: UInt16, loader: inout TableLoader) {
    let file = Self.tablesFile
    loader.allocate(Self.rootFile, alignment: 16, zone: .fSegment)
    loader.allocate(file, alignment: 64, zone: .high)

    let facs = tables.count
    appendFACS()
    let dsdt = add("DSDT", revision: 1, &loader) { $0.append(DSDT.body(board)) }
    let fadt = add("FACP", revision: 3, &loader) { Self.fadt(&$0, powerBase: powerBase, facs: facs, dsdt: dsdt) }
    for (offset, size) in [(36, 4), (40, 4), (132, 8), (140, 8)] as [(Int, UInt8)] {
      loader.addPointer(in: file, at: fadt + offset, size: size, to: file)
    }
    var listed = [fadt, add("APIC", revision: 1, &loader) { Self.madt(&$0, cpus: board.cpus) }]
    if board.hasHPET { listed.append(add("HPET", revision: 1, &loader, Self.hpet)) }
    let rsdt = add("RSDT", revision: 1, &loader) { table in for offset in listed { table.append(UInt32(offset)) } }
    for index in listed.indices {
      loader.addPointer(in: file, at: rsdt + Self.headerSize + index * 4, to: file)
    }
    appendRoot(rsdt: rsdt)
    loader.addPointer(in: Self.rootFile, at: 16, to: file)
    loader.addChecksum(in: Self.rootFile, at: 8, of: 0..<20)
    // The checksums come last: they cover the addresses.
    for table in checksummed { loader.addChecksum(in: file, at: table.lowerBound + 9, of: table) }
  }

  private static let headerSize = 36
  private var checksummed: [Range<Int>] = []

  /// Adds a table and gives its offset in the file.
  private mutating func add(
    _ signature: String, revision: UInt8, _ loader: inout TableLoader, _ body: (inout TableBytes) -> Void
  ) -> Int {
    tables.align(16)
    let start = tables.count
    var table = TableBytes()
    table.append(signature, length: 4)
    table.append(UInt32(0))  // length, below
    table.append(revision)
    table.append(UInt8(0))  // checksum: the firmware's
    table.append("VMCTL", length: 6)
    table.append("VMCTL\(signature.prefix(3))", length: 8)
    table.append(UInt32(1))  // OEM revision
    table.append("VMCT", length: 4)
    table.append(UInt32(1))  // of the table's maker
    body(&table)
    table.put(UInt32(table.count), at: 4)
    tables.append(table)
    checksummed.append(start..<tables.count)
    return start
  }

  private mutating func appendFACS() {
    var facs = TableBytes()
    facs.append("FACS", length: 4)
    facs.append(UInt32(64))
    facs.append("", length: 56, padding: 0)
    tables.append(facs)
  }

  private mutating func appendRoot(rsdt: Int) {
    root.append("RSD PTR ", length: 8)
    root.append(UInt8(0))  // checksum
    root.append("VMCTL", length: 6)
    root.append(UInt8(0))  // ACPI 1.0
    root.append(UInt32(rsdt))
  }

  // MARK: Tables

  /// A generic address (5.2.3.1): space 0 memory, 1 ports.
  private static func address(_ table: inout TableBytes, space: UInt8, bits: UInt8, _ address: UInt64) {
    table.append([space, bits, 0, 0])
    table.append(address)
  }

  private static func fadt(_ table: inout TableBytes, powerBase: UInt16, facs: Int, dsdt: Int) {
    let base = UInt32(powerBase)
    table.append(UInt32(facs))
    table.append(UInt32(dsdt))
    table.append([1, 0])  // reserved; preferred profile: unspecified
    table.append(UInt16(sciInterrupt))
    table.append(UInt32(0xB2))  // SMI command port, then the commands that turn ACPI mode on and off
    table.append([0xF1, 0xF0, 0, 0])
    for block in [base, 0, base + 4, 0, 0, base + 8, 0xAFE0, 0] as [UInt32] { table.append(block) }
    table.append([4, 2, 0, 4, 4, 0, 0, 0])  // their lengths; no second general-purpose block
    table.append(UInt16(0xFFF))  // no C2
    table.append(UInt16(0xFFF))  // no C3
    table.append([0, 0, 0, 0, 0, 0, 0, 0, 0])  // cache flushes by WBINVD; duty cycle; no alarm day, month, century
    table.append(UInt16(3))  // legacy devices and an 8042
    table.append(UInt8(0))
    // WBINVD works, C1, no sleep button, a reset register, a platform timer.
    table.append(1 << 0 | 1 << 2 | 1 << 5 | 1 << 10 | 1 << 15 as UInt32)
    address(&table, space: 1, bits: 8, 0xCF9)
    table.append(UInt8(0x06))  // a hard reset
    table.append([0, 0, 0])
    table.append(UInt64(facs))
    table.append(UInt64(dsdt))
    address(&table, space: 1, bits: 32, UInt64(base))
    address(&table, space: 1, bits: 0, 0)
    address(&table, space: 1, bits: 16, UInt64(base + 4))
    address(&table, space: 1, bits: 0, 0)
    address(&table, space: 1, bits: 0, 0)
    address(&table, space: 1, bits: 32, UInt64(base + 8))
    address(&table, space: 1, bits: 32, 0xAFE0)
    address(&table, space: 1, bits: 0, 0)
  }

  private static func madt(_ table: inout TableBytes, cpus: Int) {
    table.append(localAPICAddress)
    table.append(UInt32(1))  // there are 8259As too
    for index in 0..<cpus {
      table.append([0, 8, UInt8(index), UInt8(index)])
      table.append(UInt32(1))  // enabled
    }
    table.append([1, 12, 0, 0])
    table.append(ioAPICAddress)
    table.append(UInt32(0))  // its first interrupt
    // IRQ 0 reaches pin 2; those that PCI and the SCI use are level-triggered and active high.
    override(&table, irq: 0, pin: 2, flags: 0)
    for irq in [5, 9, 10, 11] as [UInt8] { override(&table, irq: irq, pin: UInt32(irq), flags: 0x0D) }
    table.append([4, 6, 0xFF, 0, 0, 1])  // the NMI reaches LINT1 of every CPU
  }

  private static func override(_ table: inout TableBytes, irq: UInt8, pin: UInt32, flags: UInt16) {
    table.append([2, 10, 0, irq])
    table.append(pin)
    table.append(flags)
  }

  private static func hpet(_ table: inout TableBytes) {
    table.append(UInt32(0x8086_A201))
    address(&table, space: 0, bits: 0, hpetAddress)
    table.append(UInt8(0))  // the first one
    table.append(UInt16(0))  // minimum tick in periodic mode
    table.append(UInt8(0))
  }
}
