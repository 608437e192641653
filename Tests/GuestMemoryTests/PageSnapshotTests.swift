import Foundation
import Testing

@testable import GuestMemory

@Suite struct PageSnapshotTests {
  /// Writes memory as devices do, over and over, on a thread of its own.
  private final class Writer: @unchecked Sendable {
    private let lock = NSLock()
    private var isOver = false
    private let done = DispatchSemaphore(value: 0)

    /// - Parameter safePoint: held while it writes, a few words at a time.
    init(_ memory: PhysicalMemory, seed: UInt64, safePoint: NSLock) {
      let (memory, seed) = (memory, seed)
      nonisolated(unsafe) let shared = memory
      Thread { [self] in
        var random = seed
        while !lock.withLock({ isOver }) {
          safePoint.withLock {
            for _ in 0..<100 {
              random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
              let page = Int(random >> 33) % shared.pageCount
              shared.write(UInt64(page << 12 | Int(random >> 20) & 0xff8), random)
            }
          }
        }
        done.signal()
      }.start()
    }

    func stop() {
      lock.withLock { isOver = true }
      done.wait()
    }
  }

  @Test func pagesAreWhatTheyWereWhoeverWritesMeanwhile() throws {
    let memory = try PhysicalMemory(size: 2 << 20)
    memory.dirtyLog.start()
    let snapshot = PageSnapshot(memory)
    // Each stops its own writer.
    let locks = [NSLock(), NSLock(), NSLock()]
    let writers = locks.enumerated().map { Writer(memory, seed: UInt64($0.offset) + 7, safePoint: $0.element) }
    let size = memory.pageCount * PhysicalMemory.pageSize
    var known = [UInt8](repeating: 0, count: size)
    var now = known
    for round in 0..<200 {
      for lock in locks { lock.lock() }
      now.withUnsafeMutableBytes { $0.baseAddress!.copyMemory(from: memory.ram, byteCount: size) }
      memory.dirtyLog.take(into: snapshot)
      for lock in locks { lock.unlock() }
      if round % 2 == 0 { usleep(1000) }
      snapshot.forEach { page, bytes in
        known.withUnsafeMutableBytes {
          ($0.baseAddress! + page * PhysicalMemory.pageSize).copyMemory(from: bytes, byteCount: PhysicalMemory.pageSize)
        }
      }
      snapshot.trim()
      #expect(memcmp(known, now, size) == 0, "round \(round), \(snapshot.count) pages")
    }
    for writer in writers { writer.stop() }
    // Afterwards nothing is saved for anybody.
    memory.dirtyLog.stop()
    memory.write(0, UInt64(1))
    #expect(memory.dirtyLog.snapshot == nil)
  }

  @Test func noPageIsAPage() throws {
    let memory = try PhysicalMemory(size: 1 << 20)
    memory.dirtyLog.start()
    let snapshot = PageSnapshot(memory)
    memory.dirtyLog.take(into: snapshot)
    snapshot.forEach { _, _ in Issue.record("there is none") }
    // A page that was not in it is written without more.
    memory.write(0x5000, UInt8(1))
    memory.dirtyLog.take(into: snapshot)
    memory.write(0x5000, UInt8(2))
    memory.write(0x6000, UInt8(3))
    var seen: [Int: UInt8] = [:]
    snapshot.forEach { page, bytes in seen[page] = bytes.load(as: UInt8.self) }
    #expect(seen == [5: 1])
  }

  /// More than is kept for the next time.
  @Test func aLargeOneIsGivenBackAndTakenAgain() throws {
    let memory = try PhysicalMemory(size: 96 << 20)
    memory.dirtyLog.start()
    let snapshot = PageSnapshot(memory)
    for round in UInt64(1)...2 {
      for page in 0..<memory.pageCount { memory.write(UInt64(page) << 12, round << 32 | UInt64(page)) }
      memory.dirtyLog.take(into: snapshot)
      #expect(snapshot.count >= memory.pageCount - 96)
      snapshot.forEach { page, bytes in
        if bytes.load(as: UInt64.self) != round << 32 | UInt64(page) { Issue.record("page \(page)") }
      }
      snapshot.trim()
      memory.write(0x200000, UInt64(0))
    }
  }
}
