import GuestMemory
import SavedState

/// The network device of virtio as a network card: frames between the guest's queues and the wire.
///
/// Source: virtio 1.2, 5.1. The wire takes whole frames, so checksums are filled in and large packets cut here
/// (`FrameFinisher`), unless `onSendPacket` takes them as they are.
public final class VirtioNet: VirtioPCI, OffloadingCard {
  public let name: String
  public let address: MACAddress
  public var onReceiveRoom: () -> Void = {}
  public var wireHasRoom: () -> Bool = { true }
  public var onSend: ([UInt8]) -> Void = { _ in }
  public var onSendPacket: (([UInt8]) -> Void)?

  private typealias Feature = VirtioNetCore.Feature
  private enum Queue {
    static let receive = 0
    static let transmit = 1
    static let control = 2
  }
  /// Longest packet: 64 KiB of IP with what can be in front of it.
  private static let packetLimit = 65_535 + 64
  /// What one look into a queue moves at most, in bytes of frames and of overhead.
  private static let transmitBudget = 1 << 20
  private static let overhead = 256
  /// How often a packet that finds too little room looks for more at once.
  private static let mostLooks = 4
  private static let commandsAtOnce = 64

  private var core: VirtioNetCore
  /// A packet of which not all segments have left.
  private var unfinished: FrameFinisher?
  /// A frame was refused and its sender waits.
  private var isRefusing = false
  /// The wire has refused, and will say when it takes more.
  private var isStalled = false

  /// - Parameters: name: "nic1". fabric: takes messages in place of the interrupt pin.
  public init(
    name: String, address: MACAddress, hasCarrier: Bool = true, memory: PhysicalMemory, ports: PortBus,
    clock: GuestClock, fabric: InterruptFabric
  ) {
    self.name = name
    self.address = address
    core = VirtioNetCore(address: address, hasCarrier: hasCarrier)
    super.init(
      name: name,
      Kind(
        type: 1, deviceID: 0x1000, classCode: 0x020000, features: Feature.all, queueSizes: [256, 256, 64],
        configurationBytes: 8), memory: memory, ports: ports, clock: clock, fabric: fabric)
  }

  override var deviceConfiguration: [UInt8] { core.configuration }

  override func writeDeviceConfiguration(_ offset: Int, _ value: UInt8) {
    guard !transport.isVersion1 else { return }
    core.writeConfiguration(offset, value)
  }

  override func resetDevice() {
    core.reset()
    unfinished = nil
    isStalled = false
    roomMade()
  }

  /// Who waits for room need not wait any longer: what comes is dropped.
  override func brokeDown() { roomMade() }

  public override func resume() {
    super.resume()
    roomMade()
  }

  override func serve(_ queue: Int) {
    switch queue {
    case Queue.receive: roomMade()
    case Queue.transmit: transmit()
    default: obey()
    }
  }

  // MARK: Link

  public var hasCarrier: Bool { core.state.hasCarrier }

  public func setCarrier(_ isThere: Bool) {
    guard isThere != core.state.hasCarrier else { return }
    core.state.hasCarrier = isThere
    configurationChanged()
  }

  /// Asks the guest to tell the network where it is now (5.1.6.5.4).
  /// A driver that does not do that hears nothing.
  public func askToAnnounce() {
    guard transport.isReady, features.isSuperset(of: [Feature.announce, Feature.status, Feature.controlQueue]) else {
      return
    }
    core.state.mustAnnounce = true
    configurationChanged()
  }

  // MARK: Commands

  private func obey() {
    for _ in 0..<Self.commandsAtOnce {
      guard let chain = next(Queue.control) else { return tell(Queue.control) }
      let command = chain.read(VirtioNetCore.commandLimit, memory: memory)
      let isDone = core.perform(command, features)
      let written = chain.write([isDone ? 0 : 1], memory: memory)
      give(Queue.control, chain.head, written: written)
    }
    tell(Queue.control)
    goOnLater()
  }

  // MARK: Sending

  /// Before version 1 the number of buffers was there only where buffers are merged (5.1.6.1).
  private var headerLength: Int {
    transport.isVersion1 || features.contains(Feature.mergeableBuffers) ? 12 : 10
  }

  public func wireRoomChanged() {
    guard isStalled, canServe, isEnabled(Queue.transmit) else { return }
    transmit()
  }

  private func transmit() {
    isStalled = false
    setWantsNotices(Queue.transmit, false)
    var budget = Self.transmitBudget
    while sendUnfinished(&budget) {
      guard let chain = next(Queue.transmit) else { break }
      budget -= Self.overhead
      begin(chain, &budget)
      give(Queue.transmit, chain.head, written: 0)
    }
    tell(Queue.transmit)
  }

  /// - Returns: whether there may be more to send now.
  private func sendUnfinished(_ budget: inout Int) -> Bool {
    while true {
      guard budget > 0 else {
        goOnLater()
        return false
      }
      guard wireHasRoom() else {
        isStalled = true
        return false
      }
      guard let frame = unfinished?.next() else {
        unfinished = nil
        return true
      }
      budget -= frame.count + Self.overhead
      if core.state.hasCarrier { onSend(frame) }
    }
  }

  /// Takes a packet out of its chain. One that cannot be sent is gone.
  private func begin(_ chain: VirtioChain, _ budget: inout Int) {
    let length = chain.readableBytes - headerLength
    guard length > 0, length <= Self.packetLimit else { return }
    guard var offload = FrameOffload(header: chain.read(headerLength, memory: memory)) else { return }
    offload.isChecked = false
    guard let onSendPacket else {
      unfinished = FrameFinisher(chain.read(length, from: headerLength, memory: memory), offload)
      return
    }
    budget -= length
    let ahead = FrameOffload.paddedHeaderLength
    let packet = [UInt8](unsafeUninitializedCapacity: ahead + length) { buffer, initialized in
      let header = offload.header
      for index in 0..<ahead { buffer[index] = index < header.count ? header[index] : 0 }
      let body = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[ahead...])
      chain.read(from: headerLength, into: body, memory: memory)
      initialized = ahead + length
    }
    if core.state.hasCarrier { onSendPacket(packet) }
  }

  // MARK: Receiving

  public func receive(_ frame: [UInt8]) -> Bool {
    var offload = FrameOffload()
    if features.contains(Feature.guestChecksum), let packet = IPPacket(frame, end: frame.count),
      packet.isHeaderSound, packet.isPayloadSound == true
    {
      offload.isChecked = true
    }
    return receive(frame, from: 0, offload)
  }

  public func receive(packet: [UInt8], _ offload: FrameOffload) -> Bool {
    receive(packet, from: FrameOffload.paddedHeaderLength, offload)
  }

  private func receive(_ packet: [UInt8], from start: Int, _ offload: FrameOffload) -> Bool {
    // What comes while the machine stands still is held by who brings it.
    guard !isPaused else {
      isRefusing = true
      return false
    }
    guard canServe, isEnabled(Queue.receive), core.state.hasCarrier,
      core.accepts(packet, from: start, features)
    else { return true }
    guard packet.count - start <= Self.packetLimit else { return true }
    switch reserve(headerLength + packet.count - start) {
    case .room(let chains):
      store(packet, from: start, offload, in: chains)
      return true
    case .tooSmall: return true
    case .none:
      isRefusing = true
      return false
    }
  }

  public func takes(_ offload: FrameOffload) -> Bool {
    if offload.needsChecksum, !features.contains(Feature.guestChecksum) { return false }
    switch offload.segmentation {
    case .none: return true
    case .tcp4: return features.contains(Feature.guestTCP4)
    case .tcp6: return features.contains(Feature.guestTCP6)
    }
  }

  private enum Reservation {
    case room([VirtioChain])
    /// The guest will make room.
    case none
    /// The guest's buffers are too small for it, all of them together.
    case tooSmall
  }

  /// Takes buffers for `count` bytes.
  private func reserve(_ count: Int) -> Reservation {
    var chains: [VirtioChain] = []
    var room = 0
    var asked = 0
    while room < count {
      guard let chain = take(Queue.receive) else {
        guard transport.isReady else { return .tooSmall }
        untake(Queue.receive, chains.count)
        if chains.count == Int(transport.queues[Queue.receive].state.size) { return .tooSmall }
        setWantsNotices(Queue.receive, true)
        // The driver may have put more there before it saw that, and then says nothing. It is not run after for long.
        guard waiting(Queue.receive) > chains.count else { return .none }
        guard asked < Self.mostLooks else {
          goOnLater()
          return .none
        }
        asked += 1
        (chains, room) = ([], 0)
        continue
      }
      guard chain.writableBytes >= (chains.isEmpty ? headerLength : 1) else {
        breakDown()
        return .tooSmall
      }
      chains.append(chain)
      room += chain.writableBytes
      if room < count, !features.contains(Feature.mergeableBuffers) {
        untake(Queue.receive, 1)
        return .tooSmall
      }
    }
    return .room(chains)
  }

  private func store(_ packet: [UInt8], from start: Int, _ offload: FrameOffload, in chains: [VirtioChain]) {
    var header = offload.header
    if headerLength == 12 { header += [UInt8(chains.count & 0xFF), UInt8(chains.count >> 8)] }
    chains[0].write(header, memory: memory)
    var done = 0
    var used: [(head: UInt16, written: Int)] = []
    used.reserveCapacity(chains.count)
    packet.withUnsafeBytes { whole in
      let bytes = UnsafeRawBufferPointer(rebasing: whole[start...])
      for (index, chain) in chains.enumerated() {
        let start = index == 0 ? header.count : 0
        let part = min(chain.writableBytes - start, bytes.count - done)
        chain.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + part]), at: start, memory: memory)
        used.append((chain.head, start + part))
        done += part
      }
    }
    give(Queue.receive, used)
    tell(Queue.receive)
  }

  private func roomMade() {
    setWantsNotices(Queue.receive, false)
    guard isRefusing, !isPaused else { return }
    isRefusing = false
    onReceiveRoom()
  }

  // MARK: Device

  public func reset() { resetFunction() }

  private struct Saved: Codable {
    var function: FunctionState
    var registers: VirtioNetCore.State
    var unfinished: FrameFinisher?
  }
  private static let kind = "virtio-net"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(function: functionState, registers: core.state, unfinished: unfinished)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try check(saved.function, in: section)
    try requireValid(saved.registers.isPlausible, in: section, "registers of the network card")
    try requireValid(saved.unfinished?.isPlausible ?? true, in: section, "the packet that is being sent")
    restore(saved.function)
    core.state = saved.registers
    unfinished = saved.unfinished
    isStalled = false
    isRefusing = false
  }
}
