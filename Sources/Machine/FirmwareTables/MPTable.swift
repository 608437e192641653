/// The tables of the MultiProcessor Specification 1.4, chapter 4, for systems without ACPI. The firmware's own lists a CPU
/// for each package, and this board's CPUs are the cores of one.
struct MPTable {
  static let fileName = "etc/vmctl/mp-table"

  /// The pointer structure, and behind it the configuration table.
  private(set) var bytes = TableBytes()

  private static let pointerSize = 16
  private static let pciBus: UInt8 = 0
  private static let isaBus: UInt8 = 1
  private static let ioAPIC: UInt8 = 0

  /// - Parameters:
  ///   - signature: family, model and stepping: CPUID.1:EAX.
  ///   - features: CPUID.1:EDX.
  ///   - loader: gets the commands that place and complete the table.
  init(cpus: Int, signature: UInt32, features: UInt32, loader: inout TableLoader) {
    let table = Self.configuration(cpus: cpus, signature: signature, features: features)
    bytes.append("_MP_", length: 4)
    bytes.append(UInt32(Self.pointerSize))
    bytes.append([1, 4, 0, 0, 0, 0, 0, 0])  // 16 bytes, version 1.4; virtual wire mode
    bytes.append(table)
    loader.allocate(Self.fileName, alignment: 16, zone: .fSegment)
    loader.addPointer(in: Self.fileName, at: 4, to: Self.fileName)
    loader.addChecksum(in: Self.fileName, at: 10, of: 0..<Self.pointerSize)
  }

  private static func configuration(cpus: Int, signature: UInt32, features: UInt32) -> TableBytes {
    var entries = TableBytes()
    var count = 0
    func add(_ entry: [UInt8]) {
      entries.append(entry)
      count += 1
    }
    for index in 0..<cpus {
      var processor = TableBytes([0, UInt8(index), 0x14, index == 0 ? 3 : 1])
      processor.append(signature)
      processor.append(features)
      processor.append(UInt64(0))
      add(processor.bytes)
    }
    add([1, pciBus] + Array("PCI   ".utf8))
    add([1, isaBus] + Array("ISA   ".utf8))
    var controller = TableBytes([2, ioAPIC, 0x11, 1])
    controller.append(ACPITables.ioAPICAddress)
    add(controller.bytes)
    // IRQ 0 reaches pin 2; there is no IRQ 2.
    for irq in 0..<16 as Range<UInt8> where irq != 2 {
      add([3, 0, 0, 0, isaBus, irq, ioAPIC, irq == 0 ? 2 : irq])
    }
    // The local interrupts of every CPU: the 8259A's output at LINT0, the NMI at LINT1.
    add([4, 3, 0, 0, isaBus, 0, 0xFF, 0])
    add([4, 1, 0, 0, isaBus, 0, 0xFF, 1])

    var table = TableBytes()
    table.append("PCMP", length: 4)
    table.append(UInt16(44 + entries.count))
    table.append([4, 0])  // version 1.4; checksum, below
    table.append("VMCTL", length: 8)
    table.append("VMCTL", length: 12)
    table.append(UInt32(0))
    table.append(UInt16(0))
    table.append(UInt16(count))
    table.append(ACPITables.localAPICAddress)
    table.append(UInt32(0))
    table.append(entries)
    table.put(table.checksum(0..<table.count), at: 7)
    return table
  }
}
