import GuestMemory
import Testing

@testable import Devices

/// A virtio device on a board with memory, driven as a driver drives it.
final class VirtioBench<Function: VirtioPCI> {
  static var ports: UInt16 { 0xC000 }
  static var table: UInt64 { 0xFEB0_0000 }
  static var registers: UInt64 { 0xFEB1_0000 }
  static var slot: Int { 5 }

  let board: TestBoard
  let device: Function
  let isLegacy: Bool
  private var queues: [Queue] = []
  private var nextBuffer: UInt64 = 0x20_0000

  private struct Queue {
    var size: UInt16
    var descriptors: UInt64
    var available: UInt64
    var used: UInt64
    var nextDescriptor: UInt16 = 0
    var nextAvailable: UInt16 = 0
    var nextUsed: UInt16 = 0
  }

  init(legacy: Bool = false, _ make: (TestBoard) -> Function) throws {
    board = try TestBoard(megabytes: 8)
    device = make(board)
    isLegacy = legacy
    board.pci.attach(device, slot: Self.slot)
    map()
  }

  /// Gives the function its addresses, as firmware does.
  func map() {
    board.configWrite(Self.slot, 0, 0x10, UInt32(Self.ports))
    board.configWrite(Self.slot, 0, 0x14, UInt32(Self.table))
    board.configWrite(Self.slot, 0, 0x20, UInt32(Self.registers))
    board.configWrite(Self.slot, 0, 0x04, 7, size: 2)
  }

  // MARK: Registers

  func common(_ offset: UInt64, size: Int = 4) -> UInt64 { board.memory.readIO(Self.registers + offset, size: size) }
  func common(_ offset: UInt64, size: Int = 4, write value: UInt64) {
    board.memory.writeIO(Self.registers + offset, size: size, value: value)
  }
  func configuration(_ offset: UInt64, size: Int = 1) -> UInt64 {
    board.memory.readIO(Self.registers + 0x2000 + offset, size: size)
  }
  func port(_ offset: UInt16, size: Int) -> UInt32 { board.in(Self.ports + offset, size: size) }
  func port(_ offset: UInt16, size: Int, write value: UInt32) { board.out(Self.ports + offset, value, size: size) }

  var status: UInt8 {
    get { UInt8(isLegacy ? UInt64(port(18, size: 1)) : common(0x14, size: 1)) }
    set {
      if isLegacy { port(18, size: 1, write: UInt32(newValue)) } else { common(0x14, size: 1, write: UInt64(newValue)) }
    }
  }

  /// What the device offers.
  var offered: UInt64 {
    if isLegacy { return UInt64(port(0, size: 4)) }
    common(0, write: 0)
    let low = common(4)
    common(0, write: 1)
    return low | common(4) << 32
  }

  /// Reads and clears the interrupt status.
  func takeInterrupts() -> UInt8 {
    isLegacy ? UInt8(port(19, size: 1)) : UInt8(board.memory.readIO(Self.registers + 0x1000, size: 1))
  }

  // MARK: Starting

  /// Brings the device up to DRIVER_OK with these features (of those below version 1), and queues of `size` entries, or what
  /// the device has.
  func start(_ features: UInt64 = 0, size: UInt16? = nil) {
    status = 0
    status = 1
    status = 3
    if isLegacy {
      port(4, size: 4, write: UInt32(truncatingIfNeeded: features))
    } else {
      common(8, write: 0)
      common(0xC, write: features & 0xFFFF_FFFF)
      common(8, write: 1)
      common(0xC, write: 1)
      status = 11
    }
    queues = []
    for index in 0..<(isLegacy ? 8 : Int(common(0x12, size: 2))) {
      guard let queue = makeQueue(index, size) else { break }
      queues.append(queue)
    }
    status = isLegacy ? 7 : 15
  }

  private func makeQueue(_ index: Int, _ wanted: UInt16?) -> Queue? {
    let base = 0x10_000 + UInt64(index) * 0x8000
    for place in stride(from: base, to: base + 0x8000, by: 8) { board.memory.write(place, 0 as UInt64) }
    if isLegacy {
      port(14, size: 2, write: UInt32(index))
      let size = UInt16(port(12, size: 2))
      guard size > 0 else { return nil }
      port(8, size: 4, write: UInt32(base >> 12))
      let available = base + UInt64(size) * 16
      return Queue(
        size: size, descriptors: base, available: available, used: (available + 6 + 2 * UInt64(size) + 4095) & ~4095)
    }
    common(0x16, size: 2, write: UInt64(index))
    let size = wanted ?? UInt16(common(0x18, size: 2))
    common(0x18, size: 2, write: UInt64(size))
    let queue = Queue(size: size, descriptors: base, available: base + 0x4000, used: base + 0x6000)
    for (offset, value) in [(0x20 as UInt64, queue.descriptors), (0x28, queue.available), (0x30, queue.used)] {
      common(offset, write: value & 0xFFFF_FFFF)
      common(offset + 4, write: value >> 32)
    }
    common(0x1C, size: 2, write: 1)
    return queue
  }

  // MARK: Rings

  func size(_ queue: Int) -> UInt16 { queues[queue].size }
  func descriptors(_ queue: Int) -> UInt64 { queues[queue].descriptors }
  func available(_ queue: Int) -> UInt64 { queues[queue].available }
  func used(_ queue: Int) -> UInt64 { queues[queue].used }

  func allocate(_ count: Int) -> UInt64 {
    // Buffers lie across pages and away from even addresses.
    if nextBuffer + UInt64(count) + 16 > 0x7F_0000 { nextBuffer = 0x20_0000 }
    defer { nextBuffer += UInt64(count) + 13 }
    return nextBuffer
  }

  func put(_ bytes: [UInt8], at address: UInt64) {
    guard !bytes.isEmpty else { return }
    bytes.withUnsafeBytes { board.memory.write(address, from: $0) }
  }

  func bytes(at address: UInt64, _ count: Int) -> [UInt8] {
    guard count > 0 else { return [] }
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { board.memory.read(address, into: $0) }
    return result
  }

  func writeDescriptor(
    _ table: UInt64, _ index: UInt16, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16
  ) {
    let place = table + UInt64(index) * 16
    board.memory.write(place, address)
    board.memory.write(place + 8, UInt64(length) | UInt64(flags) << 32 | UInt64(next) << 48)
  }

  /// A chain that has been made available.
  struct Chain {
    var head: UInt16
    /// Addresses of what the device writes.
    var buffers: [(address: UInt64, count: Int)]
  }

  /// Makes buffers available: `out` to read, `room` bytes each to write. Without `expose` the driver keeps them back.
  @discardableResult
  func add(_ queue: Int, out: [[UInt8]], room: [Int] = [], indirect: Bool = false, expose: Bool = true) -> Chain {
    var pieces: [(address: UInt64, count: Int, isWritable: Bool)] = []
    for bytes in out {
      let address = allocate(bytes.count)
      put(bytes, at: address)
      pieces.append((address, bytes.count, false))
    }
    for count in room { pieces.append((allocate(count), count, true)) }
    let head = queues[queue].nextDescriptor
    if indirect {
      let table = (allocate(pieces.count * 16 + 16) + 15) & ~15
      write(pieces, to: table, from: 0, size: UInt16(pieces.count))
      writeDescriptor(queues[queue].descriptors, head, table, UInt32(pieces.count * 16), 4, 0)
      queues[queue].nextDescriptor = (head + 1) % queues[queue].size
    } else {
      write(pieces, to: queues[queue].descriptors, from: head, size: queues[queue].size)
      queues[queue].nextDescriptor = (head + UInt16(pieces.count)) % queues[queue].size
    }
    makeAvailable(queue, head)
    if expose { self.expose(queue) }
    return Chain(head: head, buffers: pieces.filter(\.isWritable).map { ($0.address, $0.count) })
  }

  private func write(
    _ pieces: [(address: UInt64, count: Int, isWritable: Bool)], to table: UInt64, from start: UInt16, size: UInt16
  ) {
    for (offset, piece) in pieces.enumerated() {
      let index = (start + UInt16(offset)) % size
      let isLast = offset == pieces.count - 1
      writeDescriptor(
        table, index, piece.address, UInt32(piece.count), (piece.isWritable ? 2 : 0) | (isLast ? 0 : 1),
        (index + 1) % size)
    }
  }

  func makeAvailable(_ queue: Int, _ head: UInt16) {
    let slot = UInt64(queues[queue].nextAvailable % queues[queue].size)
    board.memory.write(queues[queue].available + 4 + slot * 2, head)
    queues[queue].nextAvailable &+= 1
  }

  func expose(_ queue: Int) { board.memory.write(queues[queue].available + 2, queues[queue].nextAvailable) }

  func kick(_ queue: Int) {
    if isLegacy {
      port(16, size: 2, write: UInt32(queue))
    } else {
      board.memory.writeIO(Self.registers + 0x3000 + UInt64(queue) * 4, size: 2, value: UInt64(queue))
    }
  }

  /// The next chain that the device has given back.
  func takeUsed(_ queue: Int) -> (head: UInt16, written: Int)? {
    let index = board.memory.read(queues[queue].used + 2, as: UInt16.self)
    guard index != queues[queue].nextUsed else { return nil }
    let slot = UInt64(queues[queue].nextUsed % queues[queue].size)
    let entry = board.memory.read(queues[queue].used + 4 + slot * 8, as: UInt64.self)
    queues[queue].nextUsed &+= 1
    return (UInt16(truncatingIfNeeded: entry), Int(entry >> 32))
  }

  func takeAllUsed(_ queue: Int) -> [(head: UInt16, written: Int)] {
    var result: [(head: UInt16, written: Int)] = []
    while let chain = takeUsed(queue) { result.append(chain) }
    return result
  }

  /// What the device has written into a chain.
  func content(_ chain: Chain, _ count: Int) -> [UInt8] {
    Array(chain.buffers.flatMap { bytes(at: $0.address, $0.count) }.prefix(count))
  }
}

extension VirtioBench where Function == VirtioEntropy {
  /// With a generator that counts.
  convenience init(legacy: Bool = false, counting: Void = ()) throws {
    var next: UInt8 = 0
    try self.init(legacy: legacy) { board in
      VirtioEntropy(memory: board.memory, ports: board.ports, clock: board.time.clock, fabric: board.fabric) { buffer in
        for index in buffer.indices {
          next &+= 1
          buffer[index] = next
        }
      }
    }
  }
}
