import Foundation
import Testing

@testable import GuestMemory

@Suite struct PhysicalMemoryTests {
  final class Register: MemoryMappedIO {
    var value: UInt64 = 0
    func readMemory(offset: UInt64, size: Int) -> UInt64 { value &+ offset }
    func writeMemory(offset: UInt64, size: Int, value: UInt64) { self.value = value }
  }

  @Test func memoryAboveThreeGigabytesContinuesAtFourGigabytes() throws {
    let memory = try PhysicalMemory(size: 4 << 30)
    #expect(memory.ramOffset(0xBFFF_FFFF) == 0xBFFF_FFFF)
    #expect(memory.ramOffset(0xC000_0000) == nil)
    #expect(memory.ramOffset(0x1_0000_0000) == 0xC000_0000)
    #expect(memory.ramOffset(0x1_4000_0000) == nil)
    #expect(memory.physicalAddress(ofPage: 0xC0000) == 0x1_0000_0000)
    #expect(memory.target(0x1_0000_1000).ramPage == 0xC0001)
  }

  @Test func sizesThatAreNoNumberOfPagesAreRefused() {
    #expect(throws: GuestMemoryError.self) { try PhysicalMemory(size: 0) }
    #expect(throws: GuestMemoryError.self) { try PhysicalMemory(size: 4097) }
  }

  @Test func dmaMarksEveryPageItTouches() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    memory.dirtyLog.start()
    memory.write(0x2FFE, UInt32(0xAABB_CCDD))
    var pages = PageBitmap(pageCount: memory.pageCount)
    #expect(memory.dirtyLog.take(into: &pages) == 2)
    #expect(pages.contains(2) && pages.contains(3))
    #expect(memory.dirtyLog.dirtyCount == 0)
    memory.dirtyLog.restore(pages)
    #expect(memory.dirtyLog.dirtyCount == 2)
    #expect(memory.read(0x2FFE, as: UInt32.self) == 0xAABB_CCDD)
  }

  @Test func anIntegerIsReadInOnePieceWhileAnotherCPUWritesIt() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    // Every byte of one is another than in the other.
    let values: [UInt16] = [0x1FFF, 0x2000]
    memory.write(0x1000, values[0])
    let (started, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    nonisolated(unsafe) let shared = memory
    Thread {
      started.signal()
      for index in 0..<2_000_000 { shared.write(0x1000, values[index & 1]) }
      ended.signal()
    }.start()
    started.wait()
    var seen: Set<UInt16> = []
    for _ in 0..<2_000_000 { seen.insert(memory.read(0x1000, as: UInt16.self)) }
    ended.wait()
    #expect(seen.isSubset(of: values), "\(seen)")
  }

  @Test func dmaOverCodeIsReported() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    var reported: [(UInt64, Int)] = []
    memory.onCodeWritten = { reported.append(($0, $1)) }
    memory.codePages[2] = 1
    memory.write(0x1FFF, UInt16(0))
    #expect(reported.count == 1)
    #expect(reported.first?.0 == 0x2000 && reported.first?.1 == 1)
  }

  @Test func theChipsetHidesAndShowsRamUnderTheRom() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    let rom = UnsafeMutableRawPointer.allocate(byteCount: 0x10000, alignment: 4096)
    defer { rom.deallocate() }
    rom.initializeMemory(as: UInt8.self, repeating: 0x5A, count: 0x10000)
    memory.mapROM(rom, name: "bios", start: 0xF0000, length: 0x10000)
    #expect(memory.read(0xF0000, as: UInt8.self) == 0x5A)
    memory.write(0xF0000, UInt8(1))
    #expect(memory.read(0xF0000, as: UInt8.self) == 0x5A)

    memory.setLowPages(0xF0..<0x100, .init(readRAM: false, writeRAM: true))
    memory.write(0xF0000, UInt8(2))
    #expect(memory.read(0xF0000, as: UInt8.self) == 0x5A)
    memory.setLowPages(0xF0..<0x100, .init(readRAM: true, writeRAM: false))
    #expect(memory.read(0xF0000, as: UInt8.self) == 2)
  }

  @Test func deviceRegistersAnswerWhereNoRamIs() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    let register = Register()
    var changes = 0
    memory.onMapChanged = { changes += 1 }
    memory.mapIO(register, name: "r", start: 0xFED0_0000, length: 0x1000)
    #expect(changes == 1)
    #expect(memory.target(0xFED0_0000).read == nil)
    memory.writeIO(0xFED0_0000, size: 4, value: 7)
    #expect(memory.readIO(0xFED0_0008, size: 4) == 15)
    #expect(memory.readIO(0xFEE0_0000, size: 4) == 0xFFFF_FFFF)
    memory.unmap(name: "r")
    #expect(memory.readIO(0xFED0_0008, size: 8) == .max)
  }

  @Test func whereNothingAnswersReadsFindOnesAndThereIsNothingToWrite() throws {
    let memory = try PhysicalMemory(size: 2 << 20)
    for address in [0xE0000, 0x30_0000, 0xFED0_0000] as [UInt64] {
      let target = memory.target(address)
      #expect(target.isEmpty && target.write == nil && target.ramPage == -1)
      #expect(target.read?.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == .max)
      memory.write(address, UInt32(5))
      #expect(memory.read(address, as: UInt32.self) == .max)
    }
    // A device anywhere in a page is found.
    memory.mapIO(Register(), name: "r", start: 0xFED0_0400, length: 0x100)
    #expect(!memory.target(0xFED0_0000).isEmpty && memory.target(0xFED0_1000).isEmpty)
  }

  @Test func theLastAddressesAreAsEmptyAsOthers() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    memory.write(.max, UInt64(5))
    #expect(memory.read(.max - 3, as: UInt32.self) == .max)
    #expect(memory.target(.max).isEmpty)
  }

  @Test func whatWasWrittenIsTouchedAndWhatIsNotTouchedIsZero() throws {
    let memory = try PhysicalMemory(size: 64 << 20)
    let written = [0, 1, 513, 7000, memory.pageCount - 1]
    for page in written { memory.write(memory.physicalAddress(ofPage: page), UInt8(1)) }
    let touched = memory.touchedPages(in: 0..<memory.pageCount)
    #expect(written.allSatisfy { touched.contains($0) })
    // The host may give more memory than was asked for, but not all of it.
    #expect(touched.count < memory.pageCount)
    for page in 0..<memory.pageCount where !touched.contains(page) {
      #expect(memory.read(memory.physicalAddress(ofPage: page), as: UInt64.self) == 0)
    }
    let some = memory.touchedPages(in: 500..<600)
    #expect(some.contains(513))
    #expect(!some.contains(0) && !some.contains(7000), "only what was asked for")
  }

  @Test func aBitmapFilledForAnOddNumberOfPagesHoldsJustThose() {
    var bitmap = PageBitmap(pageCount: 70, filled: true)
    #expect(bitmap.count == 70)
    bitmap.remove(69)
    var pages: [Int] = []
    bitmap.forEach { pages.append($0) }
    #expect(pages == Array(0..<69))
  }
}
