import CHost
import GuestMemory
import Testing

@testable import X86

@Suite(.bothAccelerators) struct MemoryPagingTests {
  /// Two-level paging: the page at linear 0x400000 is `pte`, everything below is identity-mapped by a 4 MiB page.
  private func paged(pte: UInt32, pde: UInt32 = 0x41007, cr0: UInt64 = 0x8001_0011) throws -> SystemMachine {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.put(0x40000, UInt32(0x87))
    machine.put(0x40004, pde)
    machine.put(0x41000, pte)
    try machine.cpu.writeCR4(CR4.pse)
    try machine.cpu.writeCR3(0x40000)
    try machine.cpu.writeCR0(cr0)
    return machine
  }

  @Test func aReadSetsAccessedAndAWriteSetsDirty() throws {
    let machine = try paged(pte: 0x50007)
    machine.put(0x50010, UInt32(0x1234_5678))
    #expect(try machine.cpu.load(0x400010, as: UInt32.self) == 0x1234_5678)
    #expect(machine.get(0x41000, as: UInt32.self) == 0x50027)
    #expect(machine.get(0x40004, as: UInt32.self) == 0x41027)
    try machine.cpu.store(0x400014, UInt32(7))
    #expect(machine.get(0x41000, as: UInt32.self) == 0x50067)
    #expect(machine.get(0x50014, as: UInt32.self) == 7)
    #expect(machine.get(0x40000, as: UInt32.self) & 0x40 == 0)
  }

  struct Case: Sendable {
    let name: String
    let pte: UInt32
    let user: Bool
    let write: Bool
    let code: UInt32?
  }

  @Test(arguments: [
    Case(name: "not present, read", pte: 0x50006, user: false, write: false, code: 0),
    Case(name: "not present, user write", pte: 0x50006, user: true, write: true, code: 6),
    Case(name: "supervisor page, user", pte: 0x50003, user: true, write: false, code: 5),
    Case(name: "read-only, user write", pte: 0x50005, user: true, write: true, code: 7),
    Case(name: "read-only, supervisor write under WP", pte: 0x50005, user: false, write: true, code: 3),
    Case(name: "allowed", pte: 0x50007, user: true, write: true, code: nil),
  ])
  func errorCodesAreRight(_ test: Case) throws {
    let machine = try paged(pte: test.pte)
    if test.user { try machine.enterUser() }
    let fault = machine.fault { () throws(GuestFault) in
      if test.write {
        try machine.cpu.store(0x400abc, UInt8(1))
      } else {
        _ = try machine.cpu.load(0x400abc, as: UInt8.self)
      }
    }
    #expect(fault == test.code.map { GuestFault.page($0) }, "\(test.name)")
    if test.code != nil { #expect(machine.s.cr2 == 0x400abc) }
  }

  @Test func withoutWPTheSupervisorWritesReadOnlyPages() throws {
    let machine = try paged(pte: 0x50005, cr0: 0x8000_0011)
    try machine.cpu.store(0x400000, UInt8(9))
    #expect(machine.get(0x50000, as: UInt8.self) == 9)
  }

  @Test func aStoreAcrossPagesWritesNothingWhenTheSecondFaults() throws {
    let machine = try paged(pte: 0x50007)
    machine.put(0x50ffe, UInt16(0xaaaa))
    let fault = machine.fault { () throws(GuestFault) in try machine.cpu.store(0x400ffe, UInt32(0)) }
    #expect(fault == .page(2))
    #expect(machine.s.cr2 == 0x401000)
    #expect(machine.get(0x50ffe, as: UInt16.self) == 0xaaaa)
  }

  @Test func largePagesReachBeyondFourGiBByPSE36AndReservedBitsFault() throws {
    let machine = try paged(pte: 0, pde: 0x0020_0087)
    #expect(machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x400000, as: UInt8.self) } == .page(9))
    machine.put(0x40004, UInt32(0x0080_2087))
    machine.cpu.flushAllTranslations()
    let found = try machine.cpu.walk(0x412345, PageAccess())
    #expect(found.physical == 0x1_0081_2000)
  }

  @Test func invlpgDropsEveryPieceOfALargePage() throws {
    let machine = try paged(pte: 0, pde: 0x0080_0087)
    machine.put(0x80_0000, UInt8(1))
    machine.put(0x80_5000, UInt8(2))
    machine.put(0x40_5000, UInt8(3))
    #expect(try machine.cpu.load(0x400000, as: UInt8.self) == 1)
    #expect(try machine.cpu.load(0x405000, as: UInt8.self) == 2)
    machine.put(0x40004, UInt32(0x0040_0087))
    #expect(try machine.cpu.load(0x405000, as: UInt8.self) == 2)
    machine.cpu.flushPage(0x400000)
    #expect(try machine.cpu.load(0x405000, as: UInt8.self) == 3)
  }

  @Test func globalPagesSurviveALoadOfCR3() throws {
    let machine = try paged(pte: 0x50107)
    try machine.cpu.writeCR4(CR4.pse | CR4.pge)
    machine.put(0x50000, UInt8(1))
    machine.put(0x51000, UInt8(2))
    #expect(try machine.cpu.load(0x400000, as: UInt8.self) == 1)
    machine.put(0x41000, UInt32(0x51107))
    try machine.cpu.writeCR3(0x40000)
    #expect(try machine.cpu.load(0x400000, as: UInt8.self) == 1)
    try machine.cpu.writeCR4(CR4.pse)
    #expect(try machine.cpu.load(0x400000, as: UInt8.self) == 2)
  }

  @Test func paePagesHaveNXAndReservedBits() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.put(0x40000, UInt64(0x41001))
    machine.put(0x41000, UInt64(0x87))
    machine.put(0x41008, UInt64(0x42007))
    machine.put(0x42000, UInt64(0x8000_0000_0005_0007))
    machine.put(0x42008, UInt64(0x0010_0000_0005_0007))
    try machine.cpu.writeCR4(CR4.pae)
    try machine.cpu.writeMSR(MSR.efer, EFER.nxe)
    try machine.cpu.writeCR3(0x40000)
    try machine.cpu.writeCR0(0x8001_0011)
    _ = try machine.cpu.load(0x200000, as: UInt8.self)
    #expect(machine.fault { () throws(GuestFault) in _ = try machine.cpu.fetchEntry(0x200000) } == .page(17))
    #expect(machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x201000, as: UInt8.self) } == .page(9))
    #expect(
      machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x4000_0000, as: UInt8.self) } == .page(0))
    // A reserved bit in a PDPTE refuses the load of CR3.
    machine.put(0x43000, UInt64(0x41003))
    #expect(machine.fault { () throws(GuestFault) in try machine.cpu.writeCR3(0x43000) } == .protection(0))
  }

  @Test func fourLevelPagingHasHugePagesAndCanonicalAddresses() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.put(0x31008, UInt64(0x0000_0087))
    machine.put(0x5123, UInt8(0x5a))
    #expect(try machine.cpu.load(0x4000_5123, as: UInt8.self) == 0x5a)
    machine.put(0x31010, UInt64(0x0000_2087))
    #expect(
      machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x8000_0000, as: UInt8.self) } == .page(9))
    for address: UInt64 in [0x8000_0000_0000, 0xfff0_0000_0000_0fff, 0xfff0_0000_0000_0000] {
      #expect(
        machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(address, as: UInt8.self) } == .protection(0))
    }
    let stack = machine.fault { () throws(GuestFault) in
      _ = try machine.cpu.segmentLinear(Seg.ss, 0x8000_0000_0000, size: 8, write: true)
    }
    #expect(stack == .stack(0))
  }

  @Test func smapAndSmepKeepTheSupervisorFromUserPages() throws {
    let machine = try SystemMachine()
    try machine.enterLong()
    machine.put(0x32000, UInt64(0x83))  // the first 2 MiB are the supervisor's
    machine.put(0x31000, UInt64(0x32007))
    try machine.cpu.writeCR4(CR4.pae | CR4.smep | CR4.smap)
    #expect(machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x200000, as: UInt8.self) } == .page(1))
    #expect(machine.fault { () throws(GuestFault) in _ = try machine.cpu.fetchEntry(0x200000) } == .page(17))
    machine.cpu.s.pointee.eflags |= EFLAGS.ac
    machine.cpu.updateMode()
    _ = try machine.cpu.load(0x200000, as: UInt8.self)
    #expect(
      machine.fault { () throws(GuestFault) in _ = try machine.cpu.loadSupervisor(0x200000, as: UInt8.self) }
        == .page(1))
  }

  @Test func alignmentIsCheckedAtCPL3Only() throws {
    let machine = try paged(pte: 0x50007, cr0: 0x8005_0011)
    _ = try machine.cpu.load(0x400001, as: UInt32.self)
    try machine.enterUser(flags: 0x40202)
    #expect(
      machine.fault { () throws(GuestFault) in _ = try machine.cpu.load(0x400001, as: UInt32.self) } == .alignment)
    _ = try machine.cpu.load(0x400004, as: UInt32.self)
  }

  @Test func noWriteIsMissingFromTheDirtyLog() throws {
    let machine = try paged(pte: 0x50007)
    try machine.cpu.store(0x400000, UInt8(1))
    machine.memory.dirtyLog.start()
    machine.cpu.dropWriteTranslations()
    _ = try machine.cpu.load(0x400000, as: UInt8.self)
    #expect(!machine.memory.dirtyLog.isDirty(page: 0x50))
    try machine.cpu.store(0x400000, UInt8(2))
    #expect(machine.memory.dirtyLog.isDirty(page: 0x50))
    var taken = PageBitmap(pageCount: machine.memory.pageCount)
    _ = machine.memory.dirtyLog.take(into: &taken)
    machine.cpu.dropWriteTranslations()
    try machine.cpu.store(0x400008, UInt64(3))
    #expect(machine.memory.dirtyLog.isDirty(page: 0x50))
  }
}
