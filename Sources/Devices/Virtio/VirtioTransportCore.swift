/// The registers through which a driver reaches a virtio device over PCI: those of version 1 in memory and those from before
/// it in ports ("legacy"), which are two views of one state. Pure: no bus, no memory.
///
/// Source: virtio 1.2, 4.1.4.3 (common configuration), 4.1.4.10 (legacy interface).
struct VirtioTransportCore {
  struct State: Codable, Equatable, Sendable {
    var status = VirtioStatus(rawValue: 0)
    /// Which 32 of the device's, and of the driver's, feature bits the window shows.
    var deviceFeatureSelect: UInt32 = 0
    var driverFeatureSelect: UInt32 = 0
    /// As the driver has written them; what they are once both agree is `features`.
    var driverFeatures: UInt64 = 0
    var queueSelect: UInt16 = 0
    /// The MSI-X vector of configuration changes.
    var configurationVector = Virtqueue.noVector
    /// Counts changes of the device's configuration (2.5.1).
    var generation: UInt8 = 0
    /// Bit 0: a queue has something for the driver, bit 1: the configuration has changed.
    var interrupts: UInt8 = 0
    var queues: [Virtqueue.State]
  }

  /// What a write asks of whoever holds the core.
  enum Effect: Equatable {
    case none
    /// The driver has reset the device; the core is reset already.
    case reset
    /// The driver has put something into this queue.
    case notify(Int)
    /// The driver is ready, all queues are to be looked at.
    case ready
  }

  /// Offsets in the common configuration.
  private enum Common {
    static let deviceFeatureSelect = 0x00
    static let driverFeatureSelect = 0x08
    static let driverFeature = 0x0C
    static let configurationVector = 0x10
    static let status = 0x14
    static let queueSelect = 0x16
    static let queueSize = 0x18
    static let queueVector = 0x1A
    static let queueEnable = 0x1C
    static let queueDescriptors = 0x20
    static let queueAvailable = 0x28
    static let queueUsed = 0x30
  }

  /// Offsets of the legacy ports.
  enum Legacy {
    static let driverFeatures = 4
    static let queueAddress = 8
    static let queueSelect = 14
    static let queueNotify = 16
    static let status = 18
    static let interrupts = 19
    static let configurationVector = 20
    static let queueVector = 22
    /// Where the device's own configuration begins; the two vectors are there only while MSI-X is on.
    static func deviceStart(hasVectors: Bool) -> Int { hasVectors ? 24 : 20 }
  }

  /// Of the device's kind and of the rings.
  let offered: VirtioFeatures
  /// MSI-X vectors of the function.
  let vectors: UInt16
  private(set) var state: State
  private(set) var queues: [Virtqueue]

  /// - Parameter queueSizes: of each queue, the most entries.
  init(offered: VirtioFeatures, queueSizes: [UInt16], vectors: Int) {
    self.offered = offered.union(.rings)
    self.vectors = UInt16(vectors)
    queues = queueSizes.map(Virtqueue.init)
    state = State(queues: queues.map(\.state))
  }

  mutating func reset() {
    for index in queues.indices { queues[index].reset() }
    state = State(queues: queues.map(\.state))
  }

  // MARK: What has been agreed on

  /// What both can do, of what the driver has written until now.
  var features: VirtioFeatures { VirtioFeatures(rawValue: state.driverFeatures).intersection(modernOffer) }
  private var modernOffer: VirtioFeatures { offered.union([.version1, .anyLayout]) }

  /// The driver may be served.
  var isReady: Bool { state.status.contains(.driverOK) && !state.status.contains(.needsReset) }
  var isVersion1: Bool { features.contains(.version1) }

  // MARK: State

  var saved: State {
    var result = state
    result.queues = queues.map(\.state)
    return result
  }

  func accepts(_ saved: State) -> Bool {
    saved.queues.count == queues.count && zip(queues, saved.queues).allSatisfy { $0.accepts($1) }
      && saved.interrupts & ~3 == 0 && isVector(saved.configurationVector)
      && saved.queues.allSatisfy { isVector($0.vector) }
  }

  private func isVector(_ vector: UInt16) -> Bool { vector < vectors || vector == Virtqueue.noVector }

  mutating func restore(_ saved: State) {
    state = saved
    for (index, queue) in saved.queues.enumerated() { queues[index].state = queue }
  }

  /// Works on a queue.
  mutating func withQueue<T>(_ index: Int, _ body: (inout Virtqueue, VirtioFeatures) throws -> T) rethrows -> T {
    let features = self.features
    return try body(&queues[index], features)
  }

  mutating func setNeedsReset() { state.status.insert(.needsReset) }

  mutating func raise(_ interrupts: UInt8) { state.interrupts |= interrupts }

  /// Reading the interrupt status clears it (4.1.4.5).
  mutating func takeInterrupts() -> UInt8 {
    defer { state.interrupts = 0 }
    return state.interrupts
  }

  mutating func configurationChanged() { state.generation &+= 1 }

  // MARK: Common configuration

  private var selected: Virtqueue.State? {
    Int(state.queueSelect) < queues.count ? queues[Int(state.queueSelect)].state : nil
  }

  private func window(_ features: UInt64, _ select: UInt32) -> UInt32 {
    select < 2 ? UInt32(truncatingIfNeeded: features >> UInt64(select * 32)) : 0
  }

  /// - Parameters: offset: in the common configuration. size: 1, 2, 4 or 8 bytes.
  func readCommon(_ offset: Int, size: Int) -> UInt64 {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(64)
    func put(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    let queue = selected
    put(state.deviceFeatureSelect)
    put(window(modernOffer.subtracting(.anyLayout).rawValue, state.deviceFeatureSelect))
    put(state.driverFeatureSelect)
    put(window(state.driverFeatures, state.driverFeatureSelect))
    put(state.configurationVector)
    put(UInt16(queues.count))
    put(state.status.rawValue)
    put(state.generation)
    put(state.queueSelect)
    put(queue?.size ?? 0)
    put(queue?.vector ?? Virtqueue.noVector)
    put(queue?.isEnabled ?? false ? 1 as UInt16 : 0)
    put(queue == nil ? 0 : state.queueSelect)  // each queue's notify offset is its number
    put(queue?.descriptors ?? 0)
    put(queue?.available ?? 0)
    put(queue?.used ?? 0)
    guard offset >= 0, offset + size <= bytes.count else { return 0 }
    return (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64($1 * 8) }
  }

  mutating func writeCommon(_ offset: Int, size: Int, _ value: UInt64) -> Effect {
    let (byte, word, long) = (
      UInt8(truncatingIfNeeded: value), UInt16(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value)
    )
    switch offset {
    case Common.deviceFeatureSelect: state.deviceFeatureSelect = long
    case Common.driverFeatureSelect: state.driverFeatureSelect = long
    case Common.driverFeature: writeDriverFeatures(long)
    case Common.configurationVector: state.configurationVector = known(word)
    case Common.status: return writeStatus(byte)
    case Common.queueSelect: state.queueSelect = word
    default:
      guard let selected else { return .none }
      queues[Int(state.queueSelect)].state = written(selected, offset, size: size, value)
    }
    return .none
  }

  /// The selected queue after a write of one of its fields. A queue may be enabled after the driver was ready; it is looked at
  /// when the driver says that there is something in it.
  private func written(_ old: Virtqueue.State, _ offset: Int, size: Int, _ value: UInt64) -> Virtqueue.State {
    var queue = old
    let word = UInt16(truncatingIfNeeded: value)
    switch offset {
    case Common.queueVector: queue.vector = known(word)
    // What an enabled queue looks like does not change (4.1.4.3.2).
    case _ where queue.isEnabled: break
    case Common.queueSize:
      if word > 0, word <= queues[Int(state.queueSelect)].maximum, word & (word - 1) == 0 { queue.size = word }
    case Common.queueEnable: if word == 1 { queue.isEnabled = true }
    case Common.queueDescriptors..<Common.queueAvailable:
      Self.write(&queue.descriptors, offset - Common.queueDescriptors, size: size, value)
    case Common.queueAvailable..<Common.queueUsed:
      Self.write(&queue.available, offset - Common.queueAvailable, size: size, value)
    case Common.queueUsed..<Common.queueUsed + 8:
      Self.write(&queue.used, offset - Common.queueUsed, size: size, value)
    default: break
    }
    return queue
  }

  /// A field of 64 bits is written whole or by halves (4.1.3.1).
  private static func write(_ field: inout UInt64, _ offset: Int, size: Int, _ value: UInt64) {
    switch (offset, size) {
    case (0, 8): field = value
    case (0, 4): field = field & ~0xFFFF_FFFF | value & 0xFFFF_FFFF
    case (4, 4): field = field & 0xFFFF_FFFF | value << 32
    default: break
    }
  }

  private func known(_ vector: UInt16) -> UInt16 { vector < vectors ? vector : Virtqueue.noVector }

  /// After both have agreed the driver's features stand (3.1.1).
  private mutating func writeDriverFeatures(_ value: UInt32) {
    guard !state.status.contains(.featuresOK), state.driverFeatureSelect < 2 else { return }
    let shift = UInt64(state.driverFeatureSelect * 32)
    state.driverFeatures = state.driverFeatures & ~(0xFFFF_FFFF << shift) | UInt64(value) << shift
  }

  private mutating func writeStatus(_ value: UInt8) -> Effect {
    guard value != 0 else {
      reset()
      return .reset
    }
    let wasReady = isReady
    var new = VirtioStatus(rawValue: value)
    // The device does not take what it has not offered: the driver sees that the bit does not stay (2.2.2).
    if new.contains(.featuresOK), !state.status.contains(.featuresOK),
      !VirtioFeatures(rawValue: state.driverFeatures).isSubset(of: modernOffer)
    {
      new.remove(.featuresOK)
    }
    if state.status.contains(.needsReset) { new.insert(.needsReset) } else { new.remove(.needsReset) }
    state.status = new
    return isReady && !wasReady ? .ready : .none
  }

  // MARK: Legacy ports

  /// - Parameter offset: below `Legacy.deviceStart`.
  mutating func readLegacy(_ offset: Int, size: Int) -> UInt32 {
    if offset == Legacy.interrupts { return UInt32(takeInterrupts()) }
    var bytes: [UInt8] = []
    func put(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    let queue = selected
    put(window(modernOffer.rawValue, 0))
    put(window(state.driverFeatures, 0))
    put(UInt32(truncatingIfNeeded: (queue?.descriptors ?? 0) >> 12))
    put(queue?.size ?? 0)
    put(state.queueSelect)
    put(0 as UInt16)
    put(state.status.rawValue)
    put(0 as UInt8)
    put(state.configurationVector)
    put(queue?.vector ?? Virtqueue.noVector)
    guard offset + size <= bytes.count else { return 0 }
    return (0..<size).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
  }

  mutating func writeLegacy(_ offset: Int, size: Int, _ value: UInt32) -> Effect {
    let word = UInt16(truncatingIfNeeded: value)
    switch (offset, size) {
    case (Legacy.driverFeatures, 4):
      // What was not offered is left out in silence: there is no way to say no (2.2.3).
      if !state.status.contains(.featuresOK) { state.driverFeatures = UInt64(value) & modernOffer.rawValue }
    case (Legacy.queueAddress, 4): placeSelected(page: value)
    case (Legacy.queueSelect, 2): state.queueSelect = word
    case (Legacy.queueNotify, 2): return word < queues.count ? .notify(Int(word)) : .none
    case (Legacy.status, 1): return writeStatus(UInt8(truncatingIfNeeded: value))
    case (Legacy.configurationVector, 2): state.configurationVector = known(word)
    case (Legacy.queueVector, 2):
      if Int(state.queueSelect) < queues.count { queues[Int(state.queueSelect)].state.vector = known(word) }
    default: break
    }
    return .none
  }

  private mutating func placeSelected(page: UInt32) {
    guard Int(state.queueSelect) < queues.count else { return }
    let vector = queues[Int(state.queueSelect)].state.vector
    queues[Int(state.queueSelect)].reset()
    queues[Int(state.queueSelect)].state.vector = vector
    queues[Int(state.queueSelect)].placeLegacy(page: page)
  }
}
