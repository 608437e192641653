import Foundation
import Testing
import X86

@testable import Machine

/// Places tables as a firmware does, by the loader's script: an independent reading of its commands.
struct PlacedTables {
  private(set) var memory = [UInt8](repeating: 0, count: 0x40000)
  private(set) var places: [String: Int] = [:]
  private(set) var fSegment: Set<String> = []
  private var next = 0x1000

  init(_ script: [UInt8], files: [String: [UInt8]]) throws {
    try #require(script.count % 128 == 0)
    for start in stride(from: 0, to: script.count, by: 128) {
      let command = Array(script[start..<start + 128])
      func word(_ at: Int) -> Int {
        Int(command[at]) | Int(command[at + 1]) << 8 | Int(command[at + 2]) << 16 | Int(command[at + 3]) << 24
      }
      func name(_ at: Int) -> String { String(decoding: command[at..<at + 56].prefix { $0 != 0 }, as: UTF8.self) }
      switch word(0) {
      case 1:
        let file = try #require(files[name(4)])
        let alignment = word(60)
        next = (next + alignment - 1) / alignment * alignment
        places[name(4)] = next
        if command[64] == 2 { fSegment.insert(name(4)) }
        memory.replaceSubrange(next..<next + file.count, with: file)
        next += file.count
      case 2:
        let at = try #require(places[name(4)]) + word(116)
        let size = Int(command[120])
        let sum = try read(at, size) + #require(places[name(60)])
        for index in 0..<size { memory[at + index] = UInt8(truncatingIfNeeded: sum >> (index * 8)) }
      case 3:
        let base = try #require(places[name(4)])
        memory[base + word(60)] = 0
        let range = base + word(64)..<base + word(64) + word(68)
        memory[base + word(60)] = 0 &- memory[range].reduce(0, &+)
      default: Issue.record("a command \(word(0))")
      }
    }
  }

  func read(_ at: Int, _ size: Int) -> Int { (0..<size).reduce(0) { $0 | Int(memory[at + $1]) << ($1 * 8) } }
  func text(_ at: Int, _ size: Int) -> String { String(decoding: memory[at..<at + size], as: UTF8.self) }
  func sum(_ at: Int, _ size: Int) -> UInt8 { memory[at..<at + size].reduce(0, &+) }
}

@Suite struct FirmwareTableTests {
  private func acpi(cpus: Int = 2, hpet: Bool = true) throws -> PlacedTables {
    let board = DSDT.Board(
      cpus: cpus, uarts: [(1, 0x3F8, 4), (2, 0x2F8, 3)], hasHPET: hpet, pciMemoryStart: 0x8000_0000)
    var loader = TableLoader()
    let tables = ACPITables(board, powerBase: 0x600, loader: &loader)
    let processors = MPTable(cpus: cpus, signature: 0x106ca, features: 0x78b_fbff, loader: &loader)
    return try PlacedTables(
      loader.bytes,
      files: [
        ACPITables.tablesFile: tables.tables.bytes, ACPITables.rootFile: tables.root.bytes,
        MPTable.fileName: processors.bytes.bytes,
      ])
  }

  /// The tables that the root pointer leads to, by signature, checked.
  private func listed(_ placed: PlacedTables) throws -> [String: Int] {
    let root = try #require(placed.places[ACPITables.rootFile])
    #expect(placed.fSegment.contains(ACPITables.rootFile))
    #expect(placed.text(root, 8) == "RSD PTR " && placed.sum(root, 20) == 0 && root % 16 == 0)
    let rsdt = placed.read(root + 16, 4)
    var found = ["RSDT": rsdt]
    #expect(placed.text(rsdt, 4) == "RSDT" && placed.sum(rsdt, placed.read(rsdt + 4, 4)) == 0)
    for entry in stride(from: rsdt + 36, to: rsdt + placed.read(rsdt + 4, 4), by: 4) {
      let table = placed.read(entry, 4)
      #expect(placed.sum(table, placed.read(table + 4, 4)) == 0, "\(placed.text(table, 4))")
      found[placed.text(table, 4)] = table
    }
    return found
  }

  @Test(arguments: [1, 2, 16]) func everyCPUIsInTheMADT(cpus: Int) throws {
    let placed = try acpi(cpus: cpus)
    let madt = try #require(try listed(placed)["APIC"])
    var ids: [Int] = []
    var overrides: [Int: Int] = [:]
    var at = madt + 44
    while at < madt + placed.read(madt + 4, 4) {
      switch placed.read(at, 1) {
      case 0:
        #expect(placed.read(at + 4, 4) == 1)
        ids.append(placed.read(at + 3, 1))
      case 1: #expect(placed.read(at + 4, 4) == 0xFEC0_0000)
      case 2: overrides[placed.read(at + 3, 1)] = placed.read(at + 4, 4)
      default: break
      }
      at += placed.read(at + 1, 1)
    }
    #expect(ids == Array(0..<cpus))
    #expect(overrides == [0: 2, 5: 5, 9: 9, 10: 10, 11: 11])
  }

  @Test func theFADTLeadsToDSDTAndFACSAndNamesThePorts() throws {
    let placed = try acpi()
    let fadt = try #require(try listed(placed)["FACP"])
    #expect(placed.read(fadt + 4, 4) == 244)
    let facs = placed.read(fadt + 36, 4)
    let dsdt = placed.read(fadt + 40, 4)
    #expect(placed.text(facs, 4) == "FACS" && facs % 64 == 0 && placed.read(fadt + 132, 8) == facs)
    #expect(placed.text(dsdt, 4) == "DSDT" && placed.read(fadt + 140, 8) == dsdt)
    #expect(placed.sum(dsdt, placed.read(dsdt + 4, 4)) == 0)
    #expect(placed.read(fadt + 46, 2) == 9 && placed.read(fadt + 48, 4) == 0xB2)
    #expect(placed.read(fadt + 52, 1) == 0xF1 && placed.read(fadt + 53, 1) == 0xF0)
    #expect([56, 64, 76, 80].map { placed.read(fadt + $0, 4) } == [0x600, 0x604, 0x608, 0xAFE0])
    #expect([88, 89, 91, 92].map { placed.read(fadt + $0, 1) } == [4, 2, 4, 4])
    #expect(placed.read(fadt + 109, 2) == 3)
    // The reset register.
    #expect(placed.read(fadt + 116, 1) == 1 && placed.read(fadt + 120, 8) == 0xCF9 && placed.read(fadt + 128, 1) == 6)
    #expect(placed.read(fadt + 148 + 4, 8) == 0x600)
  }

  /// As small systems look for it: the bytes of its name, then a package, whose first element is the sleep type.
  @Test func theDSDTHasS5WhereSmallSystemsScanForIt() throws {
    let placed = try acpi()
    let fadt = try #require(try listed(placed)["FACP"])
    let dsdt = placed.read(fadt + 40, 4)
    let bytes = Array(placed.memory[dsdt..<dsdt + placed.read(dsdt + 4, 4)])
    let at = try #require(bytes.indices.first { bytes[$0...].starts(with: "_S5_".utf8) })
    #expect(bytes[at - 2] == 0x08 && bytes[at - 1] == UInt8(ascii: "\\"))
    #expect(bytes[at + 4] == 0x12)
    let length = Int(bytes[at + 5])
    #expect(length >> 6 == 0 && bytes[at + 6] == 4)
    #expect(bytes[at + 7] == 0)
  }

  @Test func theHPETTableIsThereOnlyWithAnHPET() throws {
    let placed = try acpi()
    let hpet = try #require(try listed(placed)["HPET"])
    #expect(placed.read(hpet + 4, 4) == 56 && placed.read(hpet + 44, 8) == 0xFED0_0000)
    #expect(try listed(acpi(hpet: false))["HPET"] == nil)
  }

  @Test(arguments: [1, 2, 16]) func everyCPUIsInTheMPTable(cpus: Int) throws {
    let placed = try acpi(cpus: cpus)
    let pointer = try #require(placed.places[MPTable.fileName])
    #expect(placed.fSegment.contains(MPTable.fileName) && pointer % 16 == 0)
    #expect(placed.text(pointer, 4) == "_MP_" && placed.sum(pointer, 16) == 0)
    let table = placed.read(pointer + 4, 4)
    #expect(placed.text(table, 4) == "PCMP" && placed.sum(table, placed.read(table + 4, 2)) == 0)
    var at = table + 44
    var kinds = [Int](repeating: 0, count: 5)
    var boot = 0
    for _ in 0..<placed.read(table + 34, 2) {
      let kind = placed.read(at, 1)
      try #require(kind < 5)
      if kind == 0 {
        #expect(placed.read(at + 1, 1) == kinds[0])
        if placed.read(at + 3, 1) & 2 != 0 { boot += 1 }
      }
      kinds[kind] += 1
      at += kind == 0 ? 20 : 8
    }
    #expect(at == table + placed.read(table + 4, 2))
    #expect(kinds == [cpus, 2, 1, 15, 2] && boot == 1)
  }

  // MARK: SMBIOS

  private struct Structure {
    var bytes: [UInt8]
    var strings: [String]
    func text(_ field: Int) -> String { bytes[field] == 0 ? "" : strings[Int(bytes[field]) - 1] }
    func number(_ at: Int, _ size: Int) -> Int { (0..<size).reduce(0) { $0 | Int(bytes[at + $1]) << ($1 * 8) } }
  }

  private func structures(_ table: [UInt8]) throws -> [Structure] {
    var found: [Structure] = []
    var at = 0
    while at < table.count {
      let length = Int(table[at + 1])
      var strings: [String] = []
      var end = at + length
      while table[end] != 0 {
        let string = table[end...].prefix { $0 != 0 }
        strings.append(String(decoding: string, as: UTF8.self))
        end += string.count + 1
      }
      end += strings.isEmpty ? 2 : 1
      found.append(Structure(bytes: Array(table[at..<at + length]), strings: strings))
      at = end
    }
    #expect(at == table.count)
    return found
  }

  @Test func theSMBIOSStructuresSayWhatTheDefinitionSays() throws {
    let uuid = try #require(UUID(uuidString: "00112233-4455-6677-8899-aabbccddeeff"))
    let memory: [Range<UInt64>] = [0..<0xC000_0000, 0x1_0000_0000..<0x6_4000_0000]
    let smbios = SMBIOSTables(
      MachineIdentity(name: "box", uuid: uuid), cpus: 2, profile: .standard, memory: memory)
    let anchor = smbios.anchor.bytes
    #expect(anchor.count == 31 && anchor.reduce(0, &+) == 0 && anchor[16...].reduce(0, &+) == 0)
    let found = try structures(smbios.tables.bytes)
    #expect(Int(anchor[28]) == found.count && Int(anchor[22]) | Int(anchor[23]) << 8 == smbios.tables.count)
    #expect(found.last?.bytes[0] == 127)
    #expect(Set(found.map { $0.number(2, 2) }).count == found.count, "handles are unique")

    let system = try #require(found.first { $0.bytes[0] == 1 })
    #expect(system.text(4) == "vmctl" && system.text(7) == uuid.uuidString.lowercased())
    // Version 2.6 and later: the first three fields are little-endian.
    let expected: [UInt8] = [
      0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
    ]
    #expect(Array(system.bytes[8..<24]) == expected)
    let processors = found.filter { $0.bytes[0] == 4 }
    #expect(processors.map { $0.text(4) } == ["CPU 0", "CPU 1"])
    #expect(processors[0].number(8, 4) == Int(CPUProfile.standard.signature) && processors[0].text(16) == "x86-64-v2")
    let devices = found.filter { $0.bytes[0] == 17 }
    #expect(devices.map { $0.number(12, 2) } == [16384, 8192])
    let mapped = found.filter { $0.bytes[0] == 19 }
    #expect(
      mapped.map { $0.number(4, 4) } == [0, 0x40_0000] && mapped.map { $0.number(8, 4) } == [0x2F_FFFF, 0x18F_FFFF])
    let array = try #require(found.first { $0.bytes[0] == 16 })
    #expect(array.number(7, 4) == 24 << 20 && array.number(13, 2) == 2)
  }

  // MARK: AML

  @Test func termsAreEncodedAsTheSpecificationSays() {
    #expect(AML.eisaID("PNP0A03") == [0x0C, 0x41, 0xD0, 0x0A, 0x03])
    #expect(AML.name("\\_SB.PCI0") == [0x5C, 0x2E] + Array("_SB_PCI0".utf8))
    #expect(AML.name("\\_SB.PCI0.ISA") == [0x5C, 0x2F, 3] + Array("_SB_PCI0ISA_".utf8))
    let numbers: [(UInt64, [UInt8])] = [
      (0, [0]), (1, [1]), (2, [0x0A, 2]), (0x100, [0x0B, 0, 1]), (0x1_0000, [0x0C, 0, 0, 1, 0]),
    ]
    for (number, code) in numbers { #expect(AML.number(number) == code) }
    // Lengths around the ends of their encodings: they count themselves.
    let lengths: [(Int, [UInt8])] = [
      (58, [0x10, 0x3F]), (59, [0x10, 0x41, 0x04]), (4088, [0x10, 0x4E, 0xFF]), (4090, [0x10, 0x81, 0x00, 0x01]),
    ]
    for (body, head) in lengths {
      let code = AML.scope("ABCD", [UInt8](repeating: 0xA3, count: body))
      #expect(Array(code.prefix(head.count)) == head, "\(body)")
    }
  }
}

@Suite struct BootModuleTests {
  @Test func aListHasFilesAndTheirArguments() {
    #expect(BootModule.list("/a.mod") == [BootModule(path: "/a.mod", arguments: "")])
    let two = [BootModule(path: "/a.mod", arguments: "one two"), BootModule(path: "/b", arguments: "")]
    #expect(BootModule.list("/a.mod one two, /b") == two)
    #expect(two.map(\.line) == ["a.mod one two", "b"])
    #expect(BootModule.list(BootModule.text(two)) == two)
  }

  @Test func aDoubledCommaBelongsToTheName() {
    let module = BootModule(path: "/a,b", arguments: "x,y")
    #expect(BootModule.text([module]) == "/a,,b x,,y")
    #expect(BootModule.list("/a,,b x,,y") == [module])
  }

  @Test func anExistingFileStandsForItselfWhateverItsName() throws {
    let path = NSTemporaryDirectory() + "a module, with a comma \(UUID().uuidString)"
    try Data().write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(BootModule.list(path) == [BootModule(path: path, arguments: "")])
  }
}
