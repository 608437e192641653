import GuestMemory

/// What a driver can have in a ring that no device can go on from (virtio 1.2, 2.1.2).
enum VirtqueueFault: Error, Equatable {
  /// More has been made available than the ring holds.
  case tooManyAvailable
  /// An index beyond the table of descriptors.
  case badDescriptor
  /// A chain that is longer than the ring, or never ends.
  case tooLong
  /// A buffer to read behind one to write.
  case outOfOrder
  /// A table in a table, a table that is followed by more, or one of no whole number of descriptors.
  case badTable
}

/// A split virtqueue: the driver's table of descriptors and available ring, the device's used ring, all in guest memory.
///
/// Source: virtio 1.2, 2.7. Whatever is in the rings, `take` ends after at most as many descriptors as a ring has.
struct Virtqueue {
  /// The most entries that a ring has here, and descriptors that a chain has (2.7.5.3.1).
  static let sizeLimit: UInt16 = 1024
  static let noVector: UInt16 = 0xFFFF

  struct State: Codable, Equatable, Sendable {
    /// Entries of each ring: a power of two.
    var size: UInt16
    var isEnabled = false
    var descriptors: UInt64 = 0
    var available: UInt64 = 0
    var used: UInt64 = 0
    /// The MSI-X vector of its interrupts.
    var vector = Virtqueue.noVector
    /// The free-running indices of what is taken next and of what goes back next.
    var nextAvailable: UInt16 = 0
    var nextUsed: UInt16 = 0
    /// `nextUsed` when it was last decided whether the driver is to be told.
    var told: UInt16 = 0
    /// The driver has been asked to say when it makes more available.
    var wantsNotices = true
  }

  /// Entries unless the driver chooses fewer.
  let maximum: UInt16
  var state: State

  init(size: UInt16) {
    precondition(size > 0 && size <= Self.sizeLimit && size & (size - 1) == 0)
    maximum = size
    state = State(size: size)
  }

  mutating func reset() { state = State(size: maximum) }

  /// Whether `state` can be this queue's.
  func accepts(_ state: State) -> Bool {
    state.size > 0 && state.size <= maximum && state.size & (state.size - 1) == 0
  }

  /// Lays the rings out as it was before version 1: one after the other, the used ring on the next page (2.7.2).
  mutating func placeLegacy(page: UInt32) {
    state.descriptors = UInt64(page) << 12
    state.available = state.descriptors &+ 16 &* UInt64(state.size)
    state.used = (state.available &+ 6 &+ 2 &* UInt64(state.size) &+ 4095) & ~4095
    state.isEnabled = page != 0
  }

  // MARK: Taking

  /// Entries that wait.
  func waiting(_ memory: PhysicalMemory) throws(VirtqueueFault) -> Int {
    let count = memory.read(state.available &+ 2, as: UInt16.self) &- state.nextAvailable
    guard count <= state.size else { throw .tooManyAvailable }
    return Int(count)
  }

  /// The next chain, or nil.
  mutating func take(_ memory: PhysicalMemory, _ features: VirtioFeatures) throws(VirtqueueFault) -> VirtioChain? {
    guard try waiting(memory) > 0 else { return nil }
    let slot = UInt64(state.nextAvailable & (state.size - 1))
    let head = memory.read(state.available &+ 4 &+ slot &* 2, as: UInt16.self)
    let chain = try walk(head, memory, features)
    state.nextAvailable &+= 1
    return chain
  }

  /// Gives the chains taken last back to the ring, as if they had not been.
  mutating func untake(_ count: Int) { state.nextAvailable &-= UInt16(truncatingIfNeeded: count) }

  private func walk(
    _ head: UInt16, _ memory: PhysicalMemory, _ features: VirtioFeatures
  ) throws(VirtqueueFault) -> VirtioChain {
    var chain = VirtioChain(head: head)
    var table = state.descriptors
    var count = UInt32(state.size)
    var isIndirect = false
    var index = head
    var seen = 0
    while true {
      guard UInt32(index) < count else { throw .badDescriptor }
      seen += 1
      guard seen <= Int(Self.sizeLimit) else { throw .tooLong }
      let descriptor = VirtqueueDescriptor(memory, at: table &+ UInt64(index) &* 16)
      if descriptor.isTable {
        guard features.contains(.indirectDescriptors), !isIndirect, !descriptor.hasNext, descriptor.length & 15 == 0,
          descriptor.length > 0
        else { throw .badTable }
        (table, count, isIndirect, index) = (descriptor.address, descriptor.length / 16, true, 0)
        continue
      }
      let piece = VirtioChain.Piece(address: descriptor.address, length: descriptor.length)
      guard chain.append(piece, isWritable: descriptor.isWritable) else { throw .outOfOrder }
      guard descriptor.hasNext else { return chain }
      index = descriptor.next
    }
  }

  // MARK: Giving back

  /// Puts a chain into the used ring, without showing it yet.
  /// - Parameters:
  ///   - written: bytes that the device has written into it.
  ///   - ahead: how many were put there before it since the last `publish`.
  func put(_ head: UInt16, written: Int, ahead: Int = 0, _ memory: PhysicalMemory) {
    let slot = UInt64((state.nextUsed &+ UInt16(truncatingIfNeeded: ahead)) & (state.size - 1))
    memory.write(state.used &+ 4 &+ slot &* 8, UInt64(head) | UInt64(UInt32(clamping: written)) << 32)
  }

  /// Shows the driver `count` chains that were put.
  mutating func publish(_ count: Int = 1, _ memory: PhysicalMemory) {
    state.nextUsed &+= UInt16(truncatingIfNeeded: count)
    memory.write(state.used &+ 2, state.nextUsed)
  }

  // MARK: Telling each other

  /// Whether the driver wants an interrupt for what was published since this was asked last (2.7.7).
  mutating func driverWantsInterrupt(_ memory: PhysicalMemory, _ features: VirtioFeatures) -> Bool {
    let old = state.told
    state.told = state.nextUsed
    guard old != state.nextUsed else { return false }
    guard features.contains(.eventIndex) else { return memory.read(state.available, as: UInt16.self) & 1 == 0 }
    let event = memory.read(state.available &+ 4 &+ UInt64(state.size) &* 2, as: UInt16.self)
    return state.nextUsed &- event &- 1 < state.nextUsed &- old
  }

  /// Asks the driver to say when it makes more available, or not to (2.7.10). Whoever asks for it looks once more into the
  /// ring afterwards: the driver may have put something there meanwhile.
  mutating func setWantsNotices(_ isWanted: Bool, _ memory: PhysicalMemory, _ features: VirtioFeatures) {
    if features.contains(.eventIndex) {
      // From the index on that is there now: what waits in the ring may be too little. The index that is behind us is never
      // reached, for as long as it takes to go once around.
      if isWanted {
        let index = memory.read(state.available &+ 2, as: UInt16.self)
        memory.write(state.used &+ 4 &+ UInt64(state.size) &* 8, index)
      }
    } else if state.wantsNotices != isWanted {
      memory.write(state.used, isWanted ? 0 as UInt16 : 1)
    }
    state.wantsNotices = isWanted
  }
}

/// An entry of a table of descriptors (2.7.5).
private struct VirtqueueDescriptor {
  let address: UInt64
  private let fields: UInt64

  init(_ memory: PhysicalMemory, at place: UInt64) {
    var words: (UInt64, UInt64) = (0, 0)
    withUnsafeMutableBytes(of: &words) { memory.read(place, into: $0) }
    address = UInt64(littleEndian: words.0)
    fields = UInt64(littleEndian: words.1)
  }

  var length: UInt32 { UInt32(truncatingIfNeeded: fields) }
  var hasNext: Bool { fields >> 32 & 1 != 0 }
  var isWritable: Bool { fields >> 32 & 2 != 0 }
  var isTable: Bool { fields >> 32 & 4 != 0 }
  var next: UInt16 { UInt16(truncatingIfNeeded: fields >> 48) }
}
