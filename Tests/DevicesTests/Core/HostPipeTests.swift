import Foundation
import Testing

@testable import Devices

/// Counts from any thread.
private final class Calls: @unchecked Sendable {
  private let lock = NSLock()
  private var value = 0
  func add() { lock.withLock { value += 1 } }
  var count: Int { lock.withLock { value } }
}

@Suite struct HostPipeTests {
  @Test func whatFindsNoRoomStaysWithWhoOffersIt() {
    let queue = HostQueue<UInt8>(capacity: 4)
    #expect(queue.offer([1, 2, 3]) == 3)
    #expect(queue.offer([4, 5, 6]) == 1)
    #expect(queue.offer([5]) == 0)
    #expect(queue.take(2) == [1, 2])
    #expect(queue.offer([5, 6, 7]) == 2)
    #expect(queue.take() == [3, 4, 5, 6])
    #expect(queue.take() == [])
    #expect(queue.counters == .init(taken: 6, dropped: 0, refusals: 3))
  }

  @Test func whoWasRefusedIsToldOnceWhenHalfIsFree() {
    let queue = HostQueue<Int>(capacity: 8)
    let room = Calls()
    queue.onRoom { room.add() }
    _ = queue.offer(Array(0..<8))
    _ = queue.take()
    #expect(room.count == 0)
    _ = queue.offer(Array(0..<9))
    _ = queue.take(3)
    #expect(room.count == 0)
    _ = queue.take(1)
    #expect(room.count == 1)
    _ = queue.take()
    #expect(room.count == 1)
  }

  @Test func aQueueIsFullOfBytesAsWellAsOfItems() {
    let queue = HostQueue<String>(capacity: 8, limit: 10) { $0.utf8.count }
    let room = Calls()
    queue.onRoom { room.add() }
    #expect(queue.offer(["12345", "1234", "123456789", "1"]) == 3, "one may go beyond")
    #expect(!queue.hasRoom(for: 1) && !queue.send("1"))
    #expect(queue.take(1) == ["12345"] && room.count == 0 && !queue.hasRoom(for: 1))
    #expect(queue.take(1) == ["1234"] && room.count == 0 && queue.hasRoom(for: 1))
    #expect(queue.take() == ["123456789"] && room.count == 1)
    queue.restore(["1234567890"])
    #expect(queue.offer(["1"]) == 0)
    #expect(queue.take() == ["1234567890"] && queue.offer(["1"]) == 1 && queue.count == 1)
  }

  @Test func aSingleItemCanBeTakenByWhoIsToldOfIt() {
    let queue = HostQueue<Int>(capacity: 4, limit: 100) { $0 }
    #expect(queue.send(7))
    var taken: [Int] = []
    #expect(!queue.takeAtOnce({ $0 < 5 }, { taken.append($0) }), "it does not want this one")
    #expect(queue.takeAtOnce({ $0 == 7 }, { taken.append($0) }))
    #expect(taken == [7] && queue.count == 0 && queue.counters.taken == 1)
    #expect(!queue.takeAtOnce({ _ in true }, { taken.append($0) }), "there is none")
    // More than one, somebody who takes already, who waits for room, a closed queue: that is for who takes.
    _ = queue.offer([1, 2])
    #expect(!queue.takeAtOnce({ _ in true }, { taken.append($0) }))
    #expect(queue.take(1) == [1])
    #expect(queue.whileOpen { queue.takeAtOnce({ _ in true }, { taken.append($0) }) } == false)
    #expect(!queue.hasRoom(for: 4))
    #expect(!queue.takeAtOnce({ _ in true }, { taken.append($0) }))
    #expect(queue.take() == [2] && queue.send(3))
    queue.close()
    #expect(!queue.takeAtOnce({ _ in true }, { taken.append($0) }))
    queue.open()
    #expect(queue.takeAtOnce({ _ in true }, { taken.append($0) }) && taken == [7, 3])
  }

  @Test func itemsAreToldWhenAnEmptyQueueGetsSome() {
    let queue = HostQueue<Int>(capacity: 8)
    let items = Calls()
    queue.onItems { items.add() }
    _ = queue.offer([1])
    _ = queue.offer([2])
    queue.send(3)
    #expect(items.count == 1)
    _ = queue.take()
    queue.send(4)
    #expect(items.count == 2)
  }

  @Test func framesWithoutRoomAreDroppedAndCounted() {
    let queue = HostQueue<[UInt8]>(capacity: 2)
    #expect((0..<5).map { queue.send([UInt8($0)]) } == [true, true, false, false, false])
    #expect(queue.counters.dropped == 3)
    #expect(queue.take() == [[0], [1]])
    #expect(queue.send([9]))
  }

  @Test func whatWasSavedComesFirstAndNothingIsAcceptedUntilItFits() {
    let queue = HostQueue<Int>(capacity: 4)
    queue.restore(Array(0..<6))
    #expect(queue.offer([6]) == 0)
    #expect(queue.take(3) == [0, 1, 2])
    #expect(queue.offer([6, 7]) == 1)
    #expect(queue.waiting == [3, 4, 5, 6])
  }

  /// A producer that waits for room and a consumer on another thread: everything arrives, in order, and never more than the
  /// capacity is held.
  @Test func nothingIsLostOrReorderedBetweenThreads() {
    let queue = HostQueue<Int>(capacity: 64)
    let total = 100_000
    let room = DispatchSemaphore(value: 0)
    let items = DispatchSemaphore(value: 0)
    queue.onRoom { room.signal() }
    queue.onItems { items.signal() }
    let producer = Thread {
      var next = 0
      while next < total {
        next += queue.offer(next..<min(next + 100, total))
        if next < total, queue.count >= 64 { room.wait() }
      }
    }
    producer.start()
    var expected = 0
    while expected < total {
      let piece = queue.take(Int.random(in: 1...80))
      #expect(piece.count <= 64)
      for item in piece {
        #expect(item == expected)
        expected = item + 1
      }
      if piece.isEmpty { items.wait() }
    }
  }

  /// How a network card will use it: frames through a stream socket, each behind its length, as a NAT process, a relay or
  /// another machine speaks it. Both queues are bounded; the sender's connection is held up, the card's frames are dropped.
  @Test func framesCrossAStreamSocketWithBackPressure() throws {
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    let pipe = HostPipe<[UInt8]>(capacity: 8)
    let room = DispatchSemaphore(value: 0)
    pipe.toDevice.onRoom { room.signal() }
    let frames = 2000
    let (far, near) = (ends[0], ends[1])
    // The far side writes as fast as its socket takes.
    let writer = Thread {
      for number in 0..<frames {
        let frame = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 60 + number % 1400)
        let length = withUnsafeBytes(of: UInt32(frame.count).bigEndian) { Array($0) }
        _ = Self.writeAll(far, length + frame)
      }
    }
    writer.start()
    // The back end reads a frame only while there is room for it.
    let reader = Thread {
      for _ in 0..<frames {
        guard let head = Self.readAll(near, 4) else { return }
        let length = head.reduce(0) { $0 << 8 | Int($1) }
        guard let frame = Self.readAll(near, length) else { return }
        while pipe.toDevice.offer([frame]) == 0 { room.wait() }
      }
    }
    reader.start()
    var received = 0
    while received < frames {
      #expect(pipe.toDevice.count <= 8)
      for frame in pipe.toDevice.take(3) {
        #expect(frame.count == 60 + received % 1400)
        #expect(frame.allSatisfy { $0 == UInt8(truncatingIfNeeded: received) })
        received += 1
      }
    }
    #expect(pipe.toDevice.counters.dropped == 0)
    // The card never waits: with nobody taking, what goes out beyond the bound is dropped and counted.
    for _ in 0..<20 { pipe.toHost.send([1]) }
    #expect(pipe.toHost.count == 8)
    #expect(pipe.toHost.counters.dropped == 12)
  }

  private static func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  private static func readAll(_ descriptor: Int32, _ length: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: length)
    var done = 0
    while done < length {
      let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + done, length - done) }
      guard count > 0 else { return nil }
      done += count
    }
    return bytes
  }

  @Test func fromAClosedQueueNothingIsTaken() {
    let queue = HostQueue<Int>(capacity: 4)
    let items = Calls()
    queue.onItems { items.add() }
    _ = queue.offer([1, 2])
    queue.close()
    #expect(queue.take() == [] && queue.count == 2)
    #expect(queue.whileOpen { 1 } == nil)
    #expect(queue.offer([3, 4, 5]) == 2)
    let before = items.count
    queue.open()
    #expect(items.count == before + 1)
    #expect(queue.whileOpen { queue.take() } == [1, 2, 3, 4])
  }

  @Test func closingWaitsForWhoIsTaking() {
    let queue = HostQueue<Int>(capacity: 4)
    let (inside, leave) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let order = Calls()
    let thread = Thread {
      queue.whileOpen {
        inside.signal()
        leave.wait()
        order.add()
      }
    }
    thread.start()
    inside.wait()
    DispatchQueue.global().async { leave.signal() }
    queue.close()
    #expect(order.count == 1)
  }

  @Test func whoAsksForRoomInVainIsToldOfIt() {
    let queue = HostQueue<Int>(capacity: 4)
    let room = Calls()
    queue.onRoom { room.add() }
    _ = queue.offer([1, 2, 3])
    #expect(queue.hasRoom(for: 1))
    _ = queue.take()
    #expect(room.count == 0)
    _ = queue.offer([1, 2, 3])
    #expect(!queue.hasRoom(for: 2))
    _ = queue.take()
    #expect(room.count == 1)
  }

  @Test func whatIsHeldWaitsForItsMark() {
    let queue = HostQueue<Int>(capacity: 8)
    let (items, held) = (Calls(), Calls())
    queue.onItems { items.add() }
    #expect(queue.send(1))
    queue.hold { held.add() }
    #expect(queue.take() == [1], "what was there before may go")
    #expect(queue.offer([2, 3]) == 2 && queue.send(4))
    #expect(queue.take() == [] && queue.count == 3)
    #expect(items.count == 1 && held.count == 1, "told once")
    #expect(!queue.takeAtOnce({ _ in true }) { _ in })
    let mark = queue.mark()
    #expect(queue.send(5))
    #expect(held.count == 2, "and once more after a mark")
    queue.release(through: mark)
    #expect(items.count == 2)
    #expect(queue.take(1) == [2] && queue.take() == [3, 4] && queue.take() == [])
    queue.release(through: mark)
    #expect(queue.waiting == [5] && items.count == 2)
    queue.releaseAll()
    #expect(items.count == 3 && queue.take() == [5])
    #expect(queue.send(6) && queue.take() == [6])
  }

  @Test func aFullQueueOfHeldItemsHoldsUpWhoPuts() {
    let queue = HostQueue<Int>(capacity: 2)
    let room = Calls()
    queue.onRoom { room.add() }
    queue.hold {}
    #expect(queue.offer([1, 2, 3]) == 2 && !queue.hasRoom(for: 1))
    queue.release(through: queue.mark())
    #expect(queue.take() == [1, 2] && room.count == 1)
  }
}
